"""Stores to test with: SQLite in a file, and PostgreSQL where its programs are installed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from state.secrets import Secrets
from state.store import Store
from tests.state.postgresql_server import PostgresqlServer
from tests.state.samples import NOON


@pytest.fixture(scope="session")
def secrets() -> Secrets:
    """Secrets under a key of this run."""
    return Secrets(os.urandom(32))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A server of this run."""
    if not PostgresqlServer.is_installed():
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    with PostgresqlServer() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> str:
    """An empty PostgreSQL database."""
    postgresql.empty()
    return postgresql.url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Where a new SQLite store may be made."""
    return f"sqlite:///{tmp_path}/data/zexio.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty store, once of each kind."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
async def store(url: str, secrets: Secrets) -> AsyncIterator[Store]:
    """An open store whose clock stands still."""
    async with await Store.open(url, secrets, clock=lambda: NOON) as opened:
        yield opened
