"""New connections to targets: over TCP, TLS and Unix sockets, and what a visitor is told when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from mesh.core import Core
from mesh.dialer import Dialer
from mesh.policies import ProxyProtocol, Target, TargetTls, Timeouts
from mesh.proxy_protocol import Header, read_header
from mesh.routes import Delta, MeshSettings, Route, Snapshot
from tests.support.authority import Authority
from tests.support.client import Answer, Visitor, ask
from tests.support.h2_peer import H2Peer, H2Target, saying
from tests.support.mesh_node import HOST, MeshUnderTest, start_mesh
from tests.support.origin import Origin
from tests.support.stage import Records, Stage, answering, free_port, head_of, idle, in_flight, request, until, watched

if TYPE_CHECKING:
    from mesh.exchange import Exchange

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
    """A certificate for 127.0.0.1 and a name, whose authority nobody knows unless told."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority()
        self.issued = self.authority.issue("127.0.0.1", "target.example")
        self.path = folder / "authority.pem"
        self.path.write_text(self.authority.pem)
        self.context = self.issued.server_context()

    def route(self, address: str, server_name: str = "", certificate: str = "") -> Route:
        """To a target that is verified against the authority."""
        tls = TargetTls(ca=self.authority.pem, server_name=server_name, certificate=certificate)
        return Route(host=HOST, targets=(Target(address),), target_tls=tls)


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
            # The turns begin with the first target.
            mesh.core.draw = lambda: 0.0
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


@pytest.mark.parametrize("name", ["nowhere.invalid", "a" * 64 + ".example", "a..example"])
async def test_a_name_that_nobody_has(name: str) -> None:
    """502, and the cause is the name."""
    async with await start_mesh(_route(f"http://{name}:80")) as mesh:
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


# Targets behind TLS, as their route wishes.


async def test_a_target_verified_against_the_authority_of_its_route(tls: _Tls) -> None:
    """No root of the system is needed."""
    async with (
        Stage(answering(OK), tls=tls.context) as stage,
        await start_mesh(tls.route(f"https://127.0.0.1:{stage.port}")) as mesh,
    ):
        for _ in range(2):
            assert (await ask(mesh.port, GET)).body == b"hello"
        assert stage.entered == 1


async def test_a_target_that_is_called_something_else(tls: _Tls) -> None:
    """The name is sent, and checked, in place of the address."""
    names: list[str | None] = []
    tls.context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with Stage(answering(OK), tls=tls.context) as stage:
        address = f"https://127.0.0.1:{stage.port}"
        async with await start_mesh(tls.route(address, server_name="target.example")) as mesh:
            assert (await ask(mesh.port, GET)).status == 200
        async with await start_mesh(tls.route(address, server_name="other.example")) as mesh:
            answer = await ask(mesh.port, GET)
            assert (answer.status, _error(answer)) == (502, b"tls_certificate_error")
    assert names == ["target.example", "other.example"]


async def test_a_target_that_is_not_verified(tls: _Tls) -> None:
    """The operator said so."""
    async with Stage(answering(OK), tls=tls.context) as stage:
        route = Route(
            host=HOST, targets=(Target(f"https://127.0.0.1:{stage.port}"),), target_tls=TargetTls(verify=False)
        )
        async with await start_mesh(route) as mesh:
            assert (await ask(mesh.port, GET)).status == 200


async def test_a_target_that_asks_for_a_certificate(tls: _Tls) -> None:
    """It is shown the one of the node that covers the name; without one nothing is sent."""
    mine = tls.authority.issue("node.example", for_client=True).certificate
    tls.context.verify_mode = ssl.CERT_REQUIRED
    tls.context.load_verify_locations(cadata=tls.authority.pem)
    async with Stage(answering(OK), tls=tls.context) as stage:
        route = tls.route(f"https://127.0.0.1:{stage.port}", certificate="node.example")
        async with await _start(Snapshot(revision=1, routes=(route,), certificates=(mine,))) as mesh:
            assert (await ask(mesh.port, GET)).status == 200
        async with await start_mesh(route) as mesh:
            answer = await ask(mesh.port, GET)
            assert (answer.status, _error(answer)) == (502, b"tls_protocol_error")
            assert answer.json["error"] == "The node has no certificate for this target."


async def test_routes_with_other_wishes_share_no_connection(tls: _Tls) -> None:
    """What was verified for one is not for the other."""
    async with Stage(answering(OK), tls=tls.context) as stage:
        address = f"https://127.0.0.1:{stage.port}"
        other = Route(host="other.example.com", targets=(Target(address),), target_tls=TargetTls(verify=False))
        async with await start_mesh(tls.route(address), other) as mesh:
            assert (await ask(mesh.port, GET)).status == 200
            assert (await ask(mesh.port, GET.replace(HOST.encode(), b"other.example.com"))).status == 200
            assert stage.entered == 2


async def _start(snapshot: Snapshot) -> MeshUnderTest:
    core = Core(snapshot)
    return MeshUnderTest(core, await asyncio.get_running_loop().create_server(core.visitor, sock=free_port()))


# Names with several addresses.


async def test_the_other_family_when_one_refuses() -> None:
    """`localhost` has two addresses, and somebody listens on one of them."""
    async with (
        Stage(answering(OK)) as stage,
        await start_mesh(_route(f"http://target.example:{stage.port}")) as mesh,
    ):
        _resolve(mesh, ("::1", "127.0.0.1"))
        assert (await ask(mesh.port, GET)).body == b"hello"


async def test_the_other_address_beside_a_slow_one(stuck: int) -> None:
    """It need not wait for the time to connect (RFC 8305 section 5); the slow one is given up."""
    listener = socket.socket()
    listener.bind(("127.0.0.2", stuck))
    listener.listen()
    listener.setblocking(False)
    async with (
        Stage(answering(OK), listener=listener),
        await start_mesh(_route(f"http://target.example:{stuck}")) as mesh,
    ):
        _resolve(mesh, ("127.0.0.1", "127.0.0.2"))
        assert (await ask(mesh.port, GET)).body == b"hello"
        await until(lambda: not mesh.core._dialer._tasks)


async def test_a_name_none_of_whose_addresses_answers() -> None:
    """The first refusal is told."""
    with free_port() as listener:
        port = listener.getsockname()[1]
    async with await start_mesh(_route(f"http://target.example:{port}")) as mesh:
        _resolve(mesh, ("127.0.0.1", "127.0.0.2", "::1"))
        answer = await ask(mesh.port, GET)
        assert (answer.status, _error(answer)) == (502, b"connection_refused")


def _resolve(mesh: MeshUnderTest, addresses: tuple[str, ...]) -> None:
    """Let every name have these addresses."""

    class Loop:
        def __getattr__(self, name: str) -> object:
            return getattr(asyncio.get_running_loop(), name)

        async def getaddrinfo(self, _host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
            families = {False: socket.AF_INET, True: socket.AF_INET6}
            return [(families[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    mesh.core._dialer._loop = Loop()  # type: ignore[assignment]


# Targets that are told whose connection it is.


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_target_is_told_of_the_visitor(tls: _Tls, version: ProxyProtocol, is_tls: bool) -> None:
    """Before anything else, TLS included; and no other visitor is served on that connection."""
    told: list[Header] = []

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        while (header := read_header(data)) is None:
            data += await reader.readexactly(1)
        told.append(header)
        if is_tls:
            await writer.start_tls(tls.context)
        await answering(OK)(reader, writer)

    scheme = "https" if is_tls else "http"
    async with Stage(scene) as stage:
        route = Route(
            host=HOST,
            targets=(Target(f"{scheme}://127.0.0.1:{stage.port}"),),
            target_tls=TargetTls(ca=tls.authority.pem),
            proxy_protocol=version,
        )
        async with await start_mesh(route) as mesh:
            for _ in range(2):
                assert (await ask(mesh.port, GET)).body == b"hello"
            assert idle(mesh) == 0
            port = mesh.port
    assert {header.source[0] for header in told if header.source} == {"127.0.0.1"}
    assert [header.destination for header in told] == [("127.0.0.1", port)] * 2


async def test_a_target_that_refuses_to_be_told() -> None:
    """502 as without a header, and no socket is left open."""
    with free_port() as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with await start_mesh(Route(host=HOST, targets=(Target(address),), proxy_protocol="v2")) as mesh:
        answer = await ask(mesh.port, GET)
        assert (answer.status, _error(answer)) == (502, b"connection_refused")


async def test_a_socket_in_the_file_system_is_told_too(tmp_path: Path) -> None:
    """In the same way."""
    path = str(tmp_path / "t.sock")

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"PROXY TCP4 127.0.0.1 ")
        await answering(OK)(reader, writer)

    route = Route(host=HOST, targets=(Target(f"unix:{path}"),), proxy_protocol="v1")
    async with Stage(scene, path=path), await start_mesh(route) as mesh:
        assert (await ask(mesh.port, GET)).body == b"hello"


# HTTP/2: one connection for many requests.


async def test_requests_wait_for_the_same_connection() -> None:
    """Each would else dial for itself, and all but one in vain."""
    async with (
        H2Target(saying(b"hello")) as target,
        await start_mesh(_route(f"h2c://127.0.0.1:{target.port}")) as mesh,
    ):
        answers = await asyncio.gather(*(ask(mesh.port, GET) for _ in range(10)))
        assert [answer.body for answer in answers] == [b"hello"] * 10
        assert (await ask(mesh.port, GET)).body == b"hello"
        assert (len(target.peers), mesh.core.counters.dials) == (1, 1)


async def test_one_who_leaves_takes_the_connection_from_nobody(stuck: int) -> None:
    """What is dialled for several ends when none of them waits any more, at the latest in time."""
    async with await start_mesh(_route(f"h2c://127.0.0.1:{stuck}", connect_s=0.05)) as mesh:
        answers = await asyncio.gather(*(ask(mesh.port, GET) for _ in range(3)))
        assert [(answer.status, _error(answer)) for answer in answers] == [(504, b"connection_timeout")] * 3
        assert mesh.core.counters.dials == 1
        await until(lambda: not mesh.core._dialer._sessions)


async def test_http2_over_tls(tls: _Tls) -> None:
    """Agreed on by ALPN."""
    tls.context.set_alpn_protocols(["http/1.1", "h2"])
    peers: list[H2Peer] = []

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(peer := H2Peer(reader, writer, is_client=False))
        peer.start(saying(b"hello"))
        await peer.closed()

    async with Stage(scene, tls=tls.context) as stage:
        async with await start_mesh(tls.route(f"h2://127.0.0.1:{stage.port}")) as mesh:
            for _ in range(2):
                assert (await ask(mesh.port, GET)).body == b"hello"
        assert stage.entered == 1
        for peer in peers:
            await peer.close()


async def test_a_target_that_speaks_no_http2(tls: _Tls) -> None:
    """Nothing is sent to it."""
    async with (
        Stage(answering(OK), tls=tls.context) as stage,
        await start_mesh(tls.route(f"h2://127.0.0.1:{stage.port}")) as mesh,
    ):
        answer = await ask(mesh.port, GET)
        assert (answer.status, _error(answer)) == (502, b"tls_protocol_error")
        assert answer.json["error"] == "The target does not speak HTTP/2."


async def test_a_connection_that_tells_of_a_visitor_carries_no_others_requests() -> None:
    """It would pass for that visitor's."""
    told: list[bytes] = []
    peers: list[H2Peer] = []

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.append(await reader.readline())
        peers.append(peer := H2Peer(reader, writer, is_client=False))
        peer.start(saying(b"hello"))
        await peer.closed()

    async with Stage(scene) as stage:
        route = Route(host=HOST, targets=(Target(f"h2c://127.0.0.1:{stage.port}"),), proxy_protocol="v1")
        async with await start_mesh(route) as mesh:
            for _ in range(2):
                assert (await ask(mesh.port, GET)).body == b"hello"
        lines = [line.split() for line in told]
        assert [line[:4] for line in lines] == [[b"PROXY", b"TCP4", b"127.0.0.1", b"127.0.0.1"]] * 2
        for peer in peers:
            await peer.close()


def _inspected(target: int, via: int, *, retries: int = 1) -> Route:
    targets = (Target(f"http://127.0.0.1:{target}", via=f"http://127.0.0.1:{via}"),)
    return Route(host=HOST, targets=targets, retries=retries)


async def test_requests_go_through_what_stands_before_the_target() -> None:
    """The request is the same; the target's record counts it; without the inspector the connections are others."""
    heads: list[bytes] = []

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await head_of(reader))
            writer.write(OK)

    async with Origin() as origin, Stage(scene) as inspector:
        route = _inspected(origin.port, inspector.port)
        async with await start_mesh(route) as mesh:
            for _ in range(2):
                assert (await ask(mesh.port, GET)).body == b"hello"
            assert [target.address for target in mesh.core.targets(9)] == [f"http://127.0.0.1:{origin.port}"]
            assert (len(heads), inspector.entered, len(origin.connections)) == (2, 1, 0)
            assert f"Host: {HOST}".encode() in heads[0]
            mesh.apply(Delta(revision=2, put=(_route(f"http://127.0.0.1:{origin.port}"),)))
            assert (await ask(mesh.port, GET)).status == 200
            assert (len(heads), len(origin.connections)) == (2, 1)


async def test_an_inspector_that_is_gone_costs_nothing() -> None:
    """Not even a try: the target is asked directly."""
    with free_port() as listener:
        gone = listener.getsockname()[1]
    async with Origin() as origin, await start_mesh(_inspected(origin.port, gone, retries=0)) as mesh:
        for raw in (GET, request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"hello")):
            assert (await ask(mesh.port, raw)).status == 200
        assert (mesh.core.counters.retries, [each.failures for each in mesh.core.targets(9)]) == (0, [0])


@pytest.mark.parametrize(("method", "status"), [(b"GET", 200), (b"POST", 502)])
async def test_an_inspector_that_dies_with_a_request(method: bytes, status: int) -> None:
    """What may be sent twice is sent to the target itself, which is not blamed; the inspector still listens."""

    async def scene(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await head_of(reader)

    async with (
        Origin() as origin,
        Stage(scene) as inspector,
        await start_mesh(_inspected(origin.port, inspector.port)) as mesh,
    ):
        assert (await ask(mesh.port, request(method + b" / HTTP/1.1", b"Content-Length: 0"))).status == status
        assert inspector.entered == 1
        assert [target.failures for target in mesh.core.targets(9)] == [0]


class Seeker:
    """Somebody who needs a connection, and is told how it went."""

    is_settled = True


async def test_of_many_who_come_at_once_a_few_begin_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd that needs connections does not keep those waiting who have one."""
    route = _route("http://127.0.0.1:9")
    core = Core(Snapshot(revision=1, routes=(route,)))
    begun: list[object] = []

    async def dial(_self: Dialer, target: object, seeker: object, *_rest: object) -> None:
        begun.append(seeker)

    monkeypatch.setattr(Dialer, "_dial", dial)
    live = core.find(HOST.encode(), b"/")
    assert live is not None
    seekers = [cast("Exchange", Seeker()) for _ in range(50)]
    for seeker in seekers:
        core.dial(live.targets[0], seeker, route, 1.0)
    turns = []
    while len(begun) < len(seekers):
        await asyncio.sleep(0)
        turns.append(len(begun))
    assert begun == seekers
    assert turns[0] <= 1
    assert max(after - before for before, after in itertools.pairwise(turns)) <= 8
    await core.close()
