"""Desired and the audit as rows: read everything, write what one change touched, read what others wrote."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from state.audit import AuditEntry
from state.change import Actor
from state.codec import Codec, StoredRow
from state.history import HISTORY_LIMIT, Touch
from state.kinds import Kind
from state.model import KINDS, Desired, Entity
from state.schema import CHANGES, KIND_TABLES

_TOUCHED = msgspec.json.Decoder(list[tuple[Kind, str]])


async def load(connection: AsyncConnection, codec: Codec) -> Desired:
    """Everything that is stored; raises StoreError or SecretError when any row is not what was written."""
    revision = await connection.scalar(sa.select(sa.func.max(CHANGES.c.revision))) or 0
    return Desired.restored(revision, {kind: await _load_kind(connection, codec, kind) for kind in Kind})


async def _load_kind(connection: AsyncConnection, codec: Codec, kind: Kind) -> list[Entity]:
    table = KIND_TABLES[kind]
    rows = await connection.execute(sa.select(table.c.key, table.c.revision, table.c.body))
    return [codec.decode(kind, StoredRow(*row)) for row in rows]


async def write(connection: AsyncConnection, codec: Codec, desired: Desired, entry: AuditEntry) -> None:
    """Record a change and put or remove the rows that it touched.

    Raises sqlalchemy.exc.IntegrityError, before any row is changed, when the revision was written by someone else, and
    ValueError when the change touched more values than the history of `desired` holds.
    """
    if desired.history.start >= entry.revision:
        raise ValueError(f"the change touches more than {HISTORY_LIMIT} values")
    touches = desired.history.after(entry.revision - 1)
    await connection.execute(sa.insert(CHANGES), _change_row(entry, touches))
    for touch in touches:
        await _write_touch(connection, codec, desired, touch)


async def _write_touch(connection: AsyncConnection, codec: Codec, desired: Desired, touch: Touch) -> None:
    table = KIND_TABLES[touch.kind]
    value = desired.get(touch.kind, touch.key)
    if value is None:
        await connection.execute(sa.delete(table).where(table.c.key == str(touch.key)))
        return
    row = codec.encode(touch.kind, value)
    upsert = _upsert(table, connection.dialect.name)
    await connection.execute(upsert, {"key": row.key, "revision": row.revision, "body": row.body})


def _upsert(table: sa.Table, dialect: str) -> sa.Insert:
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    new = {"revision": insert.excluded.revision, "body": insert.excluded.body}
    return insert.on_conflict_do_update(index_elements=[table.c.key], set_=new)


async def catch_up(connection: AsyncConnection, codec: Codec, desired: Desired) -> Desired:
    """`desired` with what was written after its revision, by this node or another."""
    changes = sa.select(CHANGES.c.revision, CHANGES.c.touched).where(CHANGES.c.revision > desired.revision)
    for revision, touched in (await connection.execute(changes.order_by(CHANGES.c.revision))).all():
        desired = desired.advanced_to(revision)
        for kind, key in _TOUCHED.decode(touched):
            desired = await _reread(connection, codec, desired, kind, key)
    return desired


async def _reread(connection: AsyncConnection, codec: Codec, desired: Desired, kind: Kind, key: str) -> Desired:
    table = KIND_TABLES[kind]
    query = sa.select(table.c.key, table.c.revision, table.c.body).where(table.c.key == key)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return desired.without(kind, KINDS[kind].parse_key(key))
    return desired.with_value(kind, codec.decode(kind, StoredRow(*row)))


async def read_audit(connection: AsyncConnection, limit: int, before: int | None) -> list[AuditEntry]:
    """The newest `limit` entries, newest first, of those before the revision `before`."""
    query = sa.select(CHANGES).order_by(CHANGES.c.revision.desc()).limit(limit)
    if before is not None:
        query = query.where(CHANGES.c.revision < before)
    return [_entry(row) for row in await connection.execute(query)]


def _change_row(entry: AuditEntry, touches: tuple[Touch, ...]) -> dict[str, Any]:
    return {
        "revision": entry.revision,
        "at": entry.at.isoformat(),
        "actor_kind": entry.actor.kind,
        "actor_name": entry.actor.name,
        "actor_address": entry.actor.address,
        "change": entry.change,
        "subject": entry.subject,
        "summary": entry.summary,
        "touched": msgspec.json.encode([(touch.kind, str(touch.key)) for touch in touches]).decode(),
    }


def _entry(row: sa.Row[Any]) -> AuditEntry:
    return AuditEntry(
        revision=row.revision,
        at=datetime.fromisoformat(row.at),
        actor=Actor(kind=row.actor_kind, name=row.actor_name, address=row.actor_address),
        change=row.change,
        subject=row.subject,
        summary=row.summary,
    )
