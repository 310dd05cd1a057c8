"""`Unfinished`: orders that were begun, so that whoever comes after a crash goes on with them."""

from __future__ import annotations

import structlog

from certs.order import OrderState
from state.errors import SecretError
from state.ports import Lease, Shelf


class Unfinished:
    """By wanted name; each has the key that its certificate will be for."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def get(self, name: str) -> OrderState | None:
        """The order that was begun for a name, if any; raises StoreError. One that cannot be read is none."""
        try:
            sealed = await self._shelf.get(name)
            return None if sealed is None or sealed.body is None else OrderState.decode(sealed.body)
        except (SecretError, ValueError) as error:
            structlog.get_logger().error("an order that was begun is damaged", name=name, reason=str(error))
            return None

    async def put(self, name: str, state: OrderState, lease: Lease | None) -> None:
        """Make the state durable; raises Stale when the lease was lost, and StoreError."""
        await self._shelf.put(name, state.encode(), lease=lease)

    async def drop(self, name: str, lease: Lease | None = None) -> None:
        """Forget the order for a name; raises Stale when the lease was lost, and StoreError."""
        await self._shelf.remove(name, lease=lease)

    async def names(self) -> frozenset[str]:
        """The names with an order that was begun; raises StoreError."""
        return frozenset(sealed.key for sealed in await self._shelf.since(0))
