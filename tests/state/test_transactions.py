"""Transactions: whole or not at all, with errors that an operator can read."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from state.errors import StoreError
from state.schema import LEASES, META
from state.secrets import Secrets
from state.store import Store
from state.transactions import seconds_now


async def count(store: Store, table: sa.Table) -> int:
    """How many rows a table has."""
    async with store._transactions.reading("it cannot be read") as connection:
        return await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


async def test_a_write_answers_once_it_is_durable(store: Store) -> None:
    """With what the work returned."""

    async def work(connection: AsyncConnection) -> str:
        await connection.execute(sa.insert(META).values(name="test", value=b""))
        return "done"

    before = await count(store, META)
    assert await store._transactions.write("it cannot be written", work) == "done"
    assert await count(store, META) == before + 1


async def test_a_write_that_fails_leaves_nothing_behind(store: Store) -> None:
    """What the work raises is raised, and the next write is made."""

    async def fail(connection: AsyncConnection) -> None:
        await connection.execute(sa.insert(LEASES).values(name="a", holder="", fence=1, expires_at=0.0))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store._transactions.write("it cannot be written", fail)
    assert await count(store, LEASES) == 0
    assert await store.leases.take("a", 1) is not None


async def test_an_error_of_the_database_is_one_line(store: Store) -> None:
    """That begins with what was tried, and holds neither statement nor value."""

    async def fail(connection: AsyncConnection) -> None:
        await connection.execute(sa.text("INSERT INTO nowhere VALUES ('s3cret')"))

    with pytest.raises(StoreError, match=r"^it cannot be written: .*nowhere") as caught:
        await store._transactions.write("it cannot be written", fail)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match=r"^it cannot be read: "):
        async with store._transactions.reading("it cannot be read") as connection:
            await connection.execute(sa.text("SELECT * FROM nowhere"))


async def test_nobody_waits_for_ever_for_a_node_that_was_stopped(postgresql_url: str, secrets: Secrets) -> None:
    """The database ends a transaction in which nothing happens, and a wait for a lock; only those that write here."""

    async def limits(connection: AsyncConnection) -> list[str]:
        names = ("lock_timeout", "idle_in_transaction_session_timeout")
        return list((await connection.execute(sa.select(*(sa.func.current_setting(name) for name in names)))).one())

    async with await Store.open(postgresql_url, secrets) as store:
        assert await store._transactions.write("it cannot be written", limits) == ["10s", "10s"]
        async with store._transactions.reading("it cannot be read") as connection:
            assert await limits(connection) == ["0", "0"]


async def test_the_clock_is_that_of_the_database(store: Store) -> None:
    """In seconds since 1970, finer than one second."""
    async with store._transactions.reading("it cannot be read") as connection:
        first, second = [await connection.scalar(sa.select(seconds_now(connection))) or 0.0 for _ in range(2)]
    assert 1.7e9 < first <= second < 1e10
