"""The native routes over HTTP: every answer, every refusal, and the races."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession

from admin_api.passwords import is_hash_of
from admin_api.plane import schema
from tests.admin_api.served import TARGETS, Served
from tests.state.samples import certificate

URL = "/routes/shop.example.com"
PLAIN = {"targets": TARGETS}
WHOLE: dict[str, Any] = {
    "targets": [
        {"url": "https://[::1]:9443", "weight": 3, "draining": False},
        {"url": "unix:/run/app.sock", "weight": 1, "draining": False},
    ],
    "org_id": "org_a",
    "access": "tenant",
    "tenants": ["org_b"],
    "balance": "consistent_hash",
    "path_prefix": "/api",
    "rewrite_prefix": "/v2",
    "hash": {"source": "header", "name": "X-User"},
    "sticky": {"cookie": "at", "max_age_s": 60},
    "slow_start_s": 30,
    "health": {
        "path": "/up",
        "host": "shop.example.com",
        "interval_s": 1,
        "timeout_s": 0.5,
        "healthy_after": 1,
        "unhealthy_after": 4,
        "statuses": ["200-204", "301"],
        "body": "ok",
    },
    "ejection": {"after": 3, "base_s": 1, "max_s": 2, "max_share": 0.25, "statuses": [502, 503]},
    "circuit": {"max_in_flight": 10, "max_pending": 5, "pending_s": 1},
    "retries": 0,
    "retry_budget": {"share": 0.1, "min_per_s": 1},
    "finish_abandoned": True,
    "timeouts": {"connect_s": 1, "response_s": 2.5, "idle_s": 3, "body_idle_s": 4, "total_s": 5},
    "limits": {"max_head_bytes": 4096, "max_headers": 20, "max_requests_per_connection": 100},
    "max_body_bytes": 1_000_000,
    "rate_limit": {"requests": 10, "per_s": 60, "burst": 5, "by": "header", "header": "X-Key"},
    "allow": ["10.0.0.0/8"],
    "deny": ["10.1.0.0/16", "fd00::/8"],
    "forward_token": True,
    "preserve_host": False,
    "headers": {
        "request": {"X-From": "edge"},
        "response": {"Cache-Control": "no-store"},
        "add_request": {"X-Via": ["a", "b"]},
        "add_response": {"Link": ["</a>"]},
        "remove_request": ["Cookie"],
        "remove_response": ["Server"],
    },
    "forward_auth": {"url": "http://127.0.0.1:9001/auth", "copy_headers": ["X-User"], "timeout_s": 1},
    "cors": {
        "origins": ["https://app.example.com"],
        "methods": ["GET"],
        "headers": ["X-A"],
        "expose": ["X-B"],
        "credentials": True,
        "max_age_s": 60,
    },
    "compression": {"encodings": ["br"], "min_bytes": 10, "types": ["text/*"]},
    "error_pages": {"502": "<h1>{status}</h1>", "5xx": "<p>{detail}</p>"},
    "intercept_errors": True,
    "https": "redirect",
    "hsts": {"max_age_s": 31_536_000, "include_subdomains": True, "preload": True},
    "client_ca": certificate(),
    "target_tls": {"ca": certificate(), "server_name": "app.internal", "verify": False, "certificate": "*.example.com"},
    "proxy_protocol": "v2",
}


async def test_new_route_is_created(served: Served) -> None:
    """201, with its place, its ETag, and every default written out."""
    async with served.client.put(URL, json=PLAIN) as answer:
        assert (answer.status, answer.headers["Location"], answer.headers["ETag"]) == (201, URL, '"1"')
        body = await answer.json()
    schema.Route.model_validate(body)
    assert (body["host"], body["path_prefix"], body["revision"]) == ("shop.example.com", "/", 1)
    assert (body["balance"], body["access"], body["timeouts"]["response_s"]) == ("round_robin", None, None)


async def test_known_route_is_replaced(served: Served) -> None:
    """200, with the ETag of the change; a field that is not there is back at its default."""
    await served.put("shop.example.com", retries=3)
    async with served.client.put(URL, json={**PLAIN, "https": "on"}) as answer:
        assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
        assert "Location" not in answer.headers
        body = await answer.json()
    assert (body["retries"], body["https"]) == (1, "on")


async def test_put_of_the_same_changes_nothing(served: Served) -> None:
    """Repeating a request is harmless, and caches stay valid."""
    first = await served.put("shop.example.com")
    assert await served.put("shop.example.com") == first
    assert served.store.desired.revision == 1


async def test_whole_body_is_kept(served: Served) -> None:
    """Every field arrives in the store and comes back as it was sent."""
    others = {"host", "traffic", "revision", "redirect", "strip_prefix", "basic_auth"}
    assert set(WHOLE) | others == set(schema.RouteBody.model_fields)
    async with served.client.put(URL, json=WHOLE) as answer:
        kept = await answer.json()
        assert (answer.status, answer.headers.get("Location")) == (201, f"{URL}?path_prefix=/api"), kept
    assert {name: kept[name] for name in WHOLE} == WHOLE
    async with served.client.get(answer.headers["Location"]) as again:
        assert await again.json() == kept
    async with served.client.put(answer.headers["Location"], json=kept) as answer:
        assert (answer.status, await answer.json()) == (200, kept)


async def test_a_redirect_needs_no_targets(served: Served) -> None:
    """Nothing is asked of any."""
    async with served.client.put(URL, json={"redirect": {"to": "https://www.example.com{path}"}}) as answer:
        body = await answer.json()
    assert (answer.status, body["targets"], body["redirect"]["status"]) == (201, [], 308)


async def test_passwords_are_kept_and_shown_as_hashes(served: Served) -> None:
    """Sending the same one again changes nothing, and what was shown can be sent back."""
    wanted = {**PLAIN, "basic_auth": {"realm": "Staff", "users": {"ada": "secret"}}}
    async with served.client.put(URL, json=wanted) as answer:
        shown = await answer.json()
    assert (shown["revision"], shown["basic_auth"]["realm"]) == (1, "Staff")
    assert is_hash_of(shown["basic_auth"]["users"]["ada"], "secret")
    for again in (wanted, shown):
        async with served.client.put(URL, json=again) as answer:
            assert await answer.json() == shown
    async with served.client.put(URL, json={**PLAIN, "basic_auth": {"users": {"ada": "other"}}}) as answer:
        assert is_hash_of((await answer.json())["basic_auth"]["users"]["ada"], "other")


async def test_traffic_is_not_the_business_of_a_put(served: Served) -> None:
    """Neither what it says nor what it leaves out changes what operators steer."""
    await served.put("shop.example.com")
    await served.client.post(f"{URL}/stop", json={"message": "Back soon."})
    async with served.client.put(URL, json={**PLAIN, "retries": 0, "traffic": {"mode": "serve"}}) as answer:
        assert (await answer.json())["traffic"]["mode"] == "stop"


async def test_answer_may_be_sent_back_as_it_came(served: Served) -> None:
    """Read, edit, write is how people work."""
    tag = await served.put("shop.example.com")
    async with served.client.get(URL) as answer:
        body = await answer.json()
    async with served.client.put(URL, json={**body, "retries": 2}, headers={"If-Match": tag}) as answer:
        assert (answer.status, (await answer.json())["retries"]) == (200, 2)


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/routes/Shop.Example.COM", "shop.example.com"),
        ("/routes/*.example.com", "*.example.com"),
        ("/routes/%2A.example.com", "*.example.com"),
        ("/routes/b%C3%BCcher.example", "xn--bcher-kva.example"),
        ("/routes/[::1]", "[::1]"),
    ],
)
async def test_host_has_one_spelling(served: Served, path: str, host: str) -> None:
    """However it is written in the path, it is the same route, and Location leads to it."""
    async with served.client.put(path, json=PLAIN) as answer:
        assert (answer.status, (await answer.json())["host"]) == (201, host)
    for place in (path, answer.headers["Location"]):
        async with served.client.get(place) as again:
            assert (again.status, (await again.json())["host"]) == (200, host)


async def test_prefixes_of_a_host_are_routes_of_their_own(served: Served) -> None:
    """The query says which one is meant, `/` unless it does."""
    for prefix in ("/", "/api"):
        async with served.client.put(URL, params={"path_prefix": prefix}, json=PLAIN) as answer:
            assert (answer.status, (await answer.json())["path_prefix"]) == (201, prefix)
    async with served.client.delete(URL, params={"path_prefix": "/api"}) as answer:
        assert answer.status == 204
    for prefix, status in (("/", 200), ("/api", 404)):
        async with served.client.get(URL, params={"path_prefix": prefix}) as answer:
            assert answer.status == status


@pytest.mark.parametrize(
    ("query", "body", "fields"),
    [
        ("?path_prefix=/a", {"path_prefix": "/b"}, ["path_prefix"]),
        ("", {"host": "other.example.com"}, ["host"]),
        ("", {"host": "a..b"}, ["host"]),
        ("?path_prefix=/a", {"host": "other.example.com", "path_prefix": "/b"}, ["host", "path_prefix"]),
        ("?path_prefix=", {}, ["path_prefix"]),
        ("?path_prefix=a", {}, ["path_prefix"]),
        ("?prefix=/a", {}, ["prefix"]),
        ("", {"path_prefix": "/a/../b"}, ["path_prefix"]),
        ("", {"target": []}, ["target"]),
        (
            "",
            {"targets": [{"url": "nowhere"}], "retries": 9, "acess": "public"},
            ["targets[0].url", "retries", "acess"],
        ),
        (
            "",
            {"headers": {"request": {"Host": "a"}}, "health": {"path": "x"}, "retries": "1"},
            ["health.path", "retries", "headers.request['Host']"],
        ),
        (
            "",
            {"headers": {"remove_request": ["Host"], "add_response": {"TE": "a"}}, "error_pages": {"200": ""}},
            ["headers.add_response['TE']", "headers.remove_request[0]", "error_pages['200']"],
        ),
        ("", {"targets": []}, ["targets"]),
        ("", {"hash": {"source": "cookie"}, "sticky": {"cookie": "a b"}}, ["sticky.cookie"]),
        ("", {"hash": {"source": "cookie"}, "intercept_errors": True}, ["hash.name", "intercept_errors"]),
        ("", {"client_ca": "x", "target_tls": {"ca": "y"}, "allow": ["x"]}, ["allow[0]", "client_ca", "target_tls.ca"]),
        (
            "",
            {"basic_auth": {"users": {"a:b": "x"}}, "redirect": {"to": "x"}},
            ["redirect.to", "basic_auth.users['a:b']"],
        ),
        ("", {"basic_auth": {"users": {"a": "$argon2id$x"}}}, ["basic_auth.users['a']"]),
        ("", {"basic_auth": {"users": {"a": "$2y$05$abcdefghijklmnopqrstuv"}}}, ["basic_auth.users['a']"]),
    ],
)
async def test_wrong_fields_are_refused(served: Served, query: str, body: dict[str, Any], fields: list[str]) -> None:
    """All of them, by name, and nothing changes."""
    async with served.client.put(URL + query, json={**PLAIN, **body}) as answer:
        assert answer.status == 400
        assert [problem["field"] for problem in (await answer.json())["fields"]] == fields
    assert served.store.desired.revision == 0


async def test_body_may_repeat_what_the_path_says(served: Served) -> None:
    """In another spelling too, and what the query says."""
    body = {**PLAIN, "host": "SHOP.example.com", "path_prefix": "/a"}
    async with served.client.put(f"{URL}?path_prefix=/a", json=body) as answer:
        assert answer.status == 201


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "host", ["a..example", "-a.example", "a.example..", "a.example:80", "*.*.example", "a b", "1.2.3"]
)
async def test_what_is_no_host_is_refused(served: Served, method: str, host: str) -> None:
    """In the one way, whatever is asked of it."""
    async with served.client.request(method, f"/routes/{host}", json=PLAIN) as answer:
        assert answer.status == 400
        assert [problem["field"] for problem in (await answer.json())["fields"]] == ["host"]


async def test_root_s_dot_is_no_other_host(served: Served) -> None:
    """Names are pasted from `dig`, which writes it; the mesh drops it from a Host field too."""
    async with served.client.put("/routes/A.example.", json={**PLAIN, "host": "a.Example."}) as answer:
        assert (answer.status, (await answer.json())["host"]) == (201, "a.example")
    async with served.client.delete("/routes/a.example.") as answer:
        assert answer.status == 204


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_unknown_route_is_a_404(served: Served, method: str) -> None:
    """With a condition as well: it does not matter where there is nothing (RFC 9110 section 13.2.1)."""
    for headers in ({}, {"If-Match": '"1"'}):
        async with served.client.request(method, URL, headers=headers) as answer:
            assert answer.status == 404
            assert (await answer.json())["error"] == "shop.example.com has no route with the path prefix /."


async def test_route_is_removed(served: Served) -> None:
    """204 once, 404 after."""
    await served.put("shop.example.com")
    for status in (204, 404):
        async with served.client.delete(URL) as answer:
            assert answer.status == status


async def test_get_is_answered_from_what_the_client_has(served: Served) -> None:
    """304 while nothing has changed, for GET and for HEAD."""
    tag = await served.put("shop.example.com")
    for method in (served.client.get, served.client.head):
        async with method(URL, headers={"If-None-Match": tag}) as answer:
            assert (answer.status, answer.headers["ETag"], await answer.read()) == (304, tag, b"")
    await served.put("shop.example.com", retries=2)
    async with served.client.get(URL, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", {"If-Match": '"1"'}, 200),
        ("PUT", {"If-Match": "*"}, 200),
        ("PUT", {"If-Match": '"9"'}, 412),
        ("PUT", {"If-Match": 'W/"1"'}, 412),
        ("PUT", {"If-Match": "1"}, 400),
        ("PUT", {"If-None-Match": "*"}, 412),
        ("DELETE", {"If-Match": '"1"'}, 204),
        ("DELETE", {"If-Match": "*"}, 204),
        ("DELETE", {"If-Match": '"9"'}, 412),
        ("DELETE", {"If-Match": '"9'}, 400),
    ],
)
async def test_conditions_on_a_known_route(served: Served, method: str, headers: dict[str, str], status: int) -> None:
    """A change is made only on what the caller has seen."""
    assert await served.put("shop.example.com") == '"1"'
    body = {**PLAIN, "retries": 2} if method == "PUT" else None
    async with served.client.request(method, URL, json=body, headers=headers) as answer:
        assert answer.status == status
    assert served.store.desired.revision == (2 if status < 400 else 1)


@pytest.mark.parametrize(
    ("headers", "status"), [({"If-Match": '"1"'}, 412), ({"If-Match": "*"}, 412), ({"If-None-Match": "*"}, 201)]
)
async def test_conditions_on_a_new_route(served: Served, headers: dict[str, str], status: int) -> None:
    """`If-None-Match: *` creates and never replaces."""
    async with served.client.put(URL, json=PLAIN, headers=headers) as answer:
        assert answer.status == status


async def test_of_many_writers_with_one_etag_one_wins(served: Served) -> None:
    """The others learn that they are late."""
    tag = await served.put("shop.example.com")
    statuses = await race(served.client, {"If-Match": tag}, range(2, 6))
    assert sorted(statuses) == [200, 412, 412, 412]


async def test_of_many_creators_one_wins(served: Served) -> None:
    """With `If-None-Match: *` the others are refused."""
    statuses = await race(served.client, {"If-None-Match": "*"}, range(2, 6))
    assert sorted(statuses) == [201, 412, 412, 412]


async def test_of_many_unconditional_writers_one_creates(served: Served) -> None:
    """Nobody is refused, and just one is told that the route is new."""
    statuses = await race(served.client, {}, range(2, 6))
    assert sorted(statuses) == [200, 200, 200, 201]
    assert served.store.desired.revision == 4


async def test_list_is_in_pages(served: Served) -> None:
    """Each with a cursor for the next, until there is none."""
    for name in ("c", "a", "b"):
        await served.put(f"{name}.example.com")
    pages, cursor = [], None
    for _ in range(2):
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        async with served.client.get("/routes", params=params) as answer:
            page = await answer.json()
        pages.append([route["host"] for route in page["routes"]])
        cursor = page["next_cursor"]
    assert (pages, cursor) == ([["a.example.com", "b.example.com"], ["c.example.com"]], None)


async def test_list_can_be_narrowed(served: Served) -> None:
    """By organization and by a part of the host, in any case."""
    await served.put("a.example.com", org_id="org_a")
    await served.put("b.example.com", org_id="org_b")
    answers = {"org_id=org_a": ["a.example.com"], "q=B.EX": ["b.example.com"], "q=z": [], "org_id=org_a&q=b.": []}
    for query, expected in answers.items():
        async with served.client.get(f"/routes?{query}") as answer:
            assert [route["host"] for route in (await answer.json())["routes"]] == expected


async def test_list_has_an_etag_of_its_own(served: Served) -> None:
    """It holds until anything changes."""
    await served.put("a.example.com")
    async with served.client.get("/routes") as answer:
        tag = answer.headers["ETag"]
    async with served.client.get("/routes", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304
    await served.put("b.example.com")
    async with served.client.get("/routes", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=", "cursor=x", "cursor=", "page=2", "q=a&q=b"]
)
async def test_wrong_query_of_the_list_is_refused(served: Served, query: str) -> None:
    """By the name of the parameter."""
    async with served.client.get(f"/routes?{query}") as answer:
        assert answer.status == 400
        assert [problem["field"] for problem in (await answer.json())["fields"]] == [query.partition("=")[0]]


async def test_walk_sees_every_lasting_route_once_while_others_change(served: Served) -> None:
    """Over HTTP as in the index: writers do not disturb a reader."""
    lasting = [f"app-{number:02}.example.com" for number in range(12)]
    for host in lasting:
        await served.put(host)
    seen: list[str] = []
    params = {"limit": "3"}
    for step in range(100):
        async with served.client.get("/routes", params=params) as answer:
            page = await answer.json()
        seen += [route["host"] for route in page["routes"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
        await served.put(f"app-{step:02}x.example.com")
        await served.put(f"aaa-{step:02}.example.com")
        await served.put(lasting[step], retries=2)
    assert [host for host in seen if host in lasting] == lasting
    assert len(seen) == len(set(seen))


async def test_route_of_an_organization_that_is_new_brings_it(served: Served) -> None:
    """Nobody has to make an organization first."""
    await served.put("a.example.com", org_id="org_new")
    assert "org_new" in served.store.desired.value.organizations


async def race(client: ClientSession, headers: dict[str, str], retries: range) -> list[int]:
    """The statuses of as many different writers at once."""

    async def write(number: int) -> int:
        async with client.put(URL, json={**PLAIN, "retries": number}, headers=headers) as answer:
            return answer.status

    return list(await asyncio.gather(*map(write, retries)))
