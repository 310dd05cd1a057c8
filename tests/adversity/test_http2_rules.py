"""Cases 164 to 167, 169 and 170: the rules of HTTP/2 for messages, put to the whole proxy by somebody else's codec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from mesh.policies import Target
from mesh.routes import MeshSettings, Route
from tests.adversity.http2_cases import FIELDS, LENGTHS, MISDIRECTIONS, PSEUDO_HEADERS, HeadCase, Verdict
from tests.support.authority import Authority
from tests.support.frame_visitor import (
    CANCEL,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    NO_ERROR,
    Field,
    FrameVisitor,
    Reply,
    frame,
    request_fields,
    reset_frame,
)
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin, SeenRequest
from tests.support.stage import Scene, Stage, answering, head_of, until

SETTINGS: Final = MeshSettings(http2_cleartext=True)
AUTHORITY: Final = Authority()
GRPC: Final = (b"content-type", b"application/grpc")


@asynccontextmanager
async def door(*routes: Route) -> AsyncIterator[tuple[MeshUnderTest, FrameVisitor]]:
    """A proxy, and a visitor of it."""
    async with (
        await start_mesh(*routes, settings=SETTINGS) as mesh,
        await FrameVisitor.connect(mesh.port) as visitor,
    ):
        yield mesh, visitor


@asynccontextmanager
async def door_to(scene: Scene) -> AsyncIterator[FrameVisitor]:
    """A visitor of a proxy whose target plays a scene."""
    async with Stage(scene) as stage, door(route_to(stage.port)) as (_, visitor):
        yield visitor


def frames_of(case: HeadCase, visitor: FrameVisitor, stream_id: int) -> bytes:
    """The case as it goes over the wire."""
    # Header blocks have to be encoded in the order in which they are sent.
    head = visitor.head(stream_id, case.fields, END_HEADERS if case.body else END_HEADERS | END_STREAM)
    data = [frame(DATA, 0, stream_id, piece) for piece in case.body]
    if case.trailers:
        data.append(visitor.head(stream_id, case.trailers))
    elif case.body:
        data[-1] = frame(DATA, END_STREAM, stream_id, case.body[-1])
    return head + b"".join(data)


def complaints(reply: Reply, seen: list[SeenRequest], verdict: Verdict) -> list[str]:
    """In which ways this is not what became of a request."""
    wrong = []
    is_cut = verdict.reset is not None
    if is_cut and (reply.reset, reply.status) != (verdict.reset, 0):
        wrong.append(f"got {reply.status} and the reset {reply.reset}")
    if not is_cut and (reply.status != verdict.status or not reply.ended or reply.reset not in (None, NO_ERROR)):
        wrong.append(f"got {reply.status} {reply.body!r}, reset {reply.reset}")
    if len(seen) not in verdict.reached:
        wrong.append(f"the origin saw {[one.head for one in seen]}")
    if is_cut and not verdict.may_complete and any(one.complete for one in seen):
        wrong.append("the origin took the request for complete")
    for one in seen:
        wrong += [f"{name!r}: {one.values(name)}" for name, values in verdict.has if one.values(name) != [*values]]
        if verdict.body is not None and one.body != verdict.body:
            wrong.append(f"the origin got {one.body!r}")
    return wrong


async def play(cases: tuple[HeadCase, ...], visitor: FrameVisitor, origin: Origin, scheme: bytes = b"http") -> None:
    """One case after the other on the same connection, which has to outlive them all."""
    wrong = []
    for case in cases:
        origin.forget()
        stream_id = visitor.next_id()
        await visitor.send(frames_of(case, visitor, stream_id))
        reply = await visitor.reply(stream_id)
        assert (await visitor.ask(b"/next", scheme=scheme)).json_target == "/next", case
        seen = [one for one in origin.requests if one.target != b"/next"]
        least = min((complaints(reply, seen, verdict) for verdict in case.accepts), key=len)
        wrong += [f"{case}: {'; '.join(least)}"] if least else []
        assert b"smuggled" not in origin.received, case
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", [*LENGTHS, *FIELDS, *PSEUDO_HEADERS], ids=str)
async def test_request(case: HeadCase) -> None:
    """The case ends its stream as it should, and nothing else: the next request on the connection is answered."""
    async with Origin() as origin, door(route_to(origin.port)) as (_, visitor):
        await play((case,), visitor, origin)


async def test_every_request_on_one_connection() -> None:
    """What HPACK remembers of a bad request is the same at both ends."""
    async with Origin() as origin, door(route_to(origin.port)) as (_, visitor):
        await play((*LENGTHS, *FIELDS, *PSEUDO_HEADERS), visitor, origin)


async def test_requests_that_are_for_somebody_else() -> None:
    """Case 167: on a connection for one name, requests for one whose certificate nobody has seen get 421."""
    ours, theirs = AUTHORITY.issue(HOST, "www.example.com", "*.example.net"), AUTHORITY.issue("other.example.org")
    async with Origin() as origin:
        hosts = (HOST, "www.example.com", "*.example.net", "other.example.org", "*")
        mesh = start_mesh(
            *(route_to(origin.port, host) for host in hosts),
            certificates=(ours.certificate, theirs.certificate),
        )
        tls = AUTHORITY.visitor_context("h2")
        async with await mesh as running, await FrameVisitor.connect(running.tls_port, tls) as visitor:
            await play(MISDIRECTIONS, visitor, origin, b"https")


# Case 169: what comes before the response, behind it, and instead of it.


def _raw(*fields: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, b"".join(field + b"\r\n" for field in fields), body)


async def test_trailers_reach_the_visitor() -> None:
    """Those of a body in chunks, and the stream ends with them."""
    raw = _raw(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n")
    async with door_to(answering(raw)) as visitor:
        reply = await visitor.ask(b"/", (b"te", b"trailers"))
        assert (reply.status, reply.body, reply.trailers, reply.ended) == (200, b"hello", [(b"x-sum", b"7")], True)


async def test_trailers_reach_the_target() -> None:
    """A request's own, with or without a body before them."""
    async with Origin() as origin, door(route_to(origin.port)) as (_, visitor):
        for body in (b"hello", b""):
            stream_id = visitor.next_id()
            await visitor.send(
                visitor.head(stream_id, request_fields(b"/t", method=b"POST"), END_HEADERS),
                frame(DATA, 0, stream_id, body),
                visitor.head(stream_id, [(b"x-sum", b"7")]),
            )
            assert (await visitor.reply(stream_id)).status == 200
        assert [one.trailers for one in origin.requests] == [[(b"x-sum", b"7")]] * 2


async def test_a_call_that_fails_at_once_has_its_status_where_the_target_put_it() -> None:
    """The trailers-only form of gRPC is a head with END_STREAM: an empty frame behind it would be another thing."""
    raw = _raw(b"Content-Type: application/grpc", b"grpc-status: 5", b"Content-Length: 0")
    async with door_to(answering(raw)) as visitor:
        reply = await visitor.ask(b"/svc/Call", GRPC, (b"te", b"trailers"), method=b"POST")
        assert (reply.status, reply.values(b"grpc-status"), reply.body) == (200, [b"5"], b"")
        own = [one for one in visitor.frames if one.stream_id == 1]
        assert [(one.kind, one.flags & END_STREAM) for one in own] == [(HEADERS, END_STREAM)]


@pytest.mark.parametrize(
    ("authority", "code"), [("shop.example.com", b"14"), ("nobody.example.org", b"12")], ids=["no target", "no route"]
)
async def test_what_the_proxy_says_to_a_caller_is_a_status_of_grpc(authority: str, code: bytes) -> None:
    """UNAVAILABLE where no target answers, UNIMPLEMENTED where there is none."""
    async with Stage(answering(b"")) as stage:
        port = stage.port
    async with door(route_to(port)) as (_, visitor):
        stream_id = visitor.next_id()
        fields = request_fields(b"/svc/Call", GRPC, method=b"POST", authority=authority.encode())
        await visitor.send(visitor.head(stream_id, fields))
        reply = await visitor.reply(stream_id)
        assert (reply.status, reply.values(b"grpc-status"), reply.values(b"content-type")) == (200, [code], [GRPC[1]])


async def test_interim_responses_come_first() -> None:
    """103 is passed on, and a 100 that nobody asked for does no harm."""
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + _raw(b"Content-Length: 5", body=b"hello")
    async with door_to(answering(raw)) as visitor:
        reply = await visitor.ask()
        assert (reply.interim, reply.status, reply.body) == ([103], 200, b"hello")


async def test_a_body_that_waits_for_100_is_asked_for() -> None:
    """Expect is passed on, and so is the answer to it."""
    async with Origin() as origin, door(route_to(origin.port)) as (_, visitor):
        stream_id = visitor.next_id()
        fields = request_fields(b"/", (b"expect", b"100-continue"), (b"content-length", b"5"), method=b"POST")
        await visitor.send(visitor.head(stream_id, fields, END_HEADERS))
        await visitor.until(lambda: visitor.on(stream_id).interim == [100])
        await visitor.send(frame(DATA, END_STREAM, stream_id, b"hello"))
        assert (await visitor.reply(stream_id)).status == 200
        assert origin.requests[0].body == b"hello"


async def test_a_response_without_a_body_ends_with_its_head() -> None:
    """204, 304, and what answers HEAD; whatever length they speak of."""
    raws = {
        b"GET": _raw(status=b"204 No Content"),
        b"PUT": _raw(b"Content-Length: 5", status=b"304 Not Modified"),
        b"HEAD": _raw(b"Content-Length: 5"),
    }

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(raws[(await head_of(reader)).partition(b" ")[0]])

    async with door_to(scene) as visitor:
        for method, status in ((b"GET", 204), (b"PUT", 304), (b"HEAD", 200)):
            reply = await visitor.ask(method=method)
            assert (reply.status, reply.body, reply.ended) == (status, b"", True)


# Case 170: a WebSocket on one stream (RFC 8441).

WEBSOCKET: Final = (
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    *request_fields(b"/chat")[1:],
    (b"sec-websocket-version", b"13"),
    (b"origin", b"http://shop.example.com"),
)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await head_of(reader)
    assert head.startswith(b"GET /chat HTTP/1.1\r\n")
    for line in (b"upgrade: websocket", b"connection: upgrade", b"sec-websocket-key: ", b"sec-websocket-version: 13"):
        assert line in head.lower()
    fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat"
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n\r\nfirst" % fields)
    while data := await reader.read(1000):
        writer.write(data)
    writer.write(b"the end")
    writer.write_eof()


async def test_a_websocket_is_bridged() -> None:
    """Announced, answered by 200 without what only HTTP/1 needs, carried both ways, and ended from either side."""
    async with door_to(_echo) as visitor:
        await visitor.until(lambda: bool(visitor.settings))
        assert visitor.settings[ENABLE_CONNECT_PROTOCOL] == 1
        stream_id = visitor.next_id()
        # What comes ahead of the answer is for the tunnel.
        await visitor.send(visitor.head(stream_id, WEBSOCKET, END_HEADERS), frame(DATA, 0, stream_id, b" ahead"))
        reply = visitor.on(stream_id)
        await visitor.until(lambda: reply.body == b"first ahead")
        assert (reply.status, reply.values(b"sec-websocket-protocol")) == (200, [b"chat"])
        names = {name for name, _ in reply.fields}
        assert names.isdisjoint({b"connection", b"upgrade", b"transfer-encoding", b"sec-websocket-accept"})
        await visitor.send(frame(DATA, 0, stream_id, b" more"), frame(DATA, END_STREAM, stream_id))
        await visitor.reply(stream_id)
        assert (reply.body, reply.ended) == (b"first ahead morethe end", True)


@pytest.mark.parametrize("leave", ["reset", "close"])
async def test_a_websocket_ends_with_its_visitor(leave: str) -> None:
    """Whether the stream is reset or the connection lost."""
    over = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _echo(reader, writer)
        finally:
            over.set()

    async with door_to(scene) as visitor:
        stream_id = visitor.next_id()
        await visitor.send(visitor.head(stream_id, WEBSOCKET, END_HEADERS))
        await visitor.until(lambda: visitor.on(stream_id).body == b"first")
        if leave == "reset":
            await visitor.send(reset_frame(stream_id, CANCEL))
        else:
            visitor.close()
        async with asyncio.timeout(3):
            await over.wait()


@pytest.mark.parametrize(("status", "told"), [(b"403 Forbidden", 403), (b"200 OK", 502)])
async def test_a_websocket_that_the_target_does_not_want(status: bytes, told: int) -> None:
    """Its refusal is the answer, but a 200 would say that the tunnel is open; what came ahead goes nowhere."""
    received = bytearray()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            received.extend(await head_of(reader))
            writer.write(_raw(b"Content-Length: 5", body=b"hello", status=status))

    async with door_to(scene) as visitor:
        stream_id = visitor.next_id()
        ahead = frame(DATA, 0, stream_id, b"GET /smuggled HTTP/1.1\r\n\r\n")
        await visitor.send(visitor.head(stream_id, WEBSOCKET, END_HEADERS), ahead)
        assert (await visitor.reply(stream_id)).status == told
        assert (await visitor.ask(b"/next")).status == int(status[:3])
        assert b"smuggled" not in received


@pytest.mark.parametrize(
    ("fields", "statuses"),
    [
        ([(b":method", b"CONNECT"), (b":protocol", b"connect-udp"), *request_fields()[1:]], {501}),
        ([(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":authority", HOST.encode())], {0, 400}),
        ([(b":method", b"CONNECT"), (b":authority", b"%b:443" % HOST.encode())], {405, 501}),
        ([(b":method", b"CONNECT"), (b":protocol", b"a b"), *request_fields()[1:]], {0, 400}),
    ],
    ids=["other protocol", "without path", "plain CONNECT", "malformed protocol"],
)
async def test_what_cannot_be_connected_to(fields: list[Field], statuses: set[int]) -> None:
    """Refused on the stream, before a target hears of it."""
    async with Origin() as origin, door(route_to(origin.port)) as (_, visitor):
        stream_id = visitor.next_id()
        await visitor.send(visitor.head(stream_id, fields, END_HEADERS))
        assert (await visitor.reply(stream_id)).status in statuses
        assert (await visitor.ask(b"/next")).json_target == "/next"
        assert len(origin.requests) == 1


async def test_resets_cancel_the_request_to_the_target() -> None:
    """Case 156 on a stream: the target's connection is cut, and other streams of the visitor go on."""
    cut, free = asyncio.Event(), asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        if b"/hangs" in head:
            assert not await reader.read(1)
            cut.set()
        else:
            await free.wait()
            writer.write(_raw(b"Content-Length: 0"))

    async with (
        Stage(scene) as stage,
        door(Route(host=HOST, targets=(Target(f"http://127.0.0.1:{stage.port}"),))) as (
            mesh,
            visitor,
        ),
    ):
        other, hangs = visitor.next_id(), visitor.next_id()
        await visitor.send(visitor.head(other, request_fields()), visitor.head(hangs, request_fields(b"/hangs")))
        await until(lambda: stage.entered == 2)
        await visitor.send(reset_frame(hangs))
        async with asyncio.timeout(3):
            await cut.wait()
        free.set()
        assert (await visitor.reply(other)).status == 200
        assert mesh.core.in_flight == 0
