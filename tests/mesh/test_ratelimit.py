"""How many requests pass: never more than a burst and the rate since, whichever worker they come to."""

from __future__ import annotations

import mmap
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.policies import RateLimit
from mesh.ratelimit import SIZE, Buckets, Limiter, network_of

SECRET = b"a secret of the node"
NOW = 1_000_000.0
KEYS = [b"visitor %d" % number for number in range(100_000)]

rates = st.tuples(st.floats(0.001, 10.0), st.integers(1, 20))
pauses = st.lists(st.floats(0, 5), min_size=1, max_size=60)


def _buckets() -> Buckets:
    return Buckets(bytearray(SIZE), SECRET)


def test_a_burst_passes_and_then_one_for_each_interval() -> None:
    """The wait that is told is exactly long enough."""
    buckets = _buckets()
    assert [buckets.take(b"a", NOW, 0.5, 3) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert [buckets.take(b"a", NOW + 0.5, 0.5, 3) for _ in range(2)] == [0.0, 0.5]
    assert [buckets.take(b"a", NOW + 9.0, 0.5, 3) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_one_key_does_not_pay_for_another() -> None:
    """Each has a bucket of its own."""
    buckets = _buckets()
    assert [buckets.take(key, NOW, 1.0, 1) for key in (b"a", b"b", b"a")] == [0.0, 0.0, 1.0]


def test_a_refused_request_costs_nothing() -> None:
    """Whoever keeps asking is let in as soon as whoever waits."""
    buckets = _buckets()
    buckets.take(b"a", NOW, 1.0, 1)
    assert [buckets.take(b"a", NOW + 0.25, 1.0, 1) for _ in range(100)] == [0.75] * 100
    assert buckets.take(b"a", NOW + 1.0, 1.0, 1) == 0.0


@given(rates, pauses)
def test_never_more_than_a_burst_and_the_rate_pass(rate: tuple[float, int], gaps: list[float]) -> None:
    """In any stretch of time, however the requests come."""
    interval_s, burst = rate
    buckets, now, passed = _buckets(), NOW, []
    for gap in gaps:
        now += gap * interval_s
        passed += [now for _ in range(burst + 1) if buckets.take(b"a", now, interval_s, burst) == 0.0]
    for index, begin in enumerate(passed):
        for count, end in enumerate(passed[index:], start=1):
            # A float of seconds is exact to a nanosecond at this uptime.
            assert count <= burst + (end - begin + 1e-6) / interval_s


@given(rates, pauses)
def test_the_wait_that_is_told_is_long_enough(rate: tuple[float, int], gaps: list[float]) -> None:
    """And a moment earlier would have been too early."""
    interval_s, burst = rate
    buckets, now = _buckets(), NOW
    for gap in gaps:
        now += gap * interval_s
        wait = buckets.take(b"a", now, interval_s, burst)
        if wait > 1e-6:
            assert buckets.take(b"a", now + wait / 2, interval_s, burst) > 0.0
            assert buckets.take(b"a", now + wait + 1e-6, interval_s, burst) == 0.0
            now += wait + 1e-6


def test_workers_count_together() -> None:
    """Two sets of buckets over the same memory are one."""
    memory = mmap.mmap(-1, SIZE)
    one, other = Buckets(memory, SECRET), Buckets(memoryview(memory), SECRET)
    assert [buckets.take(b"a", NOW, 1.0, 2) for buckets in (one, other, one, other)] == [0.0, 0.0, 1.0, 1.0]


def test_memory_behind_something_else_will_do() -> None:
    """The secret may stand before the slots in the same memory."""
    memory = bytearray(32 + SIZE)
    buckets = Buckets(memoryview(memory)[32:], SECRET)
    buckets.take(b"a", NOW, 1.0, 1)
    assert memory[:32] == bytes(32)
    assert memory.count(struct.pack("d", NOW + 1.0)) == 1


def test_too_little_memory_is_refused() -> None:
    """Writing past its end would be worse."""
    with pytest.raises(ValueError, match="rate limits need 1048576 bytes"):
        Buckets(bytearray(SIZE - 1), SECRET)


def test_another_secret_puts_keys_elsewhere() -> None:
    """Nobody can tell which keys share a window."""
    memories = [bytearray(SIZE), bytearray(SIZE)]
    for memory, secret in zip(memories, (b"one", b"other"), strict=True):
        Buckets(memory, secret).take(b"a", NOW, 1.0, 1)
    assert memories[0] != memories[1]


def test_a_limit_that_was_tightened_long_ago_or_loosened_now_holds_at_once() -> None:
    """A visitor far behind an old, slow limit does not wait for hours under the new one."""
    buckets = _buckets()
    for _ in range(10):
        buckets.take(b"a", NOW, 3600.0, 10)
    assert buckets.take(b"a", NOW, 0.5, 4) == 0.5
    assert buckets.take(b"a", NOW + 0.5, 0.5, 4) == 0.0


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -1.0, 1e300])
def test_nonsense_in_the_memory_heals(nonsense: float) -> None:
    """Whatever a slot says, its owner waits one interval at most."""
    memory = bytearray(SIZE)
    buckets = Buckets(memory, SECRET)
    buckets.take(b"a", NOW, 1.0, 1)
    at = memory.index(struct.pack("d", NOW + 1.0))
    memory[at : at + 8] = struct.pack("d", nonsense)
    assert buckets.take(b"a", NOW, 1.0, 1) <= 1.0
    assert buckets.take(b"a", NOW + 1.0, 1.0, 1) == 0.0


def test_as_many_keys_as_fit_are_all_remembered() -> None:
    """A quarter of the slots in use loses next to nobody."""
    buckets = _buckets()
    for key in KEYS[:16_384]:
        buckets.take(key, NOW, 1.0, 1)
    forgotten = sum(buckets.take(key, NOW, 1.0, 1) == 0.0 for key in KEYS[:16_384])
    assert forgotten < 16_384 // 500


def test_when_there_are_too_many_the_idle_ones_go_first() -> None:
    """Keys that are done with waiting make room without losing anything."""
    buckets = _buckets()
    for key in KEYS:
        buckets.take(key, NOW, 0.1, 1)
    for key in KEYS[:8192]:
        buckets.take(key, NOW + 10, 1.0, 1)
    forgotten = sum(buckets.take(key, NOW + 10, 1.0, 1) == 0.0 for key in KEYS[:8192])
    assert forgotten < 8192 // 500


BY_ADDRESS = RateLimit(requests=10, per_s=2.0)
BY_TOKEN = RateLimit(requests=10, by="token")
BY_HEADER = RateLimit(requests=10, by="header", header="X-Api-Key")


def test_a_limit_says_how_far_apart_and_how_many_at_once() -> None:
    """Without a burst of its own, as many as pass in the period."""
    limiter = Limiter(BY_ADDRESS, b"a")
    assert (limiter.interval_s, limiter.burst) == (0.2, 10)
    assert Limiter(RateLimit(requests=10, burst=3), b"a").burst == 3


@pytest.mark.parametrize(
    ("limit", "one", "other", "is_same"),
    [
        (BY_ADDRESS, (b"192.0.2.1", b"t", b"v"), (b"192.0.2.1", b"u", b"w"), True),
        (BY_ADDRESS, (b"192.0.2.1",), (b"192.0.2.2",), False),
        (BY_TOKEN, (b"192.0.2.1", b"Bearer t"), (b"192.0.2.2", b"Bearer t"), True),
        (BY_TOKEN, (b"192.0.2.1", b"Bearer t"), (b"192.0.2.1", b"Bearer u"), False),
        (BY_TOKEN, (b"192.0.2.1", None), (b"192.0.2.1", b""), True),
        (BY_TOKEN, (b"192.0.2.1", None), (b"192.0.2.2", None), False),
        (BY_TOKEN, (b"192.0.2.1", None), (b"", b"192.0.2.1"), False),
        (BY_HEADER, (b"192.0.2.1", None, b"k"), (b"192.0.2.2", b"t", b"k"), True),
        (BY_HEADER, (b"192.0.2.1", None, b"k"), (b"192.0.2.1", None, b"l"), False),
        (BY_HEADER, (b"192.0.2.1", b"t", b""), (b"192.0.2.1", b"u", b""), True),
        (BY_HEADER, (b"192.0.2.1", None, b""), (b"", None, b"192.0.2.1"), False),
    ],
)
def test_whose_bucket_a_request_takes_from(
    limit: RateLimit, one: tuple[bytes, ...], other: tuple[bytes, ...], is_same: bool
) -> None:
    """That of its token or value; without one, that of its address."""
    limiter = Limiter(limit, b"a")
    assert (limiter.key(*one) == limiter.key(*other)) == is_same


def test_the_field_that_decides_is_named_in_lower_case() -> None:
    """It is looked for by that name; other limits have none."""
    assert Limiter(BY_HEADER, b"a").header == b"x-api-key"
    assert Limiter(RateLimit(requests=1, header="X-Api-Key"), b"a").header == b""


def test_routes_do_not_share_buckets() -> None:
    """Not even when one's key is the beginning of another's."""
    keys = {Limiter(BY_ADDRESS, route).key(address) for route, address in ((b"a", b"a1"), (b"aa", b"1"), (b"aaa", b""))}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("address", "network"),
    [
        (b"192.0.2.1", b"192.0.2.1"),
        (b"2001:db8:1:2:3:4:5:6", b"20010db800010002::/64"),
        (b"2001:db8:1:2::1", b"20010db800010002::/64"),
        (b"::ffff:192.0.2.1", b"192.0.2.1"),
        (b"fe80::1%eth0", b"fe80000000000000::/64"),
        (b"unix", b"unix"),
        (b"not:an:address", b"not:an:address"),
    ],
)
def test_what_is_taken_for_one_visitor(address: bytes, network: bytes) -> None:
    """An IPv6 visitor has 2^64 addresses to choose from."""
    assert network_of(address) == network
    limiter = Limiter(BY_ADDRESS, b"a")
    assert limiter.key(address) == limiter.key(address) == limiter.key(network)


def test_the_memory_of_networks_is_bounded() -> None:
    """IPv6 visitors can come from more addresses than fit anywhere."""
    limiter = Limiter(BY_ADDRESS, b"a")
    for number in range(5000):
        limiter.key(b"2001:db8::%x" % number)
    assert len(limiter._networks) < 5000
