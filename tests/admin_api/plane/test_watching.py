"""Several cells, watched as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from admin_api.plane.watching import changes_of
from state.cell import Cell
from state.model import Desired
from state.observed import Observed


async def test_a_change_of_any_of_them_is_seen() -> None:
    """Now, and after each one."""
    desired, observed = Cell(Desired()), Cell(Observed())
    async with aclosing(changes_of(desired, observed)) as changes:
        await anext(changes)
        await settled()
        acts: list[Callable[[], None]] = [
            lambda: desired.set(desired.value.advanced_to(7)),
            lambda: observed.set(observed.value.with_workers([])),
        ]
        for change in acts:
            waiting = asyncio.get_running_loop().create_task(seen(changes, desired, observed), name="watch")
            await settled()
            before = (desired.revision, observed.revision)
            change()
            assert await waiting != before


async def test_nobody_watches_when_it_is_over() -> None:
    """Its tasks have ended with it."""
    before = asyncio.all_tasks()
    async with aclosing(changes_of(Cell(Desired()))) as changes:
        await anext(changes)
        assert asyncio.all_tasks() > before
    assert asyncio.all_tasks() == before


async def seen(changes: AsyncGenerator[None], desired: Cell[Desired], observed: Cell[Observed]) -> tuple[int, int]:
    """What is there when one of them has changed."""
    first = (desired.revision, observed.revision)
    while (desired.revision, observed.revision) == first:
        await anext(changes)
    return desired.revision, observed.revision


async def settled() -> None:
    """Let others run."""
    for _ in range(5):
        await asyncio.sleep(0)
