"""Opening: what cannot be trusted is not opened, and says so in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from state.errors import SecretError, StateError, StoreError
from state.opening import open_tables
from state.schema import CHANGES, KIND_TABLES, META
from state.secrets import Secrets
from state.store import Store
from tests.state.samples import OPERATOR, put, put_domain


async def filled(url: str, secrets: Secrets) -> None:
    """Leave a store with one value of each kind behind."""
    async with await Store.open(url, secrets) as store:
        await store.submit(put(org_id="org_a"), actor=OPERATOR)
        await store.submit(put_domain(), actor=OPERATOR)


async def tamper(url: str, secrets: Secrets, statement: sa.Executable) -> None:
    """Change a store behind its back."""
    tables = await open_tables(url, secrets)
    async with tables.resources, tables.engine.begin() as connection:
        await connection.execute(statement)


async def refusal(url: str, secrets: Secrets) -> StateError:
    """Why a store is not opened; always one line."""
    with pytest.raises(StateError) as caught:
        await open_tables(url, secrets)
    assert "\n" not in str(caught.value)
    return caught.value


async def test_a_store_opens_again(url: str, secrets: Secrets) -> None:
    """With what was in it."""
    await filled(url, secrets)
    async with (tables := await open_tables(url, secrets)).resources:
        assert (tables.desired.revision, len(tables.desired.routes)) == (2, 1)


async def test_a_wrong_key_opens_nothing(url: str, secrets: Secrets) -> None:
    """Not even where nothing is sealed yet: it would seal the next secret with the wrong key."""
    await filled(url, secrets)
    error = await refusal(url, Secrets(os.urandom(32)))
    assert isinstance(error, SecretError)
    assert str(error).startswith("the node key is not the one of this store: ")
    async with (await open_tables(url, secrets)).resources:
        pass


async def test_a_store_without_its_proof_is_refused(url: str, secrets: Secrets) -> None:
    """Removing the proof must not be the way around it."""
    await filled(url, secrets)
    await tamper(url, secrets, sa.delete(META).where(META.c.name == "node_key_check"))
    assert isinstance(await refusal(url, secrets), SecretError)


@pytest.mark.parametrize(
    "statement",
    [
        sa.update(table).values(**{column: value})
        for table in KIND_TABLES.values()
        for column, value in (("body", b"{}"), ("key", "b.example/"), ("revision", 7))
    ],
    ids=str,
)
async def test_an_altered_row_is_refused(url: str, secrets: Secrets, statement: sa.Executable) -> None:
    """A node does not begin with half of what was wanted."""
    await filled(url, secrets)
    await tamper(url, secrets, statement)
    assert isinstance(await refusal(url, secrets), StoreError)


async def test_a_newer_store_is_refused(url: str, secrets: Secrets) -> None:
    """By its number."""
    await filled(url, secrets)
    await tamper(url, secrets, sa.update(META).where(META.c.name == "schema_version").values(value=b"999"))
    assert "999" in str(await refusal(url, secrets))


async def test_two_nodes_do_not_share_a_file(sqlite_url: str, secrets: Secrets) -> None:
    """The second is told who has it, and may have it afterwards."""
    async with await Store.open(sqlite_url, secrets):
        assert f"is in use by another node (process {os.getpid()})" in str(await refusal(sqlite_url, secrets))
    async with (await open_tables(sqlite_url, secrets)).resources:
        pass


async def test_a_failed_start_holds_no_lock(sqlite_url: str, secrets: Secrets) -> None:
    """With the right key the next start succeeds at once."""
    await filled(sqlite_url, secrets)
    for _ in range(2):
        assert isinstance(await refusal(sqlite_url, Secrets(os.urandom(32))), SecretError)


async def test_another_file_is_not_overwritten(tmp_path: Path, secrets: Secrets) -> None:
    """A path that was mistyped."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, this is no database. " * 100)
    refused = await refusal(f"sqlite:///{path}", secrets)
    assert str(refused) == f"the store {path} cannot be opened: file is not a database"
    assert path.read_text().startswith("Dear reader")


async def test_a_damaged_file_is_reported(sqlite_url: str, secrets: Secrets, tmp_path: Path) -> None:
    """By the database's own words."""
    await filled(sqlite_url, secrets)
    path = tmp_path / "data" / "zexio.db"
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    assert "malformed" in str(await refusal(sqlite_url, secrets))


async def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path, secrets: Secrets) -> None:
    """By its path."""
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file" in str(await refusal(f"sqlite:///{tmp_path}/file/zexio.db", secrets))


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("/postgres?", "/absent?", "does not exist"),
        ("zexio@", "nobody:hush@", "does not exist"),
        ("host=", "host=/absent", "No such file"),
    ],
)
async def test_a_server_that_refuses_is_reported(
    postgresql_url: str, secrets: Secrets, right: str, wrong: str, reason: str
) -> None:
    """In the server's words, without the password that did not help."""
    error = str(await refusal(postgresql_url.replace(right, wrong), secrets))
    assert reason in error
    assert "hush" not in error


async def test_reading_sees_one_revision(postgresql_url: str, secrets: Secrets) -> None:
    """Tables that are read one after the other are read as of one moment, while another node writes."""
    tables = await open_tables(postgresql_url, secrets)
    async with tables.resources, tables.engine.begin() as connection:
        before = await revision(connection)
        await filled(postgresql_url, secrets)
        assert await revision(connection) == before


async def revision(connection: AsyncConnection) -> int | None:
    """The newest one."""
    found: int | None = await connection.scalar(sa.select(sa.func.max(CHANGES.c.revision)))
    return found
