"""What browsers are told about pages of other origins: what the route lists, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.cors import CorsRules
from mesh.policies import Cors

SHOP = b"https://shop.example.com"
OTHER = b"https://evil.example.net"
LISTED = Cors(
    origins=(SHOP.decode(), "null"),
    methods=("GET", "PUT"),
    headers=("Content-Type", "X-Api-Key"),
    expose=("ETag", "Link"),
    credentials=True,
    max_age_s=60,
)
ANY = Cors(origins=("*",), methods=("*",), headers=("*",), expose=("*",))
MIXED = Cors(origins=("*", SHOP.decode()), credentials=True)


def _fields(lines: bytes | None) -> dict[str, str]:
    """Lines of different names as names and values."""
    assert lines is not None
    assert lines.endswith(b"\r\n")
    pairs = [line.partition(": ")[::2] for line in lines.decode().split("\r\n")[:-1]]
    fields = dict(pairs)
    assert len(fields) == len(pairs)
    return fields


@pytest.mark.parametrize(
    ("method", "origin", "request_method", "is_one"),
    [
        (b"OPTIONS", SHOP, b"PUT", True),
        (b"OPTIONS", SHOP, b"", False),
        (b"OPTIONS", b"", b"PUT", False),
        (b"PUT", SHOP, b"PUT", False),
    ],
)
def test_a_preflight_is_told_from_other_requests(
    method: bytes, origin: bytes, request_method: bytes, is_one: bool
) -> None:
    """OPTIONS has other uses."""
    assert CorsRules.is_preflight(method, origin, request_method) == is_one


def test_a_preflight_is_answered_with_what_is_allowed() -> None:
    """All in one answer that the browser may keep, and no cache may give to another page."""
    assert _fields(CorsRules(LISTED).preflight(SHOP, b"PUT", b"x-api-key,content-type")) == {
        "Access-Control-Allow-Origin": "https://shop.example.com",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Allow-Headers": "x-api-key, content-type",
        "Access-Control-Max-Age": "60",
        "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    }


@pytest.mark.parametrize(
    ("origin", "method", "headers", "is_allowed"),
    [
        (SHOP, b"PUT", b"", True),
        (SHOP, b"PUT", b"X-API-KEY , content-type,", True),
        (SHOP, b"POST", b"", True),
        (SHOP, b"DELETE", b"", False),
        (SHOP, b"put", b"", False),
        (SHOP, b"PUT", b"x-other", False),
        (SHOP, b"PUT", b"x-api-key, x-other", False),
        (b"null", b"GET", b"", True),
        (OTHER, b"GET", b"", False),
        (SHOP + b".evil.example.net", b"GET", b"", False),
        (b"http://shop.example.com", b"GET", b"", False),
        (b"https://shop.example.com:8443", b"GET", b"", False),
        (b"*", b"GET", b"", False),
        (b"", b"GET", b"", False),
    ],
)
def test_a_listed_origin_may_do_what_is_listed(origin: bytes, method: bytes, headers: bytes, is_allowed: bool) -> None:
    """Origins and methods are compared as they are, names of fields in any case."""
    assert (CorsRules(LISTED).preflight(origin, method, headers) is not None) == is_allowed


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (b"https://a.example.com", True),
        (b"https://a.b-c.example.com", True),
        (b"https://example.com", False),
        (b"https://.example.com", False),
        (b"http://a.example.com", False),
        (b"https://a.example.com:8443", False),
        (b"https://a.example.com.evil.net", False),
        (b"https://evil.net/.example.com", False),
        (b"https://evil.net#.example.com", False),
        (b"https://aexample.com", False),
        (b"https://a.exampleacom", False),
        (b"https://a.example.com\r\nX: 1", False),
        (b"https://a.example.org:8443", True),
        (b"https://a.example.org", False),
    ],
)
def test_a_star_stands_for_all_hosts_below_one(origin: bytes, is_allowed: bool) -> None:
    """With credentials, as they are the operator's own; the answer names the one that asked."""
    rules = CorsRules(Cors(origins=("https://*.example.com", "https://*.example.org:8443"), credentials=True))
    assert (rules.preflight(origin, b"GET", b"") is not None) == is_allowed
    fields = _fields(rules.lines(origin))
    assert fields.get("Access-Control-Allow-Origin") == (origin.decode() if is_allowed else None)
    assert ("Access-Control-Allow-Credentials" in fields) == is_allowed
    assert fields["Vary"] == "Origin"


def test_any_stands_for_what_was_asked_for() -> None:
    """By name, as `*` means nothing to requests with credentials."""
    fields = _fields(CorsRules(ANY).preflight(OTHER, b"PURGE", b"x-one,x-two"))
    assert fields["Access-Control-Allow-Origin"] == "*"
    assert fields["Access-Control-Allow-Methods"] == "PURGE"
    assert fields["Access-Control-Allow-Headers"] == "x-one, x-two"


@pytest.mark.parametrize(
    ("method", "headers"),
    [(b"GET", b"authorization"), (b"GET", b"x one"), (b"GET", b"x-one: 1"), (b"PUT\r\nX: 1", b""), (b"GET", b"x\r\ny")],
)
def test_any_is_neither_authorization_nor_nonsense(method: bytes, headers: bytes) -> None:
    """Authorization has to be listed, and only names are repeated."""
    assert CorsRules(ANY).preflight(SHOP, method, headers) is None


def test_authorization_may_be_listed_beside_any() -> None:
    """It is then one that is listed."""
    rules = CorsRules(Cors(origins=("*",), headers=("*", "Authorization")))
    fields = _fields(rules.preflight(SHOP, b"GET", b"authorization,x-one"))
    assert fields["Access-Control-Allow-Headers"] == "authorization, x-one"


def test_an_answer_names_its_origin() -> None:
    """With what pages may read of it."""
    assert _fields(CorsRules(LISTED).lines(SHOP)) == {
        "Access-Control-Allow-Origin": "https://shop.example.com",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "ETag, Link",
        "Vary": "Origin",
    }


@pytest.mark.parametrize("origin", [OTHER, b"", b"*"])
def test_an_answer_to_others_says_only_that_it_differs(origin: bytes) -> None:
    """A cache must not give it to the page that may read it."""
    assert CorsRules(LISTED).lines(origin) == b"Vary: Origin\r\n"


@pytest.mark.parametrize("origin", [SHOP, OTHER, b""])
def test_an_answer_that_any_page_may_read_is_the_same_for_all(origin: bytes) -> None:
    """One cached answer does for everybody."""
    assert _fields(CorsRules(ANY).lines(origin)) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "*",
    }


def test_credentials_are_for_listed_origins_only() -> None:
    """Whoever else may come comes without."""
    rules = CorsRules(MIXED)
    assert _fields(rules.lines(SHOP))["Access-Control-Allow-Credentials"] == "true"
    assert _fields(rules.lines(OTHER)) == {"Access-Control-Allow-Origin": "*", "Vary": "Origin"}


@given(st.sampled_from([SHOP, OTHER, b"null", b""]), st.sets(st.sampled_from(["*", SHOP.decode(), "null"])))
def test_any_origin_and_credentials_never_meet(origin: bytes, origins: set[str]) -> None:
    """Whatever the route says: a page that was not listed never reads what the visitor may."""
    rules = CorsRules(Cors(origins=tuple(origins), credentials=True))
    for lines in (rules.lines(origin), rules.preflight(origin, b"GET", b"") or b""):
        assert not (b"Allow-Origin: *" in lines and b"Credentials" in lines)
        assert b"Credentials" not in lines or origin.decode() in origins


def test_what_the_target_says_is_dropped() -> None:
    """Browsers refuse an answer with two origins."""
    lines = b"A: 1\r\naccess-control-Allow-Origin: *\r\nACCESS-CONTROL-MAX-AGE: 1\r\nVary: Accept\r\n"
    rules = CorsRules(LISTED)
    assert rules.edit(lines, OTHER) == b"A: 1\r\nVary: Accept\r\nVary: Origin\r\n"
    assert rules.edit(b"A: Access-Control-X\r\n", OTHER) == b"A: Access-Control-X\r\nVary: Origin\r\n"
    assert rules.edit(b"A: 1\r\n", SHOP) == b"A: 1\r\n" + rules.lines(SHOP)
    assert [CorsRules.drops(name) for name in (b"Access-Control-Allow-Origin", b"Access", b"Vary")] == [
        True,
        False,
        False,
    ]
