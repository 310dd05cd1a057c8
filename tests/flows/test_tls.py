"""TLS by clients that we did not write: openssl's own, and WebSockets of Python through every kind of change."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from mesh.routes import AccessKeys, Delta, MeshSettings, RouteKey, VerifyKey
from tests.support.authority import Authority
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.programs import ProgramFailed, run
from tests.support.stage import request, until

AUTHORITY: Final = Authority()
ISSUED: Final = AUTHORITY.issue(HOST)
GET: Final = request(b"GET / HTTP/1.1", b"Connection: close")
SOCKETS: Final = 20

openssl = pytest.mark.needs("openssl")


@asynccontextmanager
async def door(settings: MeshSettings | None = None) -> AsyncIterator[MeshUnderTest]:
    """A proxy with a certificate, and an origin behind it."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings, certificates=(ISSUED.certificate,)) as mesh,
    ):
        yield mesh


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The certificate of the authority."""
    path = tmp_path / "root.pem"
    path.write_text(AUTHORITY.pem)
    return path


async def s_client(mesh: MeshUnderTest, root: Path, *arguments: str, stdin: bytes = GET, name: str = HOST) -> str:
    """What `openssl s_client` writes; it verifies the certificate."""
    said = await run(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{mesh.tls_port}", "-servername", name),
        *("-CAfile", str(root), "-verify_return_error", "-ign_eof", *arguments),
        stdin=stdin,
    )
    return said.decode(errors="replace")


@openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_sessions_are_resumed(tmp_path: Path, root: Path, version: str) -> None:
    """By a process that has only the ticket of another one, also under a certificate and routes that were replaced."""
    async with door() as mesh:
        ticket = str(tmp_path / "ticket")
        first = await s_client(mesh, root, version, "-sess_out", ticket)
        assert "New, TLSv1" in first
        assert "HTTP/1.1 200" in first
        for revision in range(2, 5):
            again = await s_client(mesh, root, version, "-sess_in", ticket)
            assert "Reused, TLSv1" in again
            assert "HTTP/1.1 200" in again
            mesh.apply(Delta(revision=revision, settings=MeshSettings(head_timeout_s=revision)))


@openssl
@pytest.mark.parametrize(
    ("arguments", "works"),
    [
        (("-tls1_3",), True),
        (("-tls1_2",), True),
        (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), False),
        (("-tls1", "-cipher", "ALL:@SECLEVEL=0"), False),
        (("-tls1_2", "-cipher", "AES128-SHA:AES256-SHA"), False),
        (("-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"), False),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), True),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"), True),
        (("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"), True),
        (("-tls1_3", "-groups", "X25519"), True),
        (("-tls1_3", "-groups", "P-521:P-256"), True),
        (("-alpn", "h2,http/1.1", "-tls1_2"), True),
        (("-alpn", "spdy/3"), False),
        (("-status",), True),
        (("-comp",), True),
        (("-split_send_frag", "512", "-max_send_frag", "512"), True),
        (("-legacy_renegotiation",), True),
        (("-no_ticket",), True),
        (("-curves", "prime256v1", "-tls1_2"), True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
async def test_what_is_agreed_on(root: Path, arguments: tuple[str, ...], works: bool) -> None:
    """TLS 1.2 and 1.3 with forward secrecy and authenticated encryption, and nothing else."""
    async with door() as mesh:
        stdin = b"Q\n" if "h2,http/1.1" in arguments else GET
        if not works:
            with pytest.raises(ProgramFailed):
                await s_client(mesh, root, *arguments)
        elif "h2,http/1.1" in arguments:
            said = await run(
                *("openssl", "s_client", "-connect", f"127.0.0.1:{mesh.tls_port}", "-servername", HOST, *arguments),
                stdin=stdin,
            )
            assert b"ALPN protocol: h2" in said
        else:
            assert "HTTP/1.1 200" in await s_client(mesh, root, *arguments)


@openssl
async def test_a_renegotiation_is_refused(root: Path) -> None:
    """What openssl asks for with an R ends nothing but its own connection (RFC 8446 section 1.2, RFC 5746)."""
    async with door() as mesh:
        command = ("openssl", "s_client", "-connect", f"127.0.0.1:{mesh.tls_port}", "-servername", HOST, "-tls1_2")
        with pytest.raises(ProgramFailed, match=r"(?i)no.renegotiation"):
            await run(*command, "-CAfile", str(root), stdin=b"R\n")
        assert "HTTP/1.1 200" in await s_client(mesh, root)


@openssl
async def test_new_keys_are_fine(root: Path) -> None:
    """KeyUpdate of TLS 1.3, asked for with K and answered with keys of our own, in the middle of the connection."""
    async with door() as mesh:
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{mesh.tls_port}", "-servername", HOST, "-tls1_3"),
            *("-CAfile", str(root)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            await until(lambda: mesh.core.counters.handshakes == 1)
            for _ in range(3):
                # A letter at the beginning of what openssl reads at once is a command.
                process.stdin.write(b"K\n")
                await process.stderr.readuntil(b"KEYUPDATE\n")
            # The answer ends the connection, and that ends the program; the end of its input would do so too early.
            process.stdin.write(GET)
            said = await process.stdout.read()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
        assert b"HTTP/1.1 200" in said


@openssl
async def test_there_is_no_early_data(tmp_path: Path, root: Path) -> None:
    """What is sent with a ticket before the handshake could be sent again by anybody: it is not taken (RFC 8470)."""
    async with door() as mesh:
        ticket, early = str(tmp_path / "ticket"), tmp_path / "early"
        early.write_bytes(request(b"POST /early HTTP/1.1", b"Content-Length: 0"))
        first = await s_client(mesh, root, "-tls1_3", "-sess_out", ticket)
        assert "Max Early Data: 0" in first
        again = await s_client(mesh, root, "-tls1_3", "-sess_in", ticket, "-early_data", str(early))
        assert "Early data was not sent" in again or "Early data was rejected" in again


@openssl
async def test_every_end_is_a_proper_one(root: Path) -> None:
    """An end without close_notify is an error to openssl 3."""
    async with door() as mesh:
        for version in ("-tls1_2", "-tls1_3"):
            said = await s_client(mesh, root, version)
            assert "HTTP/1.1 200" in said
            assert "unexpected eof" not in said


# WebSockets.


async def _echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


def open_socket(mesh: MeshUnderTest) -> connect:
    """A WebSocket over TLS."""
    return connect(
        f"wss://{HOST}/chat",
        host="127.0.0.1",
        port=mesh.tls_port,
        ssl=AUTHORITY.visitor_context("http/1.1"),
        proxy=None,
        max_size=None,
    )


async def _chat(sockets: list[ClientConnection], word: str) -> None:
    for socket in sockets:
        await socket.send(word)
    for socket in sockets:
        assert await socket.recv() == word


async def test_websockets_outlive_every_change() -> None:
    """Of the route, its targets, the certificate, the keys and the settings; new ones follow the change."""
    async with serve(_echo, "127.0.0.1", 0, max_size=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        route = route_to(port)
        async with await start_mesh(route, certificates=(ISSUED.certificate,)) as mesh:
            sockets = [await open_socket(mesh) for _ in range(SOCKETS)]
            replaced = AUTHORITY.issue(HOST).certificate
            steps = [
                Delta(revision=2, put=(msgspec.structs.replace(route, retries=0),)),
                Delta(revision=3, put=(route_to(1),)),
                Delta(revision=4, put_certificates=(replaced,), removed_certificates=(ISSUED.certificate.fingerprint,)),
                Delta(
                    revision=5, keys=AccessKeys(generation=9, keys=(VerifyKey(algorithm="HS256", material=b"k" * 32),))
                ),
                Delta(revision=6, settings=MeshSettings(tls_min_version="1.3", http2=False, idle_timeout_s=0.1)),
                Delta(revision=7, removed=(RouteKey(HOST),)),
                Delta(revision=8, removed_certificates=(replaced.fingerprint,)),
            ]
            for delta in steps:
                mesh.apply(delta)
                await _chat(sockets, f"after {delta.revision}")
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await open_socket(mesh)
            for socket in sockets:
                await socket.close()


async def test_large_messages_over_tls() -> None:
    """A megabyte each way, on several at a time, byte for byte."""
    large = bytes(range(256)) * 4096
    async with serve(_echo, "127.0.0.1", 0, max_size=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with await start_mesh(route_to(port), certificates=(ISSUED.certificate,)) as mesh:

            async def exchange() -> None:
                async with open_socket(mesh) as socket:
                    await socket.send(large)
                    assert await socket.recv() == large
                    await socket.send("text")
                    assert await socket.recv() == "text"

            await asyncio.gather(*(exchange() for _ in range(5)))


async def test_a_websocket_whose_server_leaves() -> None:
    """Its close frame arrives, and so does a break without one."""

    async def leave(socket: ServerConnection) -> None:
        assert socket.request is not None
        await socket.recv()
        await socket.close(4001, "enough")

    async with serve(leave, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with (
            await start_mesh(route_to(port), certificates=(ISSUED.certificate,)) as mesh,
            open_socket(mesh) as socket,
        ):
            await socket.send("go")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough")
