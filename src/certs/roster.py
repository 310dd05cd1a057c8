"""`Roster`: the names that are wanted at this moment, and which of them another name's certificate covers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from certs.record import Record
from certs.wanted import Wanted, all_wanted, covers, touched_names, wanted
from certs.workshop import Workshop
from state.cell import Cell
from state.hosts import wildcard_of
from state.index import members
from state.model import Desired


class Roster:
    """Kept up to date by whoever watches what is desired."""

    def __init__(self, shop: Workshop, desired: Cell[Desired]) -> None:
        """With nobody on it; `call` reads it the first time."""
        self._shop = shop
        self._desired = desired
        self._seen = -1
        self._wanted: dict[str, Wanted] = {}
        self._demanded: set[str] = set()

    @property
    def wanted(self) -> Mapping[str, Wanted]:
        """Everybody on it, to read."""
        return MappingProxyType(self._wanted)

    def get(self, name: str) -> Wanted | None:
        """Why a name is wanted; None when it is not."""
        return self._wanted.get(name)

    def is_kept(self, record: Record) -> bool:
        """Whether the certificate of a name is served: it is wanted, or an operator has brought it."""
        return record.name in self._wanted or (record.held is not None and record.held.source == "imported")

    def demand(self, name: str, *, is_demanded: bool = True) -> None:
        """A visitor's handshake asked for a name, or what came of that is over; `update` makes it count."""
        if is_demanded:
            self._demanded.add(name)
        else:
            self._demanded.discard(name)

    def call(self) -> None:
        """Read everything anew."""
        desired = self._desired.value
        self._seen = desired.revision
        self._wanted = dict(all_wanted(desired, self._shop.settings, self._demanded))
        self._shop.tokens = {name: wish.ownership for name, wish in self._wanted.items() if wish.ownership}
        self._shop.demanded = {name for name, wish in self._wanted.items() if wish.origin == "demand"}

    def news(self) -> Collection[str]:
        """The names that may have changed since the last time, for `update`."""
        desired, before = self._desired.value, self._seen
        self._seen = desired.revision
        touched = touched_names(desired, before)
        return self.everybody() if touched is None else touched

    def everybody(self) -> Collection[str]:
        """All names that are wanted, or may be."""
        return {*self._wanted, *self._desired.value.domains, *self._shop.settings.names, *self._demanded}

    def update(self, name: str) -> bool:
        """Whether it is otherwise with a name than before."""
        wish = wanted(name, self._desired.value, self._shop.settings, self._demanded)
        if wish == self._wanted.get(name):
            return False
        if wish is None:
            del self._wanted[name]
        else:
            self._wanted[name] = wish
        self._shop.tokens.pop(name, None)
        self._shop.demanded.discard(name)
        if wish is not None and wish.ownership:
            self._shop.tokens[name] = wish.ownership
        if wish is not None and wish.origin == "demand":
            self._shop.demanded.add(name)
        return True

    def cover_of(self, name: str, now: datetime) -> Record | None:
        """The name whose certificate is also for this one, so that it needs none of its own."""
        if self._shop.owes_proof(self._shop.vault.get(name)):
            # Or a customer would get the name that another one's wildcard covers, and its certificate with it.
            return None
        index = self._shop.holdings.value.covered
        holders = {*members(index, name), *members(index, wildcard_of(name))} - {name}
        for holder in sorted(holders):
            record = self._shop.vault.get(holder)
            if record.held is not None and record.held.is_cover(now) and covers(record.held.bundle.names, name):
                return record
        return None

    def covered_by(self, record: Record) -> Iterable[str]:
        """The other wanted names that the certificate of a name is for."""
        if record.held is None:
            return ()
        names = record.held.bundle.names
        if not any(name.startswith("*.") for name in names):
            return [name for name in names if name != record.name and name in self._wanted]
        return [name for name in self._wanted if name != record.name and covers(names, name)]
