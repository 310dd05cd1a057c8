"""`Vault`: the records of all names, on a shelf that every node of the store shares and follows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec
import structlog

from certs.record import Record
from state.errors import SecretError, Stale
from state.ports import Lease, Sealed, Shelf

_ANY: Final = -1


class Kept(msgspec.Struct, frozen=True):
    """A record and the version of it that is on the shelf; 0: none is, -1: whatever it is."""

    record: Record
    version: int = 0


class Vault:
    """Knows every record. What is in memory is never newer than what is on the shelf."""

    def __init__(self, shelf: Shelf) -> None:
        """With nothing read yet."""
        self._shelf = shelf
        self._kept: dict[str, Kept] = {}
        self._version = 0

    @property
    def names(self) -> frozenset[str]:
        """Everybody of whom something is remembered."""
        return frozenset(self._kept)

    @property
    def records(self) -> Mapping[str, Kept]:
        """Everything that is remembered, to read."""
        return MappingProxyType(self._kept)

    def get(self, name: str) -> Record:
        """What is remembered of a name; an empty record when that is nothing."""
        kept = self._kept.get(name)
        return Record(name=name) if kept is None else kept.record

    async def follow(self) -> frozenset[str]:
        """Read what was written since the last time, all of it at first; the names of which something else is known.

        Raises StoreError.
        """
        changed = set()
        for sealed in await self._shelf.since(self._version):
            self._version = max(self._version, sealed.version)
            if self._take(sealed):
                changed.add(sealed.key)
        return frozenset(changed)

    async def refreshed(self, name: str) -> Record:
        """What is on the shelf of a name now; raises StoreError."""
        try:
            sealed = await self._shelf.get(name)
        except SecretError as error:
            structlog.get_logger().error(
                "what is remembered of a certificate was altered", name=name, reason=str(error)
            )
            self._kept[name] = Kept(Record(name=name), _ANY)
            return self.get(name)
        if sealed is None:
            self._kept.pop(name, None)
        else:
            self._take(sealed)
        return self.get(name)

    async def save(self, record: Record, lease: Lease | None) -> Record:
        """Make a record durable and return it, with what an operator asked for meanwhile.

        Raises Stale when the lease was lost, StoreError when it is not known whether the record was written.
        """
        while True:
            kept = self._kept.get(record.name, Kept(Record(name=record.name)))
            try:
                version = await self._put(record, kept.version, lease)
            except Stale:
                found = await self.refreshed(record.name)
                if self._kept.get(record.name, Kept(record)).version == kept.version:
                    # Nobody has written: it is the lease that is gone.
                    raise
                if found.asked_at != kept.record.asked_at and found.asked_at is not None:
                    record = _asked(record, found.asked_at)
            else:
                self._kept[record.name] = Kept(record, version)
                return record

    async def ask(self, record: Record) -> None:
        """Save what an operator asked for, beside the work of whoever has the lease; raises Stale and StoreError."""
        kept = self._kept.get(record.name, Kept(record))
        version = await self._put(record, kept.version, None)
        self._kept[record.name] = Kept(record, version)

    async def forget(self, name: str) -> None:
        """Remove what is remembered of a name, if nobody has written it meanwhile; raises StoreError."""
        kept = self._kept.get(name)
        if kept is not None:
            await self._shelf.remove(name, expect=None if kept.version == _ANY else kept.version)
            self._kept.pop(name, None)

    async def _put(self, record: Record, version: int, lease: Lease | None) -> int:
        expected = None if version == _ANY else version
        return await self._shelf.put(record.name, msgspec.msgpack.encode(record), expect=expected, lease=lease)

    def _take(self, sealed: Sealed) -> bool:
        """Whether something else is known now than before."""
        kept = self._kept.get(sealed.key)
        if kept is not None and sealed.version <= kept.version:
            return False
        if sealed.body is None:
            return self._kept.pop(sealed.key, None) is not None
        record = _decoded(sealed.key, sealed.body)
        self._kept[sealed.key] = Kept(record, sealed.version)
        return kept is None or kept.record != record


def _asked(record: Record, at: datetime) -> Record:
    """With what an operator asked for while this was done, unless it is this that was asked for."""
    is_done = record.held is not None and record.held.plan.obtained_at >= at
    return record if is_done else record.asked(at)


def _decoded(name: str, body: bytes) -> Record:
    try:
        return msgspec.msgpack.decode(body, type=Record)
    except msgspec.MsgspecError as error:
        # An order too many is better than a node that does not start, and what cannot be read cannot be served.
        structlog.get_logger().error("what is remembered of a certificate is damaged", name=name, reason=str(error))
        return Record(name=name)
