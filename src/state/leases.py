"""Leases: work that one of all the nodes of a store does alone, by the database's own clock."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from state.ports import Lease
from state.schema import LEASES
from state.transactions import Transactions, seconds_now

FORGOTTEN_S: Final = 7 * 86_400
_CLEAN_EVERY: Final = 100
_WHAT: Final = "the lease cannot be written"


class StoredLeases:
    """The leases of one holder.

    A lease whose time has run out is not lost before another has taken it: what was done meanwhile was done alone.
    """

    def __init__(self, transactions: Transactions, holder: str) -> None:
        """Leases for `holder`, whose name no other process has, or had before it."""
        self._transactions = transactions
        self._holder = holder
        self._releases = 0

    async def take(self, name: str, ttl_s: float) -> Lease | None:
        """As in state.ports.Leases; also raises StoreError."""

        async def write(connection: AsyncConnection) -> int | None:
            fence: int | None = await connection.scalar(_taking(connection, name, self._holder, ttl_s))
            return fence

        fence = await self._transactions.write(_WHAT, write)
        return None if fence is None else Lease(name, self._holder, fence)

    async def keep(self, lease: Lease, ttl_s: float) -> bool:
        """As in state.ports.Leases; also raises StoreError, and then it is not known."""

        async def write(connection: AsyncConnection) -> bool:
            kept = _held(lease).values(expires_at=seconds_now(connection) + ttl_s)
            return await connection.scalar(kept.returning(LEASES.c.fence)) is not None

        return await self._transactions.write(_WHAT, write)

    async def release(self, lease: Lease) -> None:
        """As in state.ports.Leases; also raises StoreError."""

        async def write(connection: AsyncConnection) -> None:
            now = seconds_now(connection)
            # The row stays for some days, and with it the fence: one that began anew could be that of an older lease.
            await connection.execute(_held(lease).values(holder="", expires_at=now))
            if self._releases % _CLEAN_EVERY == 0:
                await connection.execute(sa.delete(LEASES).where(LEASES.c.expires_at < now - FORGOTTEN_S))
            self._releases += 1

        await self._transactions.write(_WHAT, write)


def _held(lease: Lease) -> sa.Update:
    return sa.update(LEASES).where(
        LEASES.c.name == lease.name, LEASES.c.holder == lease.holder, LEASES.c.fence == lease.fence
    )


def _taking(connection: AsyncConnection, name: str, holder: str, ttl_s: float) -> sa.Executable:
    now = seconds_now(connection)
    insert = postgresql.insert(LEASES) if connection.dialect.name == "postgresql" else sqlite.insert(LEASES)
    insert = insert.values(name=name, holder=holder, fence=1, expires_at=now + ttl_s)
    is_mine = LEASES.c.holder == holder
    new = {
        "holder": holder,
        "fence": sa.case((is_mine, LEASES.c.fence), else_=LEASES.c.fence + 1),
        "expires_at": insert.excluded.expires_at,
    }
    upsert = insert.on_conflict_do_update(
        index_elements=[LEASES.c.name], set_=new, where=sa.or_(is_mine, LEASES.c.expires_at <= now)
    )
    return upsert.returning(LEASES.c.fence)
