"""Rows: what one change touched is written, what others wrote is read, and the two agree."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from state import rows
from state.audit import AuditEntry
from state.change import Change, PutOrganization, RemoveOrganization, RemoveRoute, apply
from state.codec import Codec
from state.domains import RemoveDomain
from state.history import HISTORY_LIMIT
from state.kinds import Kind
from state.model import Desired
from state.opening import open_tables
from state.secrets import Secrets
from tests.state.samples import NOON, OPERATOR, put, put_domain

CHANGES = (
    put("a.example", org_id="org_a"),
    put("b.example", org_id="org_a"),
    put("a.example", org_id="org_b"),
    put("a.example", path_prefix="/api"),
    RemoveRoute(host="b.example"),
    RemoveOrganization(id="org_a"),
    PutOrganization(id="org_b", name="B"),
    put_domain("w.example", serves="a.example"),
    put_domain("v.example", serves="a.example", token="t"),
    RemoveDomain(name="w.example"),
)


@pytest.fixture
async def connection(url: str, secrets: Secrets) -> AsyncIterator[AsyncConnection]:
    """A transaction on an empty store."""
    tables = await open_tables(url, secrets)
    async with tables.resources, tables.engine.begin() as connection:
        yield connection


@pytest.fixture
def codec(secrets: Secrets) -> Codec:
    """The codec of the store."""
    return Codec(secrets)


def entry(desired: Desired) -> AuditEntry:
    """The record of the newest change."""
    return AuditEntry(
        revision=desired.revision,
        at=NOON,
        actor=OPERATOR,
        change="put_route",
        subject="x",
        summary=f"#{desired.revision}",
    )


async def written(connection: AsyncConnection, codec: Codec, *changes: Change) -> list[Desired]:
    """Every value on the way through some changes, each of them written."""
    values = [Desired()]
    for change in changes:
        values.append(apply(values[-1], change, at=NOON))
        await rows.write(connection, codec, values[-1], entry(values[-1]))
    return values


def content(desired: Desired) -> tuple[object, ...]:
    """What two values are compared by; how they came about is not part of it."""
    return (desired.revision, desired.uses, desired.prefixes, desired.aliases, *(desired.values(kind) for kind in Kind))


async def test_what_is_loaded_is_what_was_written(connection: AsyncConnection, codec: Codec) -> None:
    """After every kind of change."""
    values = await written(connection, codec, *CHANGES)
    assert content(await rows.load(connection, codec)) == content(values[-1])


@pytest.mark.parametrize("revision", range(len(CHANGES) + 1))
async def test_catching_up_leads_to_the_same_value(connection: AsyncConnection, codec: Codec, revision: int) -> None:
    """From anywhere; values that came and went in between included."""
    values = await written(connection, codec, *CHANGES)
    caught_up = await rows.catch_up(connection, codec, values[revision])
    assert content(caught_up) == content(values[-1])
    assert caught_up.touched_since(revision) == values[-1].touched_since(revision)


async def test_being_up_to_date_costs_no_new_value(connection: AsyncConnection, codec: Codec) -> None:
    """So nobody is woken."""
    values = await written(connection, codec, *CHANGES)
    assert await rows.catch_up(connection, codec, values[-1]) is values[-1]


async def test_a_revision_is_written_once(connection: AsyncConnection, codec: Codec) -> None:
    """And the second writer has touched no row when it hears of it."""
    values = await written(connection, codec, put("a.example"))
    rival = apply(Desired(), put("b.example"), at=NOON)
    with pytest.raises(IntegrityError):
        async with connection.begin_nested():
            await rows.write(connection, codec, rival, entry(rival))
    assert content(await rows.load(connection, codec)) == content(values[-1])


async def test_a_change_too_large_to_remember_is_not_half_written(connection: AsyncConnection, codec: Codec) -> None:
    """The history says what to write, so it has to hold all of it."""
    desired = Desired().advanced_to(1)
    for number in range(HISTORY_LIMIT + 1):
        desired = desired.with_value(Kind.ROUTE, put(f"h{number}.example", revision=1).route)
    with pytest.raises(ValueError, match="touches more than"):
        await rows.write(connection, codec, desired, entry(desired))
    assert (await rows.load(connection, codec)).revision == 0


async def test_the_audit_is_read_backwards(connection: AsyncConnection, codec: Codec) -> None:
    """A page at a time."""
    values = await written(connection, codec, *CHANGES)
    newest = await rows.read_audit(connection, 2, None)
    assert newest == [entry(values[10]), entry(values[9])]
    assert [found.revision for found in await rows.read_audit(connection, 4, newest[-1].revision)] == [8, 7, 6, 5]
