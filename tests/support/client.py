"""A visitor on a raw socket: sends exact bytes, reads answers strictly, and knows how the connection ended."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any, Final, Literal, Self

import msgspec

Ended = Literal["none", "length", "chunked", "close", "truncated"]
Ending = Literal["open", "closed", "reset"]
FieldLine = tuple[bytes, bytes]

DEADLINE_S: Final = 3.0
_MOST_PIECES: Final = 3000


class MalformedAnswer(Exception):
    """The proxy sent what no client has to accept."""


class Answer(msgspec.Struct, kw_only=True):
    """One final answer. `ended` says what ended the body; `interim` are the 1xx statuses before it.

    The status 0 stands for bytes that are not HTTP/1.
    """

    status: int
    head: bytes = b""
    headers: list[FieldLine] = []
    body: bytes = b""
    trailers: list[FieldLine] = []
    ended: Ended = "none"
    interim: tuple[int, ...] = ()
    interim_heads: bytes = b""

    def values(self, name: bytes) -> list[bytes]:
        """The values of the header lines with this name, which is folded; one per line."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def json(self) -> Any:  # noqa: ANN401
        """The decoded body."""
        return json.loads(self.body)

    @property
    def announces_close(self) -> bool:
        """Whether the proxy says that the connection ends here."""
        return b"close" in b",".join(self.values(b"connection")).lower()


class Visitor:
    """One connection to the proxy. Every wait ends by an event or fails after `deadline_s`."""

    def __init__(self, sock: socket.socket, deadline_s: float = DEADLINE_S) -> None:
        """Use `connect` to make one."""
        self.ending: Ending = "open"
        self.deadline_s = deadline_s
        self._sock = sock
        self._ahead = bytearray()
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def connect(cls, port: int, deadline_s: float = DEADLINE_S) -> Self:
        """Connect to a port on loopback."""
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock, deadline_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def reset(self) -> None:
        """Break the connection with an RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def half_close(self) -> None:
        """End the sending side."""
        self._sock.shutdown(socket.SHUT_WR)

    async def send(self, data: bytes, fragment: int = 0) -> None:
        """Send `data`, in pieces of `fragment` bytes when that is not 0 (never more than some thousand pieces).

        A connection that the proxy ended is no error here: the reading side tells.
        """
        size = max(fragment, len(data) // _MOST_PIECES) if fragment else len(data)
        try:
            for start in range(0, len(data), size or 1):
                await self._loop.sock_sendall(self._sock, data[start : start + size])
                await asyncio.sleep(0)
        except OSError:
            return

    async def answer(self, method: str = "GET") -> Answer | None:
        """The next final answer, to a request with this method; None when the connection ended before it."""
        async with asyncio.timeout(self.deadline_s):
            return await self._read_answer(method)

    async def interim(self) -> int:
        """The status of the next head when it is a 1xx, 0 otherwise; a 1xx is consumed."""
        async with asyncio.timeout(self.deadline_s):
            while b"\r\n\r\n" not in self._ahead and await self._more():
                continue
        if not self._ahead.startswith(b"HTTP/1.1 1"):
            return 0
        return _status(await self._until(b"\r\n\r\n"))

    async def octets(self, size: int) -> bytes:
        """The next `size` bytes as they are, for what follows an upgrade."""
        async with asyncio.timeout(self.deadline_s):
            while len(self._ahead) < size and await self._more():
                continue
        return self._take(size)

    async def end(self) -> Ending:
        """Wait for the proxy to end the connection, dropping what still comes."""
        async with asyncio.timeout(self.deadline_s):
            while await self._more():
                self._ahead.clear()
        return self.ending

    async def _read_answer(self, method: str) -> Answer | None:
        interim: list[int] = []
        heads = b""
        while True:
            if not self._ahead and not await self._more():
                return None
            if not await self._speaks_http():
                return Answer(status=0, body=bytes(self._ahead))
            head = await self._until(b"\r\n\r\n")
            if not head.endswith(b"\r\n\r\n"):
                return None
            status = _status(head)
            if status >= 200 or status == 101:
                break
            interim.append(status)
            heads += head
        headers = [_split(line) for line in head[:-4].split(b"\r\n")[1:]]
        answer = Answer(status=status, head=head, headers=headers, interim=tuple(interim), interim_heads=heads)
        await self._read_body(answer, method)
        return answer

    async def _speaks_http(self) -> bool:
        while len(self._ahead) < 7 and await self._more():
            continue
        return self._ahead[:7] == b"HTTP/1."

    async def _read_body(self, answer: Answer, method: str) -> None:
        coding, length = answer.values(b"transfer-encoding"), answer.values(b"content-length")
        if len(coding) + len(length) > 1:
            raise MalformedAnswer(f"framed more than once: {answer.head!r}")
        if method == "HEAD" or answer.status in (101, 204, 304):
            return
        if coding:
            answer.ended = await self._read_chunks(answer)
        elif length:
            wanted = int(length[0])
            answer.body = await self._exactly(wanted)
            answer.ended = "length" if len(answer.body) == wanted else "truncated"
        else:
            while await self._more():
                continue
            answer.body = self._take(len(self._ahead))
            answer.ended = "close" if self.ending == "closed" else "truncated"

    async def _read_chunks(self, answer: Answer) -> Ended:
        while True:
            line = await self._until(b"\r\n")
            if not line.endswith(b"\r\n"):
                return "truncated"
            size = int(line[:-2], 16)
            if size == 0:
                break
            data = await self._exactly(size + 2)
            answer.body += data[:size]
            if len(data) < size + 2:
                return "truncated"
            if data[size:] != b"\r\n":
                raise MalformedAnswer(f"a chunk of {size} is longer than it says")
        while (line := await self._until(b"\r\n")) != b"\r\n":
            if not line:
                return "truncated"
            answer.trailers.append(_split(line[:-2]))
        return "chunked"

    async def _until(self, mark: bytes) -> bytes:
        while (end := self._ahead.find(mark)) < 0:
            if not await self._more():
                return self._take(len(self._ahead))
        return self._take(end + len(mark))

    async def _exactly(self, size: int) -> bytes:
        while len(self._ahead) < size and await self._more():
            continue
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = bytes(self._ahead[:size])
        del self._ahead[:size]
        return data

    async def _more(self) -> bool:
        if self.ending != "open":
            return False
        try:
            data = await self._loop.sock_recv(self._sock, 65536)
        except OSError:
            self.ending = "reset"
            return False
        if not data:
            self.ending = "closed"
        self._ahead += data
        return bool(data)


async def ask(port: int, raw: bytes, method: str = "GET") -> Answer:
    """The answer to one request on a connection of its own; raises EOFError when there is none."""
    async with await Visitor.connect(port) as visitor:
        await visitor.send(raw)
        answer = await visitor.answer(method)
    if answer is None:
        raise EOFError(f"no answer to {raw[:200]!r}")
    return answer


def _status(head: bytes) -> int:
    parts = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(parts) < 2 or not parts[1].isdigit():
        raise MalformedAnswer(f"no status line: {head[:80]!r}")
    return int(parts[1])


def _split(line: bytes) -> FieldLine:
    name, colon, value = line.partition(b":")
    if not colon or name != name.strip():
        raise MalformedAnswer(f"no field line: {line[:80]!r}")
    return name, value.strip(b" \t")
