"""A real admin API on loopback, as tests talk to it: over a store in a file, with a real client."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiohttp import ClientResponse, ClientSession, web

from admin_api.app import STREAMS, AdminSettings, build, make_runner
from admin_api.plane.system import Sights
from admin_api.sse import StreamLimits, Streams
from state.secrets import Secrets
from state.store import Store

SECRET = "worker secret"
TARGETS = [{"url": "http://127.0.0.1:9000"}]

# Times that a test can wait for.
BRISK = StreamLimits(retry_s=1.0, heartbeat_s=0.02, look_s=0.005, end_s=0.02)
EMPTY = Sights()
SETTINGS = AdminSettings(version="1.2.3", worker_secret=SECRET, stats_interval_s=0.005, streams=BRISK)


class Served(msgspec.Struct, frozen=True):
    """An admin API that is up, the store behind it, and a client in front of it."""

    app: web.Application
    runner: web.AppRunner
    client: ClientSession
    store: Store

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return port_of(self.runner)

    @property
    def streams(self) -> Streams:
        """The event streams that it has open."""
        return self.app[STREAMS]

    async def put(self, host: str, **fields: object) -> str:
        """Put a route and return its ETag; without further fields it is a plain one."""
        async with self.client.put(f"/routes/{host}", json={"targets": TARGETS, **fields}) as answer:
            assert answer.status in {200, 201}, await answer.text()
            return answer.headers["ETag"]


class EventReader:
    """Reads a stream block by block, each as the fields that it has; a comment is the field without a name."""

    def __init__(self, answer: ClientResponse) -> None:
        self._answer = answer

    async def block(self) -> dict[str, str]:
        """The next block, empty at the end of the stream."""
        fields: dict[str, str] = {}
        while line := (await self._answer.content.readline()).decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        return fields

    async def event(self) -> dict[str, str]:
        """The next event, past heartbeats and the retry time."""
        while "data" not in (block := await self.block()):
            assert block, "the stream ended"
        return block


@asynccontextmanager
async def serve(folder: Path, settings: AdminSettings = SETTINGS, sights: Sights = EMPTY) -> AsyncIterator[Served]:
    """An admin API over a store in `folder`."""
    secrets = Secrets.load_or_create(folder / "node.key")
    async with await Store.open(f"sqlite:///{folder}/zexio.db", secrets) as store:
        app = build(store, store, store, settings, sights)
        async with serve_app(app) as runner, ClientSession(f"http://127.0.0.1:{port_of(runner)}") as client:
            yield Served(app, runner, client, store)


@asynccontextmanager
async def serve_app(app: web.Application) -> AsyncIterator[web.AppRunner]:
    """`app` on a free port of 127.0.0.1, run as the node runs it: handlers are not cancelled when a client goes."""
    runner = make_runner(app, shutdown_s=60.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner
    finally:
        await runner.cleanup()


def port_of(runner: web.AppRunner) -> int:
    """The port that was free."""
    port: int = runner.addresses[0][1]
    return port


def signature(body: bytes = b"", timestamp: str | None = None, secret: str = SECRET) -> str:
    """What a worker sends as X-Signature."""
    signed = body if timestamp is None else timestamp.encode() + b"." + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


async def eventually(condition: Callable[[], object]) -> None:
    """Return as soon as `condition` holds; the time limit of the test is the only other way out."""
    while not condition():  # noqa: ASYNC110 - not all that tests wait for has an event
        await asyncio.sleep(0.002)


async def raw_status(port: int, request: bytes) -> int:
    """Send `request` as it is and return the status of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        _version, status, *_reason = (await reader.readline()).split()
        return int(status)
    finally:
        writer.close()
        await writer.wait_closed()
