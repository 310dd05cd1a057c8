"""`Purse`: what may still be ordered, and how issuers do, kept on a shelf because all nodes spend from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, TypeAlias

import msgspec
import structlog

from certs.budget import Budget, Limit, Wait, spend
from certs.issuers import Circuit
from state.errors import Stale
from state.ports import Sealed, Shelf

Circuits: TypeAlias = Mapping[str, Circuit]

_BUDGET: Final = "budget"
_CIRCUITS: Final = "circuits"


class Purse:
    """The budget and the circuits as this node knows them; each write is held against what others wrote."""

    def __init__(self, shelf: Shelf) -> None:
        """With nothing read yet."""
        self._shelf = shelf
        self._budget = Budget()
        self._circuits: Circuits = {}
        self._versions: dict[str, int] = {}
        self._version = 0
        self._turn = asyncio.Lock()

    @property
    def circuits(self) -> Circuits:
        """How issuers do."""
        return self._circuits

    def wait(self, limits: Iterable[Limit], now: datetime) -> Wait | None:
        """Until when an order would have to wait, as far as is known here; None when it would not."""
        found = spend(self._budget, limits, now)
        return found if isinstance(found, Wait) else None

    async def spend(self, limits: Iterable[Limit], now: datetime) -> Wait | None:
        """Take one from each limit, durably, before an order is made; or until when to wait. Raises StoreError."""
        limits = tuple(limits)
        async with self._turn:
            while True:
                found = spend(self._budget, limits, now)
                if isinstance(found, Wait):
                    return found
                if await self._is_put(_BUDGET, found):
                    self._budget = found
                    return None

    async def learn(self, lesson: Callable[[Circuits], Circuits]) -> None:
        """Save what an attempt says of its issuer; `lesson` gives the circuits after it. Raises StoreError."""
        async with self._turn:
            while (after := lesson(self._circuits)) != self._circuits:
                if await self._is_put(_CIRCUITS, dict(after)):
                    self._circuits = after

    async def follow(self) -> None:
        """Read what was written since the last time; raises StoreError."""
        for sealed in await self._shelf.since(self._version):
            self._version = max(self._version, sealed.version)
            self._take(sealed)

    async def _is_put(self, key: str, value: object) -> bool:
        """Whether it was written; if not, another node was first, and what it wrote is known now."""
        body, known = msgspec.msgpack.encode(value), self._versions.get(key, 0)
        try:
            self._versions[key] = await self._shelf.put(key, body, expect=known)
        except Stale:
            await self.follow()
            if self._versions.get(key, 0) != known:
                return False
            # What is there cannot be read by anybody.
            self._versions[key] = await self._shelf.put(key, body)
        return True

    def _take(self, sealed: Sealed) -> None:
        if sealed.body is None or sealed.version <= self._versions.get(sealed.key, 0):
            return
        self._versions[sealed.key] = sealed.version
        try:
            if sealed.key == _CIRCUITS:
                self._circuits = msgspec.msgpack.decode(sealed.body, type=dict[str, Circuit])
            elif sealed.key == _BUDGET:
                self._budget = msgspec.msgpack.decode(sealed.body, type=Budget)
        except msgspec.MsgspecError as error:
            structlog.get_logger().error("the limits on orders are damaged", key=sealed.key, reason=str(error))
