"""Leases: one holder at a time, by the database's clock, and a fence that tells an old holder from the new one."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from state.leases import FORGOTTEN_S, StoredLeases
from state.ports import Lease, Leases
from state.schema import LEASES
from state.secrets import Secrets
from state.store import Store

NAME = "certificate/a.example"


@pytest.fixture
def leases(store: Store) -> Leases:
    """Those of the store itself."""
    return store.leases


@pytest.fixture
def rival(store: Store) -> Leases:
    """Those of another process."""
    return StoredLeases(store._transactions, "rival")


async def taken(leases: Leases, ttl_s: float = 30.0) -> Lease:
    """A lease that is to be had."""
    lease = await leases.take(NAME, ttl_s)
    assert lease is not None
    return lease


async def test_one_holder_has_it_at_a_time(leases: Leases, rival: Leases) -> None:
    """The other may have another."""
    lease = await taken(leases)
    assert lease.name == NAME
    assert await rival.take(NAME, 30) is None
    assert await rival.take("certificate/b.example", 30) is not None


async def test_who_has_it_gets_it_again(leases: Leases) -> None:
    """With the same fence, for nobody was in between."""
    assert await taken(leases) == await taken(leases)


async def test_it_is_free_once_its_time_has_run_out(leases: Leases, rival: Leases) -> None:
    """The fence of the next holder is higher, and the old holder has lost it."""
    old = await taken(leases, 0)
    new = await taken(rival)
    assert new.fence > old.fence
    assert not await leases.keep(old, 30)
    assert await leases.take(NAME, 30) is None


async def test_it_is_not_lost_before_another_takes_it(leases: Leases, rival: Leases) -> None:
    """A holder who comes late keeps it if nobody asked for it meanwhile."""
    lease = await taken(leases, 0)
    assert await leases.keep(lease, 30)
    assert await rival.take(NAME, 30) is None


async def test_it_is_kept_for_as_long_as_was_said_last(leases: Leases, rival: Leases) -> None:
    """That may be shorter."""
    lease = await taken(leases)
    assert await leases.keep(lease, 0)
    assert await rival.take(NAME, 30) is not None


async def test_it_is_free_at_once_when_it_is_released(leases: Leases, rival: Leases) -> None:
    """For anybody, and to the old holder it is lost."""
    old = await taken(leases)
    await leases.release(old)
    assert not await leases.keep(old, 30)
    assert (await taken(rival)).fence > old.fence


async def test_only_the_holder_releases_it(leases: Leases, rival: Leases) -> None:
    """A release that comes too late does the next holder no harm."""
    old = await taken(leases, 0)
    await taken(rival)
    await leases.release(old)
    assert await leases.take(NAME, 30) is None


async def test_a_lease_taken_again_is_not_the_older_one(leases: Leases) -> None:
    """Work that was given up cannot write under the name of the work that followed."""
    old = await taken(leases)
    await leases.release(old)
    new = await taken(leases)
    assert new.fence > old.fence
    assert not await leases.keep(old, 30)


async def test_of_many_one_is_first(url: str, secrets: Secrets) -> None:
    """However many ask at once."""
    async with await Store.open(url, secrets) as store:
        holders = [StoredLeases(store._transactions, f"holder{number}") for number in range(10)]
        answers = await asyncio.gather(*(holder.take(NAME, 30) for holder in holders))
        assert sum(answer is not None for answer in answers) == 1


async def test_nodes_that_share_a_database_take_turns(postgresql_url: str, secrets: Secrets) -> None:
    """Each store has a holder of its own."""
    async with await Store.open(postgresql_url, secrets) as one, await Store.open(postgresql_url, secrets) as two:
        assert one.is_shared
        answers = await asyncio.gather(*(store.leases.take(NAME, 30) for store in (one, two) * 5))
        assert len({answer.holder for answer in answers if answer}) == 1
        assert sum(answer is not None for answer in answers) == 5


async def test_a_crashed_process_on_a_file_holds_nothing(sqlite_url: str, secrets: Secrets) -> None:
    """Whoever opens the file is the only one who has it, and need not wait for a time to run out."""
    async with await Store.open(sqlite_url, secrets) as store:
        assert not store.is_shared
        old = await taken(store.leases)
    async with await Store.open(sqlite_url, secrets) as store:
        new = await taken(store.leases)
        assert new.holder != old.holder
        assert not await store.leases.keep(old, 30)


async def test_a_lease_on_a_shared_store_outlives_the_connection(postgresql_url: str, secrets: Secrets) -> None:
    """Another node waits for its time to run out."""
    async with await Store.open(postgresql_url, secrets) as store:
        await taken(store.leases)
    async with await Store.open(postgresql_url, secrets) as store:
        assert await store.leases.take(NAME, 30) is None


async def test_leases_of_long_ago_are_forgotten(store: Store, leases: Leases) -> None:
    """One row for every name that ever was would only grow."""
    for name in ("a", "b"):
        assert await leases.take(name, 30) is not None
    async with store._tables.engine.begin() as connection:
        late = sa.update(LEASES).where(LEASES.c.name == "a")
        await connection.execute(late.values(expires_at=LEASES.c.expires_at - FORGOTTEN_S - 60))
    await leases.release(await taken(leases))
    async with store._tables.engine.begin() as connection:
        assert set((await connection.scalars(sa.select(LEASES.c.name))).all()) == {"b", NAME}
