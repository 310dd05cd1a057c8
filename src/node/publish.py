"""Keeps the data plane at the newest desired state: changes are compiled and made live, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from mesh.routes import Delta, Snapshot
from node.compile import Edge, Inputs, compile_delta, compile_snapshot
from state.cell import Cell
from state.holdings import Holdings
from state.model import Desired


class DataPlane(Protocol):
    """What `mesh.fleet.Fleet` is to the publisher."""

    async def publish(self, change: Delta | Snapshot) -> None:
        """Returns when the change is live in every worker that does not hang."""


class Publisher:
    """Watches desired state, the edge and the holdings.

    Changes that come while one is on its way are sent together after it.
    """

    def __init__(
        self,
        desired: Cell[Desired],
        edge: Cell[Edge],
        holdings: Cell[Holdings],
        published: Callable[[int], None],
    ) -> None:
        """A publisher that has published nothing yet; `published` is told each revision that workers have or get."""
        self._desired = desired
        self._edge = edge
        self._holdings = holdings
        self._published = published
        self._live = self._newest()
        self._moved = asyncio.Event()
        self._turn = asyncio.Lock()

    def first(self) -> Snapshot:
        """The snapshot that the data plane starts with."""
        self._went_live(self._newest())
        return compile_snapshot(self._live)

    async def follow(self, plane: DataPlane) -> None:
        """Publish every change, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(self._desired, plane), name="publish desired state")
            group.create_task(self._watch(self._holdings, plane), name="publish holdings")
            group.create_task(self._watch(self._edge, plane), name="publish keys and limits")

    async def publish(self, plane: DataPlane) -> None:
        """Bring the data plane to the newest state; returns when it is live."""
        async with self._turn:
            now = self._newest()
            if _revisions(now) == _revisions(self._live):
                return
            await plane.publish(compile_delta(now, self._live) or compile_snapshot(now))
            self._went_live(now)

    async def live(self, holdings_revision: int) -> None:
        """Return when this revision of the holdings, or a later one, is in force at every worker that does not hang.

        Waits for `follow` to publish it, which it does by itself once the cell has it.
        """
        while self._live.holdings.revision < holdings_revision:
            await self._moved.wait()

    def _newest(self) -> Inputs:
        return Inputs(self._desired.value, self._edge.value, self._holdings.value)

    def _went_live(self, now: Inputs) -> None:
        self._live = now
        self._published(now.desired.revision)
        # Whoever waits looks at what is live now, and those to come wait for another event.
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _watch(self, cell: Cell[Any], plane: DataPlane) -> None:
        async for _value in cell.changes():
            await self.publish(plane)


def _revisions(inputs: Inputs) -> tuple[int, int, int]:
    return inputs.desired.revision, inputs.edge.revision, inputs.holdings.revision
