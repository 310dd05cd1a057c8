"""The target's side in HTTP/2: one session for many exchanges, and what a session's end means for each of them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import h2.errors
import h2.events
import h2.settings
import hpack
import pytest

from mesh import frames
from mesh.h2_upstream import H2Upstream, H2UpstreamStream, StreamRefused
from mesh.policies import Target
from mesh.routes import MeshSettings, Route
from mesh.targets import TargetState
from tests.support.client import Visitor
from tests.support.h2_peer import H2Peer, H2Target, saying
from tests.support.mesh_node import HOST, MeshUnderTest, start_mesh
from tests.support.stage import Stage, in_flight, request, until, watched

CLEARTEXT = MeshSettings(http2_cleartext=True)
BODY = hashlib.shake_256(b"body").digest(1 << 20)
GET = request(b"GET /a HTTP/1.1")

Answer = Callable[[H2Peer, int], Awaitable[None]]


class Scenery:
    """A target in HTTP/2 and the proxy before it."""

    def __init__(self, target: H2Target, mesh: MeshUnderTest) -> None:
        """Made by `set_up`."""
        self.target, self.mesh = target, mesh

    async def ask(self, raw: bytes = GET) -> tuple[int, bytes]:
        """One request in HTTP/1 on a connection of its own."""
        async with await Visitor.connect(self.mesh.port) as visitor:
            await visitor.send(raw)
            answer = await visitor.answer()
            return (answer.status, answer.body) if answer else (0, b"")

    @property
    def asked(self) -> list[dict[str, str]]:
        """The heads of all requests that the target got."""
        return [dict(message.fields) for peer in self.target.peers for message in peer.messages.values()]


@contextlib.asynccontextmanager
async def set_up(answer: Answer, mesh_settings: MeshSettings = CLEARTEXT, **settings: int) -> AsyncIterator[Scenery]:
    """Everything that a test needs, until it is done."""
    async with H2Target(answer, **settings) as target:
        route = Route(host=HOST, targets=(Target(f"h2c://127.0.0.1:{target.port}"),))
        async with await start_mesh(route, settings=mesh_settings) as mesh:
            yield Scenery(target, mesh)


async def echo(peer: H2Peer, stream_id: int) -> None:
    """Answer with the body of the request, and its trailers."""
    message = await peer.message(stream_id)
    peer.head(stream_id, [(":status", "200"), ("x-path", message.value(":path") or "")])
    await peer.body(stream_id, bytes(message.body), ends=False)
    peer.head(stream_id, [("x-sum", str(len(message.body))), *message.trailers], ends=True)


# Requests and responses.


async def test_a_request_of_http1_is_spoken_in_http2() -> None:
    """Without what was about the connection."""
    async with set_up(saying(b"hello", ("server", "x"))) as it:
        assert await it.ask(request(b"GET /a?b HTTP/1.1", b"X-A: 1", b"Cookie: a=b", b"Connection: close")) == (
            200,
            b"hello",
        )
        (head,) = it.asked
        assert head[":method"] == "GET"
        assert head[":scheme"] == "http"
        assert head[":authority"] == HOST
        assert head[":path"] == "/a?b"
        assert head["x-a"] == "1"
        assert head["cookie"] == "a=b"
        assert head["via"] == "1.1 zexio"
        assert head["x-request-id"]
        assert not {"host", "connection", "transfer-encoding", "content-length"} & head.keys()


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        (b"Host: a\r\nX-A: 1\r\nX-Request-Id: 7\r\n", "authority=a x-a=1 x-request-id=7"),
        (b"Host: a\r\nX-Request-Id: 7\r\nX-B: 2\r\n", "authority=a x-request-id=7 x-b=2"),
        (b"X-Request-Id: 7\r\nHost: a\r\n", "authority=a x-request-id=7"),
        (b"X-A: 1\r\nX-Request-Id: 7\r\nHost: a\r\n", "authority=a x-a=1 x-request-id=7"),
        (b"Host: a\r\nX-A: X-Request-Id: 9\r\nX-Request-Id: 7\r\n", "authority=a x-a=X-Request-Id: 9 x-request-id=7"),
        (b"Host: a\r\nContent-Length: 5\r\n", "authority=a content-length=5 body"),
        (b"Host: a\r\nContent-Length: 0\r\n", "authority=a content-length=0"),
        (b"Host: a\r\nTransfer-Encoding: chunked\r\nConnection: x\r\nUpgrade: y\r\n", "authority=a body"),
        (b"Host: a\r\nX-Request-Id: 7\r\nTransfer-Encoding: chunked\r\n", "authority=a x-request-id=7 body"),
        (b"Host: a\r\nTE: gzip, trailers\r\nSec-WebSocket-Key: k\r\n", "authority=a te=trailers sec-websocket-key=k"),
    ],
)
async def test_lines_become_fields(lines: bytes, fields: str) -> None:
    """Twice the same, from memory the second time, and pseudo-headers come first."""
    async with await start_mesh() as mesh:
        session = H2Upstream(mesh.core, TargetState("h2c://127.0.0.1:1", 1))
        for _ in range(2):
            block = session.block(b"GET", b"/x", lines)
            decoded = [tuple(field) for field in hpack.Decoder().decode(block.data, raw=True)]
            assert decoded[:3] == [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/x")]
            rest = [f"{name.decode().lstrip(':')}={value.decode()}" for name, value in decoded[3:]]
            assert " ".join(rest + ["body"] * block.has_body) == fields


async def test_requests_share_a_session() -> None:
    """One connection, and the second request finds it."""
    async with set_up(saying(b"hello")) as it:
        for _ in range(3):
            assert await it.ask() == (200, b"hello")
        assert len(it.target.peers) == 1
        assert it.mesh.core.counters.dials == 1


async def test_requests_run_side_by_side() -> None:
    """A slow one holds up no other one."""
    go = asyncio.Event()

    async def answer(peer: H2Peer, stream_id: int) -> None:
        if peer.messages[stream_id].value(":path") == "/slow":
            await go.wait()
        await saying(b"hello")(peer, stream_id)

    async with set_up(answer) as it:
        async with await Visitor.connect(it.mesh.port) as slow:
            await slow.send(request(b"GET /slow HTTP/1.1"))
            await until(lambda: it.target.peers and it.target.peers[0].messages)
            assert await it.ask() == (200, b"hello")
            go.set()
            assert await slow.answer()
        assert len(it.target.peers) == 1


async def test_bodies_and_trailers_go_both_ways() -> None:
    """In chunks at one end and in frames at the other."""
    async with set_up(echo) as it, await Visitor.connect(it.mesh.port) as visitor:
        await visitor.send(
            request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", b"TE: trailers", b"Connection: TE")
        )
        await visitor.send(b"5\r\nhello\r\n0\r\nX-End: 1\r\n\r\n")
        answer = await visitor.answer()
        assert answer
        assert (answer.body, answer.trailers) == (b"hello", [(b"x-sum", b"5"), (b"x-end", b"1")])
        assert it.asked[0]["te"] == "trailers"


async def test_large_bodies_arrive_whole() -> None:
    """Through every window in between, from HTTP/2 to HTTP/2."""
    async with set_up(echo) as it, await H2Peer.connect(it.mesh.port) as visitor:
        fields = (("content-length", str(len(BODY))),)
        streams = [visitor.request(HOST, method="POST", fields=fields, ends=False) for _ in range(3)]
        for stream in streams:
            await visitor.body(stream, BODY)
        for stream in streams:
            message = await visitor.message(stream)
            assert bytes(message.body) == BODY
            assert message.trailers == [("x-sum", str(len(BODY)))]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_heads_alone_are_complete(method: str) -> None:
    """A length in the answer to HEAD promises nothing."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        fields = [(":status", "200"), ("content-length", "5")] if method == "HEAD" else [(":status", "204")]
        peer.head(stream_id, fields, ends=True)

    async with set_up(answer) as it, await H2Peer.connect(it.mesh.port) as visitor:
        message = await visitor.message(visitor.request(HOST, method=method))
        assert (message.status, message.has_ended) == (200 if method == "HEAD" else 204, True)


async def test_interim_responses_are_passed_on() -> None:
    """In front of the final one."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        peer.head(stream_id, [(":status", "103"), ("link", "</a>")])
        await saying(b"hello")(peer, stream_id)

    async with set_up(answer) as it, await Visitor.connect(it.mesh.port) as visitor:
        await visitor.send(GET)
        response = await visitor.answer()
        assert response
        assert (response.status, response.interim) == (200, (103,))


async def test_grpc_works_end_to_end() -> None:
    """Messages both ways at once, then the status behind them."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        peer.head(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        message = peer.messages[stream_id]
        for count in range(1, 4):
            await peer.until(lambda count=count: len(message.body) >= 5 * count)  # type: ignore[misc]
            await peer.body(stream_id, b"pong%d" % count, ends=False)
        await peer.until(lambda: message.has_ended)
        peer.head(stream_id, [("grpc-status", "0")], ends=True)

    async with set_up(answer) as it, await H2Peer.connect(it.mesh.port) as visitor:
        fields = (("content-type", "application/grpc"), ("te", "trailers"))
        stream = visitor.request(HOST, "/service/call", method="POST", fields=fields, ends=False)
        assert await visitor.status(stream) == 200
        message = visitor.messages[stream]
        for count in range(1, 4):
            await visitor.body(stream, b"ping%d" % count, ends=False)
            await visitor.until(lambda count=count: message.body.endswith(b"pong%d" % count))  # type: ignore[misc]
        await visitor.body(stream, b"")
        message = await visitor.message(stream)
        assert message.trailers == [("grpc-status", "0")]
        assert it.asked[0]["te"] == "trailers"


async def test_trailers_may_be_all_there_is() -> None:
    """The form in which gRPC refuses."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        peer.head(stream_id, [(":status", "200"), ("grpc-status", "5")], ends=True)

    async with set_up(answer) as it, await H2Peer.connect(it.mesh.port) as visitor:
        message = await visitor.get(HOST, fields=(("content-type", "application/grpc"), ("te", "trailers")))
        assert (message.status, message.value("grpc-status"), message.has_ended) == (200, "5", True)


# Ends.


async def test_a_visitor_who_cancels_ends_one_stream() -> None:
    """The session goes on for the others."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        if peer.messages[stream_id].value(":path") == "/a":
            await peer.message(stream_id)
            await peer.until(lambda: peer.messages[stream_id].reset is not None)
        else:
            await saying(b"hello")(peer, stream_id)

    async with set_up(answer) as it:
        async with await Visitor.connect(it.mesh.port) as visitor:
            await visitor.send(GET)
            await until(lambda: it.target.peers and it.target.peers[0].messages)
        (message,) = it.target.peers[0].messages.values()
        await until(lambda: message.reset is not None)
        assert message.reset == frames.CANCEL
        assert await it.ask(request(b"GET / HTTP/1.1")) == (200, b"hello")
        assert len(it.target.peers) == 1
        assert in_flight(it.mesh) == 0


async def test_a_refused_stream_may_be_sent_again() -> None:
    """Whatever its method: nobody looked at it."""
    refused = 0

    async def answer(peer: H2Peer, stream_id: int) -> None:
        nonlocal refused
        if not refused:
            refused += 1
            peer.reset(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
        else:
            await saying(b"hello")(peer, stream_id)

    async with set_up(answer) as it:
        assert await it.ask(request(b"POST / HTTP/1.1", b"Content-Length: 0")) == (200, b"hello")
        assert refused == 1


async def test_a_stream_that_is_reset_is_a_bad_gateway() -> None:
    """Once it may have been looked at."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        peer.reset(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)

    async with set_up(answer) as it:
        status, _body = await it.ask(request(b"POST / HTTP/1.1", b"Content-Length: 0"))
        assert status == 502


async def test_a_response_that_breaks_off_is_cut() -> None:
    """In the terms of the visitor's protocol."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        peer.head(stream_id, [(":status", "200"), ("content-length", "10")])
        await peer.body(stream_id, b"hello", ends=False)
        peer.reset(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)

    async with set_up(answer) as it, await H2Peer.connect(it.mesh.port) as visitor:
        message = await visitor.get(HOST)
        assert (message.status, message.has_ended, message.reset) == (200, False, frames.INTERNAL_ERROR)


@pytest.mark.parametrize(
    "fields",
    [
        [(":status", "200"), ("connection", "close")],
        [(":status", "200"), ("X-Upper", "1")],
        [(":status", "abc")],
        [(":status", "200"), ("x", "a\r\nset-cookie: b=c")],
        [(":status", "200"), ("content-length", "x")],
        [(":status", "200"), ("x", "y" * 66_000)],
    ],
)
async def test_a_malformed_response_is_a_bad_gateway(fields: list[tuple[str, str]]) -> None:
    """Nothing of it reaches the visitor."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        block = peer.machine.encoder.encode(fields)
        peer.send_raw(frames.head_frames(stream_id, block, frames.END_STREAM))

    async with set_up(answer) as it:
        status, body = await it.ask()
        assert status == 502
        assert b"set-cookie" not in body


async def test_goaway_sends_new_requests_to_a_new_session() -> None:
    """What is under way is finished on the old one."""
    go = asyncio.Event()

    async def answer(peer: H2Peer, stream_id: int) -> None:
        if peer.messages[stream_id].value(":path") == "/slow":
            peer.send_raw(frames.goaway_frame(stream_id, frames.NO_ERROR))
            await go.wait()
        await saying(b"hello")(peer, stream_id)

    async with set_up(answer) as it, await Visitor.connect(it.mesh.port) as slow:
        await slow.send(request(b"GET /slow HTTP/1.1"))
        (target,) = it.mesh.core.targets(1)
        await until(lambda: it.target.peers and it.target.peers[0].messages and not target.sessions)
        assert await it.ask() == (200, b"hello")
        assert len(it.target.peers) == 2
        go.set()
        response = await slow.answer()
        assert response
        assert response.body == b"hello"
        await it.target.peers[0].closed()


async def test_a_session_that_broke_is_replaced() -> None:
    """The next request makes a new one, and what was idempotent is asked again."""
    broken = 0

    async def answer(peer: H2Peer, stream_id: int) -> None:
        nonlocal broken
        if peer.messages[stream_id].value(":path") == "/break" and not broken:
            broken += 1
            peer.abort()
        else:
            await saying(b"hello")(peer, stream_id)

    async with set_up(answer) as it:
        assert await it.ask() == (200, b"hello")
        assert await it.ask(request(b"GET /break HTTP/1.1")) == (200, b"hello")
        assert len(it.target.peers) == 2
        assert broken == 1


async def test_a_session_that_went_before_it_was_used_refuses() -> None:
    """Whoever got a stream of it hears that nobody looked at the request."""
    async with set_up(saying(b"hello")) as it:
        await it.ask()
        (target,) = it.mesh.core.targets(1)
        session = target.sessions[0]
        stream = session.open_stream()
        assert isinstance(stream, H2UpstreamStream)
        assert isinstance(session, H2Upstream)
        session.abort()
        lost: list[Exception | None] = []

        class Waiting:
            """Somebody who waits for an answer."""

            def target_lost(self, error: Exception | None) -> None:
                """Note it."""
                lost.append(error)

        stream.begin(Waiting(), b"GET", b"/", b"")  # type: ignore[arg-type]
        assert lost == []
        await asyncio.sleep(0)
        assert isinstance(lost[0], StreamRefused)
        assert session.open_stream() is None


async def test_a_breach_of_the_protocol_ends_the_session() -> None:
    """And is a bad gateway for whoever used it."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        peer.send_raw(frames.data_frame(0, b"x", 0))

    async with set_up(answer) as it:
        status, _body = await it.ask()
        assert status == 502
        await until(lambda: it.target.peers[0].goaway == frames.PROTOCOL_ERROR)


async def test_a_target_that_speaks_something_else_is_told_apart() -> None:
    """Not as one that broke off, and nothing is tried again: what is wrong is the route."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(frames.PREFACE))
        while (head := await reader.readexactly(9))[3] != frames.HEADERS:
            await reader.readexactly(int.from_bytes(head[:3]))
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with Stage(scene) as stage:
        route = Route(host=HOST, targets=(Target(f"h2c://127.0.0.1:{stage.port}"),))
        async with await start_mesh(route) as mesh, await Visitor.connect(mesh.port) as visitor:
            records = watched(mesh)
            await visitor.send(GET)
            answer = await visitor.answer()
            assert answer is not None
            assert answer.status == 502
            (record,) = records
            assert (record.detail, record.retries) == ("The target does not speak HTTP/2.", 0)
            assert stage.entered == 1


async def test_more_streams_than_a_target_takes_need_another_session() -> None:
    """SETTINGS_MAX_CONCURRENT_STREAMS is the target's to say."""
    go = asyncio.Event()

    async def answer(peer: H2Peer, stream_id: int) -> None:
        await go.wait()
        await saying(b"hello")(peer, stream_id)

    async with set_up(answer, max_concurrent_streams=2) as it, await H2Peer.connect(it.mesh.port) as visitor:
        streams = [visitor.request(HOST)]
        await until(lambda: it.target.peers and it.target.peers[0].messages)
        streams += [visitor.request(HOST) for _ in range(3)]
        await until(lambda: len(it.asked) == 4)
        assert [len(peer.messages) for peer in it.target.peers] == [2, 2]
        go.set()
        for stream in streams:
            assert (await visitor.message(stream)).body == b"hello"


async def test_an_idle_session_is_closed() -> None:
    """With the time of a connection in a pool."""
    async with set_up(saying(b"hello"), MeshSettings(pool_idle_s=0.1)) as it:
        assert await it.ask() == (200, b"hello")
        await it.target.peers[0].closed()
        (target,) = it.mesh.core.targets(1)
        assert not target.sessions


async def test_a_target_that_is_silent_is_asked_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or one dead connection would take every request that follows."""
    monkeypatch.setattr("mesh.h2_upstream._PING_S", 0.1)
    monkeypatch.setattr("mesh.h2_upstream._SILENT_S", 0.1)

    async def answer(peer: H2Peer, stream_id: int) -> None:
        if peer is it.target.peers[0]:
            # From here on nothing is read any more, and so nothing is answered.
            peer._reader._transport.pause_reading()  # type: ignore[attr-defined]
        else:
            await saying(b"hello")(peer, stream_id)

    async with set_up(answer, MeshSettings(response_timeout_s=0.2)) as it:
        assert (await it.ask())[0] == 504
        assert await it.ask() == (200, b"hello")
        assert len(it.target.peers) == 2


async def test_a_slow_visitor_holds_up_no_other_one() -> None:
    """Its stream gets no window, the session does."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        if peer.messages[stream_id].value(":path") == "/large":
            peer.head(stream_id, [(":status", "200")])
            for _ in range(32):
                await peer.body(stream_id, BODY, ends=False)
            await peer.body(stream_id, b"")
        else:
            await saying(b"hello")(peer, stream_id)

    async with (
        set_up(answer) as it,
        await H2Peer.connect(it.mesh.port) as slow,
        await H2Peer.connect(it.mesh.port) as fast,
    ):
        slow.takes = False
        streams = [slow.request(HOST, "/large") for _ in range(8)]
        for stream in streams:
            await slow.status(stream)
        await asyncio.sleep(0.05)
        for _ in range(3):
            assert (await fast.get(HOST)).body == b"hello"


# WebSockets (RFC 8441).


async def test_a_websocket_reaches_a_target_that_takes_connect() -> None:
    """Its handshake of HTTP/1 is completed by the proxy."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        message = peer.messages[stream_id]
        if message.value(":protocol") != "websocket":
            await saying(b"hello")(peer, stream_id)
            return
        peer.head(stream_id, [(":status", "200"), ("sec-websocket-protocol", "chat")])
        await peer.until(lambda: len(message.body) >= 5)
        await peer.body(stream_id, bytes(message.body).upper())

    async with set_up(answer, enable_connect_protocol=1) as it:
        # The settings come with the first answer.
        await it.ask(request(b"GET / HTTP/1.1", b"Connection: close"))
        reader, writer = await asyncio.open_connection("127.0.0.1", it.mesh.port)
        fields = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        writer.write(request(b"GET /chat HTTP/1.1", *fields, b"Sec-WebSocket-Version: 13"))
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
            assert b"sec-websocket-protocol: chat\r\n" in head
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
        writer.close()


async def test_a_websocket_from_http2_to_http2() -> None:
    """Each direction ends on its own, and either end may break it."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        message = peer.messages[stream_id]
        if message.value(":protocol") != "websocket":
            await saying(b"hello")(peer, stream_id)
            return
        peer.head(stream_id, [(":status", "200")])
        await peer.message(stream_id)
        if message.value(":path") == "/reset":
            peer.reset(stream_id)
        else:
            await peer.body(stream_id, bytes(message.body).upper())

    async with set_up(answer, enable_connect_protocol=1) as it, await H2Peer.connect(it.mesh.port) as visitor:
        await visitor.get(HOST)
        for path in ("/chat", "/reset"):
            stream = visitor.machine.get_next_available_stream_id()
            head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", HOST)]
            visitor.head(stream, [*head, (":path", path), ("sec-websocket-version", "13")])
            assert await visitor.status(stream) == 200
            await visitor.body(stream, BODY)
            message = await visitor.message(stream)
            assert bytes(message.body) == (BODY.upper() if path == "/chat" else b"")
        await until(lambda: in_flight(it.mesh) == 0)
        assert "sec-websocket-key" not in it.asked[1]
        assert len(it.target.peers) == 1


async def test_a_target_may_finish_for_nobody() -> None:
    """Where the route says so; but not for ever."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        await gone.wait()
        if peer.messages[stream_id].value(":path") == "/a":
            await saying(b"hello")(peer, stream_id)

    gone = asyncio.Event()
    async with H2Target(answer) as target:
        place = Target(f"h2c://127.0.0.1:{target.port}")
        route = Route(host=HOST, targets=(place,), finish_abandoned=True)
        async with await start_mesh(route, settings=MeshSettings(http2_cleartext=True, response_timeout_s=0.2)) as mesh:
            visitor = await H2Peer.connect(mesh.port)
            for path in ("/a", "/b"):
                visitor.request(HOST, path)
            await until(lambda: target.peers and len(target.peers[0].messages) == 2)
            await visitor.close()
            await until(lambda: not mesh.core.visitors)
            gone.set()
            first, second = target.peers[0].messages.values()
            await until(lambda: second.reset is not None)
            assert (first.reset, second.reset) == (None, frames.CANCEL)


async def test_a_websocket_to_a_target_without_connect_is_a_plain_request() -> None:
    """The target says what it thinks of it."""
    async with set_up(saying(b"hello")) as it:
        fields = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        assert await it.ask(request(b"GET / HTTP/1.1", *fields)) == (200, b"hello")
        assert "upgrade" not in it.asked[0]
        assert watched(it.mesh) == []
