"""What is to be told of a name, each thing once: the events, and the record that remembers them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from certs import alarms
from certs.alarms import Event
from certs.facts import fact_of
from certs.record import Record, Standing


def news_of(
    record: Record, now: datetime, standing: Standing, *, is_wanted: bool = True
) -> tuple[Record, tuple[Event, ...]]:
    """The record to be saved before the events are told: to be told for ever is worse than not to be told once."""
    fact = fact_of(record, now, standing, is_wanted=is_wanted)
    events = alarms.due(fact, record.told, now)
    told = alarms.remembered(record.told, events, fact)
    return msgspec.structs.replace(record, told=told), events
