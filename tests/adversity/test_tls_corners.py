"""Case 172: names, protocols, handshakes and ends of TLS that are unusual, wrong, slow or meant for somebody else."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import pytest

from mesh.policies import Target, TargetTls
from mesh.routes import MeshSettings, Route
from tests.support.authority import Authority, Issued
from tests.support.client import Visitor, ask
from tests.support.frame_visitor import FrameVisitor
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.secure_visitor import Cut, SecureVisitor
from tests.support.stage import Stage, head_of, request, until

AUTHORITY: Final = Authority()
OTHERS: Final = Authority("Other Root")
SHOP: Final = AUTHORITY.issue(HOST, "www.example.com", "*.example.net")
OTHER: Final = AUTHORITY.issue("other.example.org")
SECRET: Final = AUTHORITY.issue("open.example.com", "secret.example.com")
SETTINGS: Final = MeshSettings()
# For handshakes that are not to succeed.
QUICK: Final = MeshSettings(tls_handshake_s=0.15)
GET: Final = request(b"GET / HTTP/1.1")


@asynccontextmanager
async def door(
    settings: MeshSettings = SETTINGS, *certificates: Issued, hosts: tuple[str, ...] = (HOST, "other.example.org", "*")
) -> AsyncIterator[tuple[MeshUnderTest, Origin]]:
    """A proxy with certificates for two tenants, unless others are given."""
    issued = certificates or (SHOP, OTHER)
    async with (
        Origin() as origin,
        await start_mesh(
            *(route_to(origin.port, host) for host in hosts),
            settings=settings,
            certificates=tuple(one.certificate for one in issued),
        ) as mesh,
    ):
        yield mesh, origin


def hello(name: bytes | None, *, version: int = 0x0303) -> bytes:
    """A ClientHello by hand, so that it may name what no library would: RFC 8446 section 4.1.2, RFC 6066 section 3."""
    extensions = b""
    if name is not None:
        entry = b"\0" + len(name).to_bytes(2) + name
        listed = len(entry).to_bytes(2) + entry
        extensions += b"\0\0" + len(listed).to_bytes(2) + listed
    # supported_groups, ec_point_formats, signature_algorithms: enough for TLS 1.2.
    extensions += bytes.fromhex("000a00080006001d00170018 000b00020100 000d000e000c040304010503050108040806")
    suites = bytes.fromhex("c02bc02fc02cc030cca9cca8")
    body = version.to_bytes(2) + bytes(32) + b"\0" + len(suites).to_bytes(2) + suites + b"\x01\0"
    body += len(extensions).to_bytes(2) + extensions
    message = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(message).to_bytes(2) + message


async def shown(port: int, name: bytes | None, fragment: int = 0) -> bytes:
    """What a hello with this name is answered with: a certificate in clear, as TLS 1.2 has it, or an alert."""
    async with await Visitor.connect(port) as visitor:
        await visitor.send(hello(name), fragment)
        return await visitor.octets(2000)


def alert(description: int) -> bytes:
    """A fatal alert."""
    return b"\x15\x03\x03\x00\x02\x02" + bytes([description])


UNRECOGNIZED_NAME: Final = alert(112)
NAMES: Final = {
    "as_it_is": (b"shop.example.com", SHOP),
    "other": (b"other.example.org", OTHER),
    "in_capitals": (b"SHOP.Example.COM", SHOP),
    "with_the_dot_at_its_end": (b"shop.example.com.", SHOP),
    "in_capitals_with_the_dot": (b"SHOP.EXAMPLE.COM.", SHOP),
    "under_the_wildcard": (b"a.example.net", SHOP),
    "two_labels_under_the_wildcard": (b"b.a.example.net", None),
    "of_the_wildcard_itself": (b"example.net", None),
    "none": (None, None),
    "unknown": (b"nobody.example.org", None),
    "address": (b"127.0.0.1", None),
    "address_of_ipv6": (b"::1", None),
    "empty": (b"", None),
    "with_two_dots_at_its_end": (b"shop.example.com..", None),
    "with_a_nul": (b"shop.example.com\0.evil.example", None),
    "with_octets": (b"sh\xf6p.example.com", None),
    "with_a_port": (b"shop.example.com:443", None),
    "with_a_path": (b"../../etc/passwd", None),
    "beyond_measure": (b"a" * 300 + b".example.com", None),
}


@pytest.mark.parametrize("name", NAMES)
async def test_case_172_name(name: str) -> None:
    """It finds its certificate, in one piece and octet by octet, or the handshake ends with an alert that says why."""
    raw, issued = NAMES[name]
    async with door(QUICK) as (mesh, _):
        for answer in await asyncio.gather(*(shown(mesh.tls_port, raw, fragment) for fragment in (0, 1))):
            if issued is not None:
                assert issued.der in answer
            else:
                assert answer in {UNRECOGNIZED_NAME, alert(50), alert(47)}
        await until(lambda: mesh.core.counters.handshake_failures == 2)


@pytest.mark.parametrize("name", [name for name, (_, issued) in NAMES.items() if issued is None])
async def test_case_172_name_that_finds_the_default(name: str) -> None:
    """With a default certificate nobody is sent away for the name, unless it is no name at all."""
    async with door(msgspec.structs.replace(QUICK, default_certificate="other.example.org")) as (mesh, _):
        answer = await shown(mesh.tls_port, NAMES[name][0])
        assert OTHER.der in answer or answer in {alert(50), alert(47)}
        assert SHOP.der not in answer


@pytest.mark.parametrize(
    ("server_name", "host", "status"),
    [
        (HOST, HOST, 200),
        (HOST, HOST.upper(), 200),
        (HOST, HOST + ".", 200),
        (HOST, HOST + ":443", 200),
        (HOST, "www.example.com", 200),
        (HOST, "a.example.net", 200),
        (HOST, "other.example.org", 421),
        (HOST, "nobody.example.org", 421),
        (HOST, "b.a.example.net", 421),
        ("other.example.org", HOST, 421),
        (HOST, "127.0.0.1", 421),
    ],
)
async def test_case_172_host_of_another_name(server_name: str, host: str, status: int) -> None:
    """421 where the certificate that was shown does not cover the host, and the connection goes on (RFC 9110 7.4)."""
    async with door() as (mesh, origin):
        context = AUTHORITY.visitor_context("http/1.1")
        async with await SecureVisitor.connect(mesh.tls_port, context, server_name) as visitor:
            for name, wanted in ((host, status), (server_name, 200)):
                await visitor.send(GET.replace(HOST.encode(), name.encode()))
                assert b" %d " % wanted in await visitor.receive_until(b"\r\n\r\n")
        assert len(origin.requests) == 1 + (status == 200)


async def test_case_172_a_certificate_that_is_asked_for_cannot_be_got_round() -> None:
    """By the name of a neighbour on the same certificate, on either version of HTTP, or on the plain port."""
    async with Origin() as origin:
        routes = (
            route_to(origin.port, "open.example.com"),
            msgspec.structs.replace(route_to(origin.port, "secret.example.com"), client_ca=OTHERS.pem),
        )
        async with await start_mesh(*routes, settings=SETTINGS, certificates=(SECRET.certificate,)) as mesh:
            secret = request(b"GET / HTTP/1.1").replace(HOST.encode(), b"secret.example.com")
            context = AUTHORITY.visitor_context("http/1.1")
            async with await SecureVisitor.connect(mesh.tls_port, context, "open.example.com") as visitor:
                await visitor.send(secret)
                assert b" 421 " in await visitor.receive_until(b"\r\n\r\n")
            tls = AUTHORITY.visitor_context("h2")
            async with await FrameVisitor.connect(mesh.tls_port, tls, name="open.example.com") as frames:
                fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/")]
                stream_id = frames.next_id()
                await frames.send(frames.head(stream_id, [*fields, (b":authority", b"secret.example.com")]))
                assert (await frames.reply(stream_id)).status == 421
            assert (await ask(mesh.port, secret)).status in {403, 421}
            # In TLS 1.3 a visitor hears only behind its own handshake that its certificate is missing.
            async with await SecureVisitor.connect(mesh.tls_port, context, "secret.example.com") as visitor:
                await visitor.send(secret)
                with pytest.raises((ssl.SSLError, Cut)):
                    await visitor.receive_all()
            assert not origin.requests
            mine = AUTHORITY.visitor_context("http/1.1", client=OTHERS.issue("me", for_client=True))
            async with await SecureVisitor.connect(mesh.tls_port, mine, "secret.example.com") as visitor:
                await visitor.send(secret)
                assert b" 200 " in await visitor.receive_until(b"\r\n\r\n")


@pytest.mark.parametrize("first", ["secret.example.com", "open.example.com"])
async def test_case_172_a_session_of_a_neighbour_opens_no_door(first: str) -> None:
    """A ticket from one name is worth nothing for another one that asks for a certificate."""
    async with Origin() as origin:
        routes = (
            route_to(origin.port, "open.example.com"),
            msgspec.structs.replace(route_to(origin.port, "secret.example.com"), client_ca=OTHERS.pem),
        )
        async with await start_mesh(*routes, settings=SETTINGS, certificates=(SECRET.certificate,)) as mesh:
            context = AUTHORITY.visitor_context("http/1.1", client=OTHERS.issue("me", for_client=True))
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            names = ["open.example.com", "secret.example.com"]
            names.remove(first)
            async with await SecureVisitor.connect(mesh.tls_port, context, first) as visitor:
                session = visitor.tls.session
            async with await SecureVisitor.connect(mesh.tls_port, context, names[0], session=session) as visitor:
                assert not visitor.tls.session_reused


@pytest.mark.parametrize(
    ("offered", "http2", "chosen"),
    [
        (("h2", "http/1.1"), True, "h2"),
        (("http/1.1", "h2"), True, "h2"),
        (("h2", "http/1.1"), False, "http/1.1"),
        (("http/1.1",), True, "http/1.1"),
        (("spdy/3", "http/1.1"), True, "http/1.1"),
        ((), True, None),
        (("h2",), False, ssl.SSLError),
        (("spdy/3",), True, ssl.SSLError),
        (("acme-tls/1",), True, ssl.SSLError),
        (("h2c",), True, ssl.SSLError),
    ],
)
async def test_case_172_protocols(offered: tuple[str, ...], http2: bool, chosen: object) -> None:
    """One that both speak, HTTP/1 where none is asked for, and no_application_protocol where there is none."""
    async with door(msgspec.structs.replace(SETTINGS, http2=http2)) as (mesh, _):
        context = AUTHORITY.visitor_context(*offered)
        if chosen is ssl.SSLError:
            with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
                await SecureVisitor.connect(mesh.tls_port, context, HOST)
            return
        async with await SecureVisitor.connect(mesh.tls_port, context, HOST) as visitor:
            assert visitor.tls.selected_alpn_protocol() == chosen
            if chosen != "h2":
                await visitor.send(GET)
                assert b" 200 " in await visitor.receive_until(b"\r\n\r\n")


async def test_case_172_http_2_where_http_1_was_agreed_on() -> None:
    """The preface is no request, and the other way round neither."""
    async with door() as (mesh, origin):
        async with await SecureVisitor.connect(mesh.tls_port, AUTHORITY.visitor_context(), HOST) as visitor:
            await visitor.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
            assert b" 505 " in await visitor.receive_all()
        async with await SecureVisitor.connect(mesh.tls_port, AUTHORITY.visitor_context("h2"), HOST) as visitor:
            await visitor.send(GET)
            assert b"HTTP/1" not in await visitor.receive_all()
        assert not origin.requests


@pytest.mark.parametrize(
    "raw",
    [GET, b"POST /x HTTP/1.0\r\n\r\n", request(b"GET / HTTP/1.1", b"Upgrade: h2c")],
    ids=["get", "post", "upgrade"],
)
async def test_case_172_plain_http_on_the_port_for_tls(raw: bytes) -> None:
    """400 in plain HTTP, so that people see what they did; the target sees nothing."""
    async with door() as (mesh, origin):
        assert (await ask(mesh.tls_port, raw)).status == 400
        assert not origin.requests


async def test_case_172_tls_on_the_plain_port() -> None:
    """400 or the end."""
    async with door() as (mesh, origin), await Visitor.connect(mesh.port) as visitor:
        await visitor.send(hello(HOST.encode()) + b"\r\n\r\n")
        answer = await visitor.answer()
        assert answer is None or answer.status == 400
        await visitor.end()
        assert not origin.requests


NONSENSE: Final = {
    "sslv2": bytes.fromhex("802e010002001500000010") + bytes(37),
    "record_of_data": b"\x17\x03\x03\x00\x05hello",
    "alert_first": b"\x15\x03\x01\x00\x02\x01\x00",
    "another_message": b"\x16\x03\x01\x00\x05\x0b\x00\x00\x01\x00",
    "empty_record": b"\x16\x03\x01\x00\x00" * 100,
    "record_too_long": b"\x16\x03\x01\xff\xff" + bytes(65_535),
    "hello_too_long": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16_380),
    "hello_too_short": b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
    "extension_too_long": hello(HOST.encode()).replace(b"\0\0\0\x15\0\x13", b"\0\0\xff\xff\0\x13"),
    "name_too_long": hello(HOST.encode()).replace(b"\0\x13\0\0\x10", b"\0\x13\0\xff\xff"),
    "proxy_header": b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "noise": bytes(range(1, 256)) * 20,
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_case_172_nonsense(name: str) -> None:
    """The connection ends, in pieces as well as whole, and nobody else notices."""
    async with door(msgspec.structs.replace(SETTINGS, tls_handshake_s=0.5)) as (mesh, origin):
        for fragment in (0, 7):
            async with await Visitor.connect(mesh.tls_port) as visitor:
                await visitor.send(NONSENSE[name], fragment)
                assert await visitor.end() in {"closed", "reset"}
        assert not origin.requests
        async with await SecureVisitor.connect(mesh.tls_port, AUTHORITY.visitor_context(), HOST) as visitor:
            await visitor.send(GET)
            assert b" 200 " in await visitor.receive_until(b"\r\n\r\n")
        await until(lambda: not mesh.core._newcomers)


async def test_case_172_a_hello_that_drips() -> None:
    """It has its time in all, however regularly the next octet comes; a hundred of them hold up nobody."""

    async def drip(port: int) -> str:
        async with await Visitor.connect(port) as visitor, asyncio.TaskGroup() as group:

            async def send() -> None:
                for octet in hello(HOST.encode(), version=0x0303):
                    await visitor.send(bytes([octet]))
                    await asyncio.sleep(0.02)

            task = group.create_task(send(), name="drip")
            ending = await visitor.end()
            task.cancel()
            return ending

    async with door(msgspec.structs.replace(SETTINGS, tls_handshake_s=0.6)) as (mesh, _):
        async with asyncio.TaskGroup() as group:
            drips = [group.create_task(drip(mesh.tls_port), name=f"drip {number}") for number in range(100)]
            context = AUTHORITY.visitor_context("http/1.1")
            for _ in range(5):
                async with await SecureVisitor.connect(mesh.tls_port, context, HOST) as visitor:
                    await visitor.send(GET)
                    assert b" 200 " in await visitor.receive_until(b"\r\n\r\n")
        assert {task.result() for task in drips} <= {"closed", "reset"}
        await until(lambda: not mesh.core._newcomers)


async def test_case_172_a_visitor_that_cuts_its_upload() -> None:
    """An end without close_notify completes nothing, and neither does one with it before the last chunk."""
    async with door() as (mesh, origin):
        for says_goodbye in (False, True):
            context = AUTHORITY.visitor_context("http/1.1")
            async with await SecureVisitor.connect(mesh.tls_port, context, HOST) as visitor:
                await visitor.send(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"))
                await until(lambda: origin.connections and origin.connections[-1].requests)
                if says_goodbye:
                    await visitor.say_goodbye()
            assert await origin.connections[-1].ended() in {"closed", "reset"}
            assert origin.connections[-1].mid_message
            origin.forget()


async def test_case_172_an_answer_that_breaks_off_has_no_close_notify() -> None:
    """So that a visitor of HTTP/1.0 cannot take it for complete."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port), settings=SETTINGS, certificates=(SHOP.certificate,)) as mesh,
    ):
        for version in (b"1.0", b"1.1"):
            async with await SecureVisitor.connect(mesh.tls_port, AUTHORITY.visitor_context(), HOST) as visitor:
                await visitor.send(request(b"GET / HTTP/%b" % version))
                with pytest.raises(Cut):
                    await visitor.receive_all()


async def _cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer until the end of the connection, and cut that under TLS."""
    await head_of(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
    await writer.drain()
    await asyncio.sleep(0.01)
    # Below asyncio's TLS, which would say goodbye.
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as below:
        below.shutdown(socket.SHUT_WR)
    await reader.read()


async def test_case_172_a_target_that_is_cut_off() -> None:
    """An answer that lasts until the end of the connection is not complete without a close_notify (RFC 9112 9.8)."""
    tls = AUTHORITY.issue("localhost", "127.0.0.1").server_context()
    async with Stage(_cut, tls=tls) as stage:
        route = Route(
            host=HOST,
            targets=(Target(f"https://127.0.0.1:{stage.port}"),),
            target_tls=TargetTls(ca=AUTHORITY.pem),
        )
        async with await start_mesh(route, settings=SETTINGS) as mesh:
            answer = await ask(mesh.port, GET)
            assert (answer.status, answer.ended) == (200, "truncated")


async def test_case_172_more_names_than_contexts() -> None:
    """Contexts are forgotten and made again, and everybody is shown the right certificate, at the same time too."""
    issued = [AUTHORITY.issue(f"{number}.example.com") for number in range(6)]
    settings = msgspec.structs.replace(SETTINGS, tls_contexts=2, tls_handshake_s=5.0)
    hosts = tuple(one.names[0] for one in issued)

    async def visit(port: int, one: Issued) -> None:
        context = AUTHORITY.visitor_context("http/1.1")
        async with await SecureVisitor.connect(port, context, one.names[0]) as visitor:
            assert visitor.tls.getpeercert(binary_form=True) == one.der
            await visitor.send(GET.replace(HOST.encode(), one.names[0].encode()))
            assert b" 200 " in await visitor.receive_until(b"\r\n\r\n")

    async with door(settings, *issued, hosts=hosts) as (mesh, _):
        await asyncio.gather(*(visit(mesh.tls_port, one) for one in issued * 3))
