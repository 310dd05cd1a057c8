"""Targets of HTTP/2 that are wrong, early, late, hostile or gone, and what visitors of either version get to see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import pytest

from mesh.policies import Target
from mesh.routes import MeshSettings, Route
from tests.support.client import Visitor, ask
from tests.support.frame_target import FrameTarget, playing
from tests.support.frame_visitor import (
    CANCEL,
    CONTINUATION,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    INTERNAL_ERROR,
    MAX_CONCURRENT_STREAMS,
    NO_ERROR,
    PADDED,
    PING,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    FrameVisitor,
    frame,
    request_fields,
    reset_frame,
    settings_frame,
    window_frame,
)
from tests.support.mesh_node import HOST, MeshUnderTest, start_mesh
from tests.support.stage import Stage, request, until

MESH: Final = MeshSettings(http2_cleartext=True, response_timeout_s=0.3, idle_timeout_s=0.3)
GET: Final = request(b"GET / HTTP/1.1")


def route_to(port: int, **fields: Any) -> Route:  # noqa: ANN401
    """To a target of HTTP/2 without TLS."""
    return Route(host=HOST, targets=(Target(f"h2c://127.0.0.1:{port}"),), **fields)


@asynccontextmanager
async def before(
    play: Callable[[FrameTarget], Any],
    target_settings: tuple[tuple[int, int], ...] = (),
    **fields: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[Stage, MeshUnderTest]]:
    """A proxy before a target that plays this on each connection."""
    async with (
        Stage(playing(play, target_settings)) as stage,
        await start_mesh(route_to(stage.port, **fields), settings=MESH) as mesh,
    ):
        yield stage, mesh


Say = Callable[[FrameTarget, int], bytes]


class TargetCase(msgspec.Struct, frozen=True, kw_only=True):
    """What a target says to a request on a stream, and the statuses that a visitor may get.

    `body` is what a visitor has got for whole; None: the answer is cut, or is one of the proxy.
    """

    name: str
    say: Say
    statuses: tuple[int, ...] = (502,)
    body: bytes | None = None

    def __str__(self) -> str:
        return self.name


def _bad(name: str, say: Say) -> TargetCase:
    """502, whatever it was."""
    return TargetCase(name=name, say=say)


def _raw(name: str, raw: bytes) -> TargetCase:
    """502 for what is the same on every stream."""
    return _bad(name, lambda _target, _one: raw)


def _cut(name: str, say: Say) -> TargetCase:
    """An answer that has begun and is not completed; where nothing of it was sent, a reset, or 502."""
    return TargetCase(name=name, say=say, statuses=(0, 200, 502))


def _fine(name: str, say: Say, body: bytes = b"hello") -> TargetCase:
    return TargetCase(name=name, say=say, statuses=(200,), body=body)


def _fields(*fields: tuple[bytes, bytes]) -> Say:
    """An answer with these fields."""
    return lambda target, one: target.answer(one, b"hello", *fields)


def _only(*fields: tuple[bytes, bytes]) -> Say:
    """A head of these fields, and no body."""
    return lambda target, one: target.block(one, *fields, flags=END_HEADERS | END_STREAM)


def _begun(rest: Say, body: bytes = b"hello") -> Say:
    """A head and a body, and what comes behind these."""
    return lambda target, one: target.head(one) + frame(DATA, 0, one, body) + rest(target, one)


def _trailers(*fields: tuple[bytes, bytes], flags: int = END_HEADERS | END_STREAM) -> Say:
    return _begun(lambda target, one: target.block(one, *fields, flags=flags))


def _pushed(target: FrameTarget, stream_id: int) -> bytes:
    return frame(PUSH_PROMISE, END_HEADERS, stream_id, (2).to_bytes(4) + target.encoder.encode(request_fields()))


def _large(target: FrameTarget, stream_id: int) -> bytes:
    return target.head(stream_id, flags=0) + frame(CONTINUATION, 0, stream_id, bytes(16_000)) * 40


STATUS: Final = (b":status", b"200")
CASES: Final = (
    _fine("whole", lambda target, one: target.answer(one)),
    _fine("padded", lambda target, one: target.head(one) + frame(DATA, PADDED | END_STREAM, one, b"\x03hello\0\0\0")),
    _fine("head_alone", _only(STATUS), b""),
    _fine("in_pieces", _begun(lambda _, one: frame(DATA, END_STREAM, one, b"lo"), b"hel")),
    _fine("interim", lambda target, one: target.head(one, status=b"103") + target.answer(one)),
    _fine("length", _fields((b"content-length", b"5"))),
    _fine("trailers", _trailers((b"x-sum", b"7"))),
    _fine("unknown_frames", lambda target, one: frame(0xBE, 0xFF, one, b"what") + target.answer(one) + frame(0xBE)),
    _fine("reset_behind_the_end", lambda target, one: target.answer(one) + reset_frame(one, NO_ERROR)),
    _fine("early_goodbye", lambda target, one: frame(GOAWAY, payload=one.to_bytes(4) + bytes(4)) + target.answer(one)),
    _bad("no_status", _only((b"x-a", b"1"))),
    _bad("status_twice", _only(STATUS, STATUS)),
    _bad("status_late", _only((b"x-a", b"1"), STATUS)),
    _bad("status_of_two_digits", _only((b":status", b"99"))),
    _bad("status_of_letters", _only((b":status", b"2oo"))),
    _bad("status_with_crlf", _only((b":status", b"200\r\nx: y"))),
    _bad("status_101", lambda target, one: target.head(one, status=b"101")),
    _bad("interim_that_ends", _only((b":status", b"103"))),
    _bad("pseudo_of_requests", _only(STATUS, (b":path", b"/"))),
    _bad("name_with_capitals", _fields((b"X-A", b"1"))),
    _bad("name_with_crlf", _fields((b"x\r\nsmuggled: 1", b"1"))),
    _bad("value_with_crlf", _fields((b"x-a", b"1\r\nsmuggled: 1"))),
    _bad("value_with_lf", _fields((b"x-a", b"1\nsmuggled: 1"))),
    _bad("value_with_nul", _fields((b"x-a", b"1\0"))),
    _bad("connection", _fields((b"connection", b"close"))),
    _bad("transfer_encoding", _fields((b"transfer-encoding", b"chunked"))),
    _bad("upgrade", _fields((b"upgrade", b"websocket"))),
    _bad("length_twice", _fields((b"content-length", b"5"), (b"content-length", b"6"))),
    _bad("length_of_letters", _fields((b"content-length", b"five"))),
    _cut("length_too_large", _fields((b"content-length", b"6"))),
    _cut("length_too_small", _fields((b"content-length", b"4"))),
    _bad("length_and_no_body", _only(STATUS, (b"content-length", b"5"))),
    _bad("data_before_the_head", lambda _, one: frame(DATA, END_STREAM, one, b"hello")),
    _cut("second_head", lambda target, one: target.head(one) + target.head(one)),
    _cut("trailers_that_do_not_end", _trailers((b"x-sum", b"7"), flags=END_HEADERS)),
    _cut("pseudo_in_trailers", _trailers(STATUS)),
    _cut("reset_in_the_body", _begun(lambda _, one: reset_frame(one, INTERNAL_ERROR))),
    _cut("reset_without_error_in_the_body", _begun(lambda _, one: reset_frame(one, NO_ERROR))),
    _bad("reset_at_once", lambda _, one: reset_frame(one, INTERNAL_ERROR)),
    _bad("reset_by_cancel", lambda _, one: reset_frame(one, CANCEL)),
    _bad("bad_index", lambda _, one: frame(HEADERS, 5, one, b"\xff\xff\x7f")),
    _bad("push", _pushed),
    _bad("frame_too_large", lambda _, one: frame(DATA, 0, one, bytes(16_385))),
    _bad("settings_for_a_stream", lambda _, one: frame(SETTINGS, 0, one)),
    _bad("head_for_an_idle_stream", lambda target, one: target.head(one + 100, flags=5)),
    _bad("head_for_a_stream_of_its_own", lambda target, one: target.head(one + 1, flags=5)),
    _bad("reset_of_an_idle_stream", lambda _, one: reset_frame(one + 100)),
    _bad("continuation_of_nothing", lambda _, one: frame(CONTINUATION, END_HEADERS, one)),
    _bad("head_too_large", _large),
    _raw("ping_too_short", frame(PING, payload=bytes(7))),
    _raw("window_of_nothing", window_frame(0, 0)),
    _raw("window_too_large", window_frame(0, (1 << 31) - 1) * 2),
    _raw("http/1", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
)


def _judge(case: TargetCase, status: int, body: bytes, *, is_whole: bool) -> str:
    if status not in case.statuses:
        return f"{status} {body[:60]!r}"
    if case.body is None and status < 500 and is_whole:
        return f"taken for whole: {body!r}"
    if case.body is not None and (not is_whole or body != case.body):
        return f"not whole: {body!r}"
    return ""


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_answer(case: TargetCase) -> None:
    """Told apart by visitors of HTTP/1.1, 1.0 and 2; the next request is answered, on this connection or another."""

    async def play(target: FrameTarget) -> None:
        while True:
            stream_id, fields = await target.request()
            if fields[b":path"] == b"/next":
                await target.send(target.answer(stream_id, b"next"))
            else:
                await target.send(case.say(target, stream_id))

    async with before(play, retries=0) as (_, mesh), await FrameVisitor.connect(mesh.port) as frames:
        wrong = []
        for version in (b"1.1", b"1.0"):
            answer = await ask(mesh.port, request(b"GET / HTTP/%b" % version))
            is_whole = answer.ended in {"length", "chunked", "close"}
            wrong.append(_judge(case, answer.status, answer.body, is_whole=is_whole))
            assert b"smuggled" not in answer.head
        reply = await frames.ask()
        is_whole = reply.ended and reply.reset in (None, NO_ERROR)
        wrong.append(_judge(case, reply.status, reply.body, is_whole=is_whole))
        assert wrong == [""] * 3
        assert (await frames.ask(b"/next")).body == b"next"
        assert mesh.core.in_flight == 0


async def test_a_stream_that_fails_harms_no_neighbour() -> None:
    """Errors of one stream leave the others of the same connection alone."""

    async def play(target: FrameTarget) -> None:
        held: list[int] = []
        while True:
            stream_id, fields = await target.request()
            if fields[b":path"] == b"/bad":
                await target.send(target.head(stream_id, (b"connection", b"close")))
                await target.send(*(target.answer(one) for one in held))
                held.clear()
            else:
                held.append(stream_id)

    async with before(play, retries=0) as (stage, mesh), await FrameVisitor.connect(mesh.port) as frames:
        ids = [frames.next_id() for _ in range(10)]
        await frames.send(*(frames.head(one, request_fields()) for one in ids))
        await until(lambda: mesh.core.in_flight == 10)
        assert (await frames.ask(b"/bad")).status == 502
        for one in ids:
            assert (await frames.reply(one)).body == b"hello"
        assert stage.entered == 1


async def test_a_refused_stream_is_asked_again() -> None:
    """REFUSED_STREAM, and streams above the last one of a GOAWAY: nothing was done, so that even POST is sent again."""
    ways = ["refuse", "goaway"]

    async def play(target: FrameTarget) -> None:
        while True:
            stream_id, _ = await target.request()
            way = ways.pop() if ways else ""
            if way == "refuse":
                await target.send(reset_frame(stream_id, REFUSED_STREAM))
            elif way == "goaway":
                await target.send(frame(GOAWAY, payload=bytes(8)))
            else:
                await target.send(target.answer(stream_id))

    async with before(play, retries=2) as (_, mesh), await FrameVisitor.connect(mesh.port) as frames:
        assert (await frames.ask(method=b"POST")).status == 200
        assert ways == []


@pytest.mark.parametrize(("method", "status"), [(b"GET", 200), (b"POST", 502)])
async def test_a_connection_that_breaks_under_a_request(method: bytes, status: int) -> None:
    """On one that was used before, GET is asked again; POST may have been carried out."""
    connections = 0

    async def play(target: FrameTarget) -> None:
        nonlocal connections
        connections += 1
        while True:
            stream_id, fields = await target.request()
            if connections == 1 and fields[b":path"] == b"/break":
                return
            await target.send(target.answer(stream_id))

    async with before(play) as (_, mesh), await FrameVisitor.connect(mesh.port) as frames:
        assert (await frames.ask()).status == 200
        assert (await frames.ask(b"/break", method=method)).status == status
        assert (await frames.ask()).status == 200


async def test_a_goodbye_lets_what_is_under_way_end() -> None:
    """Requests that come then go to another connection."""
    connections: list[FrameTarget] = []
    free = asyncio.Event()

    async def play(target: FrameTarget) -> None:
        connections.append(target)
        while True:
            stream_id, fields = await target.request()
            if fields[b":path"] == b"/slow":
                await target.send(frame(GOAWAY, payload=stream_id.to_bytes(4) + bytes(4)))
                await free.wait()
            await target.send(target.answer(stream_id))

    async with before(play) as (_, mesh), await FrameVisitor.connect(mesh.port) as frames:
        slow = frames.next_id()
        await frames.send(frames.head(slow, request_fields(b"/slow")))
        await until(lambda: connections and len(connections[0].frames) > 2)
        while len(connections) == 1:
            assert (await frames.ask(b"/next")).status == 200
        free.set()
        assert (await frames.reply(slow)).body == b"hello"


async def test_a_target_that_takes_few_streams() -> None:
    """More requests than it allows at a time are answered all the same, by more connections or one after the other."""
    most = 0

    async def play(target: FrameTarget) -> None:
        nonlocal most
        held: list[int] = []
        while True:
            stream_id, _ = await target.request()
            held.append(stream_id)
            most = max(most, len(held))
            await asyncio.sleep(0)
            await target.send(*(target.answer(one) for one in held))
            held.clear()

    async with (
        before(play, ((MAX_CONCURRENT_STREAMS, 2),)) as (_, mesh),
        await FrameVisitor.connect(mesh.port) as frames,
    ):
        assert (await frames.ask()).status == 200
        ids = [frames.next_id() for _ in range(30)]
        await frames.send(*(frames.head(one, request_fields()) for one in ids))
        assert {(await frames.reply(one)).status for one in ids} <= {200, 502, 503}
        assert most <= 2
        assert sum(frames.on(one).status == 200 for one in ids) >= 2


@pytest.mark.parametrize("how", ["reset", "silence"])
async def test_an_answer_before_the_end_of_the_body(how: str) -> None:
    """It is delivered whole, whether or not the target says that it wants nothing more (RFC 9113 section 8.1)."""

    async def play(target: FrameTarget) -> None:
        while True:
            stream_id, fields = await target.request()
            if fields[b":method"] == b"GET":
                await target.send(target.answer(stream_id))
                continue
            answer = target.head(stream_id, status=b"413") + frame(DATA, END_STREAM, stream_id, b"too much")
            await target.send(answer, *([reset_frame(stream_id, NO_ERROR)] if how == "reset" else []))

    async with (
        before(play, retries=0) as (_, mesh),
        await FrameVisitor.connect(mesh.port) as frames,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: 1000000", body=b"a" * 1000))
        answer = await visitor.answer("POST")
        assert answer is not None
        assert (answer.status, answer.body, answer.ended != "truncated") == (413, b"too much", True)
        stream_id = frames.next_id()
        await frames.send(frames.head(stream_id, request_fields(method=b"POST"), END_HEADERS))
        await frames.send(frame(DATA, 0, stream_id, bytes(1000)))
        reply = await frames.reply(stream_id)
        assert (reply.status, reply.body, reply.ended) == (413, b"too much", True)
        assert (await frames.ask()).status == 200


@pytest.mark.parametrize(
    ("method", "status", "body"), [(b"GET", b"200", b"hello"), (b"HEAD", b"200", b""), (b"GET", b"304", b"")]
)
async def test_an_answer_that_is_whole_without_its_end(method: bytes, status: bytes, body: bytes) -> None:
    """The visitor has everything, so that nobody is left who would give up a target that never ends the stream."""

    async def play(target: FrameTarget) -> None:
        while True:
            stream_id, _ = await target.request()
            await target.send(target.head(stream_id, (b"content-length", b"5"), status=status))
            await target.send(*([frame(DATA, 0, stream_id, body)] if body else []))

    async with before(play) as (stage, mesh), await FrameVisitor.connect(mesh.port) as frames:
        for _ in range(2):
            reply = await frames.ask(method=method)
            assert (reply.status, reply.body, reply.ended) == (int(status), body, True)
            await until(lambda: mesh.core.in_flight == 0)
        assert stage.entered == 1


@pytest.mark.parametrize("way", ["silent", "in the head", "in the body", "no window"])
async def test_a_target_that_stalls(way: str) -> None:
    """504, or an answer that is cut; the stream is reset, and the target's connection goes on for others."""
    resets: list[int] = []

    async def play(target: FrameTarget) -> None:
        while True:
            got = await target.next()
            if got.kind == RST_STREAM:
                resets.append(got.stream_id)
            if got.kind != HEADERS:
                continue
            fields = dict(target.decoder.decode(got.payload, raw=True))
            if fields[b":path"] == b"/next":
                await target.send(target.answer(got.stream_id))
            elif way == "in the head":
                await target.send(target.head(got.stream_id, status=b"103"))
            elif way == "in the body":
                await target.send(target.head(got.stream_id), frame(DATA, 0, got.stream_id, b"hel"))

    window = ((INITIAL_WINDOW_SIZE, 0),) if way == "no window" else ()
    async with before(play, window, retries=0) as (stage, mesh), await FrameVisitor.connect(mesh.port) as frames:
        stream_id = frames.next_id()
        if way == "no window":
            await frames.send(frames.head(stream_id, request_fields(method=b"POST"), END_HEADERS))
            await frames.send(frame(DATA, END_STREAM, stream_id, bytes(10_000)))
        else:
            await frames.send(frames.head(stream_id, request_fields()))
        reply = await frames.reply(stream_id)
        if way == "in the body":
            assert (reply.status, reply.reset) == (200, INTERNAL_ERROR)
        else:
            assert reply.status == 504
        await until(lambda: len(resets) == 1)
        assert (await frames.ask(b"/next")).status == 200
        assert stage.entered == 1
        assert mesh.core.in_flight == 0


FLOODS: Final[dict[str, Say]] = {
    "pings": lambda _target, _one: frame(PING, payload=bytes(8)),
    "settings": lambda _target, _one: settings_frame([(INITIAL_WINDOW_SIZE, 65_535)]),
    "empty_data": lambda _, one: frame(DATA, 0, one),
    "windows": lambda _, one: window_frame(one, 1),
    "interim": lambda target, one: target.head(one, status=b"103"),
    "unknown_frames": lambda _target, _one: frame(0xBE),
    "continuations": lambda _, one: frame(HEADERS, 0, one) + frame(CONTINUATION, 0, one) * 1000,
}


@pytest.mark.parametrize("name", FLOODS)
async def test_floods_of_a_target(name: str) -> None:
    """The connection is ended, the visitor gets 502 or a cut answer, and the next one is answered."""
    goodbyes: list[int] = []
    is_over = False

    async def play(target: FrameTarget) -> None:
        stream_id, fields = await target.request()
        if fields[b":path"] == b"/next":
            await target.send(target.answer(stream_id))
            return
        if name == "empty_data":
            await target.send(target.head(stream_id))
        for _ in range(200):
            await target.send(FLOODS[name](target, stream_id) * 50)
            await asyncio.sleep(0)
            if is_over:
                break
        while (got := await target.next()).kind != GOAWAY:
            # The answer may have ended before the connection.
            if got.kind == HEADERS:
                await target.send(target.answer(got.stream_id))
        goodbyes.append(int.from_bytes(got.payload[4:8]))

    async with before(play, retries=0) as (_, mesh):
        answer = await ask(mesh.port, GET)
        assert answer.status == 502 or answer.ended == "truncated"
        is_over = True
        assert (await ask(mesh.port, request(b"GET /next HTTP/1.1"))).status == 200
        assert mesh.core.in_flight == 0
        assert set(goodbyes) <= {ENHANCE_YOUR_CALM, NO_ERROR, 1, 9}


async def test_large_bodies_cross_each_other() -> None:
    """Megabytes both ways on many streams of one connection to the target, whose windows are small."""
    large = bytes(range(256)) * 4000

    async def play(target: FrameTarget) -> None:
        bodies: dict[int, int] = {}
        while True:
            got = await target.next()
            if got.kind == DATA:
                bodies[got.stream_id] = bodies.get(got.stream_id, 0) + len(got.payload)
                size = len(got.payload)
                grant = window_frame(0, size) + window_frame(got.stream_id, size) if size else b""
                await target.send(grant)
                if got.flags & END_STREAM:
                    count = b"%d" % bodies[got.stream_id]
                    await target.send(target.answer(got.stream_id, count))
            elif got.kind == HEADERS:
                target.decoder.decode(got.payload)

    async with (
        Stage(playing(play, ((INITIAL_WINDOW_SIZE, 1000),))) as stage,
        await start_mesh(route_to(stage.port), settings=MeshSettings()) as mesh,
    ):
        body = request(b"POST / HTTP/1.1", b"Content-Length: %d" % len(large), body=large)
        answers = await asyncio.gather(*(ask(mesh.port, body, "POST") for _ in range(5)))
        assert [(answer.status, answer.body) for answer in answers] == [(200, b"%d" % len(large))] * 5
        assert stage.entered == 1


# One version of HTTP on one side, the other on the other.


class Seen:
    """A target that notes the fields that it gets, in order, and answers with some that are easily lost."""

    def __init__(self) -> None:
        """Nothing has come."""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def play(self, target: FrameTarget) -> None:
        """Answer whatever is complete."""
        answer = ((b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-large", b"v" * 20_000), (b"x-empty", b""))
        while True:
            got = await target.next()
            if got.kind in (HEADERS, CONTINUATION):
                block = got.payload
                while not got.flags & END_HEADERS:
                    ends = got.flags & END_STREAM
                    got = await target.next()
                    assert got.kind == CONTINUATION
                    block += got.payload
                    got = got._replace(flags=got.flags | ends)
                decoded = target.decoder.decode(block, raw=True)
                self.fields += [(bytes(name), bytes(value)) for name, value in decoded]
            elif got.kind == DATA:
                self.body += got.payload
            if got.kind in (HEADERS, CONTINUATION, DATA) and got.flags & END_STREAM:
                head = target.head(got.stream_id, *answer)
                # 20,000 octets do not fit into one frame.
                pieces = head[9:][:16_000], head[9:][16_000:]
                await target.send(
                    frame(HEADERS, 0, got.stream_id, pieces[0]),
                    frame(CONTINUATION, END_HEADERS, got.stream_id, pieces[1]),
                    frame(DATA, END_STREAM, got.stream_id, b"hello"),
                )

    def values(self, name: bytes) -> list[bytes]:
        """The values of the fields with this name."""
        return [value for key, value in self.fields if key == name]


@pytest.mark.parametrize("table", [0, 100, 4096])
async def test_fields_from_http_1_to_http_2(table: int) -> None:
    """Those about the connection stay behind, the others arrive in small letters, in order, and once."""
    seen = Seen()
    async with before(seen.play, ((HEADER_TABLE_SIZE, table),)) as (_, mesh):
        fields = (
            *(b"Connection: X-Hop, Keep-Alive", b"X-Hop: 1", b"Keep-Alive: timeout=5", b"Upgrade: h2c"),
            *(b"Proxy-Connection: close", b"TE: trailers, gzip", b"X-Twice: 1", b"X-Twice: 2", b"X-Empty:"),
            *(b"Cookie: a=1; b=2", b"X-Octets: \xc3\xa9", b"X-Large: " + b"w" * 20_000, b"Transfer-Encoding: chunked"),
        )
        body = b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"
        for _ in range(2):
            seen.fields.clear()
            seen.body = b""
            answer = await ask(mesh.port, request(b"POST /a?b=c HTTP/1.1", *fields, body=body), "POST")
            assert (answer.status, answer.body) == (200, b"hello")
            assert answer.values(b"set-cookie") == [b"a=1", b"b=2"]
            assert (answer.values(b"x-large"), answer.values(b"x-empty")) == ([b"v" * 20_000], [b""])
            names = [name for name, _ in seen.fields]
            assert {*names[:4]} == {b":method", b":scheme", b":authority", b":path"}
            assert names == [name.lower() for name in names]
            assert {*names}.isdisjoint({b"connection", b"x-hop", b"keep-alive", b"proxy-connection", b"upgrade"})
            assert {*names}.isdisjoint({b"transfer-encoding", b"host"})
            assert seen.values(b"te") in ([], [b"trailers"])
            assert (seen.values(b":path"), seen.values(b":authority")) == ([b"/a?b=c"], [HOST.encode()])
            assert (seen.values(b"x-twice"), seen.values(b"x-empty")) == ([b"1", b"2"], [b""])
            assert b"; ".join(seen.values(b"cookie")) == b"a=1; b=2"
            assert (seen.values(b"x-octets"), seen.values(b"x-large")) == ([b"\xc3\xa9"], [b"w" * 20_000])
            assert (seen.body, seen.values(b"x-sum")) == (b"hello", [b"7"])


async def test_fields_from_http_2_to_http_2() -> None:
    """With heads larger than a frame on either side, to a visitor who keeps no table."""
    seen = Seen()
    async with (
        before(seen.play) as (_, mesh),
        await FrameVisitor.connect(mesh.port, settings=[(HEADER_TABLE_SIZE, 0)]) as frames,
    ):
        for _ in range(2):
            stream_id = frames.next_id()
            block = frames.encode(
                request_fields(b"/", (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"x-l", b"w" * 20_000))
            )
            await frames.send(
                frame(HEADERS, END_STREAM, stream_id, block[:16_000]),
                frame(CONTINUATION, END_HEADERS, stream_id, block[16_000:]),
            )
            reply = await frames.reply(stream_id)
            assert (reply.status, reply.body, reply.values(b"x-large")) == (200, b"hello", [b"v" * 20_000])
            assert reply.values(b"set-cookie") == [b"a=1", b"b=2"]
            assert seen.values(b"x-l").pop() == b"w" * 20_000


async def _tunnel(target: FrameTarget) -> None:
    """Take an extended CONNECT (RFC 8441) and send back what comes, in capitals."""
    stream_id, fields = await target.request()
    assert (fields[b":method"], fields[b":protocol"]) == (b"CONNECT", b"websocket")
    assert (fields[b":path"], fields[b"sec-websocket-version"]) == (b"/chat", b"13")
    assert {b"connection", b"upgrade", b"sec-websocket-key"}.isdisjoint(fields)
    await target.send(target.head(stream_id, (b"sec-websocket-protocol", b"chat")))
    while True:
        got = await target.next()
        if got.kind == DATA:
            await target.send(frame(DATA, got.flags & END_STREAM, stream_id, got.payload.upper()))


ASK: Final = request(
    b"GET /chat HTTP/1.1",
    *(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


async def test_a_websocket_to_a_target_of_http_2() -> None:
    """The upgrade of HTTP/1 becomes an extended CONNECT, with the accept key that the visitor expects (RFC 6455)."""
    async with before(_tunnel, ((ENABLE_CONNECT_PROTOCOL, 1),)) as (_, mesh):
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(ASK)
            answer = await visitor.answer()
            assert answer is not None
            assert (answer.status, answer.values(b"sec-websocket-protocol")) == (101, [b"chat"])
            assert answer.values(b"sec-websocket-accept") == [b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
            await visitor.send(b"hello")
            assert await visitor.octets(5) == b"HELLO"
            visitor.half_close()
            assert await visitor.end() == "closed"
        await until(lambda: mesh.core.in_flight == 0)


async def test_a_websocket_to_a_target_that_takes_none() -> None:
    """Without the setting CONNECT must not be sent: the visitor gets an answer, and not a tunnel."""
    seen = Seen()
    async with before(seen.play) as (_, mesh), await Visitor.connect(mesh.port) as visitor:
        await visitor.send(ASK)
        answer = await visitor.answer()
        assert answer is not None
        assert answer.status != 101
        assert b"CONNECT" not in seen.values(b":method")


class Watching:
    """A target that notes what its streams come to."""

    def __init__(self) -> None:
        """Nothing has come."""
        self.resets: list[int] = []
        self.asked = 0

    async def play(self, target: FrameTarget) -> None:
        """Never answer."""
        while True:
            got = await target.next()
            self.asked += got.kind == HEADERS
            if got.kind == RST_STREAM:
                self.resets.append(int.from_bytes(got.payload))


@pytest.mark.parametrize("how", ["http/1 leaves", "http/2 leaves", "http/2 resets"])
async def test_a_visitor_that_leaves_resets_its_stream(how: str) -> None:
    """CANCEL, and the connection to the target stays for others."""
    watching = Watching()
    async with before(watching.play) as (stage, mesh):
        if how == "http/1 leaves":
            async with await Visitor.connect(mesh.port) as visitor:
                await visitor.send(GET)
                await until(lambda: watching.asked == 1)
        else:
            async with await FrameVisitor.connect(mesh.port) as frames:
                await frames.send(frames.head(1, request_fields()))
                await until(lambda: watching.asked == 1)
                if how == "http/2 resets":
                    await frames.send(reset_frame(1))
                    await until(lambda: watching.resets)
        await until(lambda: watching.resets == [CANCEL])
        assert stage.entered == 1
        await until(lambda: mesh.core.in_flight == 0)


async def test_rapid_resets_of_a_visitor_cost_the_target_little() -> None:
    """What CVE-2023-44487 does to us must not be handed on: a bounded number of streams is opened and reset."""
    watching = Watching()
    async with before(watching.play) as (_, mesh), await FrameVisitor.connect(mesh.port) as frames:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(frames.gone(), name="listen to what the proxy says")
            while not listening.done():
                stream_id = frames.next_id()
                await frames.send(frames.head(stream_id, request_fields()), reset_frame(stream_id))
        assert frames.goaway == ENHANCE_YOUR_CALM
        assert watching.asked < 400
        await until(lambda: mesh.core.in_flight == 0)


def test_answers_are_judged() -> None:
    """A helper that lets everything pass would make these cases worthless."""
    assert _judge(CASES[0], 200, b"hello", is_whole=True) == ""
    assert _judge(CASES[0], 200, b"hello", is_whole=False)
    assert _judge(_cut("x", CASES[0].say), 200, b"hel", is_whole=True)
