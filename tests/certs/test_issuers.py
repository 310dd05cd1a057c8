"""Who is asked next for a name: in order, staging after a failure, never too often, and never for the last time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.budget import Wait
from certs.errors import IssueError
from certs.issuers import Choice, Circuit, NameHistory, Outcome, after, choose, fault_of
from certs.settings import IssuerSpec

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FIRST = IssuerSpec(name="first", directory="https://first.example/dir", staging="https://staging.first.example/dir")
SECOND = IssuerSpec(name="second", directory="https://second.example/dir")
BOTH = (FIRST, SECOND)

UNAUTHORIZED = IssueError("unauthorized", "the answer was 404", status=403)
DOWN = IssueError("serverInternal", "it failed", status=500)
CAA = IssueError("caa", "CAA forbids it", status=403)


def limited(seconds: float | None = 3600) -> IssueError:
    """A rate limit."""
    return IssueError("rateLimited", "too many", status=429, retry_after_s=seconds)


class Name:
    """A name that is tried again and again, at the times that are said."""

    def __init__(
        self, *specs: IssuerSpec, name: str = "shop.example.com", life: timedelta | None = None, jitter: float = 0.0
    ) -> None:
        """Nothing has happened yet."""
        self.specs = specs
        self.name = name
        self.life = life
        self.jitter = jitter
        self.now = NOW
        self.history = NameHistory()
        self.circuits: Mapping[str, Circuit] = {}

    def choose(self) -> Choice | Wait:
        """Whom to ask now."""
        return choose(self.specs, self.history, self.circuits, self.now)

    def asked(self) -> str:
        """Who would be asked now: `first`, `first staging`, or nobody, which is empty."""
        choice = self.choose()
        if isinstance(choice, Wait):
            return ""
        return f"{choice.issuer.name} staging" if choice.is_staging else choice.issuer.name

    def wait(self) -> str:
        """Let the time pass until somebody may be asked, and say who."""
        for _ in range(10):
            choice = self.choose()
            if isinstance(choice, Choice):
                return self.asked()
            assert choice.until > self.now
            self.now = choice.until
        raise AssertionError("it waits for ever")

    def end(self, error: IssueError | None = None) -> None:
        """The attempt that is made now ends."""
        choice = self.choose()
        assert isinstance(choice, Choice)
        outcome = Outcome(
            name=self.name,
            choice=choice,
            error=error,
            at=self.now,
            jitter=self.jitter,
            specs=self.specs,
            life=self.life,
        )
        self.history, self.circuits = after(self.history, self.circuits, outcome)


def test_the_first_issuer_is_asked_first() -> None:
    """And again after a certificate came."""
    name = Name(*BOTH)
    assert name.asked() == "first"
    name.end()
    assert name.history == NameHistory()
    assert name.asked() == "first"


def test_no_issuer_is_an_error_of_the_caller() -> None:
    """Settings refuse that."""
    with pytest.raises(ValueError, match="no issuers"):
        choose((), NameHistory(), {}, NOW)


def test_after_a_failure_of_the_name_staging_is_tried_first() -> None:
    """It does not count against the limits of production."""
    name = Name(FIRST)
    name.end(UNAUTHORIZED)
    assert name.asked() == ""
    assert name.history.next_try == NOW + MINUTE
    for _ in range(3):
        assert name.wait() == "first staging"
        name.end(UNAUTHORIZED)
    assert name.history.failures == 4
    assert name.history.last_error == "the answer was 404"
    assert name.wait() == "first staging"
    name.end()
    assert name.asked() == "first"
    name.end()
    assert name.history == NameHistory()


def test_staging_and_production_that_contradict_each_other_do_not_use_up_the_limits() -> None:
    """Let's Encrypt counts five failed validations per name and hour."""
    name = Name(FIRST)
    times = []
    while name.now < NOW + timedelta(hours=1):
        if name.wait() == "first":
            times.append(name.now)
            name.end(UNAUTHORIZED)
        else:
            name.end()
    assert len([time for time in times if time < NOW + timedelta(hours=1)]) <= 4


def test_an_issuer_without_staging_is_asked_no_more_than_every_twenty_minutes() -> None:
    """After a first quick second try."""
    name = Name(SECOND)
    times = []
    for _ in range(6):
        assert name.wait() == "second"
        times.append(name.now - NOW)
        name.end(UNAUTHORIZED)
    assert times[:4] == [0 * MINUTE, MINUTE, 21 * MINUTE, 41 * MINUTE]


def test_a_name_never_hangs_on_staging_that_is_out_of_order() -> None:
    """Then production is asked, at its own pace."""
    name = Name(FIRST)
    name.end(UNAUTHORIZED)
    assert name.wait() == "first staging"
    name.end(DOWN)
    assert name.wait() == "first"
    name.end()
    name.end(UNAUTHORIZED)
    assert name.wait() == "first staging"
    name.end(limited(86400))
    assert name.wait() == "first"
    assert name.now < NOW + 30 * MINUTE


def test_a_rate_limit_pins_the_name_to_production_until_it_ends() -> None:
    """Staging would say that all is well, and production be asked in vain again."""
    name = Name(FIRST)
    name.end(limited(3600))
    assert name.history.next_try == NOW + 60 * MINUTE
    assert name.wait() == "first"
    assert name.now == NOW + 60 * MINUTE


def test_a_rate_limit_that_ends_soon_is_waited_for() -> None:
    """Rather than go to another issuer."""
    name = Name(*BOTH)
    name.end(limited(300))
    assert name.wait() == "first"
    assert name.now == NOW + 5 * MINUTE


def test_a_long_rate_limit_sends_the_name_to_the_next_issuer_at_once() -> None:
    """And back to the first when it has ended."""
    name = Name(*BOTH)
    name.end(limited(7200))
    assert name.asked() == "second"
    name.end(limited(None))
    assert name.wait() == "second"
    assert name.now == NOW + 60 * MINUTE
    name.end(UNAUTHORIZED)
    name.now = NOW + 180 * MINUTE
    assert name.asked() == "first"


@pytest.mark.parametrize("seconds", [1e18, float("inf")])
def test_no_rate_limit_is_longer_than_a_week(seconds: float) -> None:
    """A wanted name is never given up."""
    name = Name(FIRST)
    name.end(limited(seconds))
    assert name.wait() == "first"
    assert name.now == NOW + timedelta(days=7)


def test_a_failure_of_the_issuer_sends_the_name_to_the_next_at_once() -> None:
    """In order; when all have failed there is a pause, and then the first is asked again."""
    name = Name(*BOTH)
    name.end(DOWN)
    assert name.asked() == "second"
    name.end(IssueError("unreachable", "refused"))
    assert name.asked() == ""
    assert name.wait() == "first"
    assert name.now == NOW + 2 * MINUTE


def test_records_that_forbid_an_issuer_send_the_name_to_the_next_at_once() -> None:
    """Which CAA records may allow; other names still go to the first."""
    name = Name(*BOTH)
    name.end(CAA)
    assert name.asked() == "second"
    assert name.circuits == {}


def test_after_three_failures_of_the_name_the_next_issuer_has_a_try() -> None:
    """It looks at the name from other places."""
    name = Name(*BOTH)
    asked = []
    for _ in range(4):
        asked.append(name.wait())
        name.end(UNAUTHORIZED)
    assert asked == ["first", "first staging", "first staging", "second"]


def test_an_issuer_that_fails_three_names_is_left_alone_for_a_while() -> None:
    """By all names, a minute at first and an hour at most."""
    circuits: Mapping[str, Circuit] = {}
    for number in range(3):
        name = Name(FIRST, name=f"{number}.example.com")
        name.circuits = circuits
        name.end(DOWN)
        circuits = name.circuits
    other = Name(FIRST)
    other.circuits = circuits
    assert other.wait() == "first"
    assert other.now == NOW + MINUTE
    for _ in range(20):
        other.wait()
        other.end(DOWN)
    opened = other.circuits[FIRST.directory].open_until
    assert opened is not None
    assert opened - other.now == 60 * MINUTE
    other.wait()
    other.end()
    assert other.circuits == {}


def test_what_began_before_the_circuit_opened_says_nothing_new() -> None:
    """Eight attempts at a time may fail together."""
    circuits: Mapping[str, Circuit] = {}
    for number in range(8):
        outcome = Outcome(
            name=f"{number}.example.com", choice=Choice(issuer=FIRST, is_staging=False), error=DOWN, at=NOW, jitter=0.0
        )
        _, circuits = after(NameHistory(), circuits, outcome)
    assert circuits[FIRST.directory].rounds == 1


def test_one_name_that_an_issuer_cannot_bear_keeps_no_other_from_it() -> None:
    """However often it is tried."""
    name = Name(FIRST)
    for _ in range(10):
        name.wait()
        name.end(DOWN)
    other = Name(FIRST, name="other.example.com")
    other.circuits = name.circuits
    assert other.asked() == "first"


def test_a_server_that_says_when_it_is_back_is_left_alone_until_then_by_all() -> None:
    """With 503 and Retry-After."""
    name = Name(*BOTH)
    name.end(IssueError("serverInternal", "maintenance", status=503, retry_after_s=1800))
    assert name.asked() == "second"
    other = Name(FIRST, name="other.example.com")
    other.circuits = name.circuits
    assert other.wait() == "first"
    assert other.now == NOW + 30 * MINUTE


def test_an_order_that_takes_its_time_is_waited_for_by_its_name_alone() -> None:
    """The authority said how long; to begin anew with another one would be an order for nothing."""
    name = Name(*BOTH)
    name.end(IssueError("timeout", "still processing", retry_after_s=400))
    assert name.circuits[FIRST.directory].open_until is None
    assert name.wait() == "first"
    assert name.now == NOW + timedelta(seconds=400)


def test_an_operator_can_have_a_try_now() -> None:
    """But does not break the word of an authority."""
    name = Name(SECOND)
    name.end(UNAUTHORIZED)
    name.history = name.history.at_once()
    name.end(UNAUTHORIZED)
    name.history = name.history.at_once()
    assert name.asked() == "second"
    name.end(limited(3600))
    name.history = name.history.at_once()
    waiting = name.choose()
    assert isinstance(waiting, Wait)
    assert waiting.until == NOW + 60 * MINUTE
    assert waiting.reason == "second: too many"


def test_a_certificate_that_cannot_be_replaced_is_not_named_again() -> None:
    """RFC 9773 section 5: it was replaced already, or the authority does not know it."""
    name = Name(FIRST)
    name.end(IssueError("alreadyReplaced", "done", status=409))
    assert name.wait() == "first"
    assert name.choose() == Choice(issuer=FIRST, is_staging=False, may_replace=False)
    name.end()
    assert name.choose() == Choice(issuer=FIRST, is_staging=False)


def test_renewals_of_short_lives_are_tried_at_their_own_pace() -> None:
    """Ten times before a certificate of two minutes has expired."""
    name = Name(FIRST, life=timedelta(seconds=120))
    for _ in range(6):
        name.wait()
        name.end(UNAUTHORIZED)
    assert name.now < NOW + timedelta(seconds=40)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (UNAUTHORIZED, "name"),
        (IssueError("dns", "SERVFAIL", status=400), "name"),
        (IssueError("solver", "no DNS provider"), "name"),
        (CAA, "refused"),
        (IssueError("rejectedIdentifier", "on a list", status=400), "refused"),
        (IssueError("malformed", "bad name", status=400), "refused"),
        (limited(), "rate"),
        (IssueError("serverInternal", "slow down", status=429), "rate"),
        (IssueError("rateLimited", "no status"), "rate"),
        (DOWN, "issuer"),
        (IssueError("badAnswer", "no JSON", status=200), "issuer"),
        (IssueError("unauthorized", "from a proxy", status=502), "issuer"),
        (IssueError("timeout", "no answer"), "issuer"),
    ],
)
def test_whose_fault_it_is(error: IssueError, fault: str) -> None:
    """By problem type and status, never by the text."""
    assert fault_of(error) == fault


errors = st.one_of(
    st.none(),
    st.builds(
        IssueError,
        st.sampled_from(
            ["unauthorized", "dns", "caa", "rateLimited", "serverInternal", "unreachable", "timeout", "new"]
        ),
        st.just("detail"),
        status=st.sampled_from([None, 400, 403, 409, 429, 500, 503]),
        retry_after_s=st.one_of(st.none(), st.floats(-10, 1e9)),
    ),
)


@given(st.lists(errors, max_size=40), st.floats(0, 1, exclude_max=True), st.sampled_from([BOTH, (FIRST,), (SECOND,)]))
def test_a_wanted_name_is_never_given_up(
    ends: list[IssueError | None], jitter: float, specs: tuple[IssuerSpec, ...]
) -> None:
    """Whatever happens there is a next try, nine days ahead at most, and never are there many in the same moment."""
    name = Name(*specs, jitter=jitter)
    at_once = 0
    for error in ends:
        before = name.now
        assert name.wait()
        assert name.now - before <= timedelta(days=9)
        at_once = at_once + 1 if name.now == before else 0
        assert at_once <= 4 or None in ends
        name.end(error)
        if error is not None and name.history.next_try is not None:
            assert name.history.next_try > name.now


def test_what_happened_outlives_the_process() -> None:
    """All of it is saved as it is."""
    name = Name(*BOTH)
    for error in (UNAUTHORIZED, DOWN, limited(), CAA, UNAUTHORIZED):
        name.wait()
        name.end(error)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(name.history), type=NameHistory) == name.history
    circuits = msgspec.msgpack.decode(msgspec.msgpack.encode(name.circuits), type=dict[str, Circuit])
    assert circuits == name.circuits


def test_a_clock_that_is_set_back_does_not_hold_a_name() -> None:
    """What was planned for a year ahead is due now."""
    name = Name(FIRST)
    name.now = NOW + timedelta(days=365)
    name.end(limited(86400))
    name.now = NOW
    assert name.asked() == "first"
