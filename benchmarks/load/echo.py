"""The origin of WebSockets answers each message of the benchmark with the same message; argument: PORT.

It counts bytes and reads no frames, since all of them are equal: a real echo in Python would be what is measured.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from benchmarks.load.frames import FROM_VISITOR, TO_VISITOR, accept

_KEY = b"sec-websocket-key:"


class Echo(asyncio.Protocol):
    """One WebSocket."""

    def __init__(self) -> None:
        """Wait for the request that opens it."""
        self.head = b""
        self.is_open = False
        self.rest = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for the answers."""
        # The transports of uvloop are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Open, or answer every message that is complete."""
        if not self.is_open:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            head, _, data = self.head.partition(b"\r\n\r\n")
            self.is_open = True
            self._write(accept(_key(head)))
        count, self.rest = divmod(self.rest + len(data), len(FROM_VISITOR))
        if count:
            self._write(TO_VISITOR * count)

    def _write(self, data: bytes) -> None:
        if self.transport:
            self.transport.write(data)


def _key(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    return next((line[len(_KEY) :].strip() for line in lines if line.lower().startswith(_KEY)), b"")


async def serve(port: int) -> None:
    """Serve on the loopback port for ever."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
