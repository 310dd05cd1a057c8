"""The kinds of setting values."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from node.values import (
    Address,
    CertificateName,
    Contact,
    Count,
    Entries,
    Few,
    HostName,
    Leeway,
    NameServer,
    Network,
    Origin,
    Place,
    Seconds,
    Secret,
    SecureUrl,
    Suffix,
    Text,
    Url,
    Workers,
    accepts,
    check_keys_url,
    convert,
    holds_secret,
    is_loopback,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8082", "127.0.0.1", 8082),
        ("[::1]:0", "::1", 0),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("localhost:1", "localhost", 1),
        ("bücher.example:1", "bücher.example", 1),
    ],
)
def test_an_address_knows_its_host_and_port(text: str, host: str, port: int) -> None:
    """Brackets belong to the spelling of an IPv6 address, not to the address."""
    address = Address(text)
    assert (address.host, address.port, address) == (host, port, text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "8082", ":8082", "host:", "host:x", "host:65536", "::1:8082", "a:b:1", "h:-1", "h:٣"),
        *("a" * 80 + ":0", "a..b:0", "a b:0", "a\0:0", "a\n:0", "\udcff:0"),
    ],
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    """A bare port, a bare IPv6 address, a port out of range and a host that nobody can look up are not addresses."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        Address(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True)],
        *[("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.com", False), ("", False)],
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Only loopback addresses and `localhost` are private to the machine; all interfaces are not."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("raw", "kind", "expected"),
    [
        ("3", Count, 3),
        ("1.5", Seconds, 1.5),
        ("true", bool, True),
        ("0", bool, False),
        ("/etc/zexio.toml", Path, Path("/etc/zexio.toml")),
        ("10.0.0.0/8, ::1", tuple[Network, ...], ("10.0.0.0/8", "::1/128")),
        ("*.Zexio.App.", Suffix, "zexio.app"),
        ("json", Literal["json", "off"], "json"),
        ("", tuple[Suffix, ...], ()),
    ],
)
def test_text_becomes_a_value(raw: str, kind: object, expected: object) -> None:
    """The environment and the command line have text only."""
    assert convert(raw, kind, from_text=True) == expected


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("3", Count),
        (0, Count),
        (True, Count),
        (-1.0, Seconds),
        (float("inf"), Seconds),
        (61, Leeway),
        (7, Address),
        (["127.0.0.1:1", 2], tuple[Address, ...]),
        ("10.0.0.1/8", tuple[Network, ...]),
        ("a b", Suffix),
        ("a..b", Suffix),
        ("ftp://host", Url),
        ("http://gui.example/path", Origin),
        ("http://user@gui.example", Origin),
        (100_000_000, Workers),
        (99_999_999_999, Entries),
        ("", Text),
        ("/data\0", Path),
        ("xml", Literal["json", "off"]),
    ],
)
def test_a_file_must_have_the_right_type(raw: object, kind: object) -> None:
    """TOML has numbers, so a number in quotes is a mistake there."""
    with pytest.raises(ValueError, match=r".+"):
        convert(raw, kind, from_text=False)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Count, "a whole number, 1 or more"),
        (Address, "HOST:PORT or [IPV6]:PORT, with a port from 0 to 65535"),
        (Secret | None, "text, kept secret"),
        (tuple[Network, ...], "a list, each a network such as 10.0.0.0/8 or fd00::/8"),
        (Literal["a", "b"], 'one of "a", "b"'),
        (bool, "true or false"),
        (Path, "the path of a file or folder"),
        (str | None, "text"),
    ],
)
def test_every_kind_says_what_it_accepts(kind: object, words: str) -> None:
    """The words end up in error messages."""
    assert accepts(kind) == words


def test_a_secret_does_not_show_in_a_repr() -> None:
    """A printed settings value must not give a secret away."""
    secret = convert("hunter2", Secret | None, from_text=True)
    assert (secret, repr(secret)) == ("hunter2", "'***'")
    assert holds_secret(Secret | None)
    assert not holds_secret(str)


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example.com/jwks.json",
        "http://10.0.0.1/jwks.json",
        "http://127.0.0.1.example.com/",
        "http://localhost.example.com/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://user:password@issuer.example.com/",
        "https://user@issuer.example.com/",
        "https:///jwks.json",
        "https://issuer.example.com/#keys",
        "https://[::1",
        "https://[",
        "https://h:99999/x",
        "https://h:0/x",
        "jwks.json",
        "",
    ],
)
def test_urls_of_keys_that_are_refused(url: str) -> None:
    """Keys that anybody on the way could replace are no keys."""
    with pytest.raises(ValueError, match=r"key set|plain HTTP") as caught:
        check_keys_url(url)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://issuer.example.com/jwks", "http://127.0.0.1:8080/", "http://[::1]/a?b=c", "http://localhost/"]
)
def test_urls_of_keys_that_are_used(url: str) -> None:
    """Encrypted, or never leaving the machine."""
    check_keys_url(url)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (CertificateName, "Shop.Example.com.", "shop.example.com"),
        (CertificateName, "*.bücher.example", "*.xn--bcher-kva.example"),
        (HostName, "Edge.Zexio.App.", "edge.zexio.app"),
        (Place, "2001:0db8::0001", "2001:db8::1"),
        (Place, "192.0.2.0/24", "192.0.2.0/24"),
        (Place, "2001:0db8::/32", "2001:db8::/32"),
        (NameServer, "192.0.2.53", "192.0.2.53:53"),
        (NameServer, "192.0.2.53:5353", "192.0.2.53:5353"),
        (NameServer, "2001:db8::53", "[2001:db8::53]:53"),
        (NameServer, "[2001:db8::53]", "[2001:db8::53]:53"),
        (NameServer, "[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        (Contact, "ops@Example.com", "mailto:ops@example.com"),
        (Contact, "mailto:o'neil+tls@example.com", "mailto:o'neil+tls@example.com"),
    ],
)
def test_names_addresses_and_contacts_have_one_spelling(kind: type[str], text: str, value: str) -> None:
    """Whoever compares them need not know others."""
    assert kind(text) == value
    assert kind(kind(text)) == value


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (CertificateName, ("", "*", "localhost", "a_b.example", "192.0.2.1", "*.com", "a.*.example", "a..b")),
        (HostName, ("", "192.0.2.1", "[::1]", "*.example.com", "a:1", "a b")),
        (Place, ("", "host", "192.0.2.1:53", "192.0.2.1/24", "[::1]", "/")),
        (NameServer, ("", "ns.example.com", "192.0.2.53:0", "192.0.2.53:65536", "192.0.2.53:x", "[::1", "::1]:53")),
        (
            Contact,
            ("", "ops", "ops@", "@example.com", "ops@localhost", "a@b.c?x=y", "a@b.c,d@e.f", "mailto:", "a b@c.d"),
        ),
    ],
)
def test_what_is_none_is_refused(kind: type[str], texts: tuple[str, ...]) -> None:
    """With a ValueError, whatever is wrong."""
    assert [text for text in texts if is_taken(text, kind)] == []


def test_bounds_of_the_kinds_of_certificates() -> None:
    """As their descriptions say."""
    assert convert("256", Few, from_text=True) == 256
    for kind, text in ((Few, "0"), (Few, "257"), (SecureUrl, "http://a"), (SecureUrl, "https://")):
        assert not is_taken(text, kind)


def is_taken(text: str, kind: object) -> bool:
    """Whether a setting of this kind may be written so."""
    try:
        convert(text, kind, from_text=True)
    except ValueError:
        return False
    return True
