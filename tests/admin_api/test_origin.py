"""What a web page in the operator's browser can and cannot do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.admin_api.served import SECRET, SETTINGS, TARGETS, Served, serve, signature

GUI = "http://localhost:3000"
SETTINGS_WITH_NAMES = msgspec.structs.replace(
    SETTINGS, admin_hosts=frozenset({"Admin.example"}), trusted_origins=frozenset({GUI})
)
EVERYBODY = "*"


@pytest.fixture
async def named(tmp_path: Path) -> AsyncIterator[Served]:
    """An open node with a name of its own and a GUI that it trusts."""
    async with serve(tmp_path, SETTINGS_WITH_NAMES) as api:
        yield api


FOREIGN = {
    "another site": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    "another site in an old browser": {"Origin": "https://evil.example"},
    "another port of the same host": {"Origin": "http://127.0.0.1:9999", "Sec-Fetch-Site": "same-site"},
    "another port of the same host in an old browser": {"Origin": "http://127.0.0.1:9999"},
    "a sandboxed frame or a file": {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    "a file in an old browser": {"Origin": "null"},
    "a page that sends no origin": {"Sec-Fetch-Site": "cross-site"},
    "a kind of page that is not known yet": {"Sec-Fetch-Site": "new-fangled"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/routes/a.example.com"), ("DELETE", "/routes/a.example.com"), ("POST", "/sync"), ("GET", "/routes")],
)
async def test_foreign_page_is_refused(served: Served, method: str, path: str, headers: dict[str, str]) -> None:
    """On an open node, whatever is not public is not for pages of others, whether it changes or only reads."""
    async with served.client.request(method, path, headers=headers) as answer:
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert served.store.desired.revision == 0


async def test_form_of_a_foreign_page_changes_nothing(served: Served) -> None:
    """The oldest attack of all needs no script."""
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    async with served.client.post("/sync", headers=headers, data=b"{}") as answer:
        assert answer.status == 403


OWN = {
    "a program": {},
    "a page of the node itself": {"Origin": "{self}", "Sec-Fetch-Site": "same-origin"},
    "a page of the node itself in an old browser": {"Origin": "{self}"},
    "the address bar": {"Sec-Fetch-Site": "none"},
    "the trusted GUI": {"Origin": GUI, "Sec-Fetch-Site": "cross-site"},
}


@pytest.mark.parametrize("headers", OWN.values(), ids=OWN.keys())
async def test_operator_is_not_refused(named: Served, headers: dict[str, str]) -> None:
    """The defence is against pages of others only."""
    own = {name: value.format(self=f"http://127.0.0.1:{named.port}") for name, value in headers.items()}
    async with named.client.put("/routes/a.example.com", json={"targets": TARGETS}, headers=own) as answer:
        assert answer.status == 201


REBOUND = ["evil.example", "evil.example:81", "localhost.evil.example", "127.0.0.1.evil.example", "a@localhost", "[::1"]
OURS = [
    "127.0.0.1",
    "127.0.0.1:8081",
    "[::1]:8081",
    "[::1]",
    "localhost",
    "LOCALHOST:8081",
    "localhost.",
    "ADMIN.example:80",
]


@pytest.mark.parametrize("host", REBOUND)
@pytest.mark.parametrize(("method", "path"), [("PUT", "/routes/a.example.com"), ("GET", "/routes"), ("POST", "/sync")])
async def test_rebound_name_is_refused(named: Served, method: str, path: str, host: str) -> None:
    """A page on a name that now points here is same-origin to the browser, and is known by that name."""
    headers = {"Host": host, "Sec-Fetch-Site": "same-origin"}
    async with named.client.request(method, path, headers=headers) as answer:
        assert answer.status == 421
        assert "admin.hosts" in (await answer.json())["error"]


@pytest.mark.parametrize("host", OURS)
async def test_own_names_are_not_refused(named: Served, host: str) -> None:
    """Addresses, localhost and the configured names cannot be rebound by others."""
    async with named.client.get("/routes", headers={"Host": host}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("path", ["/health", "/system/logs", "/metrics"])
async def test_public_reads_are_for_every_page(served: Served, path: str) -> None:
    """contracts/plane.md: any origin; and under any name, because there is nothing to protect."""
    headers = {"Origin": "https://dashboard.example", "Sec-Fetch-Site": "cross-site", "Host": "some.name.example"}
    async with served.client.get(path, headers=headers) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, EVERYBODY)


async def test_signed_node_lets_every_page_try(signed: Served) -> None:
    """A signature cannot be made by a page that has no secret, so it needs no other defence; names are free too."""
    headers = {"Origin": "https://dashboard.example", "Host": "node.example", "X-Signature": signature(secret=SECRET)}
    async with signed.client.get("/routes", headers=headers) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, EVERYBODY)
    async with signed.client.get("/routes", headers={"Origin": "https://dashboard.example"}) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, EVERYBODY)


@pytest.mark.parametrize(
    ("path", "method", "origin", "allowed"),
    [
        ("/stats", "GET", "https://dashboard.example", EVERYBODY),
        ("/nothing", "GET", "https://dashboard.example", EVERYBODY),
        ("/routes", "GET", "https://dashboard.example", ""),
        ("/routes/a.example.com", "PUT", "https://dashboard.example", ""),
        ("/sync", "POST", "https://dashboard.example", ""),
        ("/routes/a.example.com", "PUT", GUI, GUI),
    ],
)
async def test_preflight_on_an_open_node(named: Served, path: str, method: str, origin: str, allowed: str) -> None:
    """A browser learns beforehand what it may send, and sends nothing else."""
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "if-match"}
    async with named.client.options(path, headers=headers) as answer:
        assert answer.status == 204
        assert answer.headers.get("Access-Control-Allow-Origin", "") == allowed
        assert ("Access-Control-Allow-Methods" in answer.headers) is bool(allowed)


async def test_preflight_on_a_signed_node(signed: Served) -> None:
    """Any origin, method and header, as in contracts/plane.md."""
    headers = {"Origin": "https://dashboard.example", "Access-Control-Request-Method": "PUT"}
    async with signed.client.options("/routes/a.example.com", headers=headers) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == EVERYBODY
        assert answer.headers["Access-Control-Allow-Methods"] == EVERYBODY
        assert answer.headers["Access-Control-Allow-Headers"] == "*, Authorization"


async def test_trusted_page_may_read_the_answer(named: Served) -> None:
    """Its answers are for it alone, and a cache must know that."""
    async with named.client.get("/routes", headers={"Origin": GUI}) as answer:
        assert (answer.headers["Access-Control-Allow-Origin"], answer.headers["Vary"]) == (GUI, "Origin")
