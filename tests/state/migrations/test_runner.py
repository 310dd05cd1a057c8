"""Migrations: each once, whole or not at all, never backwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from state.database import file_of, make_engine, make_file, parse_url
from state.errors import StoreError
from state.migrations.runner import MIGRATIONS, VERSION, Migration, migrate
from state.schema import META

NEXT = MIGRATIONS[-1].number + 1


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database without tables."""
    parsed = parse_url(url)
    make_file(file_of(parsed) or Path("/dev/null"))
    engine = make_engine(parsed)
    yield engine
    await engine.dispose()


def make_second(connection: sa.Connection) -> None:
    """A step that makes a table."""
    connection.execute(sa.text("CREATE TABLE second (n INTEGER)"))


def fail(connection: sa.Connection) -> None:
    """A step that ends half way."""
    connection.execute(sa.text("CREATE TABLE half (n INTEGER)"))
    raise ZeroDivisionError


async def version(engine: AsyncEngine) -> str:
    """What the store says of itself."""
    async with engine.begin() as connection:
        value: bytes = (await connection.execute(sa.select(META.c.value).where(META.c.name == VERSION))).scalar_one()
    return value.decode()


async def tables(engine: AsyncEngine) -> set[str]:
    """The names of all tables."""
    async with engine.begin() as connection:
        return set(await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names()))


async def test_steps_are_taken_once(engine: AsyncEngine) -> None:
    """Every start asks; only the first one finds something to do."""
    for _ in range(2):
        await migrate(engine, (*MIGRATIONS, Migration(NEXT, make_second)))
        assert await version(engine) == str(NEXT)
    assert {"routes", "second"} <= await tables(engine)


async def test_a_later_program_takes_the_steps_that_are_left(engine: AsyncEngine) -> None:
    """From wherever the store is."""
    await migrate(engine)
    assert await version(engine) == str(MIGRATIONS[-1].number)
    await migrate(engine, (*MIGRATIONS, Migration(NEXT, make_second)))
    assert await version(engine) == str(NEXT)


async def test_a_step_that_fails_leaves_nothing_behind(engine: AsyncEngine) -> None:
    """The steps before it stay, and the next start tries again."""
    with pytest.raises(ZeroDivisionError):
        await migrate(engine, (*MIGRATIONS, Migration(NEXT, fail)))
    assert await version(engine) == str(NEXT - 1)
    assert "half" not in await tables(engine)


async def test_a_newer_store_is_refused(engine: AsyncEngine) -> None:
    """An older program would read it wrongly, and write it worse."""
    await migrate(engine, (*MIGRATIONS, Migration(NEXT, make_second)))
    with pytest.raises(StoreError, match=f"schema {NEXT} and this program knows {NEXT - 1}: run the newer program"):
        await migrate(engine)


async def test_nodes_that_start_at_once_take_turns(postgresql_url: str) -> None:
    """Each step is taken by one of them and seen by the others."""
    engines = [make_engine(parse_url(postgresql_url)) for _ in range(4)]
    await asyncio.gather(*(migrate(engine, (*MIGRATIONS, Migration(NEXT, make_second))) for engine in engines))
    assert [await version(engine) for engine in engines] == [str(NEXT)] * 4
    await asyncio.gather(*(engine.dispose() for engine in engines))
