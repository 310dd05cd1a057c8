"""Cell: watchers get the newest value, may skip, and never miss the last."""

from __future__ import annotations

import asyncio

from state.cell import Cell
from state.observed import Observed


def at(revision: int) -> Observed:
    """A value of some revision."""
    return Observed(revision=revision)


async def watched(cell: Cell[Observed], last: int) -> list[int]:
    """The revisions that one watcher sees until `last`."""
    seen: list[int] = []
    async for value in cell.changes():
        seen.append(value.revision)
        if value.revision == last:
            return seen
    raise AssertionError


async def test_a_watcher_begins_with_the_value_of_now() -> None:
    """There is no moment between reading and watching to miss something in."""
    assert await watched(Cell(at(3)), 3) == [3]


async def test_a_watcher_skips_to_the_newest() -> None:
    """A hundred changes while it slept are one."""
    cell = Cell(at(0))
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watched(cell, 100))
        await asyncio.sleep(0)
        for revision in range(1, 101):
            cell.set(at(revision))
    assert watcher.result() == [0, 100]
    assert (cell.value, cell.revision) == (at(100), 100)


async def test_a_change_during_the_watchers_work_is_not_missed() -> None:
    """It comes with the next step, without another change to wake it."""
    cell = Cell(at(0))
    changes = cell.changes()
    assert (await anext(changes)).revision == 0
    cell.set(at(1))
    async with asyncio.timeout(1):
        assert (await anext(changes)).revision == 1


async def test_many_watchers_see_the_last_value() -> None:
    """However the changes and their own turns interleave."""
    cell = Cell(at(0))
    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(watched(cell, 50)) for _ in range(100)]
        for revision in range(1, 51):
            cell.set(at(revision))
            await asyncio.sleep(0)
    assert all(watcher.result()[-1] == 50 for watcher in watchers)


async def test_a_watcher_that_gives_up_disturbs_nobody() -> None:
    """Cancelled in its wait, it leaves nothing behind."""
    cell = Cell(at(0))
    async with asyncio.TaskGroup() as group:
        leaver = group.create_task(watched(cell, 9))
        stayer = group.create_task(watched(cell, 1))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.sleep(0)
        cell.set(at(1))
    assert (leaver.cancelled(), stayer.result()) == (True, [0, 1])
