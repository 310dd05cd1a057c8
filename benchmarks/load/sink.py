"""The origin of uploads reads a body of known length, keeps nothing, and answers with its length; argument: PORT."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

CHUNK_BYTES = 256 * 1024


class Sink(asyncio.BufferedProtocol):
    """Counts the body bytes of each request and answers when all are there."""

    def __init__(self) -> None:
        """Wait for a head."""
        self.buffer = bytearray(CHUNK_BYTES)
        self.head = b""
        self.missing = self.length = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for the answer."""
        # The transports of uvloop are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        """One buffer for all reads: what it holds is only looked at for the head."""
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Count body bytes, or look for the end of the head."""
        if not self.missing:
            self.head += self.buffer[:nbytes]
            if b"\r\n\r\n" not in self.head:
                return
            head, _, rest = self.head.partition(b"\r\n\r\n")
            self.head, nbytes = b"", len(rest)
            self.length = self.missing = content_length(head)
        self.missing -= nbytes
        if self.missing <= 0 and self.transport:
            body = str(self.length).encode()
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def content_length(head: bytes) -> int:
    """The length that a request head declares, 0 without one."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(port: int) -> None:
    """Serve on the loopback port for ever."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
