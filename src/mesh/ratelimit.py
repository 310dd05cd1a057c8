"""How often a visitor may ask, counted by all workers of a node together in memory that they share.

The counting is GCRA, a token bucket in one number: the theoretical arrival time (TAT) of the next request if all came
evenly. A request passes while the TAT is less than a burst ahead of the clock, and moves it on by one interval.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import mmap
    from collections.abc import Sequence

    from mesh.policies import RateLimit

_SLOTS: Final = 65_536
_WINDOW: Final = 8
_WORDS: Final = 2 * _WINDOW
_BASES: Final = _SLOTS // _WINDOW
_SLOT_BYTES: Final = 16

# Bytes of shared memory that `Buckets` needs.
SIZE: Final = _SLOTS * _SLOT_BYTES

_MAX_REMEMBERED: Final = 4096


class Buckets:
    """Token buckets in fixed slots of shared memory: a tag of 8 bytes and a TAT of 8 bytes each.

    A key hashes to a window of 8 slots, where it has the one with its tag. A new key takes the slot with the oldest
    TAT, which is an empty one (its TAT is 0) or one whose owner has not asked for the longest time.

    Workers read and write without a lock: tag and TAT are aligned words, each written by one store, so none is ever
    half written. What can be lost: of requests for one key that several workers count in the same microsecond, only one
    is counted, so that at most one more for each other worker passes; two new keys that take the same slot at once,
    and a key whose slot was taken because more than 8 busy keys share its window, begin again with a full bucket. If
    the old owner of a slot is counted in the moment in which it is taken, the new one may have to wait in its stead,
    one interval at most; else nobody is held back by another's requests, but by a chance of 2^-61 for two keys with
    the same tag.
    """

    __slots__ = ("_secret", "_tags", "_times")

    def __init__(self, memory: memoryview | mmap.mmap | bytearray, secret: bytes) -> None:
        """Use the first `SIZE` bytes of `memory`, aligned to 8 bytes and zeroed once before any worker used it.

        All workers have the same `secret` (at most 64 bytes), unknown to visitors, who could otherwise find keys that
        share a window and push each other's buckets out.
        """
        view = memoryview(memory).cast("B")[:SIZE]
        if len(view) < SIZE:
            raise ValueError(f"rate limits need {SIZE} bytes of memory, not {len(view)}")
        self._tags = view.cast("Q")
        self._times = view.cast("d")
        self._secret = secret

    def take(self, key: bytes, now: float, interval_s: float, burst: int) -> float:
        """Count a request of `key`: 0.0 when it may pass, or after how many seconds to come again.

        `now` is CLOCK_MONOTONIC in seconds, which all processes of a machine share. Requests are `interval_s` apart
        on the average, `burst` of them may come at once. A refused request costs nothing.
        """
        at = self._slot(key)
        times = self._times
        tat, latest = times[at], now + burst * interval_s
        if tat > latest:
            # Nobody gets this far ahead, unless the limit has changed since: the new one holds from now on.
            times[at] = tat = latest
        elif not tat > now:  # NaN is neither
            tat = now
        wait = tat - (burst - 1) * interval_s - now
        if wait > 0:
            return wait
        times[at] = tat + interval_s
        return 0.0

    def _slot(self, key: bytes) -> int:
        """Where the TAT of `key` is, in words."""
        digest = hashlib.blake2b(key, digest_size=16, key=self._secret).digest()
        tag = int.from_bytes(digest[:8], "little") or 1
        base = int.from_bytes(digest[8:], "little") % _BASES * _WORDS
        tags: list[int] = self._tags[base : base + _WORDS : 2].tolist()
        if tag in tags:
            return base + 2 * tags.index(tag) + 1
        times: Sequence[float] = self._times[base + 1 : base + _WORDS : 2].tolist()
        at = base + 2 * times.index(min(times)) + 1
        # The TAT first: whoever finds the new tag must not find the old owner's TAT with it.
        self._times[at] = 0.0
        self._tags[at - 1] = tag
        return at


class Limiter:
    """The rate limit of one route: whose bucket a request takes from, and how it fills.

    `header` is the lower-case name of the field that decides, or empty. Limits by token or header hold only against
    visitors who cannot invent these: count after the token was verified, or behind something that sets the field.
    """

    __slots__ = ("_by_token", "_networks", "_prefix", "burst", "header", "interval_s")

    def __init__(self, limit: RateLimit, route_key: bytes) -> None:
        """`route_key` keeps the buckets of routes apart, and is the same in all workers."""
        self.interval_s = limit.per_s / limit.requests
        self.burst = limit.burst or limit.requests
        self.header = limit.header.lower().encode("latin-1") if limit.by == "header" else b""
        self._by_token = limit.by == "token"
        self._prefix = b"%d:%b" % (len(route_key), route_key)
        self._networks: dict[bytes, bytes] = {}

    def key(self, address: bytes, authorization: bytes | None = None, value: bytes = b"") -> bytes:
        """The bucket of a request from `address`; `value` is that of the field `header`.

        A request without a token or a value is counted for its address.
        """
        if self._by_token and authorization:
            return b"%bt%b" % (self._prefix, authorization)
        if self.header and value:
            return b"%bh%b" % (self._prefix, value)
        return b"%ba%b" % (self._prefix, self._network(address))

    def _network(self, address: bytes) -> bytes:
        if b":" not in address:
            return address
        known = self._networks.get(address)
        if known is None:
            if len(self._networks) >= _MAX_REMEMBERED:
                self._networks.clear()
            known = self._networks[address] = network_of(address)
        return known


def network_of(address: bytes) -> bytes:
    """What one visitor is taken for: an IPv4 address, or the /64 of an IPv6 one, as most networks hand out 2^64."""
    try:
        ip = ipaddress.ip_address(address.decode("latin-1"))
    except ValueError:
        return address
    if ip.version == 4:
        return address
    return str(ip.ipv4_mapped).encode() if ip.ipv4_mapped is not None else ip.packed[:8].hex().encode() + b"::/64"
