"""`Holding`: work under a lease that is kept while it goes on, and that ends when the lease is lost."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final

import structlog

from state.errors import StateError
from state.ports import Lease, Leases

TTL_S: Final = 30.0


def lease_of(name: str) -> str:
    """The lease under which a wanted name is worked on."""
    return f"certificate/{name}"


class Busy(Exception):
    """Another node does the work at this time."""


class LeaseLost(Exception):
    """Another node has taken the work over."""


class Holding:
    """`async with Holding(leases, "certificate/shop.example.com") as lease`; raises Busy at its beginning.

    When the lease is lost the block is cancelled and raises LeaseLost. It can be entered once.
    """

    def __init__(self, leases: Leases, name: str, ttl_s: float = TTL_S) -> None:
        """The lease is kept for `ttl_s` seconds after the process died."""
        self._leases = leases
        self._name = name
        self._ttl_s = ttl_s
        self._is_lost = False
        self._lease: Lease
        self._keeper: asyncio.Task[None]

    async def __aenter__(self) -> Lease:
        lease = await self._leases.take(self._name, self._ttl_s)
        if lease is None:
            raise Busy(f"another node has the lease of {self._name}")
        self._lease = lease
        work = asyncio.current_task()
        if work is None:
            raise RuntimeError("a lease is held by a task")
        loop = asyncio.get_running_loop()
        self._keeper = loop.create_task(self._keep(work), name=f"certs: keep {self._name}")
        return lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeper.cancel()
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        try:
            await self._leases.release(self._lease)
        except StateError as reason:
            structlog.get_logger().info("a lease runs out by itself", lease=self._name, reason=str(reason))
        except asyncio.CancelledError as late:
            cancelled = late
        work = asyncio.current_task()
        # As asyncio.timeout does: a cancellation that is ours ends here, and one of somebody else goes on.
        if self._is_lost and work is not None and work.uncancel() <= 0 and cancelled is not None:
            raise LeaseLost(f"the lease of {self._name} was lost") from cancelled
        if cancelled is not None and cancelled is not error:
            raise cancelled

    async def _keep(self, work: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._ttl_s
        while True:
            await asyncio.sleep(self._ttl_s / 3)
            asked_at = loop.time()
            try:
                is_kept = await self._leases.keep(self._lease, self._ttl_s)
            except StateError:
                # The database does not answer: until the time is over nobody else can have taken the lease.
                is_kept = loop.time() < until
            else:
                until = asked_at + self._ttl_s
            if not is_kept:
                self._is_lost = True
                work.cancel()
                return
