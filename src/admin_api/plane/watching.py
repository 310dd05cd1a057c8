"""One thing to wait for in place of several values that change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from state.cell import Cell


async def changes_of(*cells: Cell[Any]) -> AsyncGenerator[None]:
    """Yield now, and again after each change of one of `cells`; changes in quick succession come as one."""
    news = asyncio.Event()
    loop = asyncio.get_running_loop()
    watchers = [loop.create_task(_poke(cell, news), name="watch a cell") for cell in cells]
    try:
        while True:
            news.clear()
            yield
            await news.wait()
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)


async def _poke(cell: Cell[Any], news: asyncio.Event) -> None:
    async for _value in cell.changes():
        news.set()
