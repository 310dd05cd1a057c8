"""Other nodes of a shared store: what they were told is looked for, since nobody says so."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import structlog

from state.errors import StoreError

LOOK_S: Final = 1.0


class Shared(Protocol):
    """What `state.store.Store` is here."""

    @property
    def is_shared(self) -> bool:
        """Whether there may be other nodes."""
        ...

    async def catch_up(self) -> object:
        """Announce what others wrote."""
        ...


async def follow_neighbours(store: Shared, look_s: float = LOOK_S) -> None:
    """Announce here what other nodes wrote, for ever; at once when the store is this node's alone.

    While the store does not answer, the node goes on by what it knows.
    """
    is_down = False
    while store.is_shared:
        try:
            await store.catch_up()
        except StoreError as error:
            if not is_down:
                structlog.get_logger().warning("other nodes cannot be followed", reason=str(error))
            is_down = True
        else:
            is_down = False
        await asyncio.sleep(look_s)
