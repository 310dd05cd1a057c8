"""What others are given of the store: `Changes` to ask for one, `Views` to watch, `Records` to look back."""

from __future__ import annotations

from typing import Protocol

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
