"""Idle connections to one target, newest first; says what to close and leaves the closing to the caller."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Poolable(Protocol):
    """What the pool needs to know of a connection."""

    is_closed: bool


C = TypeVar("C", bound=Poolable)


class Pool(Generic[C]):
    """The idle connections of one target.

    The newest is taken first: it is the least likely to have been closed by the target meanwhile. A connection that
    closes while idle stays in its place until it is met, so that no operation scans the others.
    """

    __slots__ = ("_idle", "_size")

    def __init__(self, size: int) -> None:
        """Keep at most `size` idle connections."""
        self._idle: list[C] = []
        self._size = size

    def __len__(self) -> int:
        """How many connections wait here, those that closed unnoticed included."""
        return len(self._idle)

    def take(self) -> C | None:
        """The newest idle connection that is still open, or None."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
        return None

    def give(self, connection: C) -> C | None:
        """Keep `connection`; gives back a connection to be closed when there are too many, or when none may be kept."""
        self._idle.append(connection)
        return self._idle.pop(0) if len(self._idle) > self._size else None

    def retire(self) -> list[C]:
        """Take out every connection, to be closed, and keep none from now on."""
        everything = list(self._idle)
        self._idle.clear()
        self._size = 0
        return everything
