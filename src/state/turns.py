"""`Turns`: one write at a time, and a write that has begun is finished, whatever becomes of whoever asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from state.tasks import spawn

T = TypeVar("T")


class Turns:
    """A queue of writers. It belongs to one event loop, and is held by `async with` or for a piece of work by `run`."""

    def __init__(self, outer: Turns | None = None) -> None:
        """With `outer`, each turn is also one of those: however many wait here, at most one of them waits there."""
        self._outer = outer
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self._lock.acquire()
        return self

    async def __aexit__(self, *_exit: object) -> None:
        self._lock.release()

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
        """What `work` returns, done in a task of this name when its turn has come.

        A call that is cancelled while it waits here does nothing; later, the work goes on without it, so that the
        database and whoever remembers what is in it do not part.
        """
        await self._lock.acquire()
        task = spawn(self._running, self._in_turn(work), name)
        task.add_done_callback(lambda _task: self._lock.release())
        return await asyncio.shield(task)

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._outer is None:
            return await work()
        async with self._outer:
            return await work()
