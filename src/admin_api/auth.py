"""Who is calling: a chain of authenticators, of which the worker's signature is the first kind.

The signature is the one of contracts/plane.md, "Auth" and decision 19: `X-Signature` is the hex HMAC-SHA256 of the raw
body under the worker secret; with `X-Timestamp` it covers `<timestamp>.<body>` and lapses after 300 s.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol

import msgspec
from aiohttp import web
from multidict import CIMultiDictProxy

from admin_api.body import raw_body
from admin_api.errors import unauthorized
from state.change import Actor

AuthMode = Literal["auto", "always", "open"]

TIMESTAMP_WINDOW_S: Final = 300

_SIGNATURE: Final = re.compile(r"(?:sha256=)?([0-9a-fA-F]{64})", re.ASCII)
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class Principal(msgspec.Struct, frozen=True):
    """Who a request acts for."""

    kind: Literal["operator", "worker"]
    name: str
    address: str | None

    @property
    def actor(self) -> Actor:
        """How the audit trail names this principal."""
        return Actor(kind=self.kind, name=self.name, address=self.address)


PRINCIPAL: Final = web.RequestKey("principal", Principal)


class Authenticator(Protocol):
    """One way to prove who is calling."""

    async def authenticate(self, request: web.Request) -> Principal | None:
        """The caller, or None when the request has no proof of this kind; raises ApiError 401 for a wrong one."""
        ...


class WorkerSignature:
    """Believes whoever signs with the worker secret."""

    def __init__(self, secret: str, *, require_timestamp: bool = False, clock: Callable[[], float] = time.time) -> None:
        """`secret` is used as its text bytes; raises ValueError when it is empty, for then anybody could sign."""
        if not secret:
            raise ValueError("the worker secret is empty")
        self._secret = secret.encode()
        self._require_timestamp = require_timestamp
        self._clock = clock

    async def authenticate(self, request: web.Request) -> Principal | None:
        """The worker, if the request is signed."""
        if "X-Signature" not in request.headers:
            return None
        if not self.verify(request.headers, await raw_body(request)):
            raise unauthorized()
        return Principal("worker", "worker", request.remote)

    def verify(self, headers: CIMultiDictProxy[str], body: bytes) -> bool:
        """Whether `headers` carry the one right signature for `body`, now."""
        given = _SIGNATURE.fullmatch(_only(headers, "X-Signature"))
        if given is None:
            return False
        signed = self._signed_bytes(headers, body)
        if signed is None:
            return False
        expected = hmac.digest(self._secret, signed, hashlib.sha256)
        return hmac.compare_digest(bytes.fromhex(given[1]), expected)

    def _signed_bytes(self, headers: CIMultiDictProxy[str], body: bytes) -> bytes | None:
        if "X-Timestamp" not in headers:
            return None if self._require_timestamp else body
        timestamp = _only(headers, "X-Timestamp")
        if not _TIMESTAMP.fullmatch(timestamp) or abs(self._clock() - int(timestamp)) > TIMESTAMP_WINDOW_S:
            return None
        return timestamp.encode() + b"." + body


class OpenDoor:
    """Believes whoever can reach the listener: a standalone node, which listens on loopback only."""

    async def authenticate(self, request: web.Request) -> Principal | None:
        """The operator of this machine."""
        return Principal("operator", "local", request.remote)


async def identify(authenticators: Iterable[Authenticator], request: web.Request) -> Principal:
    """The caller, by the first authenticator that finds a proof; raises ApiError 401 when none does."""
    for authenticator in authenticators:
        principal = await authenticator.authenticate(request)
        if principal is not None:
            return principal
    raise unauthorized()


def is_open(mode: AuthMode, *, cloud: bool) -> bool:
    """Whether protected endpoints are open to whoever reaches them (contracts/plane.md decision 2)."""
    return mode == "open" or (mode == "auto" and not cloud)


def _only(headers: CIMultiDictProxy[str], name: str) -> str:
    # Of two values an intermediary may have looked at the other one, so neither counts.
    values = headers.getall(name)
    return values[0] if len(values) == 1 else ""
