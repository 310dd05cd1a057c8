"""Bodies of 1 GiB, up and down, by length and in chunks: every byte arrives in its place, and no worker keeps them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.flows.running import RunningNode, worker_pids
from tests.support.stage import Stage, head_of

HOST: Final = "demo.zexio.app"
SIZE: Final = 2**30
MOST_GROWTH: Final = 24 * 2**20
# Its length divides no buffer, so that a piece which is lost, doubled or moved does not look like another.
BLOCK: Final = random.Random(1).randbytes(1_000_003)
TWO_BLOCKS: Final = BLOCK * 2
PIECE: Final = 256 * 1024
NAP_EVERY: Final = 128 * 2**20
NAP_S: Final = 0.03
FRAMINGS: Final[Mapping[str, bytes]] = {
    "length": b"Content-Length: %d" % SIZE,
    "chunked": b"Transfer-Encoding: chunked",
}


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_gibibyte_up_and_down(tmp_path: Path, framing: str) -> None:
    """With a receiver that naps now and then, the rest has to wait outside of the worker."""
    async with Stage(_origin) as origin, RunningNode(tmp_path / "data") as node:
        await node.put(HOST, f"http://127.0.0.1:{origin.port}")
        before = {pid: _peak(pid) for pid in worker_pids(node.pid)}
        assert await _download(node.mesh, framing) == SIZE
        assert await _upload(node.mesh, framing) == SIZE
        growth = [_peak(pid) - before[pid] for pid in worker_pids(node.pid)]
    assert max(growth) < MOST_GROWTH, growth


async def _download(mesh: str, framing: str) -> int:
    reader, writer = await _connect(mesh)
    writer.write(f"GET /{framing} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    head = await head_of(reader)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert FRAMINGS[framing] in head
    taken = await _take(reader, framing)
    writer.close()
    await writer.wait_closed()
    return taken


async def _upload(mesh: str, framing: str) -> int:
    reader, writer = await _connect(mesh)
    writer.write(b"PUT /%b HTTP/1.1\r\nHost: %b\r\n%b\r\n\r\n" % (framing.encode(), HOST.encode(), FRAMINGS[framing]))
    await _give(writer, framing)
    assert (await head_of(reader)).startswith(b"HTTP/1.1 200 ")
    taken = int(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return taken


async def _origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Give the body to whoever asks for it, and say to others how much of it they sent."""
    while True:
        head = await head_of(reader)
        method, path, *_ = head.decode().split(" ")
        framing = path.removeprefix("/")
        if method == "GET":
            writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % FRAMINGS[framing])
            await _give(writer, framing)
        else:
            assert FRAMINGS[framing] in head
            answer = b"%d\n" % await _take(reader, framing)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))


async def _connect(mesh: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _colon, port = mesh.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _give(writer: asyncio.StreamWriter, framing: str) -> None:
    block = _framed(BLOCK, framing)
    for _ in range(SIZE // len(BLOCK)):
        writer.write(block)
        await writer.drain()
    writer.write(_framed(BLOCK[: SIZE % len(BLOCK)], framing) + (b"0\r\n\r\n" if framing == "chunked" else b""))
    await writer.drain()


def _framed(data: bytes, framing: str) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if framing == "chunked" else data


async def _take(reader: asyncio.StreamReader, framing: str) -> int:
    """Compare each byte with the one that was sent in its place; how many there were."""
    taken, nap_at = 0, 0
    async for piece in _chunks(reader) if framing == "chunked" else _pieces(reader):
        assert TWO_BLOCKS.startswith(piece, taken % len(BLOCK)), f"another byte between {taken} and {len(piece)} later"
        taken += len(piece)
        if taken >= nap_at:
            nap_at += NAP_EVERY
            await asyncio.sleep(NAP_S)
    return taken


async def _pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    left = SIZE
    while left:
        piece = await reader.read(min(left, PIECE))
        assert piece, f"the body broke off {left} bytes before its end"
        left -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    assert await reader.readexactly(2) == b"\r\n"


def _peak(pid: int) -> int:
    """The most memory that a process has held so far, where the kernel tells; what it holds now elsewhere. Bytes."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return psutil.Process(pid).memory_info().rss
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
