"""A target that can be killed while it works: it takes its time for every answer; arguments: PORT SECONDS."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from benchmarks.load.nginx import ANSWER

_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)


class Answering(asyncio.Protocol):
    """One connection; requests have no body."""

    def __init__(self, takes_s: float) -> None:
        """Wait for a head."""
        self.takes_s = takes_s
        self.head = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for the answers."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every complete head after a while."""
        *complete, self.head = (self.head + data).split(b"\r\n\r\n")
        for _ in complete:
            asyncio.get_running_loop().call_later(self.takes_s, self._answer)

    def _answer(self) -> None:
        if self.transport:
            self.transport.write(_RESPONSE)


async def serve(port: int, takes_s: float) -> None:
    """Serve on the loopback port for ever."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(takes_s), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), float(sys.argv[2])))
