"""Case 171: PROXY headers that are right, wrong, late, missing, or from somebody who has no business to send one."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import pytest

from mesh.routes import MeshSettings
from tests.support.authority import Authority
from tests.support.client import Visitor, ask
from tests.support.frame_visitor import PREFACE, FrameVisitor, settings_frame
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.secure_visitor import SecureVisitor
from tests.support.stage import Stage, head_of, request

SETTINGS: Final = MeshSettings(proxy_protocol_from=("127.0.0.0/8",), http2_cleartext=True)
AUTHORITY: Final = Authority()
SHOP: Final = AUTHORITY.issue(HOST)
GET: Final = request(b"GET / HTTP/1.1")
SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
V1: Final = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n"


def v2(block: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    """A header of version 2; `length` is what it says of its block when that is not true."""
    return SIGNATURE + struct.pack(">BBH", command, family, len(block) if length is None else length) + block


def ends(source: str, destination: str = "", port: int = 5000) -> bytes:
    """A block of addresses."""
    packed = [ipaddress.ip_address(one).packed for one in (source, destination or source)]
    return b"".join(packed) + struct.pack(">HH", port, 443)


def extension(kind: int, value: bytes, *, length: int | None = None) -> bytes:
    """What may follow the addresses."""
    return struct.pack(">BH", kind, len(value) if length is None else length) + value


def checked(block: bytes, *, is_wrong: bool = False) -> bytes:
    """A header with a checksum of its own, by a calculation that shares nothing with ours."""
    value = 0xFFFFFFFF
    for octet in v2(block + extension(3, bytes(4))):
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return v2(block + extension(3, (value ^ 0xFFFFFFFF ^ is_wrong).to_bytes(4)))


FOUR: Final = ends("192.0.2.7")
OWN: Final = "127.0.0.1"


class HeaderCase(msgspec.Struct, frozen=True):
    """A first packet, and whose the connection is then; empty: it is cut."""

    name: str
    raw: bytes
    address: str = ""

    def __str__(self) -> str:
        return f"case_171_{self.name}"


CASES: Final = (
    HeaderCase("v1", V1, "192.0.2.7"),
    HeaderCase("v1_of_ipv6", b"PROXY TCP6 2001:DB8::7 2001:db8::1 5000 443\r\n", "2001:db8::7"),
    HeaderCase("v1_unknown", b"PROXY UNKNOWN\r\n", OWN),
    HeaderCase("v1_unknown_with_more", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", OWN),
    HeaderCase("v1_of_another_family", b"PROXY TCP4 2001:db8::7 2001:db8::1 5000 443\r\n"),
    HeaderCase("v1_unfinished", b"PROXY TCP4 192.0.2.7 192.0.2.1 5000\r\n"),
    HeaderCase("v1_with_more", V1[:-2] + b" 7\r\n"),
    HeaderCase("v1_with_two_spaces", V1.replace(b"TCP4 ", b"TCP4  ")),
    HeaderCase("v1_with_a_port_too_high", V1.replace(b"5000", b"65536")),
    HeaderCase("v1_with_a_port_below_zero", V1.replace(b"5000", b"-1")),
    HeaderCase("v1_with_an_address_beyond_measure", V1.replace(b"192.0.2.7", b"192.0.2.256")),
    HeaderCase("v1_with_an_address_in_octal", V1.replace(b"192.0.2.7", b"192.0.2.07")),
    HeaderCase("v1_with_a_name", V1.replace(b"192.0.2.7", b"localhost")),
    HeaderCase("v1_with_a_field_inside", V1.replace(b"192.0.2.7", b"192.0.2.7\nX: y")),
    HeaderCase("v1_in_small_letters", V1.lower()),
    HeaderCase("v1_ended_by_lf", V1.replace(b"\r\n", b"\n")),
    HeaderCase("v1_too_long", b"PROXY UNKNOWN " + b"a" * 100 + b"\r\n"),
    HeaderCase("v1_twice", V1 + V1),
    HeaderCase("v2", v2(FOUR), "192.0.2.7"),
    HeaderCase("v2_of_ipv6", v2(ends("2001:db8::7"), family=0x21), "2001:db8::7"),
    HeaderCase("v2_of_a_unix_socket", v2(bytes(216), family=0x31), OWN),
    HeaderCase("v2_of_datagrams", v2(FOUR, family=0x12), OWN),
    HeaderCase("v2_of_an_unknown_family", v2(FOUR, family=0x51)),
    HeaderCase("v2_unspecified", v2(b"", family=0), OWN),
    HeaderCase("v2_local", v2(b"", command=0x20, family=0), OWN),
    HeaderCase("v2_local_with_an_address", v2(FOUR, command=0x20), OWN),
    HeaderCase("v2_of_another_version", v2(FOUR, command=0x31)),
    HeaderCase("v2_with_another_command", v2(FOUR, command=0x22)),
    HeaderCase("v2_too_short_for_its_addresses", v2(FOUR[:11])),
    HeaderCase("v2_of_ipv6_with_addresses_of_ipv4", v2(FOUR, family=0x21)),
    HeaderCase("v2_with_extensions", v2(FOUR + extension(1, b"h2") + extension(0xE0, bytes(300))), "192.0.2.7"),
    HeaderCase("v2_with_an_empty_extension", v2(FOUR + extension(4, b"")), "192.0.2.7"),
    HeaderCase("v2_with_an_extension_too_long_for_it", v2(FOUR + extension(1, b"h2", length=3))),
    HeaderCase("v2_with_a_part_of_an_extension", v2(FOUR + b"\x01\x00")),
    HeaderCase("v2_with_the_most_extensions", v2(FOUR + extension(4, bytes(4096 - 12 - 3))), "192.0.2.7"),
    HeaderCase("v2_too_long", v2(FOUR + extension(4, bytes(5000)))),
    HeaderCase("v2_that_says_it_is_too_long", v2(FOUR, length=65_535)),
    HeaderCase("v2_with_a_checksum", checked(FOUR), "192.0.2.7"),
    HeaderCase("v2_with_a_wrong_checksum", checked(FOUR, is_wrong=True)),
    HeaderCase("v2_with_a_checksum_of_three_octets", v2(FOUR + extension(3, bytes(3)))),
    HeaderCase("v2_with_another_signature", v2(FOUR).replace(b"QUIT", b"QUIX")),
    HeaderCase("nothing", b""),
    HeaderCase("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
)


@asynccontextmanager
async def door(settings: MeshSettings = SETTINGS) -> AsyncIterator[tuple[MeshUnderTest, Origin]]:
    """A proxy that is told whose connections it gets, and the origin behind it."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings, certificates=(SHOP.certificate,)) as mesh,
    ):
        yield mesh, origin


def told(origin: Origin) -> list[bytes]:
    """Whose requests the origin was told to have got."""
    return [value for seen in origin.requests for value in seen.values(b"x-forwarded-for")]


@pytest.mark.parametrize("fragment", [0, 1], ids=["whole", "octet by octet"])
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_header(case: HeaderCase, fragment: int) -> None:
    """With the first request in the same packet: its visitor is the one that is announced, or the connection is cut."""
    async with door() as (mesh, origin), await Visitor.connect(mesh.port) as visitor:
        await visitor.send(case.raw + GET, fragment)
        if case.address:
            answer = await visitor.answer()
            assert answer is not None
            assert answer.status == 200
            assert told(origin) == [case.address.encode()]
        else:
            assert await visitor.answer() is None or case.name == "v1_twice"
            assert not origin.requests
            assert sum(mesh.core.counters.causes.values()) == 1


async def test_over_tls() -> None:
    """The header comes before the handshake, in the same packet or in pieces."""
    async with door() as (mesh, origin):
        for fragment in (0, 1):
            wire = await Visitor.connect(mesh.tls_port)
            await wire.send(v2(FOUR), fragment)
            async with SecureVisitor(wire, AUTHORITY.visitor_context(), HOST) as visitor:
                await visitor.shake_hands()
                await visitor.send(GET)
                assert b" 200 " in await visitor.receive_until(b"\r\n\r\n")
        assert told(origin) == [b"192.0.2.7"] * 2
        assert [seen.values(b"x-forwarded-proto") for seen in origin.requests] == [[b"https"]] * 2


async def test_over_http_2() -> None:
    """For HTTP/2 without TLS as well."""
    async with door() as (mesh, origin):
        async with await Visitor.connect(mesh.port) as wire:
            await wire.send(V1 + PREFACE + settings_frame())
            assert (await FrameVisitor(wire).ask()).status == 200
        assert told(origin) == [b"192.0.2.7"]


async def test_a_header_within_tls_is_none() -> None:
    """It is read by HTTP, and refused."""
    async with door() as (mesh, origin):
        wire = await Visitor.connect(mesh.tls_port)
        await wire.send(V1)
        async with SecureVisitor(wire, AUTHORITY.visitor_context(), HOST) as visitor:
            await visitor.shake_hands()
            await visitor.send(V1 + GET)
            assert b" 400 " in await visitor.receive_until(b"\r\n\r\n")
        assert not origin.requests


@pytest.mark.parametrize("raw", [V1, v2(FOUR)], ids=["v1", "v2"])
async def test_a_header_from_anybody_else_is_nonsense(raw: bytes) -> None:
    """Nobody may choose an address for himself: not on the plain port, nor on that for TLS, nor as a field."""
    async with door(msgspec.structs.replace(SETTINGS, proxy_protocol_from=("10.0.0.0/8",))) as (mesh, origin):
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(raw + GET)
            answer = await visitor.answer()
            assert answer is None or answer.status == 400
            await visitor.end()
        async with await Visitor.connect(mesh.tls_port) as visitor:
            await visitor.send(raw + GET)
            await visitor.end()
        assert not origin.requests
        assert (await ask(mesh.port, GET)).status == 200
        assert told(origin) == [b"127.0.0.1"]


async def test_who_announces_has_its_time_and_no_more() -> None:
    """A part of a header, an end in it, and silence."""
    async with door(msgspec.structs.replace(SETTINGS, head_timeout_s=0.15)) as (mesh, _):
        for part in (b"", V1[:10], v2(FOUR)[:20]):
            async with await Visitor.connect(mesh.port) as visitor:
                await visitor.send(part)
                assert await visitor.end() in {"closed", "reset"}
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(V1[:10])
            visitor.half_close()
            assert await visitor.end() in {"closed", "reset"}
        assert not mesh.core.visitors


async def test_the_announced_address_is_the_one_that_counts() -> None:
    """For limits by address: the proxy in front may bring any number of visitors, each of them only so many."""
    settings = msgspec.structs.replace(SETTINGS, max_connections_per_address=2)
    async with door(settings) as (mesh, _):
        seen = []
        visitors = []
        for address in (b"192.0.2.7", b"192.0.2.7", b"192.0.2.7", b"192.0.2.8", b"192.0.2.9"):
            visitor = await Visitor.connect(mesh.port)
            visitors.append(visitor)
            await visitor.send(V1.replace(b"192.0.2.7", address) + GET)
            answer = await visitor.answer()
            seen.append(answer is not None)
        assert seen == [True, True, False, True, True]
        for visitor in visitors:
            visitor.close()


# The other way: what targets are told.


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_targets_are_told_once_per_connection(version: str) -> None:
    """Before everything else, whose connection it is; no other visitor's request ever comes on it."""
    heads: list[tuple[bytes, int]] = []

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if version == "v1":
            line = (await reader.readuntil(b"\r\n")).split(b" ")
            assert line[:2] == [b"PROXY", b"TCP4"]
            source = line[2]
        else:
            head = await reader.readexactly(16)
            assert head[:12] == SIGNATURE
            block = await reader.readexactly(int.from_bytes(head[14:]))
            source = socket.inet_ntoa(block[:4]).encode()
        count = 0
        while True:
            seen = await head_of(reader)
            assert b"PROXY" not in seen
            count += 1
            heads.append((source, count))
            assert b"X-Forwarded-For: " + source in seen
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def visit(port: int, address: bytes) -> list[int]:
        async with await Visitor.connect(port) as visitor:
            await visitor.send(V1.replace(b"192.0.2.7", address) + GET + GET)
            answers = [await visitor.answer() for _ in range(2)]
            return [answer.status for answer in answers if answer is not None]

    async with Stage(scene) as stage:
        route = msgspec.structs.replace(route_to(stage.port), proxy_protocol=version)
        async with await start_mesh(route, settings=SETTINGS) as mesh:
            for address in (b"192.0.2.7", b"192.0.2.8", b"192.0.2.7"):
                assert await visit(mesh.port, address) == [200, 200]
        assert [source for source, _ in heads] == [b"192.0.2.7"] * 2 + [b"192.0.2.8"] * 2 + [b"192.0.2.7"] * 2
