"""`Agenda`: when each name is to be looked at next, and which of those that are due goes first."""

from __future__ import annotations

import heapq
from datetime import datetime
from enum import IntEnum
from itertools import count
from typing import TypeAlias

import msgspec


class Rank(IntEnum):
    """Who goes first. New names and renewals take turns, so that neither starves the other."""

    WAITED_FOR = 0
    EXPIRING = 1
    NEW = 2
    RENEWAL = 3


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A name to be looked at `at` a moment; of those with one rank, the one with the earliest `before` goes first."""

    name: str
    at: datetime
    rank: Rank
    before: datetime


_Line: TypeAlias = "list[tuple[datetime, int, Entry]]"


class Agenda:
    """Each name is on it once at most."""

    def __init__(self) -> None:
        """With no names."""
        self._entries: dict[str, Entry] = {}
        self._later: _Line = []
        self._lines: dict[Rank, _Line] = {rank: [] for rank in Rank}
        self._numbers = count()
        self._is_turn_of_new = True

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def put(self, entry: Entry) -> None:
        """Look at a name when its entry says, in the place of what was planned for it before."""
        if self._entries.get(entry.name) == entry:
            return
        self._entries[entry.name] = entry
        heapq.heappush(self._later, (entry.at, next(self._numbers), entry))

    def drop(self, name: str) -> None:
        """Plan nothing for a name."""
        self._entries.pop(name, None)

    def when(self, name: str) -> datetime | None:
        """When a name is looked at; None when nothing is planned."""
        entry = self._entries.get(name)
        return None if entry is None else entry.at

    def next_at(self, now: datetime) -> datetime | None:
        """When the next name is due, `now` if one is already; None when nothing is planned."""
        self._sort_in(now)
        if any(self._head(rank) for rank in Rank):
            return now
        return self._later[0][0] if self._later else None

    def take(self, now: datetime) -> Entry | None:
        """Take the name off that goes first of those that are due; None when none is."""
        self._sort_in(now)
        for rank in self._order():
            entry = self._head(rank)
            if entry is not None:
                heapq.heappop(self._lines[rank])
                del self._entries[entry.name]
                if rank in (Rank.NEW, Rank.RENEWAL):
                    self._is_turn_of_new = rank is Rank.RENEWAL
                return entry
        return None

    def _order(self) -> tuple[Rank, ...]:
        regular = (Rank.NEW, Rank.RENEWAL) if self._is_turn_of_new else (Rank.RENEWAL, Rank.NEW)
        return (Rank.WAITED_FOR, Rank.EXPIRING, *regular)

    def _sort_in(self, now: datetime) -> None:
        while self._later and self._later[0][0] <= now:
            _at, number, entry = heapq.heappop(self._later)
            if self._is_current(entry):
                heapq.heappush(self._lines[entry.rank], (entry.before, number, entry))
        # What was replaced or dropped goes when it comes to the front: to search for it would cost a scan each time.
        while self._later and not self._is_current(self._later[0][2]):
            heapq.heappop(self._later)

    def _head(self, rank: Rank) -> Entry | None:
        line = self._lines[rank]
        while line and not self._is_current(line[0][2]):
            heapq.heappop(line)
        return line[0][2] if line else None

    def _is_current(self, entry: Entry) -> bool:
        return self._entries.get(entry.name) is entry
