"""Exchanges whose traces are recorded wait within a bound."""

from __future__ import annotations

from mesh.spans import MAX_WAITING, Spans
from tests.support.records import record


def test_each_record_is_taken_once() -> None:
    """In order."""
    spans = Spans()
    first, second = record(span_id="1" * 16), record(span_id="2" * 16)
    spans.record(first)
    spans.record(second)
    assert spans.take() == [first, second]
    assert spans.take() == []


def test_what_nobody_takes_is_dropped_and_counted() -> None:
    """The collector is not worth a request."""
    spans = Spans()
    for _ in range(MAX_WAITING + 3):
        spans.record(record())
    assert spans.dropped == 3
    assert len(spans.take()) == MAX_WAITING
    spans.record(record())
    assert len(spans.take()) == 1
