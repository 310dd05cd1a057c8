"""Paths for targets and places for visitors: what they say, and that no request can turn them elsewhere."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.paths import Rewrite, location, rewrite_of
from mesh.policies import Redirect
from mesh.routes import Route

HOST = b"shop.example.com"
EVIL = "evil.example.net"

targets = st.text(alphabet="/\\.?&=%a:@;", max_size=12).map(lambda text: b"/" + text.encode())
evil_targets = st.text(alphabet="/\\.?&=%09\t@:", max_size=6).map(lambda text: f"/{text}{EVIL}/".encode())
templates = st.sampled_from(
    [
        *("{path}", "{path}{query}", "/{path}", "/new{path}?{query}", "https://{host}{path}{query}", "//{host}{path}"),
        *("https://new.example.com{path}", "https://new.example.com/{path}", "https://new.example.com/a{path}?{query}"),
        *("https://new.example.com/?next={path}", "https://new.example.com{query}"),
    ]
)


def _route(prefix: str, rewrite: str | None = None, *, strip: bool = False) -> Route:
    return Route(host="a", targets=(), path_prefix=prefix, strip_prefix=strip, rewrite_prefix=rewrite)


@pytest.mark.parametrize(
    ("prefix", "rewrite", "target", "rewritten"),
    [
        ("/api", None, b"/api/v1?q=/api", b"/v1?q=/api"),
        ("/api", None, b"/api", b"/"),
        ("/api", None, b"/api/", b"/"),
        ("/api", None, b"/api?q=1", b"/?q=1"),
        ("/api/", None, b"/api/v1", b"/v1"),
        ("/api", None, b"/api//evil.example.net", b"/evil.example.net"),
        ("/", None, b"/v1", b"/v1"),
        ("/", None, b"//v1", b"/v1"),
        ("/api", "/v2", b"/api/a", b"/v2/a"),
        ("/api", "/v2/", b"/api/a", b"/v2/a"),
        ("/api", "/v2", b"/api", b"/v2"),
        ("/api", "/v2", b"/api?q", b"/v2?q"),
        ("/api", "/", b"/api/a", b"/a"),
        ("/", "/v2", b"/a", b"/v2/a"),
        ("/", "/v2", b"/", b"/v2/"),
        ("/", "/v2", b"//a", b"/v2//a"),
        ("/api", "/v2", b"/apis/a", b"/apis/a"),
        ("/api", "/v2", b"/other", b"/other"),
        ("/", "/v2", b"*", b"*"),
    ],
)
def test_a_prefix_is_taken_off_or_replaced(prefix: str, rewrite: str | None, target: bytes, rewritten: bytes) -> None:
    """What follows it, and the query, stay as they are."""
    assert Rewrite(_route(prefix, rewrite, strip=True)).apply(target) == rewritten


@given(st.sampled_from(["/", "/a", "/a/", "/a/b"]), st.sampled_from([None, "/", "/v2", "/v2/"]), targets)
def test_a_rewritten_path_begins_with_one_slash(prefix: str, rewrite: str | None, target: bytes) -> None:
    """Two would make a host of what follows."""
    whole = prefix.rstrip("/").encode() + target
    rewritten = Rewrite(_route(prefix, rewrite, strip=True)).apply(whole)
    assert rewritten[:1] == b"/"
    assert rewritten[:2] != b"//"
    assert rewritten.partition(b"?")[2] == whole.partition(b"?")[2]


def test_most_routes_rewrite_nothing() -> None:
    """And pay nothing for it."""
    assert rewrite_of(_route("/api")) is None
    assert rewrite_of(_route("/api", strip=True)) is not None
    assert rewrite_of(_route("/api", "/")) is not None


@pytest.mark.parametrize(
    ("to", "target", "value"),
    [
        ("https://{host}{path}{query}", b"/a/b?c=d", "https://shop.example.com/a/b?c=d"),
        ("https://{host}{path}?{query}", b"/a/b?c=d", "https://shop.example.com/a/b?c=d"),
        ("https://{host}{path}?{query}", b"/a/b", "https://shop.example.com/a/b"),
        ("https://{host}{path}{query}", b"/a/b?", "https://shop.example.com/a/b"),
        ("https://{host}/x?a=1&{query}", b"/?c=d", "https://shop.example.com/x?a=1&c=d"),
        ("https://{host}/x?a=1&{query}", b"/", "https://shop.example.com/x?a=1"),
        ("https://{host}/x?a=1{query}", b"/?c=d", "https://shop.example.com/x?a=1&c=d"),
        ("https://{host}/x?q={query}", b"/?c=d", "https://shop.example.com/x?q=c=d"),
        ("https://new.example.com/", b"/a?b", "https://new.example.com/"),
        ("https://new.example.com{path}", b"/a", "https://new.example.com/a"),
        ("https://new.example.com/{path}", b"/a", "https://new.example.com/a"),
        ("https://new.example.com/old{path}", b"/a", "https://new.example.com/old/a"),
        ("https://new.example.com{query}", b"/a?b=c", "https://new.example.com?b=c"),
        ("https://login.example.com/?next={path}", b"/a%20b&c", "https://login.example.com/?next=/a%2520b%26c"),
        ("{path}", b"//evil.example.net", "/evil.example.net"),
        ("{path}", b"/\\evil.example.net", "/evil.example.net"),
        ("/new{path}", b"//evil.example.net/\\a", "/new/evil.example.net/%5Ca"),
        ("{path}", b"/a\r\nX: 1", "/a%0D%0AX:%201"),
        ("/{a}{path}", b"/{host}", "/%7Ba%7D/%7Bhost%7D"),
        ("https://bücher.example{path}", b"/", "https://b%C3%BCcher.example/"),
    ],
)
def test_a_location_is_filled_in(to: str, target: bytes, value: str) -> None:
    """With the request's own host, path and query, each where it belongs."""
    assert location(Redirect(to=to), HOST, target, is_https=True) == value


@pytest.mark.parametrize(
    ("is_https", "value"), [(True, "https://new.example.com/a"), (False, "http://new.example.com/a")]
)
def test_a_place_without_a_scheme_gets_that_of_the_visitor(is_https: bool, value: str) -> None:
    """The scheme of the connection that the request came by."""
    assert location(Redirect(to="//new.example.com{path}"), HOST, b"/a", is_https=is_https) == value


@given(templates, evil_targets)
def test_no_request_chooses_the_host(to: str, target: bytes) -> None:
    """However a browser reads the value: backslashes as slashes, tabs as nothing."""
    value = location(Redirect(to=to), HOST, target, is_https=True)
    assert value.isascii()
    assert value.isprintable()
    assert " " not in value
    read = value.replace("\\", "/").replace("\t", "")
    assert urlsplit(urljoin("https://shop.example.com/", read)).hostname in {"shop.example.com", "new.example.com"}
