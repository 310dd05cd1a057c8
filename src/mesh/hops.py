"""Who a request came through, as the proxies in between say in X-Forwarded-For, or in Forwarded (RFC 7239)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

_MAX_HOPS: Final = 64
# RFC 7239 section 4: a value is a token, or a quoted string in which commas and semicolons mean nothing.
# Each part takes all it can and gives nothing back, so that a long value takes no longer than its length.
_PAIR: Final = re.compile(
    rb'[ \t]*+(?:([!#$%&\'*+\-.^_`|~0-9A-Za-z]++)=("(?:[^"\\]|\\.)*+"|[^",; \t]*+))?[ \t]*+([;,]|$)', re.DOTALL
)
_MAX_VALUE: Final = 4096


class Hop(NamedTuple):
    """One element: the address (None when it is hidden or malformed), and how that one's connection came in."""

    address: bytes | None
    proto: bytes = b""
    host: bytes = b""

    @property
    def element(self) -> bytes:
        """The hop as Forwarded writes it."""
        return b"for=" + (b"unknown" if self.address is None else node(self.address))


def node(address: bytes) -> bytes:
    """An address as Forwarded writes it: IPv6 is bracketed and quoted (RFC 7239 section 6)."""
    return b'"[%b]"' % address if b":" in address else address


def listed(addresses: bytes) -> tuple[Hop, ...]:
    """The hops that X-Forwarded-For names, the farthest first."""
    return tuple(Hop(address_of(part)) for part in addresses.split(b",")[-_MAX_HOPS:])


def forwarded(value: bytes) -> tuple[Hop, ...]:
    """The hops that Forwarded names, the farthest first; none when it is malformed."""
    if len(value) > _MAX_VALUE:
        return ()
    hops: list[Hop] = []
    said: dict[bytes, bytes] = {}
    offset = 0
    while value and offset <= len(value):
        pair = _PAIR.match(value, offset)
        if pair is None:
            return ()
        name, text, end = pair.groups()
        if name is not None:
            said[name.lower()] = text.strip(b'"')
        if end != b";":
            hops.append(Hop(address_of(said.get(b"for", b"")), said.get(b"proto", b"").lower(), said.get(b"host", b"")))
            said = {}
        if end == b"":
            break
        offset = pair.end()
    return tuple(hops[-_MAX_HOPS:])


def address_of(text: bytes) -> bytes | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`; else None."""
    text = text.strip(b' \t"')
    if text[:1] == b"[":
        text = text[1:].partition(b"]")[0]
    elif text.count(b":") == 1:
        text = text.partition(b":")[0]
    try:
        return ipaddress.ip_address(text.decode("ascii")).compressed.encode("ascii")
    except ValueError:
        return None


def nearest_stranger(hops: Iterable[Hop], trusts: Callable[[str], bool]) -> Hop | None:
    """The nearest hop that is no trusted proxy: what stands before it may be anybody's invention.

    Where all of them are trusted it is the farthest. None when the nearest has no address that could be believed.
    """
    found = None
    for hop in _nearest_first(hops):
        if hop.address is None:
            break
        found = hop
        if not trusts(hop.address.decode("ascii")):
            break
    return found


def _nearest_first(hops: Iterable[Hop]) -> Iterator[Hop]:
    return reversed(tuple(hops))
