"""Host names: one spelling each, and reasons that help."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.hosts import fold_domain, fold_host, fold_route_host, is_address, is_within


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Shop.Example.COM", "shop.example.com"),
        ("localhost", "localhost"),
        ("pr--shop.zexio.app", "pr--shop.zexio.app"),
        ("my_app.example.com", "my_app.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER。example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("[2001:DB8:0:0:0:0:0:1]", "[2001:db8::1]"),
        (".".join(["a" * 63] * 3 + ["b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
    ],
)
def test_a_host_has_one_spelling(text: str, folded: str) -> None:
    """Two ways to write a name lead to one route."""
    assert fold_host(text) == folded


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("https://shop.example.com/", "is a URL; give the name only"),
        ("shop.example.com.", "ends in a dot"),
        (".example.com", "empty label"),
        ("shop..example.com", "empty label"),
        ("shop.example.com:8080", "has a port"),
        ("[::1]:8080", "has a port"),
        ("[::1", "no plain IPv6"),
        ("fe80::1%eth0", "no plain IPv6"),
        ("-shop.example.com", "inner hyphens"),
        ("shop-.example.com", "inner hyphens"),
        ("shop.example.com/api", "letters, digits"),
        ("user@example.com", "letters, digits"),
        ("a b.example", "letters, digits"),
        ("a\n.example", "letters, digits"),
        ("*.example.com", "letters, digits"),
        ("a" * 64 + ".example", "longer than 63"),
        (".".join(["a" * 63] * 4), "longer than 253"),
        ("1.2.3", "no IPv4 address"),
        ("256.1.1.1", "no IPv4 address"),
        ("0x7f.1", "no IPv4 address"),
        ("shop.0x7f000001", "no IPv4 address"),
        ("xn--a.example", "A-label"),
        ("xn--.example", "inner hyphens"),
        ("℀.example", "letters, digits"),
        ("a\u200d.example", "no internationalized name"),
    ],
)
def test_what_is_no_host_is_refused_with_a_reason(text: str, reason: str) -> None:
    """The reason says what to change."""
    with pytest.raises(ValueError, match=reason):
        fold_host(text)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("*", "*"),
        ("*.Example.com", "*.example.com"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("Shop.example.com.", "shop.example.com"),
        ("*.example.com.", "*.example.com"),
    ],
)
def test_a_route_may_have_a_wildcard(text: str, folded: str) -> None:
    """One label in front, or everything; and the root's dot at the end, as the mesh knows a Host."""
    assert fold_route_host(text) == folded


@pytest.mark.parametrize(
    "text",
    ["*.", "*..", ".", "a.example..", "**.example", "*.*.example", "a.*.example", "*example", "*.127.0.0.1", "*.::1"],
)
def test_a_wildcard_stands_in_front_of_a_name(text: str) -> None:
    """Nowhere else, and not before an address."""
    with pytest.raises(ValueError, match=r"."):
        fold_route_host(text)


def test_a_wildcard_counts_towards_the_length() -> None:
    """The suffix alone may be as long as a name, but not with the wildcard before it."""
    with pytest.raises(ValueError, match="longer than 253"):
        fold_route_host("*." + ".".join(["a" * 63] * 3 + ["b" * 61]))


@pytest.mark.parametrize(("host", "answer"), [("[::1]", True), ("127.0.0.1", True), ("a.example", False)])
def test_addresses_are_told_from_names(host: str, *, answer: bool) -> None:
    """By the folded spelling alone."""
    assert is_address(host) is answer


@given(st.text(max_size=30))
def test_folding_is_final_and_plain(text: str) -> None:
    """Whatever comes out is ASCII, in lower case, and folds to itself; anything else is a ValueError."""
    try:
        folded = fold_route_host(text)
    except ValueError:
        return
    assert folded.isascii()
    assert folded == folded.lower()
    assert fold_route_host(folded) == folded


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Shop.Example.COM.", "shop.example.com"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("api.localhost", "api.localhost"),
        ("node.zexio.internal", "node.zexio.internal"),
    ],
)
def test_a_domain_has_one_spelling(text: str, folded: str) -> None:
    """Folding it again changes nothing."""
    assert fold_domain(text) == folded
    assert fold_domain(folded) == folded


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("*", "no domain name"),
        ("192.0.2.1", "no domain name"),
        ("[::1]", "no domain name"),
        ("localhost", "a single label"),
        ("*.com", "a single label"),
        ("a_b.example.com", "an underscore"),
        ("_acme-challenge.example.com", "an underscore"),
        ("*.*.example.com", "has a label with more than"),
        ("shop.example.com:443", "has a port"),
        ("", "is empty"),
    ],
)
def test_what_no_certificate_can_be_for_is_no_domain(text: str, reason: str) -> None:
    """Said before an order is spent."""
    with pytest.raises(ValueError, match=reason):
        fold_domain(text)


@pytest.mark.parametrize(
    ("name", "is_inside"),
    [
        ("zexio.internal", True),
        ("db.acme.zexio.internal", True),
        ("*.acme.zexio.internal", True),
        ("*.zexio.internal", True),
        ("notzexio.internal", False),
        ("internal", False),
        ("shop.localhost", True),
    ],
)
def test_what_is_within_a_suffix(name: str, is_inside: bool) -> None:
    """The suffix itself, what is below it, and wildcards there."""
    assert is_within(name, ("zexio.internal", "localhost")) is is_inside
