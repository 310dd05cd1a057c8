"""What the proxy says when it answers itself: the cause by Proxy-Status, a small body by Accept, and no secret."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator

import pytest

from mesh.policies import Target
from mesh.routes import Route
from tests.adversity.verdict import HOST, Door, request
from tests.support.client import Answer, ask
from tests.support.mesh_node import route_to, start_mesh

# RFC 9209 section 2: an item that names the proxy, with the type of error as a parameter.
_PROXY_STATUS = re.compile(rb'[A-Za-z*][A-Za-z0-9_.:/*-]*(?:; ?[a-z-]+=(?:"[^"]*"|[^;",]+))*')
_SECRET = b"s3cret-s3cret-s3cret"

CAUSES = {
    "malformed": (request(b"GET /a b HTTP/1.1"), 400, b"http_request_error"),
    "ambiguous_framing": (
        request(b"POST / HTTP/1.1", b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        400,
        b"http_request_error",
    ),
    "unknown_host": (request(b"GET / HTTP/1.1", host=b"nobody.example.com"), 404, b"destination_not_found"),
    "trace": (request(b"TRACE / HTTP/1.1"), 405, b"http_request_denied"),
    "long_target": (request(b"GET /%b HTTP/1.1" % (b"a" * 9000)), 414, b"http_request_error"),
    "big_head": (request(b"GET / HTTP/1.1", b"X-A: " + b"a" * 40000), 431, b"http_request_error"),
    "no_token": (request(b"GET / HTTP/1.1", host=b"tenant.example.com"), 401, b"http_request_denied"),
    "target_closes": (request(b"GET /-/close0 HTTP/1.1"), 502, b"connection_terminated"),
    "target_talks_nonsense": (request(b"GET /-/garbage HTTP/1.1"), 502, b"http_protocol_error"),
    "target_is_down": (request(b"GET / HTTP/1.1", host=b"down.example.com"), 502, b"connection_refused"),
}


@pytest.fixture
async def port(our_door: Door) -> AsyncIterator[int]:
    """A proxy with a public route, one for tenants, and one whose target is not there."""
    origin = our_door.origin.port
    with socket.socket() as bound_but_deaf:
        bound_but_deaf.bind(("127.0.0.1", 0))
        deaf = bound_but_deaf.getsockname()[1]
        down = Route(host="down.example.com", targets=(Target(f"http://127.0.0.1:{deaf}"),))
        tenant = Route(host="tenant.example.com", targets=route_to(origin).targets, org_id="org_a", access="tenant")
        async with await start_mesh(route_to(origin), tenant, down) as mesh:
            yield mesh.port


@pytest.mark.parametrize(("raw", "status", "cause"), CAUSES.values(), ids=CAUSES)
async def test_an_answer_names_its_cause(port: int, raw: bytes, status: int, cause: bytes) -> None:
    """One Proxy-Status field, well-formed, with the error type of the failure."""
    answer = await ask(port, raw)
    assert answer.status == status
    (proxy_status,) = answer.values(b"proxy-status")
    assert _PROXY_STATUS.fullmatch(proxy_status)
    assert b"error=" + cause in proxy_status


@pytest.mark.parametrize(("raw", "status", "cause"), CAUSES.values(), ids=CAUSES)
async def test_an_answer_tells_no_secret(our_door: Door, port: int, raw: bytes, status: int, cause: bytes) -> None:
    """Neither what the visitor sent nor where the target is comes back."""
    secrets = b"Authorization: Bearer %b\r\nCookie: %b\r\nX-Key: %b\r\n\r\n" % (_SECRET, _SECRET, _SECRET)
    answer = await ask(port, raw.replace(b"\r\n\r\n", b"\r\n" + secrets, 1))
    told = answer.head + answer.body
    assert _SECRET not in told
    assert b"127.0.0.1" not in told
    assert str(our_door.origin.port).encode() not in told


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", b"text/html"),
        (b"application/json", b"application/json"),
        (b"application/json, text/plain, */*", b"application/json"),
    ],
)
@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"HEAD / HTTP/1.1"])
async def test_the_body_follows_accept(port: int, line: bytes, accept: bytes, content_type: bytes) -> None:
    """Browsers get a page, programs get JSON, HEAD gets the same head."""
    answer = await ask(port, request(line, b"Accept: " + accept, host=b"nobody.example.com"), line[:4].decode().strip())
    assert answer.status == 404
    assert answer.values(b"content-type")[0].startswith(content_type)
    _check_body(answer, content_type)


def _check_body(answer: Answer, content_type: bytes) -> None:
    assert int(answer.values(b"content-length")[0]) > 0
    if answer.ended == "none":
        return
    if content_type == b"text/html":
        assert b"<html" in answer.body
    else:
        assert isinstance(answer.json, dict)


async def test_a_target_does_not_speak_as_the_proxy(our_door: Door) -> None:
    """An answer of the origin carries no Proxy-Status with an error of ours."""
    answer = await ask(our_door.port, request(b"GET / HTTP/1.1"))
    assert not any(b"error=" in value for value in answer.values(b"proxy-status"))


@pytest.mark.parametrize("value", [b'<script>alert("x")</script>', b"'\"><img src=x>"])
async def test_what_the_visitor_sent_is_not_part_of_the_page(port: int, value: bytes) -> None:
    """Neither target nor fields are echoed as markup."""
    raw = request(
        b"GET /%b HTTP/1.1" % value.replace(b" ", b"+"), b"Accept: text/html", b"X-Request-Id: " + value, host=b"x.test"
    )
    answer = await ask(port, raw)
    assert value not in answer.body


async def test_a_refusal_announces_the_close(our_door: Door) -> None:
    """After a malformed request nothing more is read, and the answer says so."""
    answer = await ask(our_door.port, request(b"GET / HTTP/1.1", b"X-A", host=HOST))
    assert answer.status == 400
    assert answer.announces_close
