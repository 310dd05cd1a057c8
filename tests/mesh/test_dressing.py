"""What becomes of answers on their way to the visitor, seen from outside."""

from __future__ import annotations

import asyncio
import gzip

import msgspec
import pytest

from mesh.dressing import dressing_of
from mesh.pages import Pages
from mesh.policies import Compression, Cors, ErrorPage, ErrorPages, HeaderEdits, Hsts, Sticky
from mesh.routes import MeshSettings, Route
from tests.support.client import Answer, Visitor, ask
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.stage import Stage, answering, request, until

GET = request(b"GET / HTTP/1.1")
PAGE = b"<p>" + b"hello " * 500


def _response(*lines: bytes, status: bytes = b"200 OK", body: bytes = b"") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 " + status, *lines, b"Content-Length: %d" % len(body), b"", body))


async def _answer(route: Route, response: bytes, *lines: bytes, method: bytes = b"GET") -> Answer:
    """What a visitor of `route` gets when its target answers with `response`."""
    async with (
        Stage(answering(response)) as stage,
        await start_mesh(msgspec.structs.replace(route, targets=route_to(stage.port).targets)) as mesh,
    ):
        return await ask(mesh.port, request(method + b" / HTTP/1.1", *lines), method.decode())


def test_a_route_without_wishes_leaves_answers_as_they_are() -> None:
    """And pays nothing."""
    assert dressing_of(Route(host="a", targets=()), Pages(None, "")) is None


async def test_edits_apply_to_every_answer_of_the_target() -> None:
    """The second one like the first, which was remembered."""
    edits = HeaderEdits(remove=("Server",), set=(("X-A", "1"),), add=(("X-B", "2"),))
    route = Route(host=HOST, targets=(), response_headers=edits)
    response = _response(b"Server: them", b"X-A: theirs", b"Date: today", body=b"x")
    async with (
        Stage(answering(response)) as stage,
        await start_mesh(msgspec.structs.replace(route, targets=route_to(stage.port).targets)) as mesh,
    ):
        for _ in range(3):
            answer = await ask(mesh.port, GET)
            assert (answer.values(b"server"), answer.values(b"x-a"), answer.values(b"x-b")) == ([], [b"1"], [b"2"])
            assert answer.body == b"x"


async def test_an_answer_to_another_origin_says_who_may_read_it() -> None:
    """In place of what the target says; the proxy's own answers say so too."""
    route = Route(host=HOST, targets=(), cors=Cors(origins=("https://app.example.com",)))
    theirs = _response(b"Access-Control-Allow-Origin: *", body=b"x")
    answer = await _answer(route, theirs, b"Origin: https://app.example.com")
    assert answer.values(b"access-control-allow-origin") == [b"https://app.example.com"]
    async with await start_mesh(route) as mesh:
        failure = await ask(mesh.port, request(b"GET / HTTP/1.1", b"Origin: https://app.example.com"))
        assert failure.status == 503
        assert failure.values(b"access-control-allow-origin") == [b"https://app.example.com"]


@pytest.mark.parametrize(("proto", "said"), [(b"https", [b"max-age=60; includeSubDomains; preload"]), (b"http", [])])
async def test_strict_transport_is_asked_for_over_https_only(proto: bytes, said: list[bytes]) -> None:
    """RFC 6797 section 7.2."""
    hsts = Hsts(max_age_s=60, include_subdomains=True, preload=True)
    async with Stage(answering(_response())) as stage:
        route = msgspec.structs.replace(route_to(stage.port), hsts=hsts)
        async with await start_mesh(route, settings=MeshSettings(trusted_proxies=("127.0.0.1/32",))) as mesh:
            answer = await ask(mesh.port, request(b"GET / HTTP/1.1", b"X-Forwarded-Proto: " + proto))
            assert answer.values(b"strict-transport-security") == said


async def test_a_sticky_visitor_is_told_once() -> None:
    """The cookie comes back, and is not set again."""
    async with Stage(answering(_response())) as stage:
        route = msgspec.structs.replace(route_to(stage.port), sticky=Sticky())
        async with await start_mesh(route) as mesh:
            (cookie,) = (await ask(mesh.port, GET)).values(b"set-cookie")
            known = await ask(mesh.port, request(b"GET / HTTP/1.1", b"Cookie: " + cookie.partition(b";")[0]))
            assert known.values(b"set-cookie") == []


# Compression.

COMPRESSING = Route(host=HOST, targets=(), compression=Compression(encodings=("gzip",)))


async def test_a_page_is_compressed_for_whoever_accepts_it() -> None:
    """Chunked, because nobody knows how long it will be; and counted."""
    response = _response(b"Content-Type: text/html", b'ETag: "1"', body=PAGE)
    answer = await _answer(COMPRESSING, response, b"Accept-Encoding: gzip")
    assert answer.values(b"content-encoding") == [b"gzip"]
    assert answer.values(b"etag") == [b'W/"1"']
    assert answer.values(b"content-length") == []
    assert gzip.decompress(answer.body) == PAGE


@pytest.mark.parametrize("lines", [(), (b"Accept-Encoding: br",), (b"Accept-Encoding: gzip;q=0",)])
async def test_others_get_it_as_it_is(lines: tuple[bytes, ...]) -> None:
    """And caches are told that it depends."""
    answer = await _answer(COMPRESSING, _response(b"Content-Type: text/html", body=PAGE), *lines)
    assert (answer.body, answer.values(b"vary")) == (PAGE, [b"Accept-Encoding"])


async def test_a_piece_of_a_stream_is_not_held_back() -> None:
    """What the target has sent can be read, though more is to come."""
    more = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await more.wait()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")
        await writer.drain()

    async with Stage(scene) as stage:
        route = msgspec.structs.replace(COMPRESSING, targets=route_to(stage.port).targets)
        async with await start_mesh(route) as mesh, await Visitor.connect(mesh.port) as visitor:
            await visitor.send(request(b"GET / HTTP/1.1", b"Accept-Encoding: gzip"))
            await until(lambda: mesh.core.counters.compressed_in == 5)
            assert mesh.core.encoders == 1
            more.set()
            answer = await visitor.answer()
            assert answer is not None
            assert gzip.decompress(answer.body) == b"firstlast"
            assert mesh.core.encoders == 0


async def test_an_encoder_is_given_back_when_the_answer_breaks_off() -> None:
    """Or there would soon be none left."""
    half = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    async with Stage(answering(half, then_close=True)) as stage:
        route = msgspec.structs.replace(COMPRESSING, targets=route_to(stage.port).targets)
        async with await start_mesh(route) as mesh, await Visitor.connect(mesh.port) as visitor:
            await visitor.send(request(b"GET / HTTP/1.1", b"Accept-Encoding: gzip"))
            await visitor.end()
            assert mesh.core.encoders == 0


# Error pages.


async def _idle(mesh: MeshUnderTest) -> int:
    return sum(len(target.pool) for target in mesh.core.targets(10))


async def test_an_error_of_the_target_is_shown_on_the_route_s_page() -> None:
    """With the target's status; its connection is kept."""
    pages = ErrorPages(pages=(ErrorPage("5xx", "<h1>{status}"),), intercept=True)
    response = _response(b"Content-Type: text/plain", status=b"500 Oops", body=b"stack trace")
    async with Stage(answering(response)) as stage:
        route = msgspec.structs.replace(route_to(stage.port), error_pages=pages)
        async with await start_mesh(route) as mesh:
            answer = await ask(mesh.port, request(b"GET / HTTP/1.1", b"Accept: text/html"))
            assert (answer.status, answer.body) == (500, b"<h1>500")
            assert mesh.core.in_flight == 0


async def test_other_answers_of_the_target_pass() -> None:
    """Only what there is a page for is replaced."""
    pages = ErrorPages(pages=(ErrorPage("5xx", "<h1>{status}"),), intercept=True)
    route = Route(host=HOST, targets=(), error_pages=pages)
    answer = await _answer(route, _response(status=b"404 Gone", body=b"theirs"), b"Accept: text/html")
    assert (answer.status, answer.body) == (404, b"theirs")
