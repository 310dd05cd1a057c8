"""The visitor's side in HTTP/2: exchanges side by side, bodies both ways, and ends that concern one stream only."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator

import h2.errors
import h2.settings
import pytest

from mesh import frames, h2_downstream
from mesh.policies import Limits, Target
from mesh.routes import Delta, MeshSettings, Route
from tests.support.h2_peer import H2Peer
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.stage import Scene, Stage, answering, head_of, in_flight, reset_on_close, until, watched

CLEARTEXT = MeshSettings(http2_cleartext=True)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
BODY = hashlib.shake_256(b"body").digest(1 << 20)
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))


class Scenery:
    """A target with a scene, the proxy before it, and a visitor in HTTP/2."""

    def __init__(self, stage: Stage, mesh: MeshUnderTest, visitor: H2Peer) -> None:
        """Made by `set_up`."""
        self.stage, self.mesh, self.visitor = stage, mesh, visitor


@contextlib.asynccontextmanager
async def set_up(scene: Scene, settings: MeshSettings = CLEARTEXT, **route: object) -> AsyncIterator[Scenery]:
    """Everything that a test needs, until it is done."""
    async with Stage(scene) as stage:
        wanted = Route(host=HOST, targets=(Target(f"http://127.0.0.1:{stage.port}"),), **route)  # type: ignore[arg-type]
        async with await start_mesh(wanted, settings=settings) as mesh, await H2Peer.connect(mesh.port) as visitor:
            yield Scenery(stage, mesh, visitor)


async def body_of(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The body of a request with a length or in chunks."""
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return await reader.readexactly(int(line.split(b":")[1]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    while (line := await reader.readline()) != b"\r\n":
        body += b"|" + line.strip()
    return body


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what was asked: the head, an empty line, and the body."""
    while True:
        head = await head_of(reader)
        has_body = b"\r\ntransfer-encoding: chunked" in head.lower() or b"\r\ncontent-length:" in head.lower()
        body = await body_of(reader, head) if has_body else b""
        data = head + body
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))


# Requests and responses.


async def test_a_request_reaches_a_target_in_http1_and_comes_back() -> None:
    """With the fields that it had, and those that the proxy owes."""
    async with set_up(echo) as it:
        answer = await it.visitor.get(HOST, "/a?b=c", (("x-a", "1"), ("cookie", "a=1"), ("cookie", "b=2")))
        lines = bytes(answer.body).split(b"\r\n")
        assert answer.status == 200
        assert lines[0] == b"GET /a?b=c HTTP/1.1"
        assert b"Host: shop.example.com" in lines
        assert b"cookie: a=1; b=2" in lines
        assert b"Via: 2.0 zexio" in lines
        assert b"X-Forwarded-Proto: http" in lines
        assert answer.value("via") == "1.1 zexio"
        assert answer.value("date")
        assert answer.value("content-length") == str(len(answer.body))


async def test_the_record_says_http2() -> None:
    """And counts what was carried."""
    async with set_up(answering(OK)) as it:
        records = watched(it.mesh)
        await it.visitor.get(HOST)
        assert [(record.version, record.status, record.sent) for record in records] == [("HTTP/2.0", 200, 5)]
        assert it.mesh.core.counters.h2_connections == 1
        assert it.mesh.core.counters.h2_streams == 1


async def test_requests_run_side_by_side() -> None:
    """A slow one holds up no other one."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await head_of(reader)
            if b"/slow" in head:
                await go.wait()
            writer.write(OK)

    async with set_up(scene) as it:
        slow = it.visitor.request(HOST, "/slow")
        for _ in range(3):
            assert (await it.visitor.get(HOST, "/fast")).body == b"hello"
        go.set()
        assert (await it.visitor.message(slow)).body == b"hello"


async def test_many_streams_at_once() -> None:
    """As many as are allowed, each with its own answer."""
    async with set_up(echo) as it:
        streams = [it.visitor.request(HOST, f"/{number}") for number in range(100)]
        for number, stream in enumerate(streams):
            message = await it.visitor.message(stream)
            assert bytes(message.body).startswith(b"GET /%d " % number)
        assert in_flight(it.mesh) == 0


async def test_a_body_of_known_length_keeps_it() -> None:
    """No chunks are made of it."""
    async with set_up(echo) as it:
        stream = it.visitor.request(HOST, method="POST", fields=(("content-length", "5"),), ends=False)
        await it.visitor.body(stream, b"hello")
        answer = await it.visitor.message(stream)
        assert b"Content-Length: 5\r\n" in answer.body
        assert answer.body.endswith(b"\r\n\r\nhello")


async def test_a_body_of_unknown_length_goes_on_in_chunks_with_its_trailers() -> None:
    """As HTTP/1 has to."""
    async with set_up(echo) as it:
        stream = it.visitor.request(HOST, method="POST", ends=False)
        await it.visitor.body(stream, b"hello ", ends=False)
        await it.visitor.body(stream, b"world", ends=False)
        it.visitor.head(stream, [("x-sum", "1")], ends=True)
        answer = await it.visitor.message(stream)
        assert b"Transfer-Encoding: chunked\r\n" in answer.body
        assert answer.body.endswith(b"\r\n\r\nhello world|x-sum: 1")


async def test_large_bodies_arrive_whole_both_ways() -> None:
    """Through every window in between."""
    async with set_up(echo) as it:
        stream = it.visitor.request(HOST, method="POST", fields=(("content-length", str(len(BODY))),), ends=False)
        await it.visitor.body(stream, BODY)
        answer = await it.visitor.message(stream)
        assert answer.body.endswith(BODY)


async def test_trailers_of_a_target_are_passed_on() -> None:
    """Behind a body without a length, which needs none here."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    async with set_up(answering(raw)) as it:
        answer = await it.visitor.get(HOST)
        assert (bytes(answer.body), answer.trailers) == (b"hello", [("x-sum", "1")])
        assert answer.value("transfer-encoding") is None


async def test_interim_responses_are_passed_on() -> None:
    """In front of the final one."""
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    async with set_up(answering(raw)) as it:
        answer = await it.visitor.get(HOST)
        assert [dict(fields).get("link") for fields in answer.interim] == ["</a>"]
        assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "raw", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "5"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "5"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "0"),
    ],
)
async def test_responses_without_a_body_end_with_their_head(method: str, raw: bytes, length: str | None) -> None:
    """The length of a body that does not come is no promise (RFC 9110 section 8.6)."""
    async with set_up(answering(raw)) as it:
        answer = await it.visitor.message(it.visitor.request(HOST, method=method))
        assert (answer.has_ended, bytes(answer.body), answer.value("content-length")) == (True, b"", length)


async def test_the_same_answer_is_encoded_once() -> None:
    """Its block is kept with its fields, for every connection."""
    dated = OK.replace(b"\r\n\r\n", b"\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\n\r\n")
    async with set_up(answering(dated)) as it:
        answers = [await it.visitor.get(HOST) for _ in range(3)]
        assert answers[0].fields == answers[1].fields == answers[2].fields
        assert answers[2].value("date") == "Tue, 01 Jan 2030 00:00:00 GMT"


# What the proxy says by itself.


async def test_an_unknown_host_is_told() -> None:
    """The connection goes on for others."""
    async with set_up(answering(OK)) as it:
        assert (await it.visitor.get("nowhere.example.com")).status == 404
        assert (await it.visitor.get(HOST)).status == 200


@pytest.mark.parametrize(
    ("host", "path", "fields", "status"),
    [
        (HOST, "/" + "x" * 9000, (), 414),
        (HOST, "/a\xe9", (), 400),
        (HOST, "/", (("x", "y" * 40_000),), 431),
        ("a b", "/", (), 400),
        ("user@shop.example.com", "/", (), 400),
        (HOST, "/", tuple((f"x-{number}", "y") for number in range(101)), 431),
    ],
)
async def test_bad_requests_are_answered(
    host: str, path: str, fields: tuple[tuple[str, str], ...], status: int
) -> None:
    """What HTTP/2 allows and the proxy does not gets an answer of its own, and leaves a record."""
    async with set_up(answering(OK)) as it:
        records = watched(it.mesh)
        assert (await it.visitor.get(host, path, fields)).status == status
        assert [record.status for record in records] == [status]
        assert (await it.visitor.get(HOST)).status == 200


async def test_the_scheme_must_be_one_of_ours() -> None:
    """421 for a connection that is not for it."""
    async with set_up(answering(OK)) as it:
        head = [(":method", "GET"), (":scheme", "ftp"), (":authority", HOST), (":path", "/")]
        it.visitor.head(1, head, ends=True)
        assert (await it.visitor.message(1)).status == 421


async def test_plain_connect_is_refused() -> None:
    """The proxy opens no tunnels to anywhere."""
    async with set_up(answering(OK)) as it:
        it.visitor.head(1, [(":method", "CONNECT"), (":authority", f"{HOST}:443")])
        assert (await it.visitor.message(1)).status == 405


async def test_an_answer_before_the_end_of_the_request_resets_the_rest() -> None:
    """Without an error: what was said is the answer (RFC 9113 section 8.1)."""
    async with set_up(answering(OK), limits=Limits(max_body_bytes=10)) as it:
        stream = it.visitor.request(HOST, method="POST", ends=False)
        await it.visitor.body(stream, b"x" * 100, ends=False)
        message = await it.visitor.message(stream)
        await it.visitor.until(lambda: message.reset is not None)
        assert (message.status, message.has_ended, message.reset) == (413, True, 0)
        assert (await it.visitor.get(HOST)).status == 200


async def test_callers_of_grpc_are_told_in_their_own_way() -> None:
    """Status 200, and the failure as trailers alone."""
    async with set_up(answering(OK)) as it:
        answer = await it.visitor.get("nowhere.example.com", fields=GRPC)
        assert answer.status == 200
        assert answer.value("content-type") == "application/grpc"
        assert answer.value("grpc-status") == "12"
        assert answer.value("grpc-message") == "No route matches this host and path."
        assert answer.body == b""


def test_messages_of_grpc_are_percent_encoded() -> None:
    """Everything but printable ASCII, and the percent sign."""
    assert h2_downstream._percent_encoded("50 % \xe9\n".encode()) == b"50 %25 %C3%A9%0A"


async def test_te_trailers_goes_on() -> None:
    """Servers of gRPC refuse requests without it."""
    async with set_up(echo) as it:
        assert b"TE: trailers\r\n" in (await it.visitor.get(HOST, fields=GRPC)).body


# Ends.


async def test_a_cancelled_request_is_taken_back_from_the_target() -> None:
    """At once; the record says that the visitor went."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        asked.set()
        try:
            await reader.read()
        finally:
            gone.set()

    async with set_up(scene) as it:
        records = watched(it.mesh)
        stream = it.visitor.request(HOST)
        await asked.wait()
        it.visitor.reset(stream)
        async with asyncio.timeout(5):
            await gone.wait()
        assert [record.status for record in records] == [499]
        assert in_flight(it.mesh) == 0


async def test_a_response_that_breaks_off_is_reset() -> None:
    """And cannot be taken for complete."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
    async with set_up(answering(raw, then_close=True)) as it:
        message = await it.visitor.get(HOST)
        assert (message.status, bytes(message.body)) == (200, b"hello")
        assert (message.has_ended, message.reset) == (False, frames.INTERNAL_ERROR)


async def test_a_visitor_who_leaves_ends_all_its_requests() -> None:
    """The targets are told, each of them."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with set_up(scene) as it:
        for _ in range(5):
            it.visitor.request(HOST)
        await until(lambda: in_flight(it.mesh) == 5)
        await it.visitor.close()
        await until(lambda: in_flight(it.mesh) == 0 and not it.mesh.core.visitors)


async def test_a_target_that_does_not_answer_is_given_up() -> None:
    """One stream at a time: the others have their own deadlines."""
    settings = MeshSettings(http2_cleartext=True, response_timeout_s=0.1)

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with set_up(scene, settings) as it:
        assert (await it.visitor.get(HOST)).status == 504
        assert not it.visitor.is_closed


async def test_a_body_that_stops_is_given_up() -> None:
    """With 408, and the connection stays."""
    settings = MeshSettings(http2_cleartext=True, body_idle_s=0.1, min_bytes_per_s=0)
    async with set_up(echo, settings) as it:
        stream = it.visitor.request(HOST, method="POST", ends=False)
        await it.visitor.body(stream, b"x", ends=False)
        assert (await it.visitor.message(stream)).status == 408


async def test_a_connection_without_requests_is_closed() -> None:
    """With a word about what was taken."""
    settings = MeshSettings(http2_cleartext=True, keepalive_idle_s=0.1)
    async with set_up(answering(OK), settings) as it:
        await it.visitor.get(HOST)
        await it.visitor.closed()
        assert it.visitor.goaway == 0


async def test_draining_lets_requests_finish() -> None:
    """And closes behind the last one."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await go.wait()
        writer.write(OK)
        await reader.read()

    async with set_up(scene) as it:
        stream = it.visitor.request(HOST)
        await until(lambda: in_flight(it.mesh) == 1)
        drained = asyncio.get_running_loop().create_task(it.mesh.core.drain(5), name="drain")
        await it.visitor.until(lambda: it.visitor.goaway is not None)
        go.set()
        assert (await it.visitor.message(stream)).body == b"hello"
        await drained
        assert not it.mesh.core.visitors


async def test_a_connection_has_had_its_requests_some_day() -> None:
    """It is asked to come back on another one; nothing is lost."""
    settings = MeshSettings(http2_cleartext=True, max_requests_per_connection=3)
    async with set_up(answering(OK), settings) as it:
        for _ in range(3):
            assert (await it.visitor.get(HOST)).status == 200
        await it.visitor.closed()
        assert it.visitor.goaway == 0


async def test_a_breach_of_the_protocol_is_named() -> None:
    """Requests under way end with the connection."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with set_up(scene) as it:
        it.visitor.request(HOST)
        await until(lambda: in_flight(it.mesh) == 1)
        it.visitor.send_raw(frames.data_frame(0, b"x", 0))
        await it.visitor.closed()
        assert it.visitor.goaway == frames.PROTOCOL_ERROR
        await until(lambda: in_flight(it.mesh) == 0 and not it.mesh.core.visitors)


async def test_a_silent_newcomer_is_closed() -> None:
    """The preface has the time of a head."""
    settings = MeshSettings(http2_cleartext=True, head_timeout_s=0.1)
    async with await start_mesh(route_to(1), settings=settings) as mesh:
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
        writer.write(frames.PREFACE)
        async with asyncio.timeout(5):
            assert await reader.read()
        writer.close()


async def test_one_visitor_too_many_is_turned_away() -> None:
    """Before anything is said."""
    settings = MeshSettings(http2_cleartext=True, max_connections=1)
    async with set_up(answering(OK), settings) as it:
        await it.visitor.get(HOST)
        async with await H2Peer.connect(it.mesh.port) as second:
            await second.closed()


# Back-pressure.


async def test_a_slow_visitor_slows_the_target_down() -> None:
    """What the windows do not allow is not read from the target beyond a bound."""
    sent = 0

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * len(BODY)))
        for _ in range(64):
            writer.write(BODY)
            await writer.drain()
            sent += len(BODY)
        await reader.read()

    async with set_up(scene) as it:
        it.visitor.takes = False
        stream = it.visitor.request(HOST)
        await it.visitor.status(stream)
        message = it.visitor.messages[stream]
        await it.visitor.until(lambda: len(message.body) >= 65_535)
        await asyncio.sleep(0.05)
        before = sent
        assert before < 32 * len(BODY)
        await asyncio.sleep(0.03)
        assert sent == before
        it.visitor.takes = True
        it.visitor.machine.acknowledge_received_data(65_535, stream)
        it.visitor.flush()
        message = await it.visitor.message(stream)
        assert len(message.body) == 64 * len(BODY)


async def test_a_slow_target_slows_the_visitor_down() -> None:
    """It gets no window for what the target does not take."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        await go.wait()
        body = await body_of(reader, head)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" if len(body) == 16 * len(BODY) else b"")
        await reader.read()

    async with set_up(scene) as it:
        stream = it.visitor.request(HOST, method="POST", fields=(("content-length", str(16 * len(BODY))),), ends=False)
        uploading = asyncio.get_running_loop().create_task(it.visitor.body(stream, BODY * 16), name="upload")
        await asyncio.sleep(0.05)
        assert not uploading.done()
        go.set()
        await uploading
        assert (await it.visitor.message(stream)).body == b"hello"


async def test_a_visitor_who_takes_nothing_is_left() -> None:
    """The deadline of the exchange ends what stands still (a window of zero is no hiding place)."""
    settings = MeshSettings(http2_cleartext=True, idle_timeout_s=0.1, body_idle_s=0.1)

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
        await reader.read()

    async with set_up(scene, settings) as it:
        it.visitor.takes = False
        stream = it.visitor.request(HOST)
        message = await it.visitor.message(stream)
        assert message.reset in (frames.INTERNAL_ERROR, frames.CANCEL)


# WebSockets (RFC 8441).


async def websocket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Switch, and echo in capitals until the end."""
    head = await head_of(reader)
    assert b"Upgrade: websocket\r\n" in head
    assert b"sec-websocket-key: " in head
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nfirst "
    )
    while data := await reader.read(1000):
        writer.write(data.upper())
    writer.write(b" last")


def connect(visitor: H2Peer, path: str = "/chat", protocol: str = "websocket") -> int:
    """Ask for a tunnel."""
    stream = visitor.machine.get_next_available_stream_id()
    head = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":authority", HOST), (":path", path)]
    visitor.head(stream, [*head, ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")])
    return stream


async def test_connect_opens_a_websocket() -> None:
    """Its bytes are carried both ways, and each direction ends on its own."""
    async with set_up(websocket) as it:
        records = watched(it.mesh)
        stream = connect(it.visitor)
        await it.visitor.body(stream, b"early ", ends=False)
        assert await it.visitor.status(stream) == 200
        message = it.visitor.messages[stream]
        assert message.value("sec-websocket-protocol") == "chat"
        assert message.value("sec-websocket-accept") is None
        assert message.value("upgrade") is None
        await it.visitor.body(stream, b"hello")
        message = await it.visitor.message(stream)
        assert (bytes(message.body), message.has_ended) == (b"first EARLY HELLO last", True)
        assert [record.status for record in records] == [101]
        assert (await it.visitor.message(connect(it.visitor, protocol="other"))).status == 501


async def test_a_websocket_that_is_reset_ends_at_both_ends() -> None:
    """The target sees the end of its connection."""
    gone = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await websocket(reader, writer)
        gone.set()

    async with set_up(scene) as it:
        stream = connect(it.visitor)
        await it.visitor.status(stream)
        it.visitor.reset(stream)
        async with asyncio.timeout(5):
            await gone.wait()
        await until(lambda: in_flight(it.mesh) == 0)


async def test_a_websocket_carries_more_than_the_windows() -> None:
    """With back-pressure both ways."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        # What is written last is larger than any window.
        writer.write(BODY)

    async with set_up(scene) as it:
        stream = connect(it.visitor)
        await it.visitor.status(stream)
        await it.visitor.body(stream, BODY * 2)
        message = await it.visitor.message(stream)
        assert hashlib.sha256(message.body).digest() == hashlib.sha256(BODY * 3).digest()


async def test_a_websocket_in_which_nothing_moves_ends() -> None:
    """After its own time."""
    settings = MeshSettings(http2_cleartext=True, tunnel_idle_s=0.1)
    async with set_up(websocket, settings) as it:
        stream = connect(it.visitor)
        message = await it.visitor.message(stream)
        assert (message.status, message.reset) == (200, frames.CANCEL)
        await until(lambda: in_flight(it.mesh) == 0)


async def test_a_websocket_whose_target_breaks_ends() -> None:
    """The visitor is not left waiting."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await reader.read(1)
        reset_on_close(writer)

    async with set_up(scene) as it:
        stream = connect(it.visitor)
        await it.visitor.status(stream)
        await it.visitor.body(stream, b"x", ends=False)
        await it.visitor.message(stream)
        await until(lambda: in_flight(it.mesh) == 0)


async def test_a_slow_visitor_who_takes_something_is_kept() -> None:
    """Its deadline moves as long as what waits for it becomes less."""
    settings = MeshSettings(http2_cleartext=True, idle_timeout_s=0.2, body_idle_s=0.2)
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
    async with set_up(answering(raw), settings) as it:
        it.visitor.takes = False
        stream = it.visitor.request(HOST)
        await it.visitor.status(stream)
        message = it.visitor.messages[stream]
        taken = 0
        while not message.has_ended:
            assert message.reset is None
            await asyncio.sleep(0.04)
            size = min(len(message.body) - taken, 20_000)
            taken += size
            if size and not message.has_ended:
                it.visitor.machine.acknowledge_received_data(size, stream)
                it.visitor.machine.increment_flow_control_window(20_000, stream)
                it.visitor.machine.increment_flow_control_window(20_000)
                it.visitor.flush()
        assert len(message.body) == 200_000


async def test_a_websocket_that_is_refused_is_an_answer() -> None:
    """And what the visitor sent ahead is dropped."""
    async with set_up(answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")) as it:
        stream = connect(it.visitor)
        assert (await it.visitor.message(stream)).status == 403


async def test_a_websocket_that_is_answered_like_a_page_ends_at_the_target_too() -> None:
    """Its stream has ended, so that nothing else would ever stop a target that goes on."""
    left = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n")
        try:
            await reader.read()
        finally:
            left.set()

    async with set_up(scene) as it:
        assert await it.visitor.status(connect(it.visitor)) == 502
        async with asyncio.timeout(2):
            await left.wait()
        await until(lambda: in_flight(it.mesh) == 0)


# Settings that change under way.


async def test_new_settings_are_for_new_connections() -> None:
    """Those that are there keep what they were told."""
    async with set_up(answering(OK)) as it:
        assert (await it.visitor.get(HOST)).status == 200
        it.mesh.apply(Delta(revision=2, settings=MeshSettings(http2_cleartext=True, http2_max_streams=7)))
        assert (await it.visitor.get(HOST)).status == 200
        async with await H2Peer.connect(it.mesh.port) as second:
            await second.get(HOST)
            assert second.machine.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] == 7
