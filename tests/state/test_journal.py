"""Journal: bounded, followed from any place, honest about what is lost."""

from __future__ import annotations

import asyncio

import pytest

from state.journal import Journal, LogEntry
from tests.state.samples import NOON


def filled(entries: int, capacity: int = 5) -> Journal:
    """A journal after some entries."""
    journal = Journal(capacity)
    for number in range(1, entries + 1):
        journal.append("INFO", f"line {number}", NOON)
    return journal


async def followed(journal: Journal, after: int | None, count: int) -> list[LogEntry]:
    """The next entries that a follower gets."""
    found: list[LogEntry] = []
    async for entry in journal.follow(after):
        found.append(entry)
        if len(found) == count:
            return found
    raise AssertionError


def test_an_entry_is_numbered() -> None:
    """Ids are what a stream resumes by."""
    journal = Journal()
    assert journal.newest_id == 0
    assert journal.append("INFO", "hello", NOON) == LogEntry(1, NOON, "INFO", "hello")
    assert journal.newest_id == 1


@pytest.mark.parametrize(
    ("entries", "limit", "ids"),
    [
        (0, 3, []),
        (3, 0, []),
        (3, -1, []),
        (3, 2, [2, 3]),
        (3, 9, [1, 2, 3]),
        (5, 5, [1, 2, 3, 4, 5]),
        (12, 9, [8, 9, 10, 11, 12]),
    ],
)
def test_the_tail_is_what_is_left(entries: int, limit: int, ids: list[int]) -> None:
    """At most the limit, at most the ring, oldest first."""
    tail = filled(entries).tail(limit)
    assert [entry.id for entry in tail] == ids
    assert [entry.message for entry in tail] == [f"line {number}" for number in ids]


def test_a_journal_has_room() -> None:
    """One without would lose every entry."""
    with pytest.raises(ValueError, match="at least one"):
        Journal(0)


async def test_a_follower_without_a_place_begins_with_the_next_entry() -> None:
    """What was before is for `tail`."""
    journal = filled(3)
    async with asyncio.TaskGroup() as group:
        follower = group.create_task(followed(journal, None, 2))
        await asyncio.sleep(0)
        journal.append("INFO", "line 4", NOON)
        await asyncio.sleep(0)
        journal.append("INFO", "line 5", NOON)
    assert [entry.id for entry in follower.result()] == [4, 5]


async def test_a_follower_resumes_after_an_id() -> None:
    """As a browser does with Last-Event-ID."""
    assert [entry.id for entry in await followed(filled(5), 2, 3)] == [3, 4, 5]


async def test_a_gap_is_reported() -> None:
    """With an id to resume from that loses nothing more."""
    gap, first, *_ = await followed(filled(12), 3, 3)
    assert (gap.id, gap.level, gap.message.split()[0]) == (7, "WARN", "4")
    assert first.id == 8


async def test_a_slow_follower_is_told_what_it_missed() -> None:
    """Between two of its own steps the ring may have turned over."""
    journal = filled(1)
    entries = journal.follow(0)
    assert (await anext(entries)).id == 1
    for number in range(2, 13):
        journal.append("INFO", f"line {number}", NOON)
    assert [(await anext(entries)).level for _ in range(2)] == ["WARN", "INFO"]


async def test_an_id_of_an_earlier_process_begins_at_the_oldest() -> None:
    """Ids begin anew with the process; an unknown one is no reason to wait for it."""
    assert [entry.id for entry in await followed(filled(7), 900, 5)] == [3, 4, 5, 6, 7]
