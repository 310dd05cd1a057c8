"""What is true now, as frozen values: the machine, the targets and the worker processes, as they were reported."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from rpds import HashTrieMap


class HostFact(msgspec.Struct, frozen=True, kw_only=True):
    """The load of the machine, by the names of contracts/plane.md decision 6: sizes in bytes, shares in percent."""

    cpu_usage: float
    memory_used: int
    memory_total: int
    memory_percent: float
    disk_used: int
    disk_total: int
    disk_percent: float
    at: datetime


class TargetFact(msgspec.Struct, frozen=True, kw_only=True):
    """How a target does: requests in flight now, and failures in a row."""

    address: str
    healthy: bool = True
    in_flight: int = 0
    failures: int = 0


class WorkerFact(msgspec.Struct, frozen=True, kw_only=True):
    """A mesh worker process: `revision` is the newest that it serves, `restarts` how often it was replaced."""

    index: int
    pid: int
    ready: bool = False
    restarts: int = 0
    revision: int = 0


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was reported, at one revision. Not durable: whoever reports can find it out again."""

    revision: int = 0
    host: HostFact | None = None
    targets: HashTrieMap[str, TargetFact] = HashTrieMap()
    workers: tuple[WorkerFact, ...] = ()

    def with_host(self, host: HostFact) -> Observed:
        """The next revision, with new figures of the machine."""
        return msgspec.structs.replace(self, revision=self.revision + 1, host=host)

    def with_targets(self, facts: Iterable[TargetFact]) -> Observed:
        """The next revision, with `facts` in place of those of the same addresses."""
        targets = self.targets.update((fact.address, fact) for fact in facts)
        return msgspec.structs.replace(self, revision=self.revision + 1, targets=targets)

    def without_targets(self, addresses: Iterable[str]) -> Observed:
        """The next revision, with nothing known of `addresses`."""
        targets = self.targets
        for address in addresses:
            targets = targets.discard(address)
        return msgspec.structs.replace(self, revision=self.revision + 1, targets=targets)

    def with_workers(self, workers: Iterable[WorkerFact]) -> Observed:
        """The next revision, with exactly these workers."""
        return msgspec.structs.replace(self, revision=self.revision + 1, workers=tuple(workers))
