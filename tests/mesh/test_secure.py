"""TLS with visitors: handshakes that succeed, fail and stall, and HTTP over what comes of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import hashlib
import ssl
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from mesh.arrival import Arrival
from mesh.core import Core
from mesh.policies import Target
from mesh.routes import Delta, MeshSettings, Route, Snapshot
from mesh.secure import Secured, SecureTransport
from mesh.tls import Certificates
from tests.support.authority import Authority, Issued
from tests.support.client import Visitor
from tests.support.mesh_node import HOST, MeshUnderTest
from tests.support.origin import Origin
from tests.support.secure_visitor import Cut, SecureVisitor
from tests.support.stage import free_port, request, until

AUTHORITY = Authority()
SHOP = AUTHORITY.issue(HOST, "*.example.net")
GET = request(b"GET / HTTP/1.1")
UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
DECODE_ERROR = b"\x15\x03\x03\x00\x02\x02\x32"
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"


async def start(
    *routes: Route, settings: MeshSettings | None = None, certificates: tuple[Issued, ...] = (SHOP,)
) -> MeshUnderTest:
    """A proxy that listens for TLS."""
    given = tuple(issued.certificate for issued in certificates)
    core = Core(Snapshot(revision=1, routes=routes, settings=settings or MeshSettings(), certificates=given))
    server = await asyncio.get_running_loop().create_server(core.secured_visitor, sock=free_port())
    return MeshUnderTest(core, server)


def route(port: int, client_ca: str = "") -> Route:
    """To a port on loopback."""
    return Route(host=HOST, targets=(Target(f"http://127.0.0.1:{port}"),), client_ca=client_ca)


async def connect(mesh: MeshUnderTest, *alpn: str, client: Issued | None = None, name: str = HOST) -> SecureVisitor:
    """A visitor whose handshake is done."""
    return await SecureVisitor.connect(mesh.port, AUTHORITY.visitor_context(*alpn, client=client), name)


class Recorder(asyncio.Protocol):
    """The protocol of an application that writes down what it is told."""

    def __init__(self, arrival: Arrival | None = None, *, stays: bool = False) -> None:
        """`stays` keeps the connection open when the visitor ends its side."""
        self.arrival = arrival
        self.received = bytearray()
        self.happened: list[str] = []
        self.error: Exception | None = None
        self.transport: asyncio.Transport
        self._stays = stays

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.happened.append("eof")
        return self._stays

    def pause_writing(self) -> None:
        self.happened.append("pause")

    def resume_writing(self) -> None:
        self.happened.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.happened.append("lost")


class Recorded(Core):
    """A core whose visitors are recorders."""

    recorder: Recorder
    stays = False

    def http_visitor(self, arrival: Arrival) -> asyncio.Protocol:
        self.recorder = Recorder(arrival, stays=self.stays)
        return self.recorder

    http2_visitor = http_visitor


async def recording(*, stays: bool = False, settings: MeshSettings | None = None) -> tuple[MeshUnderTest, Recorded]:
    """A TLS listener without HTTP."""
    core = Recorded(Snapshot(revision=1, settings=settings or MeshSettings(), certificates=(SHOP.certificate,)))
    core.stays = stays
    server = await asyncio.get_running_loop().create_server(core.secured_visitor, sock=free_port())
    return MeshUnderTest(core, server), core


# Handshakes that succeed.


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_requests_over_tls(newest: ssl.TLSVersion) -> None:
    """Several on one connection; the target is told how they came."""
    async with Origin() as origin, await start(route(origin.port)) as mesh:
        context = AUTHORITY.visitor_context("http/1.1")
        context.maximum_version = newest
        async with await SecureVisitor.connect(mesh.port, context, HOST) as visitor:
            assert visitor.tls.getpeercert(binary_form=True) == SHOP.der
            for _ in range(3):
                await visitor.send(GET)
                await visitor.receive_until(b"\r\n\r\n")
        (connection,) = origin.connections
        assert [seen.values(b"x-forwarded-proto") for seen in connection.requests] == [[b"https"]] * 3
        assert mesh.core.counters.handshakes == 1


@pytest.mark.parametrize("fragment", [1, 7, 100])
async def test_records_in_pieces(fragment: int) -> None:
    """However the network cuts them."""
    async with Origin() as origin, await start(route(origin.port)) as mesh:
        visitor = SecureVisitor(await Visitor.connect(mesh.port), AUTHORITY.visitor_context(), HOST)
        async with visitor:
            await visitor.shake_hands(fragment)
            await visitor.send(GET, fragment)
            assert b"200 OK" in await visitor.receive_until(b"\r\n\r\n")


async def test_the_first_request_may_come_with_the_end_of_the_handshake() -> None:
    """In the same packet, and more than one."""
    async with Origin() as origin, await start(route(origin.port)) as mesh:
        wire = await Visitor.connect(mesh.port)
        visitor = SecureVisitor(wire, AUTHORITY.visitor_context(), HOST)
        async with visitor:
            with pytest.raises(ssl.SSLWantReadError):
                visitor.tls.do_handshake()
            await visitor.flush()
            await visitor._more()
            visitor.tls.do_handshake()
            await wire.send(visitor.encrypted(GET) + visitor.encrypted(GET))
            received = await visitor.receive_until(b"\r\n\r\n")
            while received.count(b"200 OK") < 2:
                received += await visitor.receive()


async def test_bodies_of_many_records() -> None:
    """Both ways, whole and in order."""
    body = hashlib.shake_256(b"body").digest(700_000)
    mesh, core = await recording()
    async with mesh, await connect(mesh) as visitor:
        await visitor.send(body)
        await until(lambda: len(core.recorder.received) == len(body))
        assert core.recorder.received == body
        core.recorder.transport.write(body)
        core.recorder.transport.writelines([memoryview(body), b"", b"the end"])
        received = await visitor.receive_until(b"the end")
        assert received == body + body + b"the end"


async def test_what_is_known_of_the_handshake() -> None:
    """For the check of the Host, for the log, and for what the target is told."""
    mesh, core = await recording()
    async with mesh, await connect(mesh, "h2", "http/1.1"):
        await until(lambda: core.visitors or core.counters.handshakes)
        arrival = core.recorder.arrival
        assert arrival is not None
        assert arrival.tls is not None
        assert arrival.tls.version == "TLSv1.3"
        assert arrival.tls.cipher.startswith("TLS_")
        assert (arrival.tls.server_name, arrival.tls.client, arrival.tls.client_ca) == (HOST, b"", "")
        assert arrival.tls.names == {HOST.encode(), b"*.example.net"}
        assert (arrival.peer.address, arrival.peer.proto) == (b"127.0.0.1", b"https")
        transport = core.recorder.transport
        assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        assert transport.get_extra_info("peername")[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("offered", "is_on", "chosen"),
    [
        (("h2", "http/1.1"), True, "h2"),
        (("http/1.1", "h2"), True, "h2"),
        (("h2", "http/1.1"), False, "http/1.1"),
        (("http/1.0",), True, "http/1.0"),
        ((), True, None),
    ],
)
async def test_the_protocol_is_agreed_on(offered: tuple[str, ...], is_on: bool, chosen: str | None) -> None:
    """HTTP/2 where both want it."""
    made: list[str] = []

    class Asked(Recorded):
        def http_visitor(self, arrival: Arrival) -> asyncio.Protocol:
            made.append("http")
            return Recorder(arrival)

        def http2_visitor(self, arrival: Arrival) -> asyncio.Protocol:
            made.append("http2")
            return Recorder(arrival)

    core = Asked(Snapshot(revision=1, settings=MeshSettings(http2=is_on), certificates=(SHOP.certificate,)))
    server = await asyncio.get_running_loop().create_server(core.secured_visitor, sock=free_port())
    async with MeshUnderTest(core, server) as mesh, await connect(mesh, *offered) as visitor:
        assert visitor.tls.selected_alpn_protocol() == chosen
        await until(lambda: made)
        assert made == ["http2" if chosen == "h2" else "http"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_visitors_who_come_back_resume(version: ssl.TLSVersion) -> None:
    """Without a certificate and a signature the second time; the ticket comes with the first answer at the latest."""
    async with Origin() as origin, await start(route(origin.port)) as mesh:
        context = AUTHORITY.visitor_context("http/1.1")
        context.minimum_version = context.maximum_version = version
        session = None
        for expected in (False, True, True):
            async with await SecureVisitor.connect(mesh.port, context, HOST, session) as visitor:
                assert visitor.tls.session_reused is expected
                await visitor.send(GET)
                await visitor.receive_until(b"\r\n\r\n")
                session = visitor.tls.session


async def test_a_certificate_is_replaced_under_a_connection() -> None:
    """Who is connected notices nothing, who comes gets the new one."""
    new = AUTHORITY.issue(HOST)
    async with Origin() as origin, await start(route(origin.port)) as mesh, await connect(mesh) as visitor:
        mesh.apply(
            Delta(
                revision=2,
                put_certificates=(new.certificate,),
                removed_certificates=(SHOP.certificate.fingerprint,),
            )
        )
        async with await connect(mesh) as next_visitor:
            assert next_visitor.tls.getpeercert(binary_form=True) == new.der
        await visitor.send(GET)
        assert b"200 OK" in await visitor.receive_until(b"\r\n\r\n")


# Visitors who have to show a certificate.


async def test_a_visitor_shows_its_certificate() -> None:
    """It is known to what follows in the form of RFC 9440."""
    mine = AUTHORITY.issue(common_name="me", for_client=True)
    async with Origin() as origin, await start(route(origin.port, AUTHORITY.pem)) as mesh:
        async with await connect(mesh, client=mine) as visitor:
            await visitor.send(GET)
            assert b"200 OK" in await visitor.receive_until(b"\r\n\r\n")
        (seen,) = origin.connections[0].requests
        assert seen.values(b"client-cert") == [b":%b:" % base64.b64encode(mine.der)]


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("client", [None, Authority("Other").issue(for_client=True)])
async def test_a_visitor_without_a_proper_certificate(newest: ssl.TLSVersion, client: Issued | None) -> None:
    """It is told by an alert; with TLS 1.3 after it believed to be done."""
    async with await start(route(1, AUTHORITY.pem)) as mesh:
        context = AUTHORITY.visitor_context(client=client)
        context.maximum_version = newest
        with pytest.raises(ssl.SSLError, match=r"(?i)alert (handshake failure|unknown ca|certificate required)"):
            async with await SecureVisitor.connect(mesh.port, context, HOST) as visitor:
                await visitor.receive()
        await until(lambda: mesh.core.counters.handshake_failures)
        assert mesh.core.counters.causes == {"tls_handshake": 1}


async def test_other_names_need_no_certificate() -> None:
    """The CA is that of a host's routes."""
    open_route = Route(host="a.example.net", targets=(Target("http://127.0.0.1:1"),))
    async with (
        await start(route(1, AUTHORITY.pem), open_route) as mesh,
        await connect(mesh, name="a.example.net") as visitor,
    ):
        assert visitor.tls.version() == "TLSv1.3"


# Handshakes that fail.


@pytest.mark.parametrize("name", ["nowhere.example", ""])
async def test_nobody_is_shown_a_certificate_for_something_else(name: str) -> None:
    """unrecognized_name (RFC 6066 section 3), and the end."""
    async with await start() as mesh:
        visitor = SecureVisitor(await Visitor.connect(mesh.port), AUTHORITY.visitor_context(), name)
        async with visitor:
            with pytest.raises(ssl.SSLWantReadError):
                visitor.tls.do_handshake()
            await visitor.flush()
            assert await visitor.wire.octets(8) == UNRECOGNIZED_NAME
            assert visitor.wire.ending == "closed"
        assert mesh.core.counters.causes == {"tls_handshake": 1}


async def test_the_default_certificate() -> None:
    """For who names nothing, or something unknown."""
    async with await start(settings=MeshSettings(default_certificate=HOST)) as mesh:
        context = AUTHORITY.visitor_context()
        context.check_hostname = False
        for name in ("", "nowhere.example", "192.0.2.1"):
            async with await SecureVisitor.connect(mesh.port, context, name) as visitor:
                assert visitor.tls.getpeercert(binary_form=True) == SHOP.der


@pytest.mark.parametrize("alpn", ["acme-tls/1", "smtp", "h3"])
async def test_a_visitor_who_wants_another_protocol(alpn: str) -> None:
    """no_application_protocol (RFC 7301 section 3.2): whoever it is must not be answered by HTTP."""
    async with await start() as mesh:
        visitor = SecureVisitor(await Visitor.connect(mesh.port), AUTHORITY.visitor_context(alpn), HOST)
        async with visitor:
            with pytest.raises(ssl.SSLWantReadError):
                visitor.tls.do_handshake()
            await visitor.flush()
            assert await visitor.wire.octets(8) == NO_APPLICATION_PROTOCOL


async def test_a_visitor_of_another_time() -> None:
    """TLS 1.1 gets the alert protocol_version."""
    async with await start(settings=MeshSettings(tls_min_version="1.3")) as mesh:
        context = AUTHORITY.visitor_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
            await SecureVisitor.connect(mesh.port, context, HOST)


async def test_a_request_without_tls() -> None:
    """It is answered in its own language, even when more of it is on its way."""
    async with await start() as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(GET)
        answer = await visitor.answer()
        await visitor.send(b"more of it")
        assert answer is not None
        assert answer.status == 400
        assert answer.json["error"] == "The plain HTTP request was sent to the HTTPS port."
        assert answer.announces_close
        assert await visitor.end() == "closed"
        visitor.close()
        await until(lambda: not mesh.core._newcomers)
        assert (mesh.core.counters.statuses[4], mesh.core.counters.handshake_failures) == (1, 1)


async def test_who_does_not_leave_after_a_request_without_tls_is_cut() -> None:
    """Nobody lingers for ever."""
    async with await start() as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(GET)
        await visitor.answer()
        (newcomer,) = mesh.core._newcomers
        newcomer.expired()
        await until(lambda: not mesh.core._newcomers)


@pytest.mark.parametrize(
    ("sent", "alert"),
    [(b"\x00\x01\x02", b""), (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", DECODE_ERROR)],
)
async def test_nonsense_is_no_hello(sent: bytes, alert: bytes) -> None:
    """What is TLS at least is told so."""
    async with await start() as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(sent)
        assert await visitor.octets(8) == alert
        assert mesh.core.counters.handshake_failures == 1


async def test_a_handshake_that_goes_wrong_in_the_middle() -> None:
    """The visitor is told by an alert, the log is not."""
    async with await start() as mesh:
        visitor = SecureVisitor(await Visitor.connect(mesh.port), AUTHORITY.visitor_context(), HOST)
        async with visitor:
            with pytest.raises(ssl.SSLWantReadError):
                visitor.tls.do_handshake()
            await visitor.flush()
            await visitor._more()
            await visitor.wire.send(b"\x17\x03\x03\x00\x20" + bytes(32))
            with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
                await visitor.receive()
        await until(lambda: mesh.core.counters.handshake_failures)


@pytest.mark.parametrize("size", [0, 3, 100])
async def test_a_handshake_that_stalls(size: int) -> None:
    """Before the hello, in it, or behind it: it has its time and no more."""
    async with await start(settings=MeshSettings(tls_handshake_s=0.05)) as mesh:
        visitor = SecureVisitor(await Visitor.connect(mesh.port), AUTHORITY.visitor_context(), HOST)
        async with visitor:
            with pytest.raises(ssl.SSLWantReadError):
                visitor.tls.do_handshake()
            await visitor.wire.send(visitor._outgoing.read()[: size or None] if size else b"")
            assert await visitor.wire.end() in {"closed", "reset"}
        assert not mesh.core._newcomers
        assert mesh.core.counters.handshake_failures == 1


async def test_a_visitor_who_leaves_in_the_middle() -> None:
    """It is counted and forgotten."""
    async with await start() as mesh:
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(b"\x16\x03\x01")
            await until(lambda: mesh.core._newcomers)
        await until(lambda: not mesh.core._newcomers)
        assert mesh.core.counters.handshake_failures == 1


async def test_too_many_visitors() -> None:
    """Those who are still shaking hands count too."""
    async with await start(settings=MeshSettings(max_connections=1)) as mesh, await Visitor.connect(mesh.port):
        await until(lambda: mesh.core._newcomers)
        async with await Visitor.connect(mesh.port) as second:
            assert await second.end() == "closed"
        assert mesh.core.counters.refused == 1


async def test_closing_cuts_who_is_shaking_hands() -> None:
    """Nobody outlives the proxy."""
    mesh = await start()
    async with await Visitor.connect(mesh.port) as visitor:
        await until(lambda: mesh.core._newcomers)
        await mesh.close()
        assert await visitor.end() in {"closed", "reset"}


# Ends, cuts and slowness.


async def test_the_proxy_says_goodbye() -> None:
    """An answer that ends with the connection ends with a close_notify."""
    async with Origin() as origin, await start(route(origin.port)) as mesh, await connect(mesh) as visitor:
        await visitor.send(request(b"GET / HTTP/1.1", b"Connection: close"))
        assert b"200 OK" in await visitor.receive_all()


async def test_a_cut_is_told_from_an_end() -> None:
    """An answer that broke off must not look complete (RFC 9112 section 9.8)."""
    target = "/-/shortbody"
    async with Origin() as origin, await start(route(origin.port)) as mesh, await connect(mesh) as visitor:
        await visitor.send(request(b"GET %b HTTP/1.1" % target.encode()))
        with pytest.raises(Cut):
            await visitor.receive_all()


async def test_the_visitor_says_goodbye() -> None:
    """So do we, and close."""
    mesh, core = await recording()
    async with mesh, await connect(mesh) as visitor:
        await visitor.send(b"last words")
        await visitor.say_goodbye()
        assert await visitor.receive_all() == b""
        await until(lambda: "lost" in core.recorder.happened)
        assert core.recorder.received == b"last words"
        assert (core.recorder.happened, core.recorder.error) == (["eof", "lost"], None)


async def test_the_visitor_leaves_without_a_goodbye() -> None:
    """That is a cut: whoever waits for the end must not see one (RFC 8446 section 6.1)."""
    mesh, core = await recording(stays=True)
    async with mesh, await connect(mesh) as visitor:
        await visitor.send(b"last words")
        visitor.wire.half_close()
        await until(lambda: core.counters.handshakes and "lost" in core.recorder.happened)
        assert core.recorder.happened == ["lost"]
        assert isinstance(core.recorder.error, ConnectionResetError)


async def test_each_direction_ends_on_its_own() -> None:
    """First the visitor's, then ours; what comes behind a goodbye is nothing."""
    mesh, core = await recording(stays=True)
    async with mesh, await connect(mesh) as visitor:
        await visitor.say_goodbye()
        await until(lambda: core.counters.handshakes and core.recorder.happened == ["eof"])
        await visitor.wire.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        visitor.wire.half_close()
        core.recorder.transport.write(b"still here")
        core.recorder.transport.write_eof()
        core.recorder.transport.write_eof()
        core.recorder.transport.write(b"too late")
        assert await visitor.receive_all() == b"still here"
        core.recorder.transport.close()
        await until(lambda: core.recorder.happened == ["eof", "lost"])


async def test_our_direction_ends_first() -> None:
    """The visitor goes on for a while."""
    mesh, core = await recording(stays=True)
    async with mesh, await connect(mesh) as visitor:
        await until(lambda: core.counters.handshakes)
        assert core.recorder.transport.can_write_eof()
        core.recorder.transport.write(b"that is all")
        core.recorder.transport.write_eof()
        assert await visitor.receive_all() == b"that is all"
        wire = visitor.encrypted(b"a") + visitor.encrypted(b"b" * 100_000)
        await visitor.wire.send(wire)
        await until(lambda: len(core.recorder.received) == 100_001)
        await visitor.say_goodbye()
        await until(lambda: core.recorder.happened == ["eof"])
        core.recorder.transport.close()
        await until(lambda: core.recorder.happened == ["eof", "lost"])


async def test_a_broken_record_ends_the_connection() -> None:
    """With an alert, and without a word to the protocol but that it is over."""
    mesh, core = await recording()
    async with mesh, await connect(mesh) as visitor:
        await until(lambda: core.counters.handshakes)
        await visitor.wire.send(b"\x17\x03\x03\x00\x20" + bytes(32) + visitor.encrypted(b"x"))
        with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac"):
            await visitor.receive()
        await until(lambda: core.recorder.happened == ["lost"])
        assert isinstance(core.recorder.error, ssl.SSLError)
        assert not core.recorder.received


async def test_closing_and_cutting_twice() -> None:
    """The second time nothing is left to do."""
    mesh, core = await recording()
    async with mesh, await connect(mesh) as visitor:
        await until(lambda: core.counters.handshakes)
        transport = core.recorder.transport
        transport.close()
        transport.close()
        transport.write_eof()
        transport.write(b"x")
        assert transport.is_closing()
        assert await visitor.receive_all() == b""
        transport.abort()
        await until(lambda: core.recorder.happened == ["lost"])
        transport.write(b"x")
        transport.close()


async def test_back_pressure_is_that_of_the_socket() -> None:
    """A slow visitor stops the protocol, a paused protocol stops the visitor."""
    mesh, core = await recording()
    async with mesh, await connect(mesh) as visitor:
        await until(lambda: core.counters.handshakes)
        recorder = core.recorder
        transport = recorder.transport
        transport.set_write_buffer_limits(50_000, 10_000)
        assert transport.get_write_buffer_limits() == (10_000, 50_000)
        while "pause" not in recorder.happened:
            transport.write(bytes(200_000))
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() > 50_000
        transport.write(b"the end")
        await visitor.receive_until(b"the end")
        await until(lambda: recorder.happened == ["pause", "resume"])
        transport.pause_reading()
        assert not transport.is_reading()
        await visitor.send(b"x")
        await asyncio.sleep(0.02)
        assert not recorder.received
        transport.resume_reading()
        await until(lambda: recorder.received == b"x")


async def test_another_protocol_takes_over() -> None:
    """As after a preface of HTTP/2."""
    mesh, core = await recording()
    async with mesh, await connect(mesh) as visitor:
        await until(lambda: core.counters.handshakes)
        successor = Recorder()
        transport = core.recorder.transport
        transport.set_protocol(successor)
        assert transport.get_protocol() is successor
        await visitor.send(b"for the new one")
        await until(lambda: successor.received)
        assert not core.recorder.received


class Sealed:
    """An SSLObject that shows nothing below it, as in another implementation of Python."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self.read, self.write = tls.read, tls.write


def test_nothing_is_below_an_ssl_object() -> None:
    """Its own methods do as well."""
    entry = Certificates(MeshSettings(), (SHOP.certificate,)).context_for(HOST)
    assert entry is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = AUTHORITY.visitor_context().wrap_bio(outgoing, incoming, server_hostname=HOST)
    server = entry.context.wrap_bio(incoming, outgoing, server_side=True)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    client.write(b"asked")
    request, sent, recorder = incoming.read(), [outgoing.read()], Recorder()
    socket = cast("asyncio.Transport", SimpleNamespace(write=sent.append))
    transport = SecureTransport(socket, cast("ssl.SSLObject", Sealed(server)), incoming, outgoing)
    transport.begin(recorder)
    transport.data_received(request)
    transport.write(b"answered")
    outgoing.write(b"".join(sent))
    assert recorder.received == b"asked"
    assert client.read() == b"answered"


async def test_nothing_of_a_connection_is_left_for_the_garbage_collector() -> None:
    """Its 20 KiB are free when it is gone, and not when the collector comes by."""
    async with Origin() as origin, await start(route(origin.port)) as mesh:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                async with await connect(mesh) as visitor:
                    await visitor.send(GET)
                    await visitor.receive_until(b"\r\n\r\n")
            await until(lambda: not mesh.core.visitors)
            await asyncio.sleep(0)
            left: list[Any] = [one for one in gc.get_objects() if isinstance(one, Secured | SecureTransport)]
            assert left == []
        finally:
            gc.enable()


# Handshakes that wait for a certificate.


ON_DEMAND = MeshSettings(on_demand_s=30.0)
UNEXPECTED_MESSAGE = b"\x15\x03\x03\x00\x02\x02\x0a"
NEW = "new.example.org"


async def start_on_demand(*routes: Route, settings: MeshSettings = ON_DEMAND) -> tuple[MeshUnderTest, list[str]]:
    """A proxy that asks for certificates, and the names that it has asked for."""
    mesh, asked = await start(*routes, settings=settings), []

    def ask(name: str, _address: str) -> bool:
        asked.append(name)
        return True

    mesh.core.on_demand.ask = ask
    return mesh, asked


async def greet(mesh: MeshUnderTest, name: str = NEW, *alpn: str) -> SecureVisitor:
    """A visitor who has sent its hello."""
    visitor = SecureVisitor(await Visitor.connect(mesh.port), AUTHORITY.visitor_context(*alpn), name)
    with pytest.raises(ssl.SSLWantReadError):
        visitor.tls.do_handshake()
    await visitor.flush()
    return visitor


def brought(*issued: Issued, revision: int = 2) -> Delta:
    """A change that brings these."""
    return Delta(revision=revision, put_certificates=tuple(one.certificate for one in issued))


async def test_a_handshake_waits_for_its_certificate() -> None:
    """And goes on as any other, with the first request behind it; others are served meanwhile."""
    issued = AUTHORITY.issue(NEW)
    async with Origin() as origin:
        mesh, asked = await start_on_demand(route(origin.port), Route(host=NEW, targets=route(origin.port).targets))
        async with mesh, await greet(mesh) as visitor, await greet(mesh) as second:
            await until(lambda: mesh.core.on_demand.held == 2)
            assert asked == [NEW]
            async with await connect(mesh) as other:
                await other.send(GET)
                assert b"200 OK" in await other.receive_until(b"\r\n\r\n")
            mesh.apply(brought(issued))
            for one in (visitor, second):
                await one.shake_hands()
                assert one.tls.getpeercert(binary_form=True) == issued.der
                await one.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % NEW.encode())
                assert b"200 OK" in await one.receive_until(b"\r\n\r\n")
            assert (mesh.core.on_demand.held, mesh.core.counters.handshake_failures) == (0, 0)
            assert not mesh.core._newcomers


async def test_the_hello_may_come_in_pieces() -> None:
    """The name is known with its last octet."""
    issued = AUTHORITY.issue(NEW)
    mesh, _ = await start_on_demand()
    async with mesh:
        visitor = SecureVisitor(await Visitor.connect(mesh.port), AUTHORITY.visitor_context(), NEW)
        async with visitor, asyncio.TaskGroup() as group:
            shaking = group.create_task(visitor.shake_hands(7), name="visitor")
            await until(lambda: mesh.core.on_demand.held)
            mesh.apply(brought(issued))
            await shaking


async def test_an_own_certificate_comes_before_the_default() -> None:
    """Which is what visitors are shown who name nobody, at once, and those for whose name there is none."""
    settings = MeshSettings(on_demand_s=30.0, default_certificate=HOST)
    mesh, asked = await start_on_demand(settings=settings)
    async with mesh, await greet(mesh) as visitor, await greet(mesh, "") as nameless:
        await nameless.shake_hands()
        await until(lambda: mesh.core.on_demand.held == 1)
        mesh.core.on_demand.refused(NEW, 60.0)
        with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'new\.example\.org'"):
            await visitor.shake_hands()
        context = AUTHORITY.visitor_context()
        context.check_hostname = False
        async with await SecureVisitor.connect(mesh.port, context, NEW) as next_visitor:
            assert next_visitor.tls.getpeercert(binary_form=True) == SHOP.der
        assert asked == [NEW]


async def test_without_a_default_a_refusal_is_an_alert() -> None:
    """The one that an unknown name always had; for a while nobody is asked again."""
    mesh, asked = await start_on_demand()
    async with mesh, await greet(mesh) as visitor:
        await until(lambda: mesh.core.on_demand.held)
        mesh.core.on_demand.refused(NEW, 60.0)
        assert await visitor.wire.octets(100) == UNRECOGNIZED_NAME
        async with await greet(mesh) as second:
            assert await second.wire.octets(100) == UNRECOGNIZED_NAME
        assert (asked, mesh.core.counters.handshake_failures) == ([NEW], 2)


@pytest.mark.parametrize("default", ["", HOST])
async def test_nobody_waits_for_ever(default: str) -> None:
    """Whoever was asked says nothing: it is as if nobody had been asked."""
    mesh, _ = await start_on_demand(settings=MeshSettings(on_demand_s=0.05, default_certificate=default))
    async with mesh, await greet(mesh) as visitor:
        answer = await visitor.wire.octets(7)
        assert answer == UNRECOGNIZED_NAME if not default else answer[:1] == b"\x16"
        await until(lambda: not mesh.core.on_demand.held)


async def test_the_time_of_waiting_is_not_that_of_the_handshake() -> None:
    """An authority takes longer than a handshake may."""
    mesh, _ = await start_on_demand(settings=MeshSettings(on_demand_s=30.0, tls_handshake_s=0.2))
    async with mesh, await greet(mesh) as visitor:
        await until(lambda: mesh.core.on_demand.held)
        (newcomer,) = mesh.core._newcomers
        assert 29 < newcomer.deadline - mesh.core.now <= 30
        mesh.apply(brought(AUTHORITY.issue(NEW)))
        await until(lambda: not mesh.core.on_demand.held)
        assert newcomer.deadline - mesh.core.now < 0.3
        # Who does nothing with the certificate has no more time than others.
        assert await visitor.wire.end() in {"closed", "reset"}


@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
async def test_who_leaves_while_it_waits_is_forgotten(how: str) -> None:
    """Its place is free again at once."""
    mesh, _ = await start_on_demand()
    async with mesh:
        visitor = await greet(mesh)
        await until(lambda: mesh.core.on_demand.held == 1)
        getattr(visitor.wire, how)()
        await until(lambda: not mesh.core.on_demand.held)
        await until(lambda: not mesh.core._newcomers)
        assert mesh.core.counters.handshake_failures == 1
        mesh.apply(brought(AUTHORITY.issue(NEW)))
        visitor.wire.close()


async def test_who_talks_while_it_waits_is_not_listened_to_for_long() -> None:
    """What it says is kept for TLS to judge, up to a bound."""
    mesh, _ = await start_on_demand()
    async with mesh, await greet(mesh) as visitor, await greet(mesh) as second:
        await until(lambda: mesh.core.on_demand.held == 2)
        await visitor.wire.send(b"\x14\x03\x03\x00\x01\x01")
        await second.wire.send(bytes(8000))
        await second.wire.send(bytes(12_000))
        assert await second.wire.octets(7) == UNEXPECTED_MESSAGE
        assert await second.wire.end() in {"closed", "reset"}
        assert mesh.core.on_demand.held == 1
        mesh.apply(brought(AUTHORITY.issue(NEW)))
        await until(lambda: not mesh.core.on_demand.held)
        assert await visitor.wire.octets(1)


async def test_a_hello_with_too_much_behind_it_does_not_wait() -> None:
    """It gets what it would get without anybody to ask."""
    mesh, asked = await start_on_demand()
    async with mesh, await greet(mesh) as visitor:
        hello = SecureVisitor(await Visitor.connect(mesh.port), AUTHORITY.visitor_context(), "b.example.org")
        with pytest.raises(ssl.SSLWantReadError):
            hello.tls.do_handshake()
        await hello.wire.send(hello._outgoing.read() + bytes(40_000))
        assert await hello.wire.octets(7) in {UNRECOGNIZED_NAME, UNEXPECTED_MESSAGE}
        hello.wire.close()
        await until(lambda: mesh.core.on_demand.held == 1)
        assert asked[0] == NEW
        visitor.wire.close()


async def test_more_comes_with_the_certificate() -> None:
    """In the same turn of the loop: the handshake goes on once."""
    issued = AUTHORITY.issue(NEW)
    mesh, _ = await start_on_demand()
    async with mesh, await greet(mesh) as visitor:
        await until(lambda: mesh.core.on_demand.held)
        (newcomer,) = mesh.core._newcomers
        mesh.apply(brought(issued))
        assert isinstance(newcomer, Secured)
        newcomer.data_received(b"")
        await visitor.shake_hands()
        assert mesh.core.counters.handshake_failures == 0


async def test_authorities_and_broken_certificates_are_not_waited_for() -> None:
    """What would come is not what they want, or would be no better."""
    broken = msgspec.structs.replace(AUTHORITY.issue("broken.example.org").certificate, key=SHOP.key)
    mesh, asked = await start_on_demand()
    async with mesh:
        mesh.apply(Delta(revision=2, put_certificates=(broken,)))
        for name, alpn in ((NEW, ("acme-tls/1",)), ("broken.example.org", ())):
            async with await greet(mesh, name, *alpn) as visitor:
                assert await visitor.wire.octets(100) == UNRECOGNIZED_NAME
        assert asked == []


async def test_a_certificate_that_comes_broken() -> None:
    """Nobody waits for another one."""
    broken = msgspec.structs.replace(AUTHORITY.issue(NEW).certificate, key=SHOP.key)
    mesh, asked = await start_on_demand()
    async with mesh, await greet(mesh) as visitor:
        await until(lambda: mesh.core.on_demand.held)
        mesh.apply(Delta(revision=2, put_certificates=(broken,)))
        assert await visitor.wire.octets(100) == UNRECOGNIZED_NAME
        assert asked == [NEW]


async def test_a_visitor_who_waited_has_to_show_a_certificate_too() -> None:
    """By the route of its name, as it is when the certificate comes."""
    mine = AUTHORITY.issue(common_name="me", for_client=True)
    async with Origin() as origin:
        mesh, _ = await start_on_demand()
        async with mesh:
            context = AUTHORITY.visitor_context(client=mine)
            visitor = SecureVisitor(await Visitor.connect(mesh.port), context, NEW)
            async with visitor, asyncio.TaskGroup() as group:
                shaking = group.create_task(visitor.shake_hands(), name="visitor")
                await until(lambda: mesh.core.on_demand.held)
                secret = Route(host=NEW, targets=route(origin.port).targets, client_ca=AUTHORITY.pem)
                mesh.apply(Delta(revision=2, put=(secret,)))
                mesh.apply(brought(AUTHORITY.issue(NEW), revision=3))
                await shaking
                await visitor.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % NEW.encode())
                assert b"200 OK" in await visitor.receive_until(b"\r\n\r\n")
        (seen,) = origin.requests
        assert seen.values(b"client-cert")


async def test_the_address_is_that_of_the_visitor() -> None:
    """As the load balancer announces it: by it is decided who may have how many certificates."""
    settings = MeshSettings(on_demand_s=30.0, proxy_protocol_from=("127.0.0.1",))
    mesh, _ = await start_on_demand(settings=settings)
    asked: list[tuple[str, str]] = []

    def ask(name: str, address: str) -> bool:
        asked.append((name, address))
        return True

    mesh.core.on_demand.ask = ask
    async with mesh, await Visitor.connect(mesh.port) as wire:
        visitor = SecureVisitor(wire, AUTHORITY.visitor_context(), NEW)
        with pytest.raises(ssl.SSLWantReadError):
            visitor.tls.do_handshake()
        await wire.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n")
        await visitor.flush()
        await until(lambda: asked)
        assert asked == [(NEW, "192.0.2.7")]
        mesh.apply(brought(AUTHORITY.issue(NEW)))
        await visitor.shake_hands()


async def test_closing_cuts_who_waits() -> None:
    """Nobody outlives the proxy, and nothing that was promised is called."""
    mesh, _ = await start_on_demand()
    async with await greet(mesh) as visitor:
        await until(lambda: mesh.core.on_demand.held)
        await mesh.core.drain(0.1)
        await mesh.close()
        assert await visitor.wire.end() in {"closed", "reset"}
        await until(lambda: not mesh.core.on_demand.held)
