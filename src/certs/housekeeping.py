"""What is forgotten in time: certificates that have expired unwanted, orders that nobody goes on with, old answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from certs.holding import Busy, LeaseLost
from certs.roster import Roster
from certs.workshop import Workshop
from state.errors import StateError


async def tidy(shop: Workshop, roster: Roster) -> frozenset[str]:
    """Forget what is of no use any more; the names of which nothing is remembered now."""
    gone = set()
    try:
        await shop.stage.tidy()
        for name in await shop.unfinished.names():
            if roster.get(name) is None:
                await _alone(shop, name, partial(shop.unfinished.drop, name))
        for name in shop.vault.names:
            record = shop.vault.get(name)
            if roster.get(name) is None and record.is_forgettable(shop.clock()):
                shop.hide(name)
                if await _alone(shop, name, partial(shop.vault.forget, name)):
                    gone.add(name)
    except StateError as error:
        # Another node was at it, or the store does not answer: there is a next time.
        structlog.get_logger().info("not all that is old was forgotten", reason=str(error))
    return frozenset(gone)


async def _alone(shop: Workshop, name: str, act: Callable[[], Awaitable[None]]) -> bool:
    """Whether it was done: what nobody wants here may be what another node is at work on at this moment."""
    try:
        async with shop.alone(name):
            await act()
    except (Busy, LeaseLost):
        return False
    return True
