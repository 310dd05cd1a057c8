"""Operators are told of what happens to certificates: once, in time, and not of what needs nobody."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from certs.alarms import Event, Told, due, next_look, remembered, revoked
from state.observed import CertificateFact

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LIFE = 90 * DAY


def fact(fingerprint: str | None = "aa", *, attempts: int = 0, life: timedelta = LIFE) -> CertificateFact:
    """A certificate that was obtained now, or none."""
    if fingerprint is None:
        return CertificateFact(name="shop.example.com", status="failing", attempts=attempts, last_error="no records")
    return CertificateFact(
        name="shop.example.com",
        status="active",
        issuer="first",
        fingerprint=fingerprint,
        not_before=NOW,
        not_after=NOW + life,
        renew_at=NOW + life * (2 / 3),
        attempts=attempts,
        last_error="no records" if attempts else None,
    )


class Operator:
    """Is told, and remembers."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.told: Told = frozenset()

    def hear(self, fact: CertificateFact, after: timedelta = timedelta()) -> list[str]:
        """The kinds of what there is to tell so long after now."""
        events = due(fact, self.told, NOW + after)
        self.told = remembered(self.told, events, fact)
        return [event.kind for event in events]


def texts(events: Iterable[Event]) -> list[str]:
    """What is said."""
    return [event.text for event in events]


def test_a_new_certificate_is_told_once() -> None:
    """With its end; the next one is a renewal."""
    events = due(fact(), frozenset(), NOW)
    assert texts(events) == ["The certificate for shop.example.com was obtained, valid until 2027-02-19 12:00 UTC."]
    operator = Operator()
    assert operator.hear(fact()) == ["obtained"]
    assert operator.hear(fact(), DAY) == []
    assert operator.hear(fact("bb"), DAY) == ["renewed"]
    assert operator.hear(fact("bb"), 2 * DAY) == []


def test_imported_and_internal_certificates_are_no_news() -> None:
    """Who imports one knows; those of the internal authority come every few hours. But the end of some is told."""
    for source, kinds in (("imported", ["expiring"]), ("file", ["expiring"]), ("internal", [])):
        kept = msgspec.structs.replace(fact(), source=source, renew_at=None)
        assert due(kept, frozenset(), NOW) == ()
        assert [event.kind for event in due(kept, frozenset(), NOW + 61 * DAY)] == kinds


def test_failing_is_told_after_three_tries_and_once() -> None:
    """And that it is over."""
    operator = Operator()
    assert operator.hear(fact(None, attempts=2)) == []
    assert operator.hear(fact(None, attempts=3)) == ["failing"]
    assert operator.hear(fact(None, attempts=4)) == []
    assert operator.hear(fact()) == ["obtained", "recovered"]
    assert operator.hear(fact()) == []
    assert operator.hear(fact(attempts=3)) == ["failing"]


def test_failing_says_why() -> None:
    """And whether there is a certificate meanwhile."""
    assert texts(due(fact(None, attempts=3), frozenset(), NOW)) == [
        "There is no certificate for shop.example.com after 3 tries: no records"
    ]
    events = due(fact(attempts=3), frozenset(), NOW)
    assert "could not be renewed in 3 tries: no records" in events[-1].text
    assert (events[-1].attempts, events[-1].error, events[-1].issuer) == (3, "no records", "first")


@pytest.mark.parametrize("life", [timedelta(seconds=120), 7 * DAY, 45 * DAY, LIFE])
def test_the_end_is_told_at_a_third_a_sixth_and_a_twelfth_of_the_life(life: timedelta) -> None:
    """Each once, and then that it has come."""
    operator = Operator()
    late = fact(attempts=1, life=life)
    heard = {share: operator.hear(late, life * share / 100) for share in range(0, 110, 1)}
    assert {share: kinds for share, kinds in heard.items() if kinds} == {
        0: ["obtained"],
        67: ["expiring"],
        84: ["expiring"],
        92: ["expiring"],
        100: ["expired"],
    }


def test_only_the_last_of_several_warnings_that_are_due_is_told() -> None:
    """As when the node was off for a month."""
    operator = Operator()
    operator.hear(fact())
    assert operator.hear(fact(), 85 * DAY) == ["expiring"]
    assert operator.hear(fact(), 86 * DAY) == []


def test_a_renewal_that_takes_its_time_is_no_reason_for_a_warning() -> None:
    """It may wait for its turn, and an authority may choose a later time."""
    operator = Operator()
    operator.hear(fact())
    assert operator.hear(fact(), 61 * DAY) == []
    assert operator.hear(fact(), 64 * DAY) == ["expiring"]
    chosen = msgspec.structs.replace(fact("bb"), renew_at=NOW + 80 * DAY)
    operator.hear(chosen)
    assert operator.hear(chosen, 79 * DAY) == []
    assert operator.hear(chosen, 84 * DAY) == ["expiring"]


def test_a_warning_says_how_long_it_lasts_and_what_went_wrong() -> None:
    """In words."""
    told = frozenset({"obtained/aa"})
    text = due(fact(attempts=1), told, NOW + 62 * DAY)[0].text
    assert text == (
        "The certificate for shop.example.com expires in 28 days and has not been renewed. The last error: no records"
    )
    for left, words in ((timedelta(minutes=90), "90 minutes"), (3 * timedelta(hours=1), "3 hours")):
        assert words in due(fact(), told, NOW + LIFE - left)[0].text
    assert "1 second " in due(fact(), told, NOW + LIFE - timedelta(seconds=1))[0].text


def test_a_revocation_says_its_reason() -> None:
    """In words."""
    event = revoked(fact(), "key_compromise", NOW)
    assert event.text == "The certificate for shop.example.com was revoked: key compromise."
    assert (event.kind, event.key) == ("revoked", "revoked/aa")


def test_what_is_remembered_does_not_grow() -> None:
    """Nothing of older certificates is kept."""
    operator = Operator()
    for number in range(50):
        operator.hear(fact(f"{number}"), 85 * DAY)
    assert len(operator.told) <= 3


def test_when_to_look_again() -> None:
    """At the next time at which something may be due."""
    assert next_look(fact(None), NOW) is None
    assert next_look(fact(), NOW) == NOW + 60 * DAY
    assert next_look(fact(), NOW + 60 * DAY) == NOW + LIFE * (2 / 3 + 1 / 24)
    assert next_look(fact(), NOW + 89 * DAY) == NOW + LIFE
    assert next_look(fact(), NOW + LIFE) is None
    assert next_look(msgspec.structs.replace(fact(), renew_at=None), NOW + 60 * DAY) == NOW + 75 * DAY


def test_an_event_is_told_in_json() -> None:
    """With times that everybody can read."""
    body = msgspec.json.decode(msgspec.json.encode(due(fact(), frozenset(), NOW)[0]))
    assert body["kind"] == "obtained"
    assert body["at"] == "2026-11-21T12:00:00Z"
