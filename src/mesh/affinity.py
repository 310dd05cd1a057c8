"""The cookie that brings a visitor back to the target that answered last."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from mesh.balance import Asks
from mesh.policies import Sticky
from mesh.routes import Route

# Three octets do not tell all targets apart for certain (the first one wins then), but they leave whoever tries every
# private address with too many that fit.
_TAG_OCTETS: Final = 3


class Affinity:
    """Names the targets of a route in a cookie, by values that do not reveal where the targets are."""

    __slots__ = ("_begin", "_end", "_indexes", "_name", "_tags")

    def __init__(self, route: Route, addresses: Sequence[str]) -> None:
        """`addresses` are those of all targets of `route`, which is sticky."""
        sticky = route.sticky or Sticky()
        self._name = sticky.cookie.encode()
        self._tags = {address: _tag(route, address) for address in addresses}
        self._indexes: dict[bytes, int] = {}
        for index, tag in enumerate(map(self._tags.__getitem__, addresses)):
            self._indexes.setdefault(tag, index)
        # RFC 6265 section 4.1.1: a path ends at a semicolon, and has no octets beyond ASCII.
        path = route.path_prefix if route.path_prefix.isascii() and ";" not in route.path_prefix else "/"
        self._begin = f"; Path={path}; HttpOnly; SameSite=Lax".encode()
        self._end = f"; Max-Age={sticky.max_age_s}\r\n".encode() if sticky.max_age_s else b"\r\n"

    def find(self, asks: Asks) -> int | None:
        """Which of the targets the visitor's cookie names, if any."""
        return self._indexes.get(asks.cookie(self._name))

    def line(self, address: str, asks: Asks) -> bytes:
        """The field line that tells the visitor of the target at `address`; nothing when the visitor knows."""
        tag = self._tags[address]
        if asks.cookie(self._name) == tag:
            return b""
        secure = b"; Secure" if asks.is_secure else b""
        return b"Set-Cookie: %b=%b%b%b%b" % (self._name, tag, self._begin, secure, self._end)


def _tag(route: Route, address: str) -> bytes:
    # The route is a part of it, so that nobody sees that two routes lead to the same target.
    key = f"{route.host}{route.path_prefix} {address}".encode()
    return hashlib.blake2b(key, digest_size=_TAG_OCTETS).hexdigest().encode()
