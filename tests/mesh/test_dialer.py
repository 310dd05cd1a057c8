"""New connections to targets: over TCP, TLS and Unix sockets, and what a visitor is told when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.routes import MeshSettings, Route, Target, Timeouts
from tests.support.client import Answer, Visitor, ask
from tests.support.mesh_node import HOST, MeshUnderTest, start_mesh
from tests.support.origin import Origin
from tests.support.stage import Records, Stage, answering, free_port, head_of, idle, in_flight, request, until, watched

GET = request(b"GET / HTTP/1.1")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def _route(*addresses: str, connect_s: float = 5.0) -> Route:
    targets = tuple(Target(address) for address in addresses)
    return Route(host=HOST, targets=targets, timeouts=Timeouts(connect_s=connect_s))


def _error(answer: Answer) -> bytes:
    (value,) = answer.values(b"proxy-status")
    return value.partition(b"error=")[2].partition(b";")[0]


@pytest.fixture
def stuck() -> Iterator[int]:
    """A port whose queue of connections is full, so that connecting takes for ever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


class _Tls:
    """A certificate for 127.0.0.1 that no authority has signed."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "target")])
        today = dt.datetime.now(dt.UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(today - dt.timedelta(days=1))
            .not_valid_after(today + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.path = folder / "target.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.path.write_bytes(private + built.public_bytes(Encoding.PEM))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.path)


@pytest.fixture
def tls(tmp_path: Path) -> _Tls:
    """A target's certificate."""
    return _Tls(tmp_path)


async def test_a_target_that_cannot_be_reached_in_time(stuck: int) -> None:
    """504 names the connection as the cause."""
    async with await start_mesh(_route(f"http://127.0.0.1:{stuck}", connect_s=0.05)) as mesh:
        answer = await ask(mesh.port, GET)
        assert (answer.status, _error(answer)) == (504, b"connection_timeout")
        assert in_flight(mesh) == 0


@pytest.mark.parametrize("raw", [GET, request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"hello")])
async def test_the_time_to_connect_is_its_own(stuck: int, raw: bytes) -> None:
    """No other deadline counts meanwhile, so there is still time for the other target."""
    settings = MeshSettings(head_timeout_s=0.05, body_idle_s=0.05, keepalive_idle_s=0.05)
    async with Origin() as origin:
        route = _route(f"http://127.0.0.1:{stuck}", f"http://127.0.0.1:{origin.port}", connect_s=0.3)
        async with await start_mesh(route, settings=settings) as mesh:
            assert (await ask(mesh.port, raw)).status == 200
            assert mesh.core.counters.dials == 2


async def test_a_port_where_nobody_listens() -> None:
    """502, at once."""
    with free_port() as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with await start_mesh(_route(address)) as mesh:
        answer = await ask(mesh.port, GET)
        assert (answer.status, _error(answer)) == (502, b"connection_refused")
        assert mesh.core.counters.dials == 1


async def test_a_name_that_nobody_has() -> None:
    """502, and the cause is the name."""
    async with await start_mesh(_route("http://nowhere.invalid:80")) as mesh:
        answer = await ask(mesh.port, GET)
        assert (answer.status, _error(answer)) == (502, b"dns_error")


async def test_a_socket_in_the_file_system(tmp_path: Path) -> None:
    """`unix:` targets are reached by their path."""
    path = str(tmp_path / "t.sock")
    async with Stage(answering(OK), path=path), await start_mesh(_route(f"unix:{path}")) as mesh:
        for _ in range(2):
            assert (await ask(mesh.port, GET)).body == b"hello"
        assert (idle(mesh), mesh.core.counters.dials) == (1, 1)


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    """502, with what the system says and without the path."""
    async with await start_mesh(_route(f"unix:{tmp_path}/t.sock")) as mesh:
        answer = await ask(mesh.port, GET)
        assert (answer.status, _error(answer)) == (502, b"destination_ip_unroutable")
        assert answer.json["error"] == "The target cannot be reached: No such file or directory."


async def test_a_target_behind_tls(tls: _Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate has to be signed by a root of the system, here by itself."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.path))
    async with (
        Stage(answering(OK), tls=tls.context) as stage,
        await start_mesh(_route(f"https://127.0.0.1:{stage.port}")) as mesh,
    ):
        for _ in range(2):
            assert (await ask(mesh.port, GET)).body == b"hello"
        assert stage.entered == 1


async def test_a_tunnel_behind_tls_ends_with_its_visitor(tls: _Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS cannot say that nothing more follows and go on reading, so the end of one side is the end of both."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.path))
    over = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        writer.write(await reader.readexactly(4))
        await reader.read()
        over.set()

    async with (
        Stage(scene, tls=tls.context) as stage,
        await start_mesh(_route(f"https://127.0.0.1:{stage.port}")) as mesh,
    ):
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(request(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: x") + b"ping")
            await visitor.answer()
            assert await visitor.octets(4) == b"ping"
        await over.wait()
        await until(lambda: not mesh.core.visitors)
        assert in_flight(mesh) == 0


async def test_a_certificate_that_nobody_trusts(tls: _Tls) -> None:
    """Nothing is sent to such a target."""
    async with (
        Stage(answering(OK), tls=tls.context) as stage,
        await start_mesh(_route(f"https://127.0.0.1:{stage.port}")) as mesh,
    ):
        answer = await ask(mesh.port, GET)
        assert (answer.status, _error(answer)) == (502, b"tls_certificate_error")


async def test_a_target_that_does_not_speak_tls() -> None:
    """Plain HTTP on the port of a secure target."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with Stage(scene) as stage, await start_mesh(_route(f"https://127.0.0.1:{stage.port}")) as mesh:
        answer = await ask(mesh.port, GET)
        assert (answer.status, _error(answer)) == (502, b"tls_protocol_error")


async def test_a_connection_that_comes_too_late_does_no_harm(tls: _Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The visitor left while the target was dialled: the next one is served."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.path))
    listener = free_port()
    async with await start_mesh(_route(f"https://127.0.0.1:{listener.getsockname()[1]}")) as mesh:
        await _ask_and_leave(mesh)
        async with Stage(answering(OK), listener=listener, tls=tls.context):
            await until(lambda: not mesh.core._dialer._tasks)
            assert (await ask(mesh.port, GET)).body == b"hello"
            assert in_flight(mesh) == 0


async def test_a_failure_that_comes_too_late_concerns_nobody(tls: _Tls) -> None:
    """The visitor left while the target was dialled: nothing is counted twice."""
    listener = free_port()
    async with await start_mesh(_route(f"https://127.0.0.1:{listener.getsockname()[1]}")) as mesh:
        records = await _ask_and_leave(mesh)
        async with Stage(answering(OK), listener=listener, tls=tls.context):
            await until(lambda: not mesh.core._dialer._tasks)
        assert (len(records), in_flight(mesh)) == (1, 0)


async def _ask_and_leave(mesh: MeshUnderTest) -> Records:
    records = watched(mesh)
    async with await Visitor.connect(mesh.port) as visitor:
        await visitor.send(GET)
        await until(lambda: mesh.core._dialer._tasks)
    await until(lambda: records)
    assert (records[0].status, in_flight(mesh)) == (499, 0)
    return records


async def test_closing_gives_up_what_is_being_dialled(stuck: int) -> None:
    """No task outlives the proxy."""
    mesh = await start_mesh(_route(f"http://127.0.0.1:{stuck}"))
    async with await Visitor.connect(mesh.port) as visitor:
        await visitor.send(GET)
        await until(lambda: mesh.core._dialer._tasks)
        await mesh.close()
        assert not mesh.core._dialer._tasks
        assert await visitor.end() in {"closed", "reset"}


async def test_a_target_that_hangs_up_at_once() -> None:
    """Accepting a connection is no promise."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with Stage(scene) as stage, await start_mesh(_route(f"http://127.0.0.1:{stage.port}")) as mesh:
        for _ in range(20):
            answer = await ask(mesh.port, GET)
            assert (answer.status, _error(answer)) == (502, b"connection_terminated")


async def test_what_the_target_says_unasked_costs_the_connection() -> None:
    """Bytes that come before a request are nobody's answer."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await head_of(reader)
        await reader.read()

    async with Stage(scene) as stage, await start_mesh(_route(f"http://127.0.0.1:{stage.port}")) as mesh:
        assert (await ask(mesh.port, GET)).status == 502
        assert idle(mesh) == 0
