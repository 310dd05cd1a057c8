"""From a URL to content that can be trusted: the lock, the newest schema, the right node key, every row read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from state import rows
from state.codec import Codec
from state.database import file_of, make_engine, make_file, name_of, parse_url
from state.errors import SecretError, StoreError
from state.file_lock import FileLock
from state.migrations.runner import migrate
from state.model import Desired
from state.schema import CHANGES, LEASES, META
from state.secrets import Secrets

KEY_CHECK: Final = "node_key_check"
_CONTEXT: Final = f"meta/{KEY_CHECK}"
_PROOF: Final = b"this key wrote this store"


class OpenTables(msgspec.Struct, frozen=True):
    """An open database, what is in it, and what is to be let go of in the end."""

    engine: AsyncEngine
    secrets: Secrets
    codec: Codec
    desired: Desired
    resources: AsyncExitStack


async def open_tables(url: str, secrets: Secrets) -> OpenTables:
    """The tables at `url`, locked, migrated and read.

    Raises StoreError when the store is in use, newer than the program or damaged, and SecretError for a wrong key.
    """
    parsed = parse_url(url)
    async with AsyncExitStack() as resources:
        with store_errors(f"the store {name_of(parsed)} cannot be opened"):
            await _lock(file_of(parsed), resources)
            engine = make_engine(parsed)
            resources.push_async_callback(engine.dispose)
            await migrate(engine)
            await _check_key(engine, secrets)
            codec = Codec(secrets)
            async with engine.begin() as connection:
                desired = await rows.load(connection, codec)
                await _drop_leases(connection)
        return OpenTables(engine, secrets, codec, desired, resources.pop_all())


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turn what the database says into one line that begins with `what`, without statements or values."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = str(cause).strip().partition("\n")[0]
        raise StoreError(f"{what}: {reason or type(cause).__name__}") from error


async def _lock(path: Path | None, resources: AsyncExitStack) -> None:
    if path is not None:
        lock = await asyncio.to_thread(_claim, path)
        resources.callback(lock.release)


def _claim(path: Path) -> FileLock:
    make_file(path)
    return FileLock(path)


async def _check_key(engine: AsyncEngine, secrets: Secrets) -> None:
    async with engine.begin() as connection:
        sealed = await connection.scalar(sa.select(META.c.value).where(META.c.name == KEY_CHECK))
        if sealed is not None:
            _prove(secrets, sealed)
        elif await connection.scalar(sa.select(sa.func.max(CHANGES.c.revision))):
            raise SecretError("the store has changes but no proof of its node key: it was tampered with")
        else:
            proof = secrets.seal(_PROOF, _CONTEXT)
            await connection.execute(sa.insert(META).values(name=KEY_CHECK, value=proof))


async def _drop_leases(connection: AsyncConnection) -> None:
    """Let no holder of before be in the way: the file has one process at a time, which is this one."""
    if connection.dialect.name == "sqlite":
        await connection.execute(sa.delete(LEASES))


def _prove(secrets: Secrets, sealed: bytes) -> None:
    try:
        secrets.open(sealed, _CONTEXT)
    except SecretError as error:
        raise SecretError(f"the node key is not the one of this store: {error}") from None
