"""An HTTP/1.1 origin on loopback that remembers every byte it was sent and misbehaves when the path asks for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from typing import Final, Literal, Self

from tests.support.scripts import SCRIPTS, Script

Ending = Literal["open", "closed", "reset", "ours"]
FieldLine = tuple[bytes, bytes]

DEADLINE_S: Final = 3.0
_END: Final = b"\r\n\r\n"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_MOST_PIECES: Final = 3000


class SeenRequest:
    """One request as its bytes came in: `raw` is head, body with its chunk lines, and trailers."""

    def __init__(self, connection: SeenConnection, head: bytes) -> None:
        """Split `head`, which ends in an empty line, without judging it."""
        self.connection = connection
        self.head = head
        self.raw = bytearray(head)
        start, *lines = head[: -len(_END)].split(b"\r\n")
        self.method, self.target, self.version = (*start.split(b" ", 2), b"", b"")[:3]
        self.headers: list[FieldLine] = [_split(line) for line in lines]
        self.body = b""
        self.trailers: list[FieldLine] = []
        self.complete = False

    def values(self, name: bytes) -> list[bytes]:
        """The values of the header lines with this name, which is folded; one per line."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class SeenConnection:
    """One connection from the proxy: its requests, every byte, and how it ended."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.received = bytearray()
        self.requests: list[SeenRequest] = []
        self.ending: Ending = "open"
        self.mid_message = False
        self.over = asyncio.Event()

    async def ended(self) -> Ending:
        """Wait until the connection is gone; `ours` means that the origin's script ended it."""
        async with asyncio.timeout(DEADLINE_S):
            await self.over.wait()
        return self.ending


class Origin:
    """Listens while its `async with` block runs; answers with a description of what it saw, or plays a script.

    The path picks the script: `/-/close0` plays `close0` of `tests.support.scripts`. `fragment` sends every answer in
    pieces of that many bytes.
    """

    def __init__(self, port: int = 0, fragment: int = 0) -> None:
        """`port` 0 takes a free one."""
        self.connections: list[SeenConnection] = []
        self.port = port
        self.fragment = fragment
        self._writers: dict[SeenConnection, asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        # One that was accepted just before may join them meanwhile.
        for connection in self.connections:
            for writer in list(self._writers.values()):
                writer.transport.abort()
            await connection.ended()

    @property
    def requests(self) -> list[SeenRequest]:
        """Every request of which the whole head came in, in order of arrival per connection."""
        return [request for connection in self.connections for request in connection.requests]

    @property
    def received(self) -> bytes:
        """Every byte of every connection."""
        return b"".join(connection.received for connection in self.connections)

    def forget(self) -> None:
        """Start over with empty records; connections that are open stay so, and their next requests are recorded."""
        for connection in self.connections:
            connection.received.clear()
            connection.requests.clear()
        self.connections = [connection for connection in self.connections if not connection.over.is_set()]

    async def say(self, connection: SeenConnection, data: bytes) -> None:
        """Send `data` unasked on an open connection."""
        await self._send(self._writers[connection], data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = SeenConnection()
        self.connections.append(connection)
        self._writers[connection] = writer
        wire = _Wire(reader, connection)
        try:
            while await self._turn(wire, writer):
                connection.mid_message = False
            connection.ending = "ours"
        except EOFError:
            connection.ending = "closed"
        except ValueError:  # a length or a chunk size that is none
            connection.ending = "ours"
        except OSError:
            connection.ending = "reset"
        finally:
            del self._writers[connection]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            connection.over.set()

    async def _turn(self, wire: _Wire, writer: asyncio.StreamWriter) -> bool:
        request = await wire.head()
        script = _script_of(request)
        if script and script.early:
            await self._send(writer, script.sends)
            return await self._finish(wire, writer, script)
        if b"100-continue" in request.values(b"expect"):
            await self._send(writer, b"HTTP/1.1 100 Continue\r\n\r\n")
        await wire.body(request)
        if script is None:
            await self._send(writer, _describe(request))
            return request.version == b"HTTP/1.1" and b"close" not in request.values(b"connection")
        await self._send(writer, script.sends)
        return await self._finish(wire, writer, script)

    async def _finish(self, wire: _Wire, writer: asyncio.StreamWriter, script: Script) -> bool:
        if script.after == "keep":
            return True
        if script.after == "echo":
            while True:
                await self._send(writer, await wire.some())
        if script.after == "linger":
            writer.write_eof()
            while True:
                await wire.some()
        if script.after == "reset":
            _reset_on_close(writer)
        return False

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = max(self.fragment, len(data) // _MOST_PIECES) if self.fragment else len(data)
        for start in range(0, len(data), size or 1):
            writer.write(data[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)


class _Wire:
    """Reads requests from a connection into its record."""

    def __init__(self, reader: asyncio.StreamReader, connection: SeenConnection) -> None:
        self._reader = reader
        self._connection = connection
        self._ahead = bytearray()

    async def some(self) -> bytes:
        """What comes next; raises EOFError at the end."""
        if not self._ahead:
            await self._more()
        data = bytes(self._ahead)
        self._ahead.clear()
        return data

    async def head(self) -> SeenRequest:
        request = SeenRequest(self._connection, await self._until(_END))
        self._connection.mid_message = True
        self._connection.requests.append(request)
        return request

    async def body(self, request: SeenRequest) -> None:
        """Read the body by the framing that the head declares; chunks that are not exact cost the connection."""
        coding = b",".join(request.values(b"transfer-encoding"))
        length = request.values(b"content-length")
        if coding:
            await self._chunks(request)
        elif length:
            request.body = await self._exactly(int(length[0]))
            request.raw += request.body
        request.complete = True

    async def _chunks(self, request: SeenRequest) -> None:
        while True:
            line = await self._until(b"\r\n")
            request.raw += line
            size = int(line[:-2], 16)
            if size == 0:
                break
            data = await self._exactly(size + 2)
            request.raw += data
            if data[-2:] != b"\r\n":
                raise ValueError
            request.body += data[:-2]
        while (line := await self._until(b"\r\n")) != b"\r\n":
            request.raw += line
            request.trailers.append(_split(line[:-2]))
        request.raw += b"\r\n"

    async def _until(self, mark: bytes) -> bytes:
        while (end := self._ahead.find(mark)) < 0:
            await self._more()
        return self._take(end + len(mark))

    async def _exactly(self, size: int) -> bytes:
        while len(self._ahead) < size:
            await self._more()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = bytes(self._ahead[:size])
        del self._ahead[:size]
        return data

    async def _more(self) -> None:
        data = await self._reader.read(65536)
        if not data:
            raise EOFError
        self._ahead += data
        self._connection.received += data


def _split(line: bytes) -> FieldLine:
    name, _, value = line.partition(b":")
    return name, value.strip(b" \t")


def _script_of(request: SeenRequest) -> Script | None:
    _, found, rest = request.target.partition(b"/-/")
    if not found:
        return None
    return SCRIPTS[rest.partition(b"?")[0].decode()]


def _describe(request: SeenRequest) -> bytes:
    content = json.dumps(
        {
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
            "body": request.body[:1024].decode("latin-1"),
        }
    ).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)
    return head if request.method == b"HEAD" else head + content


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
