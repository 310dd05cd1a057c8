"""Who a request came through: every spelling is read, and nothing is believed of a stranger."""

from __future__ import annotations

import pytest

from mesh.hops import Hop, address_of, forwarded, listed, nearest_stranger


def _is_ours(address: str) -> bool:
    return address.startswith("10.")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (b"192.0.2.1", b"192.0.2.1"),
        (b" 192.0.2.1:4444 ", b"192.0.2.1"),
        (b"2001:DB8::1", b"2001:db8::1"),
        (b"[2001:db8::1]", b"2001:db8::1"),
        (b'"[2001:db8:0::1]:80"', b"2001:db8::1"),
        (b"unknown", None),
        (b"_hidden", None),
        (b"", None),
        (b"192.0.2.1.5", None),
        (b"\xff", None),
    ],
)
def test_an_address_has_many_spellings(text: bytes, address: bytes | None) -> None:
    """With a port or without, in brackets and in quotes; the rest is none."""
    assert address_of(text) == address


def test_forwarded_is_read_element_by_element() -> None:
    """Quoted commas do not part them."""
    value = b'for=192.0.2.1;proto=HTTPS;host="a, b", For="[2001:db8::1]:80";by=_x , for=unknown'
    assert forwarded(value) == (
        Hop(b"192.0.2.1", b"https", b"a, b"),
        Hop(b"2001:db8::1"),
        Hop(None),
    )


@pytest.mark.parametrize(
    "value", [b"for=a b", b'for="a', b"for", b"=1", b"for=192.0.2.1" + b" " * 5000, b" " * 4000 + b"x"]
)
def test_a_malformed_value_says_nothing(value: bytes) -> None:
    """Rather than half of what somebody meant."""
    assert forwarded(value) == ()


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        (b"192.0.2.1", b"192.0.2.1"),
        (b"192.0.2.9, 192.0.2.1, 10.0.0.1", b"192.0.2.1"),
        (b"10.0.0.2, 10.0.0.1", b"10.0.0.2"),
        (b"192.0.2.1, garbage", None),
        (b"192.0.2.1, garbage, 10.0.0.1", b"10.0.0.1"),
        (b"192.0.2.1:551", b"192.0.2.1"),
    ],
)
def test_the_nearest_stranger_is_the_visitor(addresses: bytes, found: bytes | None) -> None:
    """What cannot be read ends the list: nothing before it can be believed."""
    hop = nearest_stranger(listed(addresses), _is_ours)
    assert (hop.address if hop else None) == found


def test_a_hop_is_written_as_forwarded_writes_it() -> None:
    """IPv6 in brackets and quotes, what is not known as unknown."""
    written = [hop.element for hop in listed(b"192.0.2.1, 2001:db8::1, x")]
    assert written == [b"for=192.0.2.1", b'for="[2001:db8::1]"', b"for=unknown"]
