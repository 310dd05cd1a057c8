"""What mesh asks of the world: somebody who takes its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mesh.errors import Failure

_HANDSHAKE_FAILED: Final = "tls_handshake"


class AccessRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One exchange, as it ended.

    `began_at` is in Unix seconds. `duration_s` is from the request's head to the end of the answer, `first_byte_s` to
    the head of the target's answer, `connect_s` what a new connection to the target took of it; 0 where there was none.
    `cause` and `detail` say why the proxy made the answer itself, and are empty when the target did.

    `route` and `path_prefix` are the key of the route, `target` is what was asked for, `upstream` who answered, `tls`
    the version of TLS, `user` the name of basic authentication. Nothing here is secret, as long as visitors and
    applications put no secrets into URLs: `target` and `referer` are as they came, with their queries.
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
    path_prefix: str = ""
    scheme: str = "http"
    tls: str = ""
    user: str = ""
    retries: int = 0
    connect_s: float = 0.0
    first_byte_s: float = 0.0
    trace_id: str = ""
    span_id: str = ""
    parent_id: str = ""


class Observer(Protocol):
    """Takes one record per exchange; must not block."""

    def record(self, record: AccessRecord) -> None:
        """Take note of an exchange that has ended."""


class Observers:
    """Several observers as one."""

    __slots__ = ("_observers",)

    def __init__(self, observers: Iterable[Observer]) -> None:
        """All of them, in this order."""
        self._observers = tuple(observers)

    def record(self, record: AccessRecord) -> None:
        """Tell each of them."""
        for observer in self._observers:
            observer.record(record)


def together(observers: Sequence[Observer]) -> Observer | None:
    """One observer for all of these, or none, so that no record is made for nobody."""
    return Observers(observers) if len(observers) > 1 else next(iter(observers), None)


class Counters:
    """What a worker counts; the numbers only grow. `statuses` is indexed by the class of the status (2 for 2xx).

    `dials` are connections made to targets, `compressed_in` and `compressed_out` the bytes of bodies before and after
    their compression, `ejections` how often a target was taken out for failing.
    """

    __slots__ = (
        "accepted",
        "causes",
        "compressed_in",
        "compressed_out",
        "dials",
        "ejections",
        "h2_connections",
        "h2_streams",
        "handshake_failures",
        "handshakes",
        "rate_limited",
        "received",
        "refused",
        "retries",
        "sent",
        "statuses",
    )

    def __init__(self) -> None:
        """Start at zero."""
        self.accepted = 0
        self.refused = 0
        self.handshakes = 0
        self.handshake_failures = 0
        self.h2_connections = 0
        self.h2_streams = 0
        self.dials = 0
        self.retries = 0
        self.ejections = 0
        self.rate_limited = 0
        self.received = 0
        self.sent = 0
        self.compressed_in = 0
        self.compressed_out = 0
        self.statuses = [0] * 10
        self.causes: dict[str, int] = {}

    @property
    def requests(self) -> int:
        """How many exchanges have ended."""
        return sum(self.statuses)

    def handshake_failed(self) -> None:
        """Count a visitor with whom TLS came to nothing."""
        self.handshake_failures += 1
        self.causes[_HANDSHAKE_FAILED] = self.causes.get(_HANDSHAKE_FAILED, 0) + 1

    def failed(self, failure: Failure) -> None:
        """Count the cause of an answer that the proxy made."""
        self.causes[failure.cause] = self.causes.get(failure.cause, 0) + 1
