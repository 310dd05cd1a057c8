"""`Tally`: how many orders were made since the process started, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """So many orders, certificates and failures; these by the kind of certs.errors.IssueError, and "preflight"."""

    orders: int = 0
    obtained: int = 0
    failures: Mapping[str, int] = msgspec.field(default_factory=dict)


class Tally:
    """Counts up."""

    def __init__(self) -> None:
        """From nothing."""
        self._orders = self._obtained = 0
        self._failures: Counter[str] = Counter()

    @property
    def counts(self) -> Counts:
        """As of now."""
        return Counts(orders=self._orders, obtained=self._obtained, failures=dict(self._failures))

    def ordered(self) -> None:
        """An order is made."""
        self._orders += 1

    def obtained(self) -> None:
        """A certificate came that is served."""
        self._obtained += 1

    def failed(self, kind: str) -> None:
        """An attempt failed."""
        self._failures[kind] += 1
