"""The commands about routes, against a real API."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from node.cli import routes
from state.policies import Compression
from tests.node.cli.conftest import Api, Zexio, answering, serving

TARGET = "http://127.0.0.1:9000"
COMPRESSION = json.loads(msgspec.json.encode(Compression()))


async def test_a_route_is_set_listed_shown_and_removed(zexio: Zexio, api: Api) -> None:
    """The whole life of a route, as a person sees it."""
    assert (await zexio("routes", "set", "Shop.Example.com", TARGET, "--admin", api.url)).code == 0
    listed = (await zexio("routes", "ls", "--admin", api.url)).out.splitlines()
    assert [line.split() for line in listed] == [
        ["HOST", "PATH", "ORG", "ACCESS", "TARGETS"],
        ["shop.example.com", "/", "-", "by_suffix", TARGET],
    ]
    shown = (await zexio("routes", "get", "shop.example.com", "--admin", api.url)).out
    lines = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert (lines["targets"], lines["access"], lines["retries"]) == (TARGET, "by_suffix", "1")
    assert {"headers", "cors", "strip_prefix"} & set(lines) == set()
    removed = await zexio("routes", "rm", "shop.example.com", "--admin", api.url)
    assert (removed.code, removed.out) == (0, "")
    assert (await zexio("routes", "get", "shop.example.com", "--admin", api.url)).code == 1


async def test_what_says_nothing_is_not_shown(zexio: Zexio, api: Api) -> None:
    """A zero says something."""
    shown = (await zexio("routes", "set", "a.example.com", TARGET, "--retries", "0", "--admin", api.url)).out
    lines = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert (lines["retries"], "timeouts" in lines, "org_id" in lines) == ("0", False, False)


async def test_every_option_arrives(zexio: Zexio, api: Api) -> None:
    """Each is a field of the route (docs of the native routes)."""
    options = (
        *("--org", "org_a", "--access", "tenant", "--balance", "random_two", "--path-prefix", "/api", "--strip-prefix"),
        *("--forward-token", "--rewrite-host", "--health", "/up", "--retries", "2", "--max-body", "99"),
        *("--https", "redirect", "--compress", "--json", "--admin", api.url),
    )
    result = await zexio("routes", "set", "a.example.com", f"{TARGET},3", "unix:/run/a.sock", *options)
    route = json.loads(result.out)
    assert [(each["url"], each["weight"]) for each in route["targets"]] == [(TARGET, 3), ("unix:/run/a.sock", 1)]
    assert route["health"]["path"] == "/up"
    assert route["compression"]["encodings"] == ["zstd", "br", "gzip"]
    wanted = {
        "org_id": "org_a",
        "access": "tenant",
        "balance": "random_two",
        "path_prefix": "/api",
        "strip_prefix": True,
        "forward_token": True,
        "preserve_host": False,
        "retries": 2,
        "max_body_bytes": 99,
        "https": "redirect",
    }
    assert {name: route[name] for name in wanted} == wanted


async def test_what_is_not_named_stays(zexio: Zexio, api: Api, tmp_path: Path) -> None:
    """Who replaces a target does not open a route that asked for a password; switches can be turned back."""
    path = tmp_path / "route.json"
    fields = {"basic_auth": {"users": {"ada": "secret"}}, "deny": ["10.0.0.0/8"], "access": "public"}
    path.write_text(json.dumps({"targets": [{"url": TARGET}], "health": {"interval_s": 9}, **fields}))
    shop = ("a.example.com", "--json", "--admin", api.url)
    before = json.loads((await zexio("routes", "put", *shop, "--file", str(path))).out)

    async def told(*arguments: str) -> dict[str, Any]:
        after = json.loads((await zexio("routes", "set", *shop, *arguments)).out)
        return {name: value for name, value in after.items() if value != before[name] and name != "revision"}

    url = "http://127.0.0.1:9001"
    assert await told(url, "--strip-prefix", "--compress", "--access", "by_suffix") == {
        "targets": [{"url": url, "weight": 1, "draining": False}],
        "access": None,
        "strip_prefix": True,
        "compression": COMPRESSION,
    }
    back = ("--no-strip-prefix", "--no-compress", "--access", "public", "--health", "/up", "--rewrite-host")
    assert await told(TARGET, *back) == {"health": {**before["health"], "path": "/up"}, "preserve_host": False}
    assert await told(TARGET, "--no-rewrite-host", "--health", "/health") == {}
    assert set(await told(TARGET, "--replace")) == {"basic_auth", "deny", "access", "health"}


@pytest.mark.parametrize(("losses", "code"), [(0, 0), (2, 0), (3, 1)])
async def test_a_route_that_changes_meanwhile_is_read_again(zexio: Zexio, losses: int, code: int) -> None:
    """What somebody else wrote between the reading and the writing is kept as well; not for ever."""
    seen: list[tuple[str | None, int]] = []

    async def get(_request: web.Request) -> web.Response:
        return web.json_response({"revision": 5 + len(seen), "retries": len(seen)})

    async def put(request: web.Request) -> web.Response:
        body = await request.json()
        seen.append((request.headers.get("If-Match"), body["retries"]))
        if len(seen) <= losses:
            return web.json_response({"error": "stale"}, status=412)
        return web.json_response({**body, "access": None})

    async with serving(web.get("/{path:.*}", get), web.put("/{path:.*}", put)) as url:
        assert (await zexio("routes", "set", "a.example.com", TARGET, "--json", "--admin", url)).code == code
    expected = [('"5"', 0), ('"6"', 1), ('"7"', 2)]
    assert seen == expected[: len(seen)]
    assert len(seen) == min(losses + 1, 3)


async def test_a_route_with_a_prefix_is_named_by_it(zexio: Zexio, api: Api) -> None:
    """One host may have several routes."""
    for prefix in ("/", "/api"):
        assert (
            await zexio("routes", "set", "a.example.com", TARGET, "--path-prefix", prefix, "--admin", api.url)
        ).code == 0
    assert (await zexio("routes", "rm", "a.example.com", "--path-prefix", "/api", "--admin", api.url)).code == 0
    left = json.loads((await zexio("routes", "ls", "--json", "--admin", api.url)).out)
    assert [route["path_prefix"] for route in left] == ["/"]


async def test_a_wildcard_is_a_host(zexio: Zexio, api: Api) -> None:
    """The star reaches the API as it is."""
    for host in ("*.example.com", "*"):
        assert (await zexio("routes", "set", host, TARGET, "--admin", api.url)).code == 0
        assert (await zexio("routes", "get", host, "--admin", api.url)).code == 0


async def test_an_etag_guards_against_lost_updates(zexio: Zexio, api: Api) -> None:
    """A route that somebody else changed meanwhile is left alone."""
    await zexio("routes", "set", "a.example.com", TARGET, "--admin", api.url)
    change = ("routes", "set", "a.example.com", TARGET, "--retries", "0", "--admin", api.url)
    for stale in ('"99"', "99"):
        result = await zexio(*change, "--if-match", stale)
        assert (result.code, "412" in result.err) == (1, True)
    assert (await zexio(*change, "--if-match", "1")).code == 0


async def test_a_wrong_field_is_named(zexio: Zexio, api: Api) -> None:
    """In the API's own words."""
    result = await zexio("routes", "set", "a.example.com", "ftp://x", "--admin", api.url)
    assert (result.code, "targets[0].url" in result.err) == (1, True)


@pytest.mark.parametrize("weight", ["²", "٣", "-1", "9" * 5000])
async def test_what_is_no_weight_belongs_to_the_url(zexio: Zexio, api: Api, weight: str) -> None:
    """The API then says that it is no target."""
    result = await zexio("routes", "set", "a.example.com", f"{TARGET},{weight}", "--admin", api.url)
    assert (result.code, "targets[0].url" in result.err) == (1, True)


@pytest.mark.parametrize("text", ["<p>", "{}", "[]", '{"routes": 1, "targets": [1]}'])
async def test_an_answer_of_another_program_is_one_line(zexio: Zexio, text: str) -> None:
    """A page, or JSON with something else in it."""
    async with answering(text) as other:
        for command in (("ls",), ("get", "a.example.com"), ("set", "a.example.com", TARGET)):
            result = await zexio("routes", *command, "--admin", other)
            assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
            assert "does not answer like a zexio node" in result.err


async def test_a_list_may_be_narrowed(zexio: Zexio, api: Api) -> None:
    """By organization and by a part of the host."""
    await zexio("routes", "set", "a.example.com", TARGET, "--org", "org_a", "--admin", api.url)
    await zexio("routes", "set", "b.example.com", TARGET, "--admin", api.url)
    assert "b.example.com" not in (await zexio("routes", "ls", "--org", "org_a", "--admin", api.url)).out
    assert "a.example.com" not in (await zexio("routes", "ls", "-q", "b.", "--admin", api.url)).out


async def test_a_long_list_has_no_holes(zexio: Zexio, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page is fetched."""
    monkeypatch.setattr(routes, "PAGE", 2)
    hosts = [f"h{number}.example.com" for number in range(5)]
    for host in hosts:
        await zexio("routes", "set", host, TARGET, "--admin", api.url)
    listed = json.loads((await zexio("routes", "ls", "--json", "--admin", api.url)).out)
    assert [route["host"] for route in listed] == hosts


async def test_a_removal_may_be_told_to_machines(zexio: Zexio, api: Api) -> None:
    """`--json` always prints JSON."""
    await zexio("routes", "set", "a.example.com", TARGET, "--admin", api.url)
    result = await zexio("routes", "rm", "a.example.com", "--json", "--admin", api.url)
    assert json.loads(result.out) == {"removed": "a.example.com", "path_prefix": "/"}


async def test_a_file_says_everything(zexio: Zexio, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `get --json` shows can be edited and put back; a dash is standard input."""
    path = tmp_path / "route.json"
    path.write_text(json.dumps({"targets": [{"url": TARGET}], "rate_limit": {"requests": 5}}))
    put = ("routes", "put", "a.example.com", "--json", "--admin", api.url)
    shown = (await zexio(*put, "--file", str(path))).out
    assert json.loads(shown)["rate_limit"]["requests"] == 5
    monkeypatch.setattr("sys.stdin", io.StringIO(shown))
    assert (await zexio(*put, "--file", "-", "--if-match", "1")).out == shown


@pytest.mark.parametrize("text", [None, "{", "\xff"])
async def test_a_file_that_is_none_is_one_line(zexio: Zexio, tmp_path: Path, text: str | None) -> None:
    """It is absent, or no JSON."""
    path = tmp_path / "route.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    result = await zexio("routes", "put", "a.example.com", "--file", str(path))
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert result.err.startswith(f"zexio: --file: {path}")
