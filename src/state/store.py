"""`Store`: what is wanted, on disk before it is announced, and what is observed, in memory."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Self

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from state import rows
from state.audit import AuditEntry, summarize
from state.cell import Cell
from state.change import Actor, Change, Expectation, apply
from state.errors import StoreError
from state.holdings import Holdings
from state.journal import Journal
from state.leases import StoredLeases
from state.model import Desired
from state.observed import Observed
from state.opening import OpenTables, open_tables, store_errors
from state.secrets import Secrets
from state.shelf import StoredShelf
from state.transactions import Transactions
from state.turns import Turns


def utc_now() -> datetime:
    """The moment, aware of its zone."""
    return datetime.now(UTC)


class Submission(msgspec.Struct, frozen=True):
    """A change, who asks for it, and what they expect to find."""

    change: Change
    actor: Actor
    expect: Expectation | None


class Store:
    """The one writer of what is wanted. It belongs to one event loop, and is made by `open`."""

    def __init__(self, tables: OpenTables, journal: Journal, clock: Callable[[], datetime]) -> None:
        self.desired = Cell(tables.desired)
        self.observed = Cell(Observed())
        self.holdings = Cell(Holdings())
        self.journal = journal
        self._tables = tables
        self._clock = clock
        self._is_closed = False
        self._turn = Turns()
        self._transactions = Transactions(tables.engine, self._turn)
        self._shelves: dict[str, StoredShelf] = {}
        self.leases = StoredLeases(self._transactions, uuid.uuid4().hex)

    @classmethod
    async def open(
        cls, url: str, secrets: Secrets, *, journal: Journal | None = None, clock: Callable[[], datetime] = utc_now
    ) -> Self:
        """The store at `url` (`sqlite:////path/zexio.db` or `postgresql://user@host/name`), made where there is none.

        Raises StoreError when it is in use, newer than the program or damaged, and SecretError when `secrets` is not
        under the key that it was written with. Each is one line for the operator.
        """
        return cls(await open_tables(url, secrets), journal or Journal(), clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exit: object) -> None:
        await self.close()

    @property
    def is_shared(self) -> bool:
        """Whether other nodes may write to the store too."""
        return self._transactions.is_shared

    def shelf(self, name: str) -> StoredShelf:
        """The shelf called `name`, which has no slash."""
        if name not in self._shelves:
            self._shelves[name] = StoredShelf(name, self._transactions, self._tables.secrets)
        return self._shelves[name]

    async def submit(self, change: Change, *, actor: Actor, expect: Expectation | None = None) -> Desired:
        """Make `change` durable, announce it, and return the value that it made.

        Raises Refused when the change is not admissible, and StoreError when it could not be saved; then nothing is
        announced. A call that is cancelled while it waits for its turn changes nothing; later, the change goes on
        without it, so that disk and memory agree.
        """
        submission = Submission(change, actor, expect)
        return await self._turn.run(lambda: self._write(submission), "state: write")

    async def catch_up(self) -> Desired:
        """Announce what other nodes wrote to a shared store; what a change feed calls when it hears of something."""
        async with self._turn:
            with store_errors("the store cannot be read"):
                return await self._catch_up()

    async def audit(self, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
        """The newest `limit` changes, newest first, of those with a revision less than `before`."""
        with store_errors("the audit cannot be read"):
            async with self._transaction() as connection:
                return await rows.read_audit(connection, limit, before)

    async def close(self) -> None:
        """Finish the write that is under way and let go of the store. A closed store takes no change."""
        await self._transactions.close()
        async with self._turn:
            self._is_closed = True
            await self._tables.resources.aclose()

    async def _write(self, submission: Submission) -> Desired:
        with store_errors("the change could not be saved"):
            while True:
                written = await self._try_to_write(submission)
                if written is not None:
                    return written

    async def _try_to_write(self, submission: Submission) -> Desired | None:
        before = self.desired.value
        at = self._clock()
        after = apply(before, submission.change, at=at, expect=submission.expect)
        if after is before:
            return before
        try:
            async with self._transaction() as connection:
                await rows.write(connection, self._tables.codec, after, _entry(submission, at, before, after))
        except IntegrityError:
            # The revision is on disk already: another node was first, or a commit that seemed to fail did not. Once
            # that is known the change is judged anew; if nothing new is there, the error is about something else.
            if await self._catch_up() is before:
                raise
            return None
        self.desired.set(after)
        return after

    async def _catch_up(self) -> Desired:
        before = self.desired.value
        async with self._transaction() as connection:
            after = await rows.catch_up(connection, self._tables.codec, before)
        if after is not before:
            self.desired.set(after)
        return after

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        if self._is_closed:
            raise StoreError("the store is closed")
        async with self._tables.engine.begin() as connection:
            yield connection


def _entry(submission: Submission, at: datetime, before: Desired, after: Desired) -> AuditEntry:
    return AuditEntry(
        revision=after.revision,
        at=at,
        actor=submission.actor,
        change=str(submission.change.__struct_config__.tag),
        subject=str(after.history.after(before.revision)[0].key),
        summary=summarize(before, after),
    )
