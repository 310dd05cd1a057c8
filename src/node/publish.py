"""Keeps the data plane at the newest desired state: changes are compiled and made live, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from mesh.routes import Delta, Snapshot
from node.compile import Edge, compile_delta, compile_snapshot
from state.cell import Cell
from state.model import Desired


class DataPlane(Protocol):
    """What `mesh.fleet.Fleet` is to the publisher."""

    async def publish(self, change: Delta | Snapshot) -> None:
        """Returns when the change is live in every worker that does not hang."""


class Publisher:
    """Watches desired state and the edge. Changes that come while one is on its way are sent together after it."""

    def __init__(self, desired: Cell[Desired], edge: Cell[Edge], published: Callable[[int], None]) -> None:
        """A publisher that has published nothing yet; `published` is told each revision that workers have or get."""
        self._desired = desired
        self._edge = edge
        self._published = published
        self._live = (desired.value, edge.value)
        self._turn = asyncio.Lock()

    def first(self) -> Snapshot:
        """The snapshot that the data plane starts with."""
        self._went_live(self._desired.value, self._edge.value)
        return compile_snapshot(*self._live)

    async def follow(self, plane: DataPlane) -> None:
        """Publish every change, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(self._desired, plane), name="publish desired state")
            group.create_task(self._watch(self._edge, plane), name="publish keys and limits")

    async def publish(self, plane: DataPlane) -> None:
        """Bring the data plane to the newest state; returns when it is live."""
        async with self._turn:
            desired, edge = self._desired.value, self._edge.value
            live, before = self._live
            if desired.revision == live.revision and edge.revision == before.revision:
                return
            change = compile_delta(live.revision, desired, edge, before)
            await plane.publish(change or compile_snapshot(desired, edge))
            self._went_live(desired, edge)

    def _went_live(self, desired: Desired, edge: Edge) -> None:
        self._live = (desired, edge)
        self._published(desired.revision)

    async def _watch(self, cell: Cell[Any], plane: DataPlane) -> None:
        async for _value in cell.changes():
            await self.publish(plane)
