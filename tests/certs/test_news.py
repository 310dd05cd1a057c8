"""Each thing is told once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from certs.issuers import NameHistory
from certs.news import news_of
from certs.record import Held, Record, Standing
from certs.schedule import Plan
from state.holdings import Bundle

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOTHING = Standing()


def test_a_certificate_is_news_once() -> None:
    """The record remembers."""
    record, events = news_of(Record(name="a", held=held()), NOON, NOTHING)
    assert [event.kind for event in events] == ["obtained"]
    assert news_of(record, NOON, NOTHING) == (record, ())


def test_its_end_is_news_when_it_comes_near() -> None:
    """As far as somebody wants it to be renewed, or brought it himself."""
    record, _ = news_of(Record(name="a", held=held()), NOON, NOTHING)
    for is_wanted in (True, False):
        _, events = news_of(record, NOON + timedelta(hours=88), NOTHING, is_wanted=is_wanted)
        assert [event.kind for event in events] == ["expiring"]


def test_a_failure_is_news_when_it_lasts() -> None:
    """And its end is."""
    failed = Record(name="a", held=held(), history=NameHistory(failures=3, last_error="no"))
    record, events = news_of(failed, NOON, NOTHING)
    assert "failing" in {event.kind for event in events}
    mended = Record(name="a", held=held(), told=record.told)
    assert [event.kind for event in news_of(mended, NOON, NOTHING)[1]] == ["recovered"]


def held() -> Held:
    """A certificate of noon, for ninety hours, without jitter."""
    bundle = Bundle(fingerprint="00", names=("a",), chain=b"chain", key=b"key")
    plan = Plan(cert_id="id", not_before=NOON, not_after=NOON + timedelta(hours=90), obtained_at=NOON, at=0.0)
    return Held(bundle=bundle, plan=plan, serial="1", key_type="p256", issuer="ca", directory="https://ca/dir")
