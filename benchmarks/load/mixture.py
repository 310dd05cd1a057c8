"""Traffic of every kind at the same time, at a pace that leaves room: what a node sees on a day, in minutes.

Each kind is a visitor who does one thing again and again, several of them at once, and a thing done wrong is counted.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import uvloop

from benchmarks.load import background, h2load
from benchmarks.load.certificate import visitor_context
from benchmarks.load.frames import FROM_VISITOR, TO_VISITOR, upgrade
from benchmarks.load.heads import ECHO_SITE, SITE, UPLOAD_SITE, head
from benchmarks.load.nginx import ANSWER, BIG_FILE

LARGE_BYTES = 8 << 20
SLOW_BYTES = 1 << 20
SLOW_CHUNK, SLOW_PAUSE_S = 32 << 10, 0.05
CHUNK = bytes(256 << 10)
SMALL_PER_CONNECTION = 50
MESSAGES = 20
RESET = struct.pack("ii", 1, 0)
EACH_WITHIN_S = 30.0
UNKNOWN_SITE = "nobody.bench.test"
H2_SECONDS = 5


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go, and for how long."""

    port: int
    tls_port: int
    seconds: float


class Mixed(msgspec.Struct, frozen=True, kw_only=True):
    """How often each kind was done, and what went wrong."""

    done: dict[str, int]
    failed: dict[str, int]
    reasons: dict[str, int]


class WrongAnswer(Exception):
    """Something else came back than what was asked for."""


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Way = Callable[["Traffic"], Awaitable[None]]


class Traffic:
    """All visitors, and what they met."""

    def __init__(self, order: Mix) -> None:
        """Nobody has come yet."""
        self.order = order
        self.context = visitor_context()
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    async def run(self) -> Mixed:
        """Let every kind go on until the time is over."""
        ends = time.monotonic() + self.order.seconds
        async with asyncio.TaskGroup() as group:
            for name, (way, count, pause_s) in WAYS.items():
                if way is _h2 and not h2load.is_installed():
                    continue
                for _ in range(count):
                    group.create_task(self._again(name, way, pause_s, ends), name=name)
        return Mixed(done=dict(self.done), failed=dict(self.failed), reasons=dict(self.reasons))

    async def connect(self, host: str, *, tls: bool = False) -> Connection:
        """A new connection."""
        context: ssl.SSLContext | None = self.context if tls else None
        return await asyncio.open_connection(
            "127.0.0.1",
            self.order.tls_port if tls else self.order.port,
            ssl=context,
            server_hostname=host if tls else None,
            limit=64 << 10,
        )

    async def _again(self, name: str, way: Way, pause_s: float, ends: float) -> None:
        while time.monotonic() < ends:
            try:
                async with asyncio.timeout(EACH_WITHIN_S):
                    await way(self)
                self.done[name] += 1
            except (OSError, WrongAnswer, EOFError, TimeoutError) as error:
                self.failed[name] += 1
                self.reasons[f"{name}: {type(error).__name__} {error}"[:200]] += 1
            await asyncio.sleep(pause_s)


async def _head(reader: asyncio.StreamReader, status: int) -> int:
    """Read a response head; the length of the body that follows."""
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    if not lines[0].startswith(b"HTTP/1.1 %d" % status):
        raise WrongAnswer(lines[0].decode(errors="replace"))
    return next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")), 0)


async def _small(traffic: Traffic, *, tls: bool = False) -> None:
    reader, writer = await traffic.connect(SITE, tls=tls)
    for index in range(SMALL_PER_CONNECTION):
        writer.write(head(index).encode())
        if await reader.readexactly(await _head(reader, 200)) != ANSWER:
            raise WrongAnswer("another body")
    writer.close()


async def _small_tls(traffic: Traffic) -> None:
    await _small(traffic, tls=True)


async def _missing(traffic: Traffic) -> None:
    reader, writer = await traffic.connect(UNKNOWN_SITE)
    for index in range(SMALL_PER_CONNECTION):
        writer.write(head(index, UNKNOWN_SITE).encode())
        await reader.readexactly(await _head(reader, 404))
    writer.close()


def _range(length: int) -> bytes:
    return f"GET /{BIG_FILE} HTTP/1.1\r\nHost: {SITE}\r\nRange: bytes=0-{length - 1}\r\n\r\n".encode()


async def _download(traffic: Traffic, *, tls: bool = False) -> None:
    reader, writer = await traffic.connect(SITE, tls=tls)
    writer.write(_range(LARGE_BYTES))
    missing = await _head(reader, 206)
    if missing != LARGE_BYTES:
        raise WrongAnswer(f"{missing} bytes announced")
    while missing and (data := await reader.read(len(CHUNK))):
        missing -= len(data)
    if missing:
        raise WrongAnswer(f"{missing} bytes missing")
    writer.close()


async def _download_tls(traffic: Traffic) -> None:
    await _download(traffic, tls=True)


async def _upload(traffic: Traffic, *, tls: bool = False) -> None:
    reader, writer = await traffic.connect(UPLOAD_SITE, tls=tls)
    writer.write(f"POST / HTTP/1.1\r\nHost: {UPLOAD_SITE}\r\nContent-Length: {LARGE_BYTES}\r\n\r\n".encode())
    for _ in range(LARGE_BYTES // len(CHUNK)):
        writer.write(CHUNK)
        await writer.drain()
    if await reader.readexactly(await _head(reader, 200)) != b"%d" % LARGE_BYTES:
        raise WrongAnswer("not all of it arrived")
    writer.close()


async def _upload_tls(traffic: Traffic) -> None:
    await _upload(traffic, tls=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Leave without a farewell."""
    plain: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def _abort_download(traffic: Traffic) -> None:
    reader, writer = await traffic.connect(SITE)
    writer.write(_range(LARGE_BYTES))
    await reader.read(len(CHUNK))
    _reset(writer)


async def _abort_upload(traffic: Traffic) -> None:
    _, writer = await traffic.connect(UPLOAD_SITE)
    writer.write(f"POST / HTTP/1.1\r\nHost: {UPLOAD_SITE}\r\nContent-Length: {LARGE_BYTES}\r\n\r\n".encode() + CHUNK)
    await writer.drain()
    _reset(writer)


async def _abort_head(traffic: Traffic) -> None:
    _, writer = await traffic.connect(SITE)
    writer.write(head(0).encode()[:300])
    await writer.drain()
    writer.close()


async def _abort_tls(traffic: Traffic) -> None:
    reader, writer = await traffic.connect(SITE, tls=True)
    writer.write(_range(LARGE_BYTES))
    await reader.read(len(CHUNK))
    _reset(writer)


async def _read_slowly(traffic: Traffic) -> None:
    reader, writer = await traffic.connect(SITE)
    writer.write(_range(SLOW_BYTES))
    missing = await _head(reader, 206)
    while missing and (data := await reader.read(SLOW_CHUNK)):
        missing -= len(data)
        await asyncio.sleep(SLOW_PAUSE_S)
    if missing:
        raise WrongAnswer(f"{missing} bytes missing")
    writer.close()


async def _websocket(traffic: Traffic, *, tls: bool = False) -> None:
    reader, writer = await traffic.connect(ECHO_SITE, tls=tls)
    writer.write(upgrade(ECHO_SITE))
    await _head(reader, 101)
    for _ in range(MESSAGES):
        writer.write(FROM_VISITOR)
        if await reader.readexactly(len(TO_VISITOR)) != TO_VISITOR:
            raise WrongAnswer("another message")
        await asyncio.sleep(SLOW_PAUSE_S)
    writer.close()


async def _websocket_tls(traffic: Traffic) -> None:
    await _websocket(traffic, tls=True)


async def _h2(traffic: Traffic) -> None:
    argv = ("-c4", "-m8", f"-D{H2_SECONDS}", "--rps=20", f"--connect-to=127.0.0.1:{traffic.order.tls_port}")
    process = await asyncio.create_subprocess_exec(
        "h2load", *argv, f"https://{SITE}/", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    if b" 0 failed, 0 errored, 0 timeout" not in output or b" 0 succeeded" in output:
        raise WrongAnswer(next((line for line in output.decode().splitlines() if "requests:" in line), "no report"))


# What is done, by how many visitors at once, and how long each rests in between.
WAYS: dict[str, tuple[Way, int, float]] = {
    "small": (_small, 4, 0.05),
    "unknown host": (_missing, 1, 0.2),
    "large download": (_download, 1, 0.2),
    "large upload": (_upload, 1, 0.2),
    "aborted download": (_abort_download, 2, 0.1),
    "aborted upload": (_abort_upload, 2, 0.1),
    "aborted head": (_abort_head, 2, 0.05),
    "slow reader": (_read_slowly, 8, 0.1),
    "WebSocket": (_websocket, 8, 0.1),
    "small over TLS": (_small_tls, 2, 0.05),
    "large download over TLS": (_download_tls, 1, 0.3),
    "large upload over TLS": (_upload_tls, 1, 0.3),
    "aborted over TLS": (_abort_tls, 2, 0.1),
    "WebSocket over TLS": (_websocket_tls, 4, 0.1),
    "HTTP/2 over TLS": (_h2, 1, 0.2),
}


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        background.hand_in(runner.run(Traffic(background.order_of(sys.argv[1], Mix)).run()))
