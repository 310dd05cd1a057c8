"""Records of exchanges for whoever watches the node now: some hosts or all, and no more than somebody can look at."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mesh.ports import AccessRecord

MOST_PER_S: Final = 500


class Tap:
    """Collects records between two calls of `take`; those beyond what may be sent in a second are only counted."""

    __slots__ = ("_dropped", "_hosts", "_room", "_share", "_waiting", "is_open")

    def __init__(self, takes_per_s: float) -> None:
        """`take` is called so often."""
        self._share = MOST_PER_S / takes_per_s
        self._waiting: list[AccessRecord] = []
        self._room = float(MOST_PER_S)
        self._dropped = 0
        self.watch(())

    def watch(self, hosts: Collection[str] | None) -> None:
        """Collect what goes to these hosts, or is served by the routes with these hosts; None: everything."""
        self._hosts = None if hosts is None else frozenset(hosts)
        self.is_open = hosts is None or bool(hosts)

    def record(self, record: AccessRecord) -> None:
        """Keep `record` when somebody watches its host."""
        hosts = self._hosts
        if hosts is not None and record.host not in hosts and record.route not in hosts:
            return
        if len(self._waiting) < self._room:
            self._waiting.append(record)
        else:
            self._dropped += 1

    def take(self) -> tuple[list[AccessRecord], int]:
        """The records since the last time, and how many more there were."""
        waiting, self._waiting = self._waiting, []
        dropped, self._dropped = self._dropped, 0
        self._room = min(self._room - len(waiting) + self._share, MOST_PER_S)
        return waiting, dropped
