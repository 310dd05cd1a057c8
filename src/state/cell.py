"""`Cell`: one current value that many may watch; a slow watcher skips values, and never misses the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, Protocol, TypeVar


class Revised(Protocol):
    """A value that knows which revision it is."""

    @property
    def revision(self) -> int:
        """Grows with every change."""
        ...


T = TypeVar("T", bound=Revised)


class Cell(Generic[T]):
    """The newest value of something. It belongs to one event loop."""

    def __init__(self, value: T) -> None:
        """A cell that holds `value`."""
        self._value = value
        self._replaced = asyncio.Event()

    @property
    def value(self) -> T:
        """The newest value."""
        return self._value

    @property
    def revision(self) -> int:
        """The revision of the newest value."""
        return self._value.revision

    def set(self, value: T) -> None:
        """Replace the value and wake every watcher."""
        self._value = value
        # Each event is set once and then forgotten, so a watcher can wait for it without a lock or a counter.
        replaced, self._replaced = self._replaced, asyncio.Event()
        replaced.set()

    async def changes(self) -> AsyncIterator[T]:
        """The value of now, and then the newest one after each change; values in between may be skipped."""
        while True:
            replaced = self._replaced
            yield self._value
            await replaced.wait()
