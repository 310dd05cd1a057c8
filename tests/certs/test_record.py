"""When something is to be done for a name, by what is remembered of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from certs.agenda import Rank
from certs.budget import OrderLog, Wait
from certs.issuers import NameHistory
from certs.record import Held, Obstacle, Record, Standing, blocked
from certs.schedule import Plan
from state.holdings import Bundle

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOTHING = Standing()


def test_a_name_without_a_certificate_wants_one_at_once() -> None:
    """And goes the way of the new ones."""
    record = Record(name="a")
    assert record.wants_order(NOON)
    assert record.is_urgent(NOON)
    assert record.order_at(NOON, NOTHING) == NOON
    assert record.entry(NOON, NOON, None).rank is Rank.NEW


def test_a_certificate_is_renewed_at_two_thirds_of_its_life() -> None:
    """Not before it."""
    record = Record(name="a", held=held())
    assert not record.wants_order(NOON)
    assert record.order_at(NOON, NOTHING) == NOON + 60 * HOUR
    assert record.wants_order(NOON + 60 * HOUR)
    assert record.entry(NOON, record.order_at(NOON, NOTHING), None).rank is Rank.RENEWAL


def test_a_certificate_that_is_about_to_end_goes_before_others() -> None:
    """The one that ends first before all."""
    record = Record(name="a", held=held())
    now = NOON + 80 * HOUR
    entry = record.entry(now, record.order_at(now, NOTHING), None)
    assert (entry.rank, entry.before) == (Rank.EXPIRING, NOON + 90 * HOUR)
    assert record.is_urgent(now)


def test_a_certificate_that_has_ended_or_was_revoked_is_replaced_at_once() -> None:
    """Visitors cannot rely on it."""
    assert not held().is_valid(NOON + 90 * HOUR)
    revoked = msgspec.structs.replace(held(), revoked="key_compromise")
    assert not revoked.is_valid(NOON)
    assert Record(name="a", held=revoked).wants_order(NOON)


def test_what_stands_in_the_way_is_waited_for() -> None:
    """Whatever lasts longest."""
    record = Record(name="a", history=NameHistory(next_try=NOON + HOUR))
    assert record.order_at(NOON, NOTHING) == NOON + HOUR
    waits = Standing(wait=Wait(until=NOON + 2 * HOUR, reason="limits"))
    assert record.order_at(NOON, waits) == NOON + 2 * HOUR
    obstacle = Obstacle(since=NOON, advice=("move",), next_check=NOON + 3 * HOUR)
    assert record.order_at(NOON, msgspec.structs.replace(waits, obstacle=obstacle)) == NOON + 3 * HOUR


def test_a_try_that_a_wrong_clock_planned_is_made_now() -> None:
    """Nobody waits for months."""
    record = Record(name="a", history=NameHistory(next_try=NOON + 2000 * HOUR))
    assert record.order_at(NOON, NOTHING) == NOON


def test_an_operator_who_asks_is_not_kept_waiting() -> None:
    """The next try is now, and before the others."""
    history = NameHistory(next_try=NOON + HOUR, failures=3, last_error="no")
    record = Record(name="a", held=held(), history=history).asked(NOON)
    assert record.wants_order(NOON)
    assert record.order_at(NOON, NOTHING) == NOON
    assert record.entry(NOON, NOON, None).rank is Rank.WAITED_FOR
    assert record.history.failures == 3


def test_an_authority_is_asked_for_its_window_in_between() -> None:
    """If it is one that has windows, and the certificate is to be renewed at all."""
    plan = msgspec.structs.replace(held().plan, poll_at=NOON + HOUR)
    record = Record(name="a", held=msgspec.structs.replace(held(), plan=plan))
    assert record.entry(NOON, NOON + 60 * HOUR, None).at == NOON + HOUR
    assert record.entry(NOON, None, NOON + 3 * HOUR).at == NOON + 3 * HOUR
    imported = msgspec.structs.replace(held(), plan=plan, source="imported")
    assert Record(name="a", held=imported).entry(NOON, NOON + 60 * HOUR, None).at == NOON + 60 * HOUR


def test_a_certificate_covers_other_names_until_its_own_renewal_is_late() -> None:
    """Then they get one each in time."""
    assert held().is_cover(NOON + 67 * HOUR)
    assert not held().is_cover(NOON + 68 * HOUR)


def test_a_record_is_kept_while_it_is_of_use() -> None:
    """For its certificate, and because it knows of the orders of the week."""
    assert Record(name="a").is_forgettable(NOON)
    assert not Record(name="a", held=held()).is_forgettable(NOON)
    assert Record(name="a", held=held()).is_forgettable(NOON + 90 * HOUR)
    ordered = Record(name="a", orders=OrderLog((NOON,)))
    assert not ordered.is_forgettable(NOON + 24 * HOUR)
    assert ordered.is_forgettable(NOON + 24 * 8 * HOUR)


@pytest.mark.parametrize(("minutes", "pause_s"), [(0, 60), (5, 60), (60, 360), (3000, 900)])
def test_records_are_looked_at_often_first_and_never_seldom(minutes: int, pause_s: int) -> None:
    """After a tenth of the time that they have been wrong."""
    before = Obstacle(since=NOON - timedelta(minutes=minutes), advice=("move",), next_check=NOON)
    found = blocked(before, ("move",), NOON, 60.0)
    assert found.next_check == NOON + timedelta(seconds=pause_s)
    assert found.since == before.since


def test_records_that_are_wrong_for_the_first_time_are_so_since_now() -> None:
    """Also when the clock was set back."""
    assert blocked(None, ("move",), NOON, 60.0).since == NOON
    later = Obstacle(since=NOON + HOUR, advice=("move",), next_check=NOON)
    assert blocked(later, ("move",), NOON, 60.0).since == NOON


def test_a_record_is_saved_as_it_is() -> None:
    """Nothing is lost on the shelf."""
    record = Record(name="a", held=held(), orders=OrderLog((NOON,)), told=frozenset({"failing"}), asked_at=NOON)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record) == record


def held() -> Held:
    """A certificate of noon, for ninety hours, without jitter."""
    bundle = Bundle(fingerprint="00", names=("a",), chain=b"chain", key=b"key")
    plan = Plan(cert_id="id", not_before=NOON, not_after=NOON + 90 * HOUR, obtained_at=NOON, at=0.0)
    return Held(bundle=bundle, plan=plan, serial="1", key_type="p256", issuer="ca", directory="https://ca/dir")
