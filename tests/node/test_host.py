"""Measuring the machine."""

from __future__ import annotations

import asyncio

import psutil

from node.host import keep_measuring, measure
from state.cell import Cell
from state.observed import Observed


def test_the_figures_are_those_of_this_machine() -> None:
    """Sizes in bytes, shares in percent, of the root file system."""
    fact = measure()
    assert fact.memory_total == psutil.virtual_memory().total
    assert fact.disk_total == psutil.disk_usage("/").total
    assert 0 < fact.memory_used < fact.memory_total
    assert fact.memory_percent == round(100 * fact.memory_used / fact.memory_total, 1)
    assert fact.disk_percent == round(100 * fact.disk_used / fact.disk_total, 1)
    assert 0 <= fact.cpu_usage <= 100


async def test_it_goes_on_measuring() -> None:
    """Each measurement is a new revision of what is observed."""
    observed = Cell(Observed())
    async with asyncio.TaskGroup() as group:
        measuring = group.create_task(keep_measuring(observed, 0.001))
        async for value in observed.changes():
            if value.revision == 3:
                break
        measuring.cancel()
    assert observed.value.host is not None
