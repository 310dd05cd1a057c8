"""What is said of a name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from certs.budget import OrderLog, Wait
from certs.facts import covered_fact, fact_of
from certs.issuers import NameHistory
from certs.record import Held, Obstacle, Progress, Record, Standing
from certs.schedule import Plan
from state.holdings import Bundle

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_new_name_is_pending() -> None:
    """It waits for its turn."""
    fact = fact_of(Record(name="a"), NOON)
    assert (fact.status, fact.step, fact.next_try, fact.fingerprint) == ("pending", None, None, None)


def test_a_name_that_waits_says_why_and_until_when() -> None:
    """Limits are no failure."""
    standing = Standing(wait=Wait(until=NOON + HOUR, reason="two a day at most"))
    fact = fact_of(Record(name="a"), NOON, standing)
    assert (fact.status, fact.step, fact.next_try) == ("pending", "waiting: two a day at most", NOON + HOUR)


def test_what_stands_in_nobody_s_way_is_told_as_well() -> None:
    """Once there is nothing that has to be changed first."""
    assert fact_of(Record(name="a"), NOON, Standing(advice=("think of IPv6",))).advice == ("think of IPv6",)


def test_a_name_with_an_order_is_issuing() -> None:
    """And says where it is."""
    fact = fact_of(Record(name="a"), NOON, Standing(progress=Progress("validating", "http-01")))
    assert (fact.status, fact.step, fact.challenge) == ("issuing", "validating", "http-01")


def test_a_name_that_failed_is_failing() -> None:
    """With what the authority said, and the time of the next try."""
    history = NameHistory(failures=2, last_error="no", failed_at=NOON - HOUR, next_try=NOON + HOUR)
    fact = fact_of(Record(name="a", history=history), NOON)
    assert (fact.status, fact.last_error, fact.attempts) == ("failing", "no", 2)
    assert (fact.failed_at, fact.next_try) == (NOON - HOUR, NOON + HOUR)


def test_records_in_the_way_are_the_reason() -> None:
    """The customer reads what to change."""
    obstacle = Obstacle(since=NOON - HOUR, advice=("point it here",), next_check=NOON + HOUR)
    fact = fact_of(Record(name="a"), NOON, Standing(obstacle=obstacle, advice=("point it here", "and mind IPv6")))
    assert (fact.status, fact.last_error, fact.advice) == (
        "failing",
        "point it here",
        ("point it here",),
    )
    assert (fact.failed_at, fact.next_try, fact.attempts) == (NOON - HOUR, NOON + HOUR, 0)


def test_a_name_with_a_certificate_is_active_whatever_becomes_of_its_renewal() -> None:
    """Visitors see nothing of the failure."""
    history = NameHistory(failures=1, last_error="no", failed_at=NOON, next_try=NOON + 62 * HOUR)
    fact = fact_of(Record(name="a", held=held(), history=history, orders=OrderLog((NOON,))), NOON + 61 * HOUR)
    assert (fact.status, fact.last_error, fact.orders) == ("active", "no", 1)
    assert fact.next_try == NOON + 62 * HOUR
    assert (fact.issuer, fact.serial, fact.key_type, fact.names) == ("ca", "1", "p256", ("a",))
    assert (fact.not_before, fact.not_after, fact.renew_at) == (NOON, NOON + 90 * HOUR, NOON + 60 * HOUR)


def test_a_certificate_that_has_ended_is_not_active() -> None:
    """Though it may be served, for want of a better one."""
    assert fact_of(Record(name="a", held=held()), NOON + 90 * HOUR).status == "pending"


def test_what_nobody_wants_is_not_renewed() -> None:
    """So there is no time for it."""
    imported = msgspec.structs.replace(held(), source="imported")
    fact = fact_of(Record(name="a", held=imported), NOON, is_wanted=False)
    assert (fact.status, fact.source, fact.renew_at, fact.next_try) == ("active", "imported", None, None)


def test_a_covered_name_shows_the_certificate_that_covers_it() -> None:
    """And whose it is."""
    fact = covered_fact("b.a", Record(name="*.a", held=held()), NOON)
    assert (fact.name, fact.status, fact.step) == ("b.a", "active", "covered by the certificate for *.a")
    assert (fact.fingerprint, fact.not_after, fact.orders) == ("00", NOON + 90 * HOUR, 0)


def held() -> Held:
    """A certificate of noon, for ninety hours, without jitter."""
    bundle = Bundle(fingerprint="00", names=("a",), chain=b"chain", key=b"key")
    plan = Plan(cert_id="id", not_before=NOON, not_after=NOON + 90 * HOUR, obtained_at=NOON, at=0.0)
    return Held(bundle=bundle, plan=plan, serial="1", key_type="p256", issuer="ca", directory="https://ca/dir")
