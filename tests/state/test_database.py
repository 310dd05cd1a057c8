"""The database: URLs, files and the settings that durability rests on."""

from __future__ import annotations

import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from state.database import file_of, make_engine, make_file, name_of, parse_url, written_file
from state.errors import StoreError


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////data/zexio.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:///zexio.db", "sqlite+aiosqlite"),
        ("postgresql://ada@db/zexio", "postgresql+asyncpg"),
        ("postgres://ada@db/zexio", "postgresql+asyncpg"),
    ],
)
def test_a_url_gets_its_driver(url: str, driver: str) -> None:
    """An operator names the database and no Python package."""
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize(
    "url",
    ["", "zexio.db", "mysql://db/zexio", "sqlite://", "sqlite:///:memory:", "postgresql://ada:hush@db:bad/zexio"],
)
def test_what_is_no_store_is_refused(url: str) -> None:
    """With what it should have been, and without the password."""
    with pytest.raises(StoreError, match=r"sqlite") as caught:
        parse_url(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:////data/zexio.db", "/data/zexio.db"),
        ("postgresql://ada:hush@db/zexio", "postgresql://ada:***@db/zexio"),
    ],
)
def test_a_store_is_named_as_the_operator_knows_it(url: str, name: str) -> None:
    """By its file, or without the driver and the password."""
    assert name_of(parse_url(url)) == name


def test_a_file_that_was_written_is_told_from_one_that_was_made(tmp_path: Path) -> None:
    """Only the former needs the key that it was written with."""
    path = tmp_path / "zexio.db"
    url = f"sqlite:///{path}"
    assert written_file(url) is None
    path.touch()
    assert written_file(url) is None
    path.write_bytes(b"rows")
    assert written_file(url) == path
    assert written_file("postgresql://db/zexio") is None


def test_only_sqlite_has_a_file() -> None:
    """It is what is locked."""
    assert file_of(parse_url("sqlite:////data/zexio.db")) == Path("/data/zexio.db")
    assert file_of(parse_url("postgresql://db/zexio")) is None


def test_a_file_is_private_and_kept(tmp_path: Path) -> None:
    """Routes name what an operator may not want to show."""
    path = tmp_path / "data" / "zexio.db"
    make_file(path)
    path.write_bytes(b"kept")
    make_file(path)
    assert path.read_bytes() == b"kept"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.fixture
async def engine(sqlite_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on an SQLite file without tables."""
    url = parse_url(sqlite_url)
    make_file(file_of(url) or Path())
    engine = make_engine(url)
    yield engine
    await engine.dispose()


async def test_a_commit_is_on_disk(engine: AsyncEngine) -> None:
    """A write-ahead log with a sync at each commit: what is answered survives a power cut."""
    async with engine.connect() as connection:
        values = [await connection.scalar(sa.text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")]
    assert values == ["wal", 2]


async def test_a_table_belongs_to_its_transaction(engine: AsyncEngine) -> None:
    """Otherwise a migration that fails would stay half done."""
    async with engine.connect() as connection:
        await connection.execute(sa.text("CREATE TABLE half (done INTEGER)"))
        await connection.rollback()
        assert await connection.scalar(sa.text("SELECT count(*) FROM sqlite_master")) == 0


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's is optional."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreError, match=r"zexio\[postgres\]"):
        make_engine(parse_url("postgresql://db/zexio"))
