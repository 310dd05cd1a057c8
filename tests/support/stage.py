"""A target whose connections play a scene that the test wrote, and what else the tests of the data plane share."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self

from mesh.core import Core
from mesh.downstream import Downstream
from mesh.exchange import Exchange
from mesh.ports import AccessRecord
from mesh.routes import MeshSettings, Route, Snapshot
from mesh.upstream import Upstream
from tests.support.client import Visitor
from tests.support.mesh_node import HOST, MeshUnderTest

DEADLINE_S: Final = 5.0
_END_OF_HEAD: Final = b"\r\n\r\n"
_SMALL_BUFFER: Final = 4096

Scene = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Stage:
    """Listens while its `async with` block runs, and plays `scene` once for every connection.

    A connection that ends in the middle of the scene ends the scene; any other error fails the test. The connection is
    closed behind the scene.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        path: str = "",
        listener: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Listens on the Unix socket at `path`, on `listener`, or else on a free port of loopback."""
        self.entered = 0
        self._scene = scene
        self._path = path
        self._listener = listener
        self._tls = tls
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._errors: list[Exception] = []
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        if self._path:
            self._server = await asyncio.start_unix_server(self._enter, self._path)
        else:
            listener = self._listener or free_port()
            self._server = await asyncio.start_server(self._enter, sock=listener, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task, writer in self._tasks.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in self._errors:
            raise error

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.sockets[0].getsockname()[1])

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.entered += 1
        task = asyncio.get_running_loop().create_task(self._play(reader, writer), name=f"scene {self.entered}")
        self._tasks[task] = writer

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._scene(reader, writer)
        except (EOFError, OSError, RuntimeError):  # the last is what uvloop raises for writing to what is closed
            pass
        except Exception as error:  # noqa: BLE001
            self._errors.append(error)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Records(list[AccessRecord]):
    """An observer that keeps the records."""

    def record(self, record: AccessRecord) -> None:
        """Keep it."""
        self.append(record)


def request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """A request for the host of `route_to`, with these field lines."""
    return b"\r\n".join((line, b"Host: " + HOST.encode(), *fields, b"", b"")) + body


def answering(raw: bytes, *, then_close: bool = False) -> Scene:
    """A target that sends `raw` to every request without a body."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head_of(reader)
            writer.write(raw)
            await writer.drain()
            if then_close:
                return

    return scene


async def head_of(reader: asyncio.StreamReader) -> bytes:
    """The next head with its empty line."""
    return await reader.readuntil(_END_OF_HEAD)


def watched(mesh: MeshUnderTest) -> Records:
    """The records that the proxy makes from now on."""
    records = mesh.core.observer = Records()
    return records


def in_flight(mesh: MeshUnderTest) -> int:
    """How many requests the targets have, as the balancer sees it."""
    return sum(target.in_flight for target in mesh.core.targets(100))


def idle(mesh: MeshUnderTest) -> int:
    """How many connections to targets wait in pools."""
    return sum(len(target.pool) for target in mesh.core.targets(100))


def connections(mesh: MeshUnderTest) -> list[Downstream]:
    """The connections of visitors that speak HTTP/1."""
    return [visitor for visitor in mesh.core.visitors if isinstance(visitor, Downstream)]


def under_way(mesh: MeshUnderTest) -> Exchange:
    """The one exchange of the one visitor."""
    (visitor,) = connections(mesh)
    exchange = visitor._exchange
    if exchange is None:
        raise AssertionError("no exchange is under way")
    return exchange


def upstream_of(mesh: MeshUnderTest) -> Upstream:
    """The connection to the target of the one exchange."""
    upstream = under_way(mesh)._upstream
    assert isinstance(upstream, Upstream), "no target is connected"
    return upstream


def reset_on_close(writer: asyncio.StreamWriter) -> None:
    """From now on closing breaks the connection with an RST."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def until_refused(port: int) -> None:
    """Wait until nobody listens on a port of loopback any more."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                # One that still waits in the queue when the listener closes is reset.
                with contextlib.suppress(ConnectionResetError):
                    (await Visitor.connect(port)).close()
            except ConnectionRefusedError:
                return
            await asyncio.sleep(0.005)


async def start_narrow_mesh(route: Route, settings: MeshSettings | None = None) -> MeshUnderTest:
    """A proxy whose kernel keeps little of what is written to visitors, so that slow ones are noticed early."""
    core = Core(Snapshot(revision=1, routes=(route,), settings=settings or MeshSettings()))
    listener = free_port()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BUFFER)
    server = await asyncio.get_running_loop().create_server(core.visitor, sock=listener)
    return MeshUnderTest(core, server)


def free_port() -> socket.socket:
    """A socket that listens on loopback."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    return listener


def reluctant_socket(port: int) -> socket.socket:
    """A connection that takes in little before it is read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock
