"""A node as somebody with curl meets it: versions, uploads, ranges, spellings of paths and hosts, and error pages."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from tests.flows.running import RunningNode
from tests.support.origin import Origin, SeenRequest

HOST: Final = "demo.zexio.app"
FILES: Final = "files.zexio.app"
TENANT: Final = "orders.acme.zexio.internal"
UNKNOWN: Final = "nobody.example.com"
DOWN: Final = "down.example.com"
IDNA: Final = "bücher.example"
LARGE: Final = 3 * 2**20
PATIENCE_S: Final = 20.0

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("curl")]


class Reply(msgspec.Struct, frozen=True):
    """What curl was told: the last head, the 1xx statuses before it, and the body."""

    status: int
    interim: tuple[int, ...]
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401
        """The decoded body."""
        return json.loads(self.body)


class Place:
    """A node with routes to an origin that remembers what it saw."""

    def __init__(self, node: RunningNode, origin: Origin) -> None:
        """Both run."""
        self.node = node
        self.origin = origin

    async def curl(self, *arguments: str, host: str = HOST, path: str = "/", stdin: bytes = b"") -> Reply:
        """Run `curl -i` for a URL of that host, which curl finds at the node."""
        self.origin.forget()
        return parsed(await self.output("-i", *arguments, f"http://{host}{path}", stdin=stdin))

    async def output(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What curl writes; it has to succeed and to say nothing about errors."""
        curl = await asyncio.create_subprocess_exec(
            *("curl", "-q", "-sS", "--connect-to", f"::{self.node.mesh}", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # The locale says how the octets of a host in the URL are meant.
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                out, err = await curl.communicate(stdin)
        except TimeoutError:
            curl.kill()
            raise
        assert (curl.returncode, err) == (0, b"")
        return out

    @property
    def seen(self) -> SeenRequest:
        """The one request that came to the origin."""
        (request,) = self.origin.requests
        return request


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """One node for all tests of this file."""
    home = tmp_path_factory.mktemp("curl")
    async with Origin() as origin, RunningNode(home / "data") as node:
        target = f"http://127.0.0.1:{origin.port}"
        for host in (HOST, IDNA):
            await node.call("PUT", f"/routes/{host}", {"targets": [{"url": target}]})
        await node.call("PUT", f"/routes/{TENANT}", {"targets": [{"url": target}], "org_id": "org_acme"})
        await node.put(DOWN, "http://127.0.0.1:1")
        yield Place(node, origin)


@pytest_asyncio.fixture(loop_scope="module")
async def file(place: Place, tmp_path: Path) -> AsyncIterator[Path]:
    """A file that aiohttp serves behind the node."""
    path = tmp_path / "letters.txt"
    path.write_text("abcdefghijklmnopqrstuvwxyz")
    app = web.Application()
    app.router.add_static("/", tmp_path)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await place.node.put(FILES, f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield path
    await runner.cleanup()


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
async def test_a_request_and_what_the_target_learns(place: Place, version: str) -> None:
    """The target is asked in HTTP/1.1 and told who asked, whatever the visitor speaks and claims."""
    spoofed = ("-H", "X-Forwarded-For: 192.0.2.1", "-H", "X-Zexio-Org: org_acme", "-H", "Forwarded: for=192.0.2.1")
    reply = await place.curl(version, *spoofed, path="/hello?a=b")
    assert (reply.status, reply.json) == (200, {"method": "GET", "target": "/hello?a=b", "body": ""})
    assert place.seen.version == b"HTTP/1.1"
    told = {name.decode().lower(): value.decode() for name, value in place.seen.headers}
    assert told.pop("user-agent").startswith("curl/")
    assert told.pop("via").endswith(" zexio")
    assert re.fullmatch("[0-9a-f]{24}", told.pop("x-request-id"))
    assert told == {
        "host": HOST,
        "accept": "*/*",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": HOST,
        "x-real-ip": "127.0.0.1",
        "forwarded": f'for=127.0.0.1;host="{HOST}";proto=http',
    }


async def test_an_offer_of_http2_is_not_taken(place: Place) -> None:
    """What `curl --http2` asks on a plain connection is answered in HTTP/1.1, and the target never hears of it."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
    reply = await place.curl("--http1.1", *(word for field in offer for word in ("-H", field)))
    assert (reply.status, reply.interim) == (200, ())
    names = {name.lower() for name, _value in place.seen.headers}
    assert not names & {b"connection", b"upgrade", b"http2-settings"}


async def test_a_connection_is_used_again(place: Place) -> None:
    """Also after an answer that the node made."""
    urls = [f"http://{HOST}/1", f"http://{HOST}/2"]
    assert await place.output("-w", "%{num_connects}\n", "-o", "/dev/null", "-o", "/dev/null", *urls) == b"1\n0\n"
    urls = [f"http://{UNKNOWN}/1", f"http://{UNKNOWN}/2"]
    assert await place.output("-w", "%{num_connects}\n", "-o", "/dev/null", "-o", "/dev/null", *urls) == b"1\n0\n"


@pytest.mark.parametrize("size", [1, 70_000, LARGE])
@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_uploads(place: Place, tmp_path: Path, framing: str, size: int) -> None:
    """From a pipe in chunks, and from a file with its length; the framing stays what it is."""
    body = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "body").write_bytes(body)
    source = ("-T", "-", "-H", "Transfer-Encoding: chunked") if framing == "chunked" else ("-T", str(tmp_path / "body"))
    reply = await place.curl(*source, path="/file", stdin=body if framing == "chunked" else b"")
    assert (reply.status, reply.json["method"]) == (200, "PUT")
    assert place.seen.body == body
    length = [] if framing == "chunked" else [b"%d" % len(body)]
    assert place.seen.values(b"content-length") == length
    assert place.seen.values(b"transfer-encoding") == ([b"chunked"] if framing == "chunked" else [])


async def test_form_data(place: Place) -> None:
    """Also in chunks, as curl sends it when it is told to."""
    reply = await place.curl("--data", "a=1&b=%20", "-H", "Transfer-Encoding: chunked")
    assert reply.json == {"method": "POST", "target": "/", "body": "a=1&b=%20"}
    assert place.seen.values(b"content-type") == [b"application/x-www-form-urlencoded"]


async def test_a_large_body_waits_for_the_100(place: Place) -> None:
    """The target's 100 reaches curl, which would wait for a minute else, and then sends all."""
    body = b"x" * LARGE
    expecting = ("-H", "Expect: 100-continue", "--expect100-timeout", "60", "--data-binary", "@-")
    reply = await place.curl(*expecting, stdin=body)
    assert (reply.status, reply.interim) == (200, (100,))
    assert place.seen.body == body


@pytest.mark.parametrize(("host", "status"), [(TENANT, 401), (UNKNOWN, 404), (DOWN, 502)])
async def test_a_refused_body_is_not_sent(place: Place, host: str, status: int) -> None:
    """Whoever asks first is refused without a 100."""
    size = "%{size_upload}"
    expecting = ("-H", "Expect: 100-continue", "--expect100-timeout", "60", "--data-binary", "@-")
    out = await place.output(*expecting, "-i", "-w", size, f"http://{host}/", stdin=b"x" * LARGE)
    assert out.startswith(b"HTTP/1.1 %d " % status)
    assert out.endswith(b"}\n0")


async def test_head(place: Place, file: Path) -> None:
    """The length without the body, and the connection goes on."""
    reply = await place.curl("-I", host=FILES, path=f"/{file.name}")
    assert (reply.status, reply.fields["content-length"], reply.body) == (200, "26", b"")
    url = f"http://{FILES}/{file.name}"
    assert (await place.output("-I", "-w", "%{num_connects}\n", url, url)).endswith(b"\r\n\r\n0\n")
    assert (await place.curl("-I", host=UNKNOWN)).body == b""


@pytest.mark.parametrize(
    ("wanted", "content_range", "body"),
    [
        ("0-4", "bytes 0-4/26", b"abcde"),
        ("20-", "bytes 20-25/26", b"uvwxyz"),
        ("-3", "bytes 23-25/26", b"xyz"),
    ],
)
async def test_ranges(place: Place, file: Path, wanted: str, content_range: str, body: bytes) -> None:
    """The node neither cuts nor joins."""
    reply = await place.curl("-r", wanted, host=FILES, path=f"/{file.name}")
    assert (reply.status, reply.fields["content-range"], reply.body) == (206, content_range, body)


async def test_a_range_beyond_the_end_and_an_unchanged_file(place: Place, file: Path) -> None:
    """416 and 304 are the target's to say."""
    assert (await place.curl("-r", "50-60", host=FILES, path=f"/{file.name}")).status == 416
    etag = (await place.curl(host=FILES, path=f"/{file.name}")).fields["etag"]
    reply = await place.curl("-H", f"If-None-Match: {etag}", host=FILES, path=f"/{file.name}")
    assert (reply.status, reply.body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/a/../b",
        "/../../etc/passwd",
        "/%2e%2e/%2E%2E%2f",
        "//double//slashes//",
        "/./;x=1/.",
        "/b%C3%BCcher?q=%20+%zz&next=/../x",
        "/?",
    ],
)
async def test_paths_pass_as_they_are(place: Place, path: str) -> None:
    """A node that tidies paths would route one and ask for another."""
    reply = await place.curl("--path-as-is", "--globoff", path=path)
    assert reply.status == 200
    assert place.seen.target == path.encode()


@pytest.mark.parametrize(
    "spelling",
    ["DEMO.Zexio.App", "demo.zexio.app.", "demo.zexio.app:8082", "pr-7--demo.zexio.app", "a--b--demo.zexio.app"],
)
async def test_spellings_of_a_host(place: Place, spelling: str) -> None:
    """Case, the last dot, a port and the name of a preview lead to the same route; the target sees what was said."""
    assert (await place.curl("-H", f"Host: {spelling}")).status == 200
    assert place.seen.values(b"host") == [spelling.encode()]
    reply = await place.curl(host=spelling)
    assert reply.status == 200


@pytest.mark.parametrize("spelling", ["demo.zexio.app.example.com", "demo--other.zexio.app", "xdemo.zexio.app"])
async def test_other_hosts(place: Place, spelling: str) -> None:
    """What only looks alike leads nowhere."""
    assert (await place.curl(host=spelling)).status == 404
    assert place.origin.requests == []


async def test_a_host_in_any_script(place: Place) -> None:
    """Put as it is written, asked for as it is sent."""
    if b" IDN" not in await place.output("--version"):
        pytest.skip("this curl knows no international names")
    assert (await place.curl(host=IDNA)).status == 200
    assert place.seen.values(b"host") == [b"xn--bcher-kva.example"]
    assert (await place.curl(host="XN--BCHER-KVA.example")).status == 200


async def test_request_ids(place: Place) -> None:
    """A visitor's own passes if it is well-formed; else the node makes one that nobody else has."""
    ids = []
    for sent in ("abc-123", "not one", "x" * 200, "", ""):
        await place.curl(*(("-H", f"X-Request-Id: {sent}") if sent else ()))
        (seen,) = place.seen.values(b"x-request-id")
        ids.append(seen.decode())
    assert ids[0] == "abc-123"
    assert all(re.fullmatch("[0-9a-f]{24}", made) for made in ids[1:])
    assert len({*ids}) == len(ids)
    refused = await place.curl("-H", "X-Request-Id: abc-123", host=UNKNOWN)
    assert (refused.fields["x-request-id"], refused.json["request_id"]) == ("abc-123", "abc-123")


@pytest.mark.parametrize(
    ("host", "status", "cause"),
    [
        (UNKNOWN, 404, "destination_not_found"),
        (TENANT, 401, "http_request_denied"),
        (DOWN, 502, "connection_refused"),
    ],
)
async def test_pages_of_the_node(place: Place, host: str, status: int, cause: str) -> None:
    """HTML for browsers, JSON for everybody else, and RFC 9209's Proxy-Status for both."""
    reply = await place.curl(host=host)
    assert (reply.status, reply.fields["content-type"]) == (status, "application/json")
    assert (reply.json["status"], reply.json["cause"]) == (status, cause)
    page = await place.curl("-H", "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", host=host)
    assert (page.status, page.fields["content-type"]) == (status, "text/html; charset=utf-8")
    assert page.body.startswith(b"<!doctype html>")
    assert page.fields["x-request-id"].encode() in page.body
    for answer in (reply, page):
        assert answer.fields["proxy-status"].startswith(f"zexio; error={cause}; details=")
        assert answer.fields.get("www-authenticate", "-").startswith("Bearer" if status == 401 else "-")
        assert int(answer.fields["content-length"]) == len(answer.body)


async def test_a_tenant_with_the_flag_for_tokens(place: Place) -> None:
    """`--oauth2-bearer` is all that a visitor of a tenant route needs; the target gets the organization instead."""
    reply = await place.curl("--oauth2-bearer", place.node.token("org_acme"), host=TENANT)
    assert reply.status == 200
    assert place.seen.values(b"x-zexio-org") == [b"org_acme"]
    assert place.seen.values(b"authorization") == []
    refused = await place.curl("--oauth2-bearer", place.node.token("org_other"), host=TENANT)
    assert refused.status == 403
    assert place.origin.requests == []


def parsed(out: bytes) -> Reply:
    """What `curl -i` wrote."""
    interim: tuple[int, ...] = ()
    while True:
        head, _empty, out = out.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        status = int(line.split(" ")[1])
        if status >= 200:
            break
        interim += (status,)
    named = (field.split(": ", 1) for field in fields)
    return Reply(status, interim, {name.lower(): value for name, value in named}, out)
