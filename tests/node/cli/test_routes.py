"""The commands about routes, against a real API."""

from __future__ import annotations

import json

import pytest

from node.cli import routes
from tests.node.cli.conftest import Api, Zexio, answering

TARGET = "http://127.0.0.1:9000"


async def test_a_route_is_set_listed_shown_and_removed(zexio: Zexio, api: Api) -> None:
    """The whole life of a route, as a person sees it."""
    assert (await zexio("routes", "set", "Shop.Example.com", TARGET, "--admin", api.url)).code == 0
    listed = (await zexio("routes", "ls", "--admin", api.url)).out.splitlines()
    assert [line.split() for line in listed] == [
        ["HOST", "PATH", "ORG", "ACCESS", "TARGETS"],
        ["shop.example.com", "/", "-", "by_suffix", TARGET],
    ]
    shown = (await zexio("routes", "get", "shop.example.com", "--admin", api.url)).out
    assert f"targets         {TARGET}\n" in shown
    assert "access          by_suffix\n" in shown
    removed = await zexio("routes", "rm", "shop.example.com", "--admin", api.url)
    assert (removed.code, removed.out) == (0, "")
    assert (await zexio("routes", "get", "shop.example.com", "--admin", api.url)).code == 1


async def test_every_option_arrives(zexio: Zexio, api: Api) -> None:
    """Each is a field of the route (docs of the native routes)."""
    options = (
        *("--org", "org_a", "--access", "tenant", "--balance", "random_two", "--path-prefix", "/api", "--strip-prefix"),
        *("--forward-token", "--rewrite-host", "--health", "/up", "--retries", "2", "--max-body", "99"),
        *("--https", "redirect", "--json", "--admin", api.url),
    )
    result = await zexio("routes", "set", "a.example.com", f"{TARGET},3", "unix:/run/a.sock", *options)
    route = json.loads(result.out)
    assert route["targets"] == [{"url": TARGET, "weight": 3}, {"url": "unix:/run/a.sock", "weight": 1}]
    assert route["health"]["path"] == "/up"
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
