"""One health check: what a target is asked, over each protocol, and what is wrong with its answer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from mesh.checkup import failure_of
from mesh.health import Probe
from mesh.policies import Health, ProxyProtocol, TargetTls
from mesh.routes import RouteKey
from tests.support.authority import Authority

HOST = "shop.example.com"
OK = b"HTTP/1.1 200 OK\r\n"


class Peer:
    """A target that says the same to everybody, and remembers what it was told."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one check."""
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        writer.close()


@asynccontextmanager
async def serving(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """A peer on a free port."""
    peer = Peer(answer)
    async with await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls) as server:
        peer.port = server.sockets[0].getsockname()[1]
        yield peer


def probe(address: str, health: Health, tls: TargetTls | None = None, proxy_protocol: ProxyProtocol = "off") -> Probe:
    """A check of `address`."""
    return Probe(RouteKey(HOST), address, HOST, health, tls or TargetTls(), proxy_protocol)


async def judged(answer: bytes, health: Health) -> str:
    """What is wrong with an answer."""
    async with serving(answer) as peer:
        return await failure_of(probe(f"http://127.0.0.1:{peer.port}", health))


async def test_a_check_is_an_ordinary_request() -> None:
    """An application sees the Host of its visitors."""
    async with serving(OK + b"\r\n") as peer:
        assert await failure_of(probe(f"http://127.0.0.1:{peer.port}", Health(path="/up"))) == ""
        head = b"GET /up HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: zexio-health\r\n"
        assert peer.heads == [head + b"Accept: */*\r\nConnection: close\r\n\r\n"]


@pytest.mark.parametrize(
    ("status", "statuses", "failure"),
    [
        (b"204 No Content", ((200, 399),), ""),
        (b"302 Found", ((200, 399),), ""),
        (b"503 Service Unavailable", ((200, 399),), "status 503"),
        (b"401 Unauthorized", ((200, 299), (401, 401)), ""),
        (b"302 Found", ((200, 299), (401, 401)), "status 302"),
    ],
)
async def test_the_status_has_to_be_a_wanted_one(
    status: bytes, statuses: tuple[tuple[int, int], ...], failure: str
) -> None:
    """Several ranges may be good."""
    assert await judged(b"HTTP/1.1 %b\r\n\r\n" % status, Health(statuses=statuses)) == failure


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 8\r\n\r\nit is ok",
        OK + b"\r\nit is ok",
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nit i\r\n4\r\ns ok\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 8\r\n\r\nit is ok",
        OK + b"\r\n" + 65_536 * b"." + b"is ok",
    ],
)
async def test_the_body_has_to_hold_the_wanted_text(answer: bytes) -> None:
    """However it is framed, and only within its first 64 KiB."""
    wanted = Health(body="is ok")
    is_late = len(answer) > 65_536
    assert await judged(answer, wanted) == ("the answer does not say what it should" if is_late else "")
    assert await judged(answer, Health(body="is well")) == "the answer does not say what it should"


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"nonsense\r\n\r\n", "The target's answer has no valid status line."),
        (b"HTTP/1.1 200 OK\r\n", "the target closed the connection without an answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 40, "interim responses without end"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nnonsense", "A chunk size is malformed."),
        (OK + b"Content-Length: x\r\n\r\n", "The Content-Length is malformed."),
    ],
)
async def test_a_malformed_answer_is_a_failure(answer: bytes, failure: str) -> None:
    """What is wrong is said for the log."""
    assert await judged(answer, Health(body="ok")) == failure


async def test_a_target_that_cannot_be_reached_fails() -> None:
    """The reason is that of the system."""
    async with serving(OK) as peer:
        port = peer.port
    assert await failure_of(probe(f"http://127.0.0.1:{port}", Health()))
    assert await failure_of(probe("unix:/nowhere.sock", Health()))


@pytest.mark.parametrize("scheme", ["http", "h2c"])
async def test_a_target_that_does_not_answer_in_time_fails(scheme: str) -> None:
    """The time limit covers the whole check."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        address = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await failure_of(probe(address, Health(timeout_s=0.02))) == "no answer within 0.02 s"


async def test_a_tls_target_is_called_by_the_name_that_the_route_gives() -> None:
    """Its certificate has to cover that name, or else its address."""
    authority = Authority()
    async with serving(OK + b"\r\n", authority.issue("inner.example.com").server_context()) as peer:
        address = f"https://127.0.0.1:{peer.port}"
        named = probe(address, Health(), TargetTls(server_name="inner.example.com"))
        assert await failure_of(named, authority.visitor_context()) == ""
        assert "certificate" in await failure_of(probe(address, Health()), authority.visitor_context())


@pytest.mark.parametrize(
    ("version", "preamble"),
    [("v1", b"PROXY UNKNOWN\r\n"), ("v2", b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")],
)
@pytest.mark.parametrize("has_tls", [False, True])
async def test_a_target_that_expects_a_proxy_header_gets_one(
    version: ProxyProtocol, preamble: bytes, has_tls: bool
) -> None:
    """It stands in front of everything, TLS included."""
    authority = Authority()
    served = authority.issue("127.0.0.1").server_context() if has_tls else None

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(preamble)) == preamble
        if served is not None:
            await writer.start_tls(served)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = f"{'https' if has_tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        tls = authority.visitor_context() if has_tls else None
        assert await failure_of(probe(address, Health(), proxy_protocol=version), tls) == ""


class Http2Peer:
    """A target that speaks HTTP/2 by another implementation than ours."""

    def __init__(self, status: bytes, body: bytes = b"", *, resets: bool = False) -> None:
        self.status = status
        self.body = body
        self.resets = resets
        self.heads: list[dict[bytes, bytes]] = []
        self.is_over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the checks of one connection."""
        self.is_over.clear()
        with contextlib.suppress(ConnectionError):
            await self.converse(reader, writer)
        writer.close()
        self.is_over.set()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read and answer until the checker has had enough."""
        connection = H2Connection(H2Configuration(client_side=False, header_encoding=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    self.answer(connection, event)
            writer.write(connection.data_to_send())

    def answer(self, connection: H2Connection, event: RequestReceived) -> None:
        """Answer one request."""
        self.heads.append(dict(event.headers))
        if self.resets:
            connection.reset_stream(event.stream_id, 7)
            return
        connection.send_headers(event.stream_id, [(b":status", self.status)], end_stream=not self.body)
        for begin in range(0, len(self.body), 16_384):
            connection.send_data(event.stream_id, self.body[begin : begin + 16_384])
        if self.body:
            connection.end_stream(event.stream_id)


@asynccontextmanager
async def serving_http2(peer: Http2Peer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of `peer`."""
    async with await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]
        await peer.is_over.wait()


@pytest.mark.parametrize(
    ("peer", "health", "failure"),
    [
        (Http2Peer(b"200"), Health(path="/up"), ""),
        (Http2Peer(b"200", b"it is ok"), Health(path="/up", body="is ok"), ""),
        (Http2Peer(b"200", 60_000 * b"." + b"is ok"), Health(path="/up", body="is ok"), ""),
        (Http2Peer(b"200", b"it is ok"), Health(path="/up", body="well"), "the answer does not say what it should"),
        (Http2Peer(b"200"), Health(path="/up", body="well"), "the answer does not say what it should"),
        (Http2Peer(b"503", b"x"), Health(path="/up"), "status 503"),
        (Http2Peer(b"200", resets=True), Health(path="/up"), "the target reset the stream with error 7"),
    ],
)
async def test_http2_targets_are_asked_over_http2(peer: Http2Peer, health: Health, failure: str) -> None:
    """A gRPC server speaks nothing else."""
    async with serving_http2(peer) as port:
        assert await failure_of(probe(f"h2c://127.0.0.1:{port}", health)) == failure
    assert peer.heads == [
        {
            b":method": b"GET",
            b":scheme": b"http",
            b":authority": HOST.encode(),
            b":path": b"/up",
            b"user-agent": b"zexio-health",
        }
    ]


async def test_http2_over_tls_is_agreed_on() -> None:
    """A target that takes the protocol by ALPN is asked, any other is down."""
    authority = Authority()
    peer, served = Http2Peer(b"200"), authority.issue("127.0.0.1").server_context()
    visitor = authority.visitor_context("h2")
    async with serving_http2(peer, served) as port:
        check = probe(f"h2://127.0.0.1:{port}", Health())
        assert await failure_of(check, visitor) == "the target does not offer HTTP/2"
        served.set_alpn_protocols(["h2"])
        assert await failure_of(check, visitor) == ""
    assert peer.heads[0][b":scheme"] == b"https"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
async def test_a_target_that_does_not_speak_http2_fails(answer: bytes) -> None:
    """It is not taken for healthy because it can be reached."""
    async with serving(answer) as peer:
        assert await failure_of(probe(f"h2c://127.0.0.1:{peer.port}", Health()))
