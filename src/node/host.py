"""Measures the machine that the node runs on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

import psutil

from state.cell import Cell
from state.observed import HostFact, Observed

INTERVAL_S: Final = 2.0
ROOT: Final = "/"


def measure() -> HostFact:
    """The machine as it is now; the CPU's share is that since the call before (contracts/plane.md, Behaviours)."""
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(ROOT)
    memory_used = memory.total - memory.available
    return HostFact(
        cpu_usage=psutil.cpu_percent(interval=None),
        memory_used=memory_used,
        memory_total=memory.total,
        memory_percent=_percent(memory_used, memory.total),
        disk_used=disk.used,
        disk_total=disk.total,
        disk_percent=_percent(disk.used, disk.total),
        at=datetime.now(UTC),
    )


async def keep_measuring(observed: Cell[Observed], interval_s: float = INTERVAL_S) -> None:
    """Report the machine now and every `interval_s` seconds, for ever."""
    psutil.cpu_percent(interval=None)
    while True:
        observed.set(observed.value.with_host(measure()))
        await asyncio.sleep(interval_s)


def _percent(used: float, total: float) -> float:
    return round(100 * used / total, 1) if total else 0.0
