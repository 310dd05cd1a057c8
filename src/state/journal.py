"""`Journal`: the node's own log lines of late, kept in memory within a bound, to read back and to follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import msgspec

DEFAULT_CAPACITY: Final = 10_000


class LogEntry(msgspec.Struct, frozen=True):
    """One log line; ids count up from 1 without gaps for as long as the process lives."""

    id: int
    timestamp: datetime
    level: str
    message: str


class Journal:
    """A ring of the newest `capacity` entries. It belongs to one event loop.

    Followers keep no queue of their own: each holds its place in the ring, so any number of slow ones costs nothing.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        """An empty journal; raises ValueError when `capacity` is not positive."""
        if capacity < 1:
            raise ValueError("a journal needs room for at least one entry")
        self._capacity = capacity
        self._ring: list[LogEntry] = []
        self._newest = 0
        self._appended = asyncio.Event()

    @property
    def newest_id(self) -> int:
        """The id of the newest entry, 0 when there is none."""
        return self._newest

    def append(self, level: str, message: str, at: datetime) -> LogEntry:
        """Add an entry, in place of the oldest one when the ring is full."""
        self._newest += 1
        entry = LogEntry(self._newest, at, level, message)
        if len(self._ring) < self._capacity:
            self._ring.append(entry)
        else:
            self._ring[self._slot(entry.id)] = entry
        appended, self._appended = self._appended, asyncio.Event()
        appended.set()
        return entry

    def tail(self, limit: int) -> list[LogEntry]:
        """The newest `limit` entries, oldest first."""
        first = max(self._newest - max(limit, 0), self._newest - len(self._ring)) + 1
        return [self._ring[self._slot(number)] for number in range(first, self._newest + 1)]

    async def follow(self, after: int | None = None) -> AsyncIterator[LogEntry]:
        """Every entry after the id `after` (None: after the newest), for ever.

        Where entries were overwritten before they could be read, one entry of the level WARN says how many; its id is
        that of the last one lost, so resuming from it loses nothing more. An id from an earlier process starts at the
        oldest entry.
        """
        place = self._newest if after is None else after
        if place > self._newest:
            place = self._newest - len(self._ring)
        while True:
            appended = self._appended
            while place < self._newest:
                entry = self._next_after(place)
                place = entry.id
                yield entry
            await appended.wait()

    def _next_after(self, place: int) -> LogEntry:
        oldest = self._newest - len(self._ring) + 1
        if place + 1 >= oldest:
            return self._ring[self._slot(place + 1)]
        reason = f"{oldest - 1 - place} entries are missing here: they were overwritten before they were read"
        return LogEntry(oldest - 1, self._ring[self._slot(oldest)].timestamp, "WARN", reason)

    def _slot(self, number: int) -> int:
        return (number - 1) % self._capacity
