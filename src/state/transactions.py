"""`Transactions`: how shelves and leases reach the database, beside the changes of what is wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from state.errors import StoreError
from state.opening import store_errors
from state.turns import Turns

T = TypeVar("T")

_PATIENCE: Final = "10s"
_LIMITS: Final = ("lock_timeout", "idle_in_transaction_session_timeout")


class Transactions:
    """Reads at any time, and writes one after the other; whatever fails is a StoreError that begins with `what`."""

    def __init__(self, engine: AsyncEngine, turns: Turns) -> None:
        """Transactions on `engine`; `turns` are those of the other writers in this process."""
        self.is_shared = engine.dialect.name == "postgresql"
        # SQLite has one writer at a time, and refuses at once a transaction that read before another wrote and then
        # writes itself. PostgreSQL has many, whom a repeatable read would refuse when they wait for one another.
        self._engine = engine.execution_options(isolation_level="READ COMMITTED") if self.is_shared else engine
        self._turns = Turns(None if self.is_shared else turns)
        self._is_closed = False

    @asynccontextmanager
    async def reading(self, what: str) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes nothing."""
        with store_errors(what):
            async with self._begun() as connection:
                yield connection

    async def write(self, what: str, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What `work` returns, once it is durable. It goes on without a caller who is cancelled after it has begun."""

        async def done() -> T:
            with store_errors(what):
                async with self._begun() as connection:
                    await _limit(connection)
                    return await work(connection)

        return await self._turns.run(done, "state: write beside")

    async def close(self) -> None:
        """Finish the write that is under way; what comes later raises StoreError."""
        async with self._turns:
            self._is_closed = True

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[AsyncConnection]:
        if self._is_closed:
            raise StoreError("the store is closed")
        async with self._engine.begin() as connection:
            yield connection


async def _limit(connection: AsyncConnection) -> None:
    """Neither wait for ever for a node that was stopped in the middle of a write, nor be the one that is waited for."""
    if connection.dialect.name == "postgresql":
        limits = (sa.func.set_config(name, _PATIENCE, sa.true()) for name in _LIMITS)  # for this transaction only
        await connection.execute(sa.select(*limits))


def seconds_now(connection: AsyncConnection) -> sa.ColumnElement[float]:
    """The moment by the database's own clock, in seconds since 1970: nodes that share it need not agree on the time."""
    # PostgreSQL's now() is when the transaction began, which may have waited for a lock since.
    if connection.dialect.name == "postgresql":
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
    return sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Double)
