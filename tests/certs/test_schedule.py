"""When certificates are renewed and failed tries repeated, for lives of two minutes and of years."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.schedule import Plan, Window, is_due, next_try, pause_s, planned, renew_at

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LIVES = [timedelta(seconds=120), timedelta(hours=12), 7 * DAY, 45 * DAY, 90 * DAY, 1826 * DAY]

lives = st.timedeltas(timedelta(seconds=60), timedelta(days=2000))
shares = st.floats(0, 1, exclude_max=True)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def plan(
    life: timedelta = 90 * DAY, *, at: float = 0.5, cert_id: str = "aki.serial", replaced: Plan | None = None
) -> Plan:
    """The plan of a certificate that came now."""
    return planned(cert_id, (NOW, NOW + life), NOW, at=at, replaced=replaced)


def window(start: timedelta, end: timedelta, cert_id: str = "aki.serial") -> Window:
    """A window at so much from now."""
    return Window(cert_id=cert_id, start=NOW + start, end=NOW + end)


@pytest.mark.parametrize("life", LIVES)
def test_a_certificate_is_renewed_at_two_thirds_of_its_life_or_a_little_before(life: timedelta) -> None:
    """However long the life is."""
    assert renew_at(NOW, NOW + life, at=0.0) == NOW + life * (2 / 3)
    assert NOW + life * 0.61 < renew_at(NOW, NOW + life, at=0.999) < NOW + life * (2 / 3)


@pytest.mark.parametrize("life", LIVES)
def test_a_window_of_the_authority_comes_before_the_share_of_the_life(life: timedelta) -> None:
    """The random number says where in the window."""
    window = Window(cert_id="x", start=NOW + life / 2, end=NOW + life * 0.6)
    assert renew_at(NOW, NOW + life, window=window, at=0.0) == window.start
    assert window.start < renew_at(NOW, NOW + life, window=window, at=0.9) < window.end


def test_a_window_in_the_past_means_now() -> None:
    """As after a revocation."""
    assert renew_at(NOW - DAY, NOW + 89 * DAY, window=window(-2 * DAY, -DAY), at=0.7) < NOW


def test_a_window_counts_for_nothing_near_the_end_of_the_life() -> None:
    """Nor does one after it."""
    assert renew_at(NOW, NOW + 90 * DAY, window=window(100 * DAY, 110 * DAY), at=0.0) == NOW + 81 * DAY


@pytest.mark.parametrize("end", [DAY, timedelta()])
def test_a_window_that_ends_before_it_starts_did_not_come(end: timedelta) -> None:
    """RFC 9773 section 4.2."""
    assert renew_at(NOW, NOW + 90 * DAY, window=window(DAY, end), at=0.0) == NOW + 60 * DAY
    assert plan().polled(window(DAY, end), NOW, retry_after_s=None, jitter=0.0).window is None


@given(lives, shares, st.timedeltas(-90 * DAY, 90 * DAY), st.timedeltas(timedelta(), 30 * DAY))
def test_renewal_is_always_planned_before_the_end(
    life: timedelta, at: float, start: timedelta, length: timedelta
) -> None:
    """Whatever an authority says."""
    told = window(start, start + length)
    assert renew_at(NOW, NOW + life, window=told, at=at) <= NOW + life * 0.9
    assert msgspec.structs.replace(plan(life, at=at), window=told, is_early=True).renew_at <= NOW + life * 0.9


def test_a_window_of_another_certificate_is_not_obeyed() -> None:
    """A window of the one before would make the new one due at once, and the next one, and the next."""
    before = plan().polled(window(-2 * DAY, -DAY), NOW, retry_after_s=None, jitter=0.0)
    assert before.renew_at < NOW
    renewed = plan(cert_id="aki.other", replaced=before)
    assert renewed.window is None
    stale = renewed.polled(before.window, NOW, retry_after_s=None, jitter=0.0)
    assert stale.window is None
    assert msgspec.structs.replace(renewed, window=before.window).renew_at == renewed.renew_at > NOW + 50 * DAY


@pytest.mark.parametrize("life", LIVES)
def test_an_authority_whose_windows_are_always_past_gets_a_few_orders_a_week(life: timedelta) -> None:
    """The first one replaces at once, and what came early waits for a part of its life."""
    now, current, renewals = NOW, plan(life), 0
    span = min(7 * DAY, life * 2)
    while now < NOW + span:
        told = Window(cert_id=current.cert_id, start=now - 2 * DAY, end=now - DAY)
        current = current.polled(told, now, retry_after_s=None, jitter=0.0)
        now = max(now, current.renew_at)
        renewals += 1
        current = planned(f"aki.{renewals}", (now, now + life), now, at=0.5, replaced=current)
    assert renewals <= 5 if life >= 45 * DAY else renewals <= 2 + span / (life / 8)


def test_a_certificate_that_came_at_its_age_may_be_replaced_at_once_again() -> None:
    """Only what came early is held."""
    before = planned("aki.0", (NOW - 80 * DAY, NOW + 10 * DAY), NOW - 80 * DAY, at=0.5)
    current = plan(cert_id="aki.1", replaced=before)
    assert not current.is_early
    told = window(-2 * DAY, -DAY, "aki.1")
    assert current.polled(told, NOW, retry_after_s=None, jitter=0.0).renew_at < NOW


def test_a_beginning_that_is_set_back_does_not_make_a_short_life_due() -> None:
    """Of two hours one is over when the certificate comes."""
    hour = timedelta(hours=1)
    short = planned("x", (NOW - hour, NOW + hour), NOW, at=0.0)
    assert short.renew_at == NOW + hour * (2 / 3)


def test_a_clock_that_is_behind_or_ahead_does_no_harm() -> None:
    """The life is never counted from after its end, nor from before its beginning."""
    assert planned("x", (NOW + DAY, NOW + 4 * DAY), NOW, at=0.0).renew_at == NOW + 3 * DAY
    assert planned("x", (NOW - 9 * DAY, NOW - DAY), NOW, at=0.0).renew_at == NOW - DAY


def test_windows_are_asked_for_every_six_hours() -> None:
    """The first time after a part of that, so that a thousand certificates are not asked about at once."""
    current = plan(at=0.5)
    assert current.poll_at == NOW + timedelta(hours=3)
    assert not current.wants_poll(NOW)
    assert current.wants_poll(NOW + timedelta(hours=3))
    polled = current.polled(None, NOW, retry_after_s=None, jitter=0.0)
    assert polled.poll_at == NOW + timedelta(hours=6)
    assert current.polled(None, NOW, retry_after_s=None, jitter=0.5).poll_at == NOW + timedelta(hours=6.3)


@pytest.mark.parametrize(
    ("life", "asked", "expected"),
    [
        (90 * DAY, 43200, timedelta(hours=12)),
        (90 * DAY, 0, timedelta(minutes=1)),
        (90 * DAY, -5, timedelta(minutes=1)),
        (90 * DAY, 1e12, DAY),
        (90 * DAY, float("inf"), DAY),
        (timedelta(seconds=120), 21600, timedelta(seconds=20)),
        (timedelta(seconds=120), 1, timedelta(seconds=10)),
    ],
)
def test_retry_after_is_obeyed_within_reason(life: timedelta, asked: float, expected: timedelta) -> None:
    """RFC 9773 section 4.3.2."""
    assert plan(life).polled(None, NOW, retry_after_s=asked, jitter=0.0).poll_at == NOW + expected


def test_nobody_asks_about_an_expired_certificate_or_one_without_an_identifier() -> None:
    """RFC 9773 section 4.3."""
    current = plan(2 * DAY, at=0.0)
    assert current.wants_poll(NOW)
    assert not current.wants_poll(NOW + 2 * DAY)
    late = NOW + 2 * DAY - timedelta(minutes=1)
    assert current.polled(None, late, retry_after_s=None, jitter=0.0).poll_at is None
    assert plan(cert_id="").poll_at is None
    assert not plan(cert_id="").wants_poll(NOW)


def test_a_window_holds_until_the_authority_says_something_else() -> None:
    """An answer that fails, or makes no sense, changes nothing but the time of the next question."""
    told = window(10 * DAY, 11 * DAY)
    current = plan().polled(told, NOW, retry_after_s=None, jitter=0.0)
    assert current.polled(None, NOW + DAY, retry_after_s=None, jitter=0.0).window == told
    later = window(20 * DAY, 21 * DAY)
    assert current.polled(later, NOW + DAY, retry_after_s=None, jitter=0.0).window == later


def test_a_plan_is_the_same_after_it_was_saved() -> None:
    """The time of renewal does not wander over a restart."""
    current = plan(at=0.123).polled(window(DAY, 2 * DAY), NOW, retry_after_s=60, jitter=0.4)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(current), type=Plan) == current


def test_tries_come_soon_at_first_and_for_ever() -> None:
    """Every six hours in the end."""
    waits = [(next_try(failures, NOW) - NOW).total_seconds() for failures in range(1, 20)]
    assert waits[:4] == [60, 120, 120, 300]
    assert waits[-1] == 21600
    assert next_try(10**9, NOW, jitter=0.99) < NOW + timedelta(hours=8)


@given(st.integers(-1, 10**6), st.integers(0, 1000), shares, st.one_of(st.none(), lives))
def test_the_next_try_never_comes_earlier_after_more_failures(
    failures: int, more: int, jitter: float, life: timedelta | None
) -> None:
    """And it is never now."""
    first, later = (next_try(count, NOW, None, jitter, life=life) for count in (failures, failures + more))
    assert NOW < first <= later


@given(st.integers(1, 30), st.floats(-1e9, 1e18), shares)
def test_what_an_authority_asked_for_is_obeyed_up_to_a_week(failures: int, asked: float, jitter: float) -> None:
    """A wanted name comes back, whatever the authority said."""
    at = next_try(failures, NOW, asked, jitter)
    assert at >= NOW + timedelta(seconds=min(max(asked, 0), 7 * 86400))
    assert at < NOW + timedelta(days=8)


@pytest.mark.parametrize(
    ("life", "longest"), [(timedelta(seconds=120), 6), (DAY, 4320), (7 * DAY, 21600), (timedelta(seconds=1), 1)]
)
def test_a_short_life_has_short_pauses(life: timedelta, longest: float) -> None:
    """Else a certificate of two minutes would have expired before its third try."""
    assert pause_s(100, life) == longest


@given(moments, st.timedeltas(-9 * DAY, 9 * DAY))
def test_what_is_planned_is_due_when_its_time_has_come(now: datetime, ahead: timedelta) -> None:
    """No sooner."""
    assert is_due(now + ahead, now) == (ahead <= timedelta())


def test_what_was_planned_by_a_clock_that_was_ahead_is_due_now() -> None:
    """Nothing waits for a year because the clock was a year ahead for a moment."""
    assert is_due(NOW + 365 * DAY, NOW)
    assert is_due(None, NOW)
