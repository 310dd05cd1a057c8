"""Brings a store to the newest schema, one numbered step per transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from state.errors import StoreError
from state.migrations import m0001_organizations_and_routes, m0002_domains_shelves_and_leases
from state.schema import META

VERSION: Final = "schema_version"
_POSTGRESQL_LOCK: Final = 0x7A65786F  # any number that nobody else locks in this database


class Migration(msgspec.Struct, frozen=True):
    """One step; it may use the tables as they are after the step before it."""

    number: int
    upgrade: Callable[[sa.Connection], None]


MIGRATIONS: Final = (
    Migration(1, m0001_organizations_and_routes.upgrade),
    Migration(2, m0002_domains_shelves_and_leases.upgrade),
)


async def migrate(engine: AsyncEngine, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Take every step that is still to be taken; a step that fails leaves the store as it was before it.

    Raises StoreError when the store has seen steps that this program does not know.
    """
    if engine.dialect.name == "postgresql":
        # A repeatable read would not see the steps that another node took while this one waited for its turn.
        engine = engine.execution_options(isolation_level="READ COMMITTED")
    while await _take_next_step(engine, migrations):
        continue


async def _take_next_step(engine: AsyncEngine, migrations: Sequence[Migration]) -> bool:
    async with engine.begin() as connection:
        await _wait_for_other_nodes(connection)
        version = await _read_version(connection)
        newest = migrations[-1].number
        if version > newest:
            raise StoreError(
                f"the store has the schema {version} and this program knows {newest}: run the newer program"
            )
        step = next((migration for migration in migrations if migration.number > version), None)
        if step is None:
            return False
        await connection.run_sync(step.upgrade)
        await _write_version(connection, step.number)
    return True


async def _wait_for_other_nodes(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))


async def _read_version(connection: AsyncConnection) -> int:
    await connection.run_sync(META.create, checkfirst=True)
    value = await connection.scalar(sa.select(META.c.value).where(META.c.name == VERSION))
    return int(value) if value is not None else 0


async def _write_version(connection: AsyncConnection, number: int) -> None:
    await connection.execute(sa.delete(META).where(META.c.name == VERSION))
    await connection.execute(sa.insert(META).values(name=VERSION, value=str(number).encode()))
