"""Work under a lease ends when the lease does."""

from __future__ import annotations

import asyncio

import pytest

from certs.holding import Busy, Holding, LeaseLost
from state.errors import StoreError
from state.ports import Lease
from state.store import Store

TTL_S = 0.06


class Registry:
    """Leases that can be taken away, or be out of reach."""

    def __init__(self) -> None:
        self.is_free = True
        self.is_kept = True
        self.is_down = False
        self.kept = 0
        self.asked_twice = asyncio.Event()
        self.released = 0

    async def take(self, name: str, ttl_s: float) -> Lease | None:
        """If it is free."""
        return Lease(name, "me", 1) if self.is_free else None

    async def keep(self, lease: Lease, ttl_s: float) -> bool:
        """If it was not taken away."""
        self.kept += 1
        if self.kept == 2:
            self.asked_twice.set()
        if self.is_down:
            raise StoreError("down")
        return self.is_kept

    async def release(self, lease: Lease) -> None:
        """If there is an answer."""
        self.released += 1
        if self.is_down:
            raise StoreError("down")


async def test_a_lease_is_kept_while_the_work_goes_on(store: Store) -> None:
    """And given back at its end."""
    async with Holding(store.leases, "work", 60.0) as lease:
        assert lease.name == "work"
        assert await store.leases.keep(lease, 60.0)
    assert not await store.leases.keep(lease, 60.0)


async def test_who_comes_second_hears_that_it_is_taken() -> None:
    """Before anything is done."""
    registry = Registry()
    registry.is_free = False
    with pytest.raises(Busy):
        await Holding(registry, "work").__aenter__()
    assert registry.released == 0


async def test_work_ends_when_the_lease_is_lost() -> None:
    """Another node is at it already."""
    registry = Registry()
    registry.is_kept = False
    with pytest.raises(LeaseLost):
        async with Holding(registry, "work", TTL_S):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_work_goes_on_while_nobody_else_can_have_the_lease() -> None:
    """A database that does not answer for a moment is no reason to stop."""
    registry = Registry()
    registry.is_down = True
    async with Holding(registry, "work", TTL_S):
        await registry.asked_twice.wait()
    assert registry.released == 1


async def test_work_ends_when_the_time_is_over_without_an_answer() -> None:
    """By then another may have taken it."""
    registry = Registry()
    registry.is_down = True
    with pytest.raises(LeaseLost):
        async with Holding(registry, "work", TTL_S):
            await asyncio.Event().wait()


async def test_an_error_of_the_work_is_the_works_own() -> None:
    """The lease is given back all the same."""
    registry = Registry()
    with pytest.raises(ZeroDivisionError):
        async with Holding(registry, "work"):
            raise ZeroDivisionError
    assert registry.released == 1


async def test_a_cancellation_by_others_goes_on() -> None:
    """It is not taken for the loss of the lease."""
    registry = Registry()

    async def work() -> None:
        async with Holding(registry, "work"):
            await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(work(), name="work")
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert registry.released == 1
