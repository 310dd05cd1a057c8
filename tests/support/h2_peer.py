"""Somebody else's HTTP/2 on real sockets: a visitor, and a target whose answers the test writes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

DEADLINE_S: Final = 5.0
_MOST: Final = 16_384

_GOAWAY: Final = 7
_PREFACE_SIZE: Final = 24
_HEADS: Final = (
    h2.events.RequestReceived,
    h2.events.ResponseReceived,
    h2.events.InformationalResponseReceived,
    h2.events.TrailersReceived,
)

Fields = Iterable[tuple[str, str]]


class Message:
    """What came on one stream."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.fields: list[tuple[str, str]] = []
        self.interim: list[list[tuple[str, str]]] = []
        self.body = bytearray()
        self.trailers: list[tuple[str, str]] = []
        self.has_ended = False
        self.reset: int | None = None

    def value(self, name: str) -> str | None:
        """The value of a field, if it is there."""
        return dict(self.fields).get(name)

    @property
    def status(self) -> int:
        """That of a response, 0 before its head."""
        return int(self.value(":status") or 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing follows."""
        return self.has_ended or self.reset is not None


class H2Peer:
    """One connection; leaving its `async with` block closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_client: bool) -> None:
        """Use `connect`, or `H2Target`."""
        config = h2.config.H2Configuration(
            client_side=is_client, header_encoding="latin-1", validate_outbound_headers=False
        )
        self.machine = h2.connection.H2Connection(config)
        self.messages: dict[int, Message] = {}
        self.goaway: int | None = None
        self.is_closed = False
        # Bytes are taken back into the windows only while this is set.
        self.takes = True
        self._is_preface_read = is_client
        self._reader, self._writer = reader, writer
        self._changed = asyncio.Condition()
        self._on_request: Callable[[H2Peer, int], Awaitable[None]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None, name: str | None = None) -> Self:
        """A visitor of a port on loopback."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
        peer = cls(reader, writer, is_client=True)
        peer.start()
        return peer

    def start(self, on_request: Callable[[H2Peer, int], Awaitable[None]] | None = None, **settings: int) -> None:
        """Send the preface and begin to read."""
        self._on_request = on_request
        if settings:
            values = {h2.settings.SettingCodes(code): value for code, value in self.machine.local_settings.items()}
            values.update((h2.settings.SettingCodes[name.upper()], value) for name, value in settings.items())
            self.machine.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self.machine.initiate_connection()
        self.flush()
        self._spawn(self._read(), "read")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close at once."""
        for task in self._tasks:
            task.cancel()
        self.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def abort(self) -> None:
        """Break the connection."""
        self._writer.transport.abort()

    def _spawn(self, work: Awaitable[None], name: str) -> None:
        async def run() -> None:
            with contextlib.suppress(OSError, EOFError, h2.exceptions.ProtocolError):
                await work

        task = asyncio.get_running_loop().create_task(run(), name=name)
        self._tasks.add(task)

    def flush(self) -> None:
        """Write what the other implementation has to say."""
        self._writer.write(self.machine.data_to_send())

    def send_raw(self, data: bytes) -> None:
        """Write any bytes."""
        self._writer.write(data)

    # What comes.

    async def _read(self) -> None:
        try:
            while True:
                for event in self.machine.receive_data(await self._frame()):
                    self._take(event)
                self.flush()
                async with self._changed:
                    self._changed.notify_all()
        finally:
            self.is_closed = True
            async with self._changed:
                self._changed.notify_all()

    async def _frame(self) -> bytes:
        """The next frame, or nothing in place of GOAWAY: the other implementation would close every stream."""
        if not self._is_preface_read:
            self._is_preface_read = True
            return await self._reader.readexactly(_PREFACE_SIZE)
        head = await self._reader.readexactly(9)
        payload = await self._reader.readexactly(int.from_bytes(head[:3]))
        if head[3] != _GOAWAY:
            return head + payload
        self.goaway = int.from_bytes(payload[4:8])
        return b""

    def _take(self, event: h2.events.Event) -> None:
        stream_id = getattr(event, "stream_id", None)
        if not stream_id:
            return
        message = self.messages.setdefault(stream_id, Message())
        if isinstance(event, _HEADS):
            self._take_head(message, event, stream_id)
        elif isinstance(event, h2.events.DataReceived):
            message.body += event.data or b""
            if self.takes:
                self.machine.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            message.has_ended = True
        elif isinstance(event, h2.events.StreamReset):
            message.reset = int(event.error_code or 0)

    def _take_head(self, message: Message, event: h2.events.Event, stream_id: int) -> None:
        fields = [(str(name), str(value)) for name, value in getattr(event, "headers", None) or ()]
        if isinstance(event, h2.events.InformationalResponseReceived):
            message.interim.append(fields)
        elif isinstance(event, h2.events.TrailersReceived):
            message.trailers = fields
        else:
            message.fields = fields
        if isinstance(event, h2.events.RequestReceived) and self._on_request is not None:
            self._spawn(self._on_request(self, stream_id), "request")

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something that comes makes `condition` true."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: condition() or self.is_closed)
        assert condition(), "the connection closed"

    async def status(self, stream_id: int) -> int:
        """That of the response on a stream, when its head has come."""
        await self.until(lambda: stream_id in self.messages and self.messages[stream_id].status)
        return self.messages[stream_id].status

    async def message(self, stream_id: int) -> Message:
        """What came on a stream, when it is over."""
        await self.until(lambda: stream_id in self.messages and self.messages[stream_id].is_over)
        return self.messages[stream_id]

    async def closed(self) -> None:
        """Wait for the end of the connection."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: self.is_closed)

    # What goes.

    def request(
        self, host: str, path: str = "/", *, method: str = "GET", fields: Fields = (), ends: bool = True
    ) -> int:
        """Begin a request; its stream."""
        stream_id = self.machine.get_next_available_stream_id()
        scheme = "https" if self._writer.get_extra_info("ssl_object") else "http"
        head = [(":method", method), (":scheme", scheme), (":authority", host), (":path", path), *fields]
        self.head(stream_id, head, ends=ends)
        return stream_id

    def head(self, stream_id: int, fields: Fields, *, ends: bool = False) -> None:
        """Send a head, or trailers."""
        self.machine.send_headers(stream_id, list(fields), end_stream=ends)
        self.flush()

    async def body(self, stream_id: int, data: bytes, *, ends: bool = True) -> None:
        """Send a body as the windows allow."""
        view = memoryview(data)
        while view:
            await self.until(lambda: self.machine.local_flow_control_window(stream_id) > 0)
            size = min(len(view), _MOST, self.machine.local_flow_control_window(stream_id))
            self.machine.send_data(stream_id, bytes(view[:size]))
            self.flush()
            await self._writer.drain()
            view = view[size:]
        if ends:
            self.machine.end_stream(stream_id)
            self.flush()

    def reset(self, stream_id: int, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        """Give a stream up."""
        self.machine.reset_stream(stream_id, code)
        self.flush()

    async def get(self, host: str, path: str = "/", fields: Fields = ()) -> Message:
        """Ask, and wait for the whole answer."""
        return await self.message(self.request(host, path, fields=fields))


class H2Target:
    """Listens while its `async with` block runs; `answer` is called for every request."""

    def __init__(self, answer: Callable[[H2Peer, int], Awaitable[None]], **settings: int) -> None:
        """`settings` are those of HTTP/2, by their names in lower case."""
        self.peers: list[H2Peer] = []
        self._answer = answer
        self._settings = settings
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for peer in self.peers:
            await peer.close()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = H2Peer(reader, writer, is_client=False)
        self.peers.append(peer)
        peer.start(self._answer, **self._settings)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.sockets[0].getsockname()[1])


def saying(body: bytes, *fields: tuple[str, str]) -> Callable[[H2Peer, int], Awaitable[None]]:
    """A target that answers everything with `body`."""

    async def answer(peer: H2Peer, stream_id: int) -> None:
        peer.head(stream_id, [(":status", "200"), ("content-length", str(len(body))), *fields])
        await peer.body(stream_id, body)

    return answer
