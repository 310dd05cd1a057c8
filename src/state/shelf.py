"""Shelves: small sealed values by key that are no wishes of operators, shared by all nodes of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from state.errors import SecretError, Stale
from state.ports import Lease, Sealed
from state.schema import LEASES, SHELVES
from state.secrets import Secrets
from state.transactions import Transactions, seconds_now

TOMBSTONES_S: Final = 7 * 86_400
_CLEAN_EVERY: Final = 100
_POSTGRESQL_LOCK: Final = 0x7368656C  # any number that nobody else locks in this database


class StoredShelf:
    """One shelf. Its rows are sealed with the node key for their place: shelf, key and version."""

    def __init__(self, name: str, transactions: Transactions, secrets: Secrets) -> None:
        """The shelf called `name`; raises ValueError for a slash, with which two places could read the same."""
        if "/" in name:
            raise ValueError(f"a shelf's name has no slash: {name}")
        self._name = name
        self._transactions = transactions
        self._secrets = secrets
        self._damaged: set[tuple[str, int]] = set()
        self._removals = 0

    async def get(self, key: str) -> Sealed | None:
        """As in state.ports.Shelf; also raises StoreError, and SecretError when the row is not what was written."""
        query = sa.select(SHELVES.c.key, SHELVES.c.version, SHELVES.c.body).where(self._is_at(key))
        async with self._transactions.reading("the shelf cannot be read") as connection:
            row = (await connection.execute(query.where(SHELVES.c.removed_at.is_(None)))).one_or_none()
        return self._opened(*row) if row else None

    async def since(self, version: int = 0) -> Sequence[Sealed]:
        """As in state.ports.Shelf; also raises StoreError. What was removed is told for `TOMBSTONES_S` seconds.

        A row that is not what was written is left out, and logged once: one damaged certificate must not take all the
        others along. Whoever asks for it with `get` is told.
        """
        query = sa.select(SHELVES.c.key, SHELVES.c.version, SHELVES.c.body).where(SHELVES.c.shelf == self._name)
        query = query.where(SHELVES.c.version > version if version else SHELVES.c.removed_at.is_(None))
        async with self._transactions.reading("the shelf cannot be read") as connection:
            rows = (await connection.execute(query.order_by(SHELVES.c.version))).all()
        return [value for row in rows if (value := self._believed(*row)) is not None]

    async def put(self, key: str, body: bytes, *, expect: int | None = None, lease: Lease | None = None) -> int:
        """As in state.ports.Shelf; also raises StoreError, and then it is not known whether the value was written."""

        async def write(connection: AsyncConnection) -> int:
            newest = await self._begin(connection, key, _Terms(expect, lease))
            sealed = self._secrets.seal(body, self._context(key, newest + 1))
            row = {"shelf": self._name, "key": key, "version": newest + 1, "body": sealed, "removed_at": None}
            await connection.execute(_upsert(connection.dialect.name), row)
            return newest + 1

        return await self._transactions.write("the shelf cannot be written", write)

    async def remove(self, key: str, *, expect: int | None = None, lease: Lease | None = None) -> None:
        """As in state.ports.Shelf; also raises StoreError, and then it is not known whether the value was removed."""

        async def write(connection: AsyncConnection) -> None:
            newest = await self._begin(connection, key, _Terms(expect, lease))
            gone = sa.update(SHELVES).where(self._is_at(key), SHELVES.c.removed_at.is_(None))
            gone = gone.values(version=newest + 1, body=None, removed_at=seconds_now(connection))
            await connection.execute(gone)
            if self._removals % _CLEAN_EVERY == 0:
                await connection.execute(_cleaning(connection))
            self._removals += 1

        await self._transactions.write("the shelf cannot be written", write)

    async def _begin(self, connection: AsyncConnection, key: str, terms: _Terms) -> int:
        """The newest version of the store, which nobody else passes before this transaction ends; raises Stale."""
        if connection.dialect.name == "postgresql":
            # Whoever reads what is newer than a version must not find an older one later: they are committed in order.
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))
            if terms.lease is not None:
                await _lock_lease(connection, terms.lease)
        # One question: on SQLite each is half a dozen changes of thread.
        newest, found, is_held = (await connection.execute(self._situation(key, terms))).one()
        if not is_held:
            raise Stale(f"the lease of {terms.lease.name} was lost" if terms.lease else "")
        if terms.expect is not None and (found or 0) != terms.expect:
            raise Stale(f"{self._name}/{key} has the version {found or 0} by now, and {terms.expect} was expected")
        return newest or 0

    def _situation(self, key: str, terms: _Terms) -> sa.Select[Any]:
        """The newest version of the store, the present one of a key, and whether the lease is held."""
        present = sa.select(SHELVES.c.version).where(self._is_at(key), SHELVES.c.removed_at.is_(None))
        is_held = sa.true() if terms.lease is None else sa.exists(_held(terms.lease))
        newest = sa.select(sa.func.max(SHELVES.c.version))
        return sa.select(newest.scalar_subquery(), present.scalar_subquery(), is_held)

    def _is_at(self, key: str) -> sa.ColumnElement[bool]:
        return sa.and_(SHELVES.c.shelf == self._name, SHELVES.c.key == key)

    def _believed(self, key: str, version: int, body: bytes | None) -> Sealed | None:
        try:
            return self._opened(key, version, body)
        except SecretError as error:
            if (key, version) not in self._damaged:
                structlog.get_logger().error(
                    "a row of a shelf is damaged", shelf=self._name, key=key, reason=str(error)
                )
                self._damaged.add((key, version))
            return None

    def _opened(self, key: str, version: int, body: bytes | None) -> Sealed:
        return Sealed(key, version, None if body is None else self._secrets.open(body, self._context(key, version)))

    def _context(self, key: str, version: int) -> str:
        return f"shelves/{self._name}/{key}/{version}"


class _Terms(msgspec.Struct, frozen=True):
    """What must be so for a write to be made."""

    expect: int | None
    lease: Lease | None


def _held(lease: Lease) -> sa.Select[tuple[int]]:
    return sa.select(LEASES.c.fence).where(
        LEASES.c.name == lease.name, LEASES.c.holder == lease.holder, LEASES.c.fence == lease.fence
    )


async def _lock_lease(connection: AsyncConnection, lease: Lease) -> None:
    """Lock the row until the commit, so that whoever takes the lease over finds what was written under it.

    SQLite has no such lock and needs none: its writers take turns.
    """
    await connection.execute(_held(lease).with_for_update(read=True))


def _upsert(dialect: str) -> sa.Insert:
    insert = postgresql.insert(SHELVES) if dialect == "postgresql" else sqlite.insert(SHELVES)
    new = {name: insert.excluded[name] for name in ("version", "body", "removed_at")}
    return insert.on_conflict_do_update(index_elements=[SHELVES.c.shelf, SHELVES.c.key], set_=new)


def _cleaning(connection: AsyncConnection) -> sa.Delete:
    # The newest row stays, whatever it is: it is what the next version is counted from.
    newest = sa.select(sa.func.max(SHELVES.c.version)).scalar_subquery()
    long_ago = seconds_now(connection) - TOMBSTONES_S
    return sa.delete(SHELVES).where(SHELVES.c.removed_at < long_ago, SHELVES.c.version < newest)
