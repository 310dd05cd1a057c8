"""What mesh asks of the world: somebody who takes its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from mesh.errors import Failure


class AccessRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One exchange, as it ended.

    `began_at` is in Unix seconds, `duration_s` in seconds; `cause` and `detail` say why the proxy made the answer
    itself, and are empty when the target did.
    """

    began_at: float
    duration_s: float
    peer: str
    method: str
    host: str
    target: str
    version: str
    status: int
    received: int
    sent: int
    request_id: str
    route: str = ""
    upstream: str = ""
    org_id: str = ""
    cause: str = ""
    detail: str = ""
    referer: str = ""
    user_agent: str = ""


class Observer(Protocol):
    """Takes one record per exchange; must not block."""

    def record(self, record: AccessRecord) -> None:
        """Take note of an exchange that has ended."""


class Counters:
    """What a worker counts; the numbers only grow. `statuses` is indexed by the class of the status (2 for 2xx)."""

    __slots__ = ("accepted", "causes", "dials", "received", "refused", "sent", "statuses")

    def __init__(self) -> None:
        """Start at zero."""
        self.accepted = 0
        self.refused = 0
        self.dials = 0
        self.received = 0
        self.sent = 0
        self.statuses = [0] * 10
        self.causes: dict[str, int] = {}

    @property
    def requests(self) -> int:
        """How many exchanges have ended."""
        return sum(self.statuses)

    def failed(self, failure: Failure) -> None:
        """Count the cause of an answer that the proxy made."""
        self.causes[failure.cause] = self.causes.get(failure.cause, 0) + 1
