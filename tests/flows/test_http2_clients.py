"""HTTP/2 by clients that we did not write: curl, nghttp, h2load, and a browser."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from mesh.routes import MeshSettings
from tests.support.authority import Authority
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.programs import run

LARGE: Final = random.Random(1).randbytes(10_000_000)
AUTHORITY: Final = Authority()
ISSUED: Final = AUTHORITY.issue(HOST, "localhost")
EVENTS: Final = 3


class Application:
    """A target of aiohttp: it says what it got, takes and gives large bodies, and serves a page for browsers."""

    def __init__(self) -> None:
        """Nothing has come."""
        self.bodies: list[bytes] = []
        self.over = asyncio.Event()
        self.via: list[str] = []
        self.report: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def make(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=20_000_000)
        app.router.add_get("/page", self._page)
        app.router.add_post("/report", self._report)
        app.router.add_get("/events", self._events)
        app.router.add_get("/socket", self._socket)
        app.router.add_get("/large", self._large)
        app.router.add_route("*", "/{path:.*}", self._describe)
        return app

    async def _describe(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return web.json_response({"path": request.path, "method": request.method, "size": len(self.bodies[-1])})

    async def _large(self, _request: web.Request) -> web.Response:
        return web.Response(body=LARGE)

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _report(self, request: web.Request) -> web.Response:
        self.report.set_result(await request.json())
        return web.Response()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(EVENTS):
            await response.write(b"data: %d\n\n" % number)
        await self.over.wait()
        return response

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        self.via.append(request.headers["Via"])
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"you said {message.data}")
        return socket


@asynccontextmanager
async def before(app: Application) -> AsyncIterator[MeshUnderTest]:
    """A proxy for TLS, and for HTTP/2 without it, before the application."""
    runner = web.AppRunner(app.make(), access_log=None, handle_signals=False, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        port = runner.addresses[0][1]
        async with await start_mesh(
            route_to(port),
            route_to(port, "localhost"),
            settings=MeshSettings(http2_cleartext=True),
            certificates=(ISSUED.certificate,),
        ) as mesh:
            yield mesh
    finally:
        app.over.set()
        await runner.cleanup()


class Curl:
    """curl, with TLS or by prior knowledge."""

    def __init__(self, mesh: MeshUnderTest, folder: Path, *, is_secure: bool) -> None:
        """Trust the authority of this file, whose certificate is put into `folder`."""
        root = folder / "root.pem"
        root.write_text(AUTHORITY.pem)
        self.base = f"https://{HOST}" if is_secure else f"http://{HOST}"
        port = mesh.tls_port if is_secure else mesh.port
        version = "--http2" if is_secure else "--http2-prior-knowledge"
        self._arguments = ("curl", "-q", "-sS", version, "--cacert", str(root), "--connect-to", f"::127.0.0.1:{port}")

    async def __call__(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What it writes."""
        return await run(*self._arguments, *arguments, stdin=stdin)


@pytest.mark.needs("curl")
@pytest.mark.parametrize("is_secure", [True, False], ids=["tls", "prior knowledge"])
async def test_curl(tmp_path: Path, is_secure: bool) -> None:
    """GET, HEAD, 10 MB either way, a body that waits for 100, an answer without a body, and trailers in the request."""
    app, what = Application(), ("-w", "%{http_version} %{http_code} ")
    async with before(app) as mesh:
        curl = Curl(mesh, tmp_path, is_secure=is_secure)
        said = await curl(*what, f"{curl.base}/a?b=c", "-o", "/dev/null")
        assert said == b"2 200 "
        assert json.loads(await curl(f"{curl.base}/a"))["path"] == "/a"
        head = await curl("-I", f"{curl.base}/large")
        assert head.startswith(b"HTTP/2 200")
        assert b"content-length: 10000000" in head
        assert await curl(f"{curl.base}/large") == LARGE
        for fields in ((), ("-H", "Expect: 100-continue"), ("-T", "-")):
            body = ("--data-binary", "@-") if "-T" not in fields else ()
            answer = json.loads(await curl(*fields, *body, f"{curl.base}/up", stdin=LARGE))
            assert answer["size"] == len(LARGE)
            assert app.bodies.pop() == LARGE
        assert mesh.core.counters.h2_connections == 7
        assert mesh.core.counters.statuses[5] == 0


@pytest.mark.needs("curl")
async def test_curl_a_hundred_at_a_time(tmp_path: Path) -> None:
    """On one connection, small ones and large ones."""
    async with before(Application()) as mesh:
        curl = Curl(mesh, tmp_path, is_secure=True)
        said = await curl(
            *("--parallel", "--parallel-max", "100", "--no-progress-meter", "-w", "%{http_version} %{http_code}\n"),
            *("-o", str(tmp_path / "#1"), f"{curl.base}/[1-100]"),
        )
        assert said.split(b"\n").count(b"2 200") == 100
        assert [json.loads((tmp_path / str(n)).read_bytes())["path"] for n in range(1, 101)] == [
            f"/{n}" for n in range(1, 101)
        ]
        await curl(*("--parallel", "-o", str(tmp_path / "large#1"), f"{curl.base}/large?[1-10]"))
        assert all((tmp_path / f"large{n}").read_bytes() == LARGE for n in range(1, 11))


@pytest.mark.needs("curl")
async def test_curl_that_would_rather_upgrade(tmp_path: Path) -> None:
    """`Upgrade: h2c` is not for a proxy (RFC 9113 section 3.1): the answer is of HTTP/1.1."""
    async with before(Application()) as mesh:
        said = await run(
            *("curl", "-q", "-sS", "--http2", "-w", "%{http_version}", "-o", str(tmp_path / "body")),
            *("-H", f"Host: {HOST}", f"http://127.0.0.1:{mesh.port}/"),
        )
        assert said == b"1.1"


@pytest.mark.needs("nghttp", "h2load")
async def test_nghttp_and_h2load() -> None:
    """Priorities, padding, continuations, uploads, statistics; hundreds of streams, none failed."""
    app = Application()
    async with before(app) as mesh:
        url = f"https://localhost:{mesh.tls_port}"
        said = await run("nghttp", "-v", "--no-dep", "--padding=200", "--continuation", f"{url}/a", f"{url}/b")
        assert said.count(b":status: 200") == 2
        said = await run("nghttp", "-s", "-m", "5", "-n", f"{url}/large")
        assert said.count(b"/large") == 5
        said = await run("h2load", "-n", "500", "-c", "10", "-m", "50", f"{url}/x")
        assert b"500 succeeded, 0 failed, 0 errored, 0 timeout" in said
        said = await run(
            "h2load", "-n", "300", "-c", "5", "-m", "20", f"http://127.0.0.1:{mesh.port}/x", "-H", f":authority: {HOST}"
        )
        assert b"300 succeeded, 0 failed, 0 errored, 0 timeout" in said


PAGE: Final = """<!doctype html><title>zexio</title><script type="module">
const report = {fetched: [], events: [], errors: []};
const failed = where => error => report.errors.push(where + ": " + error);
const socket = new Promise((resolve, reject) => {
    const it = new WebSocket("wss://" + location.host + "/socket");
    it.onopen = () => it.send("hello");
    it.onmessage = event => resolve(event.data);
    it.onclose = event => reject("closed with " + event.code);
}).then(data => report.socket = data, failed("socket"));
const events = new Promise((resolve, reject) => {
    const it = new EventSource("/events");
    it.onmessage = event => report.events.push(event.data) == "EVENTS" && resolve(it.close());
    it.onerror = () => reject("ended");
}).catch(failed("events"));
const fetched = Promise.all([1, 2, 3, 4, 5].map(n =>
    fetch("/resource/" + n).then(r => r.json()).then(r => report.fetched.push(r.path)))).catch(failed("fetch"));
const upload = fetch("/up", {method: "POST", body: "x".repeat(300000)})
    .then(r => r.json()).then(r => report.uploaded = r.size).catch(failed("upload"));
await Promise.all([socket, events, fetched, upload]);
report.protocols = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .map(entry => entry.nextHopProtocol);
await fetch("/report", {method: "POST", body: JSON.stringify(report)});
</script>""".replace('"EVENTS"', str(EVENTS))


@pytest.mark.needs("chromium")
async def test_a_browser(tmp_path: Path) -> None:
    """A page with its resources, an upload, an EventSource and a WebSocket, all on one connection of HTTP/2."""
    app = Application()
    async with before(app) as mesh:
        browser = await asyncio.create_subprocess_exec(
            *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *(f"--user-data-dir={tmp_path}", "--ignore-certificate-errors"),
            *(f"--host-resolver-rules=MAP {HOST}:443 127.0.0.1:{mesh.tls_port}", f"https://{HOST}/page"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(30):
                report = await app.report
        finally:
            browser.terminate()
            await browser.wait()
        assert report["errors"] == []
        assert sorted(report["fetched"]) == [f"/resource/{n}" for n in range(1, 6)]
        assert report["events"] == [str(n) for n in range(EVENTS)]
        assert report["socket"] == "you said hello"
        assert report["uploaded"] == 300_000
        assert set(report["protocols"]) == {"h2"}
        # RFC 8441: the socket is a stream of the same connection.
        assert app.via == ["2.0 zexio"]
        assert mesh.core.counters.statuses[5] == 0
