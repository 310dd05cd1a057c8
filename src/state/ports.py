"""What others are given of the store: `Changes` to ask for one, `Views` to watch, `Records` to look back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from state.audit import AuditEntry
from state.cell import Cell
from state.change import Actor, Change, Expectation
from state.journal import Journal
from state.model import Desired
from state.observed import Observed


class Changes(Protocol):
    """The one way to change what is wanted."""

    async def submit(self, change: Change, *, actor: Actor, expect: Expectation | None = None) -> Desired:
        """Make `change` durable, announce it, and return the value that it made.

        Raises state.refusal.Refused when the change is not admissible and state.errors.StoreError when it could not be
        saved; nothing is announced then. A cancelled call may still come into effect, on disk and in memory alike.
        """
        ...


class Views(Protocol):
    """What is wanted and what is true, to read at once or to watch."""

    @property
    def desired(self) -> Cell[Desired]:
        """What operators want; every value in it is on disk."""
        ...

    @property
    def observed(self) -> Cell[Observed]:
        """What was reported of late."""
        ...


class Records(Protocol):
    """What happened."""

    @property
    def journal(self) -> Journal:
        """The node's own log lines of late."""
        ...

    async def audit(self, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
        """The newest `limit` changes, newest first, of those with a revision less than `before`."""
        ...


class Sealed(msgspec.Struct, frozen=True):
    """A value of a shelf: its `version` grows with every write to the store; `body` is None once it is removed."""

    key: str
    version: int
    body: bytes | None

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"Sealed({self.key}, version {self.version}{', removed' if self.body is None else ''})"


class Lease(msgspec.Struct, frozen=True):
    """Work that one holder does alone. `fence` grows each time that another takes it over."""

    name: str
    holder: str
    fence: int


class Shelf(Protocol):
    """Small values by key, sealed with the node key and shared by all nodes of the store."""

    async def get(self, key: str) -> Sealed | None:
        """The value, or None when there is none."""
        ...

    async def since(self, version: int = 0) -> Sequence[Sealed]:
        """What was written or removed after `version`, oldest first; of each key the newest. 0: everything there is."""
        ...

    async def put(self, key: str, body: bytes, *, expect: int | None = None, lease: Lease | None = None) -> int:
        """Write a value and return its version.

        Raises state.errors.Stale, and writes nothing, when `expect` is given and is not the present version (0: there
        must be none), or when `lease` is given and is held no more.
        """
        ...

    async def remove(self, key: str, *, expect: int | None = None, lease: Lease | None = None) -> None:
        """Remove a value, if there is one; raises as `put` does."""
        ...


class Leases(Protocol):
    """Who does what, of all the nodes that share the store. The time is that of the database."""

    async def take(self, name: str, ttl_s: float) -> Lease | None:
        """The lease of `name` for so many seconds; None while another holder has it. Who has it gets it again."""
        ...

    async def keep(self, lease: Lease, ttl_s: float) -> bool:
        """Have it for so many seconds from now; False when it was lost."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give it back at once, if it is still held."""
        ...


RevocationReason = Literal["unspecified", "key_compromise", "superseded", "cessation_of_operation"]


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """One finding about a name's records: whether it stands in the way, and what to do, for the customer to read."""

    is_blocking: bool
    text: str


class CertificateDesk(Protocol):
    """What operators ask of the certificates themselves.

    Every call raises state.refusal.Refused: "missing" when there is no such name, "invalid" or "conflict" otherwise.
    """

    async def renew(self, name: str) -> None:
        """Obtain a new certificate for a wanted name now, whatever was planned. Durable when it returns."""
        ...

    async def revoke(self, name: str, reason: RevocationReason) -> None:
        """Have the issuer revoke the certificate, and obtain another with a new key if the name is still wanted."""
        ...

    async def import_pem(self, pem: bytes) -> str:
        """Keep and serve a certificate that was obtained elsewhere, chain and key in PEM; the name that it goes by."""
        ...

    async def remove(self, name: str) -> None:
        """Forget a certificate that was imported, and serve it no more."""
        ...

    async def export_pem(self, name: str, *, with_key: bool) -> bytes:
        """The chain in PEM, leaf first, and behind it the key if wanted."""
        ...

    async def root_pem(self) -> bytes:
        """The root of the internal authority, for others to trust."""
        ...

    async def check(self, name: str) -> Sequence[Advice]:
        """What the public records of a name say about its chances, without spending an order."""
        ...
