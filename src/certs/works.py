"""What the desk and the handshakes ask of those who do the work."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Works(Protocol):
    """Plans and does the work on names; `certs.crew.Crew` is it."""

    def update(self, names: Iterable[str]) -> None:
        """Take into account that names may be wanted now, or no more."""
        ...

    def consider(self, name: str) -> None:
        """Report how a name does and plan its next look, by everything that is known of it now."""
        ...

    def is_working(self, name: str) -> bool:
        """Whether this node is at work on a name."""
        ...

    async def hurry(self, name: str) -> None:
        """Look at a name now, before all others, and return at the end of its turn, however it ended."""
        ...

    def alone(self, name: str) -> AbstractAsyncContextManager[None]:
        """End what is under way for a name, and begin nothing before the block has ended."""
        ...
