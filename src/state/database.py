"""The database behind the store: SQLite in a file, or PostgreSQL by a URL, reached the same way."""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from state.errors import StoreError
from state.private_files import make_private_directory

_DRIVERS: Final = MappingProxyType(
    {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
)
_PRAGMAS: Final = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


def parse_url(url: str) -> sa.URL:
    """`sqlite:////path/zexio.db` or `postgresql://user@host/name`, with the driver filled in. Raises StoreError."""
    try:
        parsed = sa.make_url(url)
    # A port that is no number is a ValueError, whose text holds it, and the password when that has a slash.
    except (sa.exc.ArgumentError, ValueError):
        raise StoreError("the store's URL must be sqlite:////path/to/file or postgresql://user@host/name") from None
    backend = parsed.drivername.partition("+")[0]
    if backend not in _DRIVERS:
        raise StoreError(f"the store can be kept in sqlite or postgresql, not in {parsed.drivername}")
    if backend == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise StoreError("the store's URL names no file: sqlite:////path/to/file")
    return parsed.set(drivername=_DRIVERS[backend])


def file_of(url: sa.URL) -> Path | None:
    """The file of an SQLite store; None for PostgreSQL."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def written_file(url: str) -> Path | None:
    """The file of an SQLite store, if something was written to it already. Raises StoreError and OSError."""
    path = file_of(parse_url(url))
    return path if path and path.exists() and path.stat().st_size else None


def name_of(url: sa.URL) -> str:
    """How a message names the store: by its file, or by its URL without driver and password."""
    return str(file_of(url) or url.set(drivername=url.get_backend_name()).render_as_string())


def make_file(path: Path) -> None:
    """Make the database file for its owner alone; SQLite gives the files beside it the same mode."""
    make_private_directory(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def make_engine(url: sa.URL) -> AsyncEngine:
    """An engine for a parsed URL. Raises StoreError when PostgreSQL's driver is not installed."""
    if file_of(url) is None:
        return _make_postgresql_engine(url)
    # Without this the driver begins transactions by itself, and not before DDL, so a migration could be half done.
    engine = create_async_engine(url, connect_args={"isolation_level": None})
    sa.event.listen(engine.sync_engine, "connect", _set_pragmas)
    sa.event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _make_postgresql_engine(url: sa.URL) -> AsyncEngine:
    try:
        # Whoever reads several tables must see them all at one revision.
        return create_async_engine(url, isolation_level="REPEATABLE READ", pool_pre_ping=True)
    except ModuleNotFoundError:
        raise StoreError("a store in PostgreSQL needs the package asyncpg: pip install 'zexio[postgres]'") from None


def _set_pragmas(connection: Any, _record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's adapter of the driver has no type
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
