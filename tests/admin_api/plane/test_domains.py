"""Domains over HTTP: read, put, remove, check, and follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from admin_api.plane.records import Home
from admin_api.plane.system import Sights
from state.observed import CertificateFact
from state.ports import Advice
from tests.admin_api.desk import Desk
from tests.admin_api.served import EventReader, Served, eventually, serve

SHOP = "/domains/shop.example.com"
HOME = Home(
    public_name="edge.zexio.app",
    ownership=True,
    internal_suffixes=("zexio.internal",),
    tls_listen=("127.0.0.1:8443",),
)


@pytest.fixture
def desk() -> Desk:
    """What is behind the API."""
    return Desk()


@pytest.fixture
async def api(tmp_path: Path, desk: Desk) -> AsyncIterator[Served]:
    """An admin API of a node that keeps certificates."""
    async with serve(tmp_path, sights=Sights(desk=desk, home=lambda: HOME)) as served:
        yield served


async def call(api: Served, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:  # noqa: ANN401
    """The status of an answer and what is in it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with api.client.request(method, path, json=body, headers=named) as answer:
        return answer.status, await answer.json() if answer.content_type == "application/json" else await answer.text()


def report(api: Served, **fields: Any) -> None:  # noqa: ANN401
    """What is found out of the certificate."""
    cell = api.store.observed
    cell.set(cell.value.with_certificates([CertificateFact(name="shop.example.com", **fields)]))


async def test_a_new_domain_says_what_becomes_of_it(api: Served) -> None:
    """It has a place, a revision, a token, and the records that it needs."""
    async with api.client.put(SHOP, json={"https": "on"}) as answer:
        view = await answer.json()
        assert (answer.status, answer.headers["Location"], answer.headers["ETag"]) == (201, SHOP, '"1"')
        assert answer.headers["Cache-Control"] == "no-store"
    assert (view["name"], view["serves"], view["certificate"], view["https"]) == (
        "shop.example.com",
        None,
        "auto",
        "on",
    )
    assert (view["status"], view["fact"], view["tls_listen"]) == ("pending", None, ["127.0.0.1:8443"])
    assert len(view["ownership"]) == 24
    assert [(record["type"], record["value"]) for record in view["records"]] == [
        ("TXT", view["ownership"]),
        ("CNAME", "edge.zexio.app"),
    ]


async def test_nothing_need_be_said_of_a_domain(api: Served) -> None:
    """No body at all is a domain with routes of its own."""
    async with api.client.put(SHOP) as answer:
        assert answer.status == 201


async def test_an_answer_may_be_sent_back(api: Served) -> None:
    """What is not the client's to say is ignored, and nothing has changed."""
    _, view = await call(api, "PUT", SHOP, {})
    report(api, status="failing", last_error="refused")
    status, shown = await call(api, "GET", SHOP)
    assert (status, shown["status"], shown["reason"], shown["fact"]["status"]) == (200, "failing", "refused", "failing")
    status, after = await call(api, "PUT", SHOP, shown)
    assert (status, after["revision"], after["ownership"]) == (200, view["revision"], view["ownership"])


async def test_an_internal_name_has_no_token(api: Served) -> None:
    """Nobody could look for it."""
    _, view = await call(api, "PUT", "/domains/a.zexio.internal", {})
    assert (view["ownership"], view["records"]) == ("", [])


async def test_names_are_folded(api: Served) -> None:
    """In the path and in the body."""
    status, view = await call(api, "PUT", "/domains/Shop.Example.COM.", {"name": "SHOP.example.com"})
    assert (status, view["name"]) == (201, "shop.example.com")


@pytest.mark.parametrize(
    ("path", "body", "field", "reason"),
    [
        ("localhost", {}, "name", "has a single label; give a name such as"),
        ("192.0.2.1", {}, "name", "is no domain name; give a name such as"),
        ("shop.example.com", {"name": "other.example.com"}, "name", "is not shop.example.com, which the path names"),
        ("shop.example.com", {"serve": "demo.zexio.app"}, "serve", "is unknown, did you mean serves?"),
        ("shop.example.com", {"certificate": "later"}, "certificate", "should be 'auto' or 'off'"),
        ("shop.example.com", {"https": True}, "https", "should be 'off', 'on' or 'redirect'"),
        ("shop.example.com", {"serves": 1}, "serves", "should be a valid string"),
        ("shop.example.com", {"serves": "a..b"}, "serves", "has an empty label"),
        ("shop.example.com", {"serves": "shop.example.com"}, "serves", "is the domain itself"),
    ],
)
async def test_what_is_wrong_is_named(api: Served, path: str, body: Any, field: str, reason: str) -> None:  # noqa: ANN401
    """The field, and what would be accepted."""
    status, error = await call(api, "PUT", f"/domains/{path}", body)
    assert (status, error["fields"][0]["field"]) == (400, field)
    assert error["fields"][0]["reason"].startswith(reason)


async def test_a_host_that_is_not_there_is_a_conflict(api: Served) -> None:
    """404 would be about the domain; the client is told what to do first."""
    status, error = await call(api, "PUT", SHOP, {"serves": "demo.zexio.app"})
    assert (status, "put a route for demo.zexio.app first" in error["error"]) == (409, True)
    await api.put("demo.zexio.app")
    status, view = await call(api, "PUT", SHOP, {"serves": "Demo.Zexio.App"})
    assert (status, view["serves"]) == (201, "demo.zexio.app")


async def test_conditions_guard_against_lost_updates(api: Served) -> None:
    """By the revision of the domain, whatever becomes of its certificate meanwhile."""
    await call(api, "PUT", SHOP, {})
    report(api, status="issuing")
    assert (await call(api, "PUT", SHOP, {"https": "off"}, If_Match='"1"'))[0] == 200
    assert (await call(api, "PUT", SHOP, {"https": "on"}, If_Match='"1"'))[0] == 412
    assert (await call(api, "DELETE", SHOP, If_Match='"1"'))[0] == 412
    assert await call(api, "DELETE", SHOP, If_Match='"2"') == (204, "")
    assert (await call(api, "DELETE", SHOP))[0] == 404
    assert (await call(api, "GET", SHOP))[1]["error"] == "There is no domain shop.example.com."


async def test_domains_are_listed_in_pages(api: Served) -> None:
    """In order, by a part of the name, and by how they do."""
    for name in ("c.example", "a.example", "shop.example.com", "b.example"):
        await call(api, "PUT", f"/domains/{name}", {"certificate": "off" if name == "b.example" else "auto"})
    report(api, status="active")
    _, first = await call(api, "GET", "/domains?limit=2")
    assert [domain["name"] for domain in first["domains"]] == ["a.example", "b.example"]
    _, second = await call(api, "GET", f"/domains?limit=2&cursor={first['next_cursor']}")
    assert ([domain["name"] for domain in second["domains"]], second["next_cursor"]) == (
        ["c.example", "shop.example.com"],
        None,
    )
    for query, found in (
        ("q=SHOP", "shop.example.com"),
        ("status=off", "b.example"),
        ("status=active", "shop.example.com"),
    ):
        _, page = await call(api, "GET", f"/domains?{query}")
        assert [domain["name"] for domain in page["domains"]] == [found]
    status, error = await call(api, "GET", "/domains?state=off&limit=0&status=well&cursor=a")
    assert (status, {each["field"] for each in error["fields"]}) == (400, {"state", "limit", "status"})


async def test_any_name_can_be_checked(api: Served, desk: Desk) -> None:
    """Before it is a domain, too."""
    desk.advice = (Advice(is_blocking=True, text="There is no record."), Advice(is_blocking=False, text="And so on."))
    status, checked = await call(api, "GET", f"{SHOP}/check")
    assert (status, checked["is_blocked"], [each["text"] for each in checked["advice"]]) == (
        200,
        True,
        ["There is no record.", "And so on."],
    )
    assert desk.asked == [("check", "shop.example.com")]
    assert (await call(api, "GET", "/domains/localhost/check"))[0] == 400


async def test_a_node_without_certificates_says_so(served: Served) -> None:
    """It has domains all the same."""
    status, error = await call(served, "GET", f"{SHOP}/check")
    assert (status, error) == (503, {"error": "This node keeps no certificates."})
    assert (await call(served, "PUT", SHOP, {}))[1]["tls_listen"] is None


async def test_a_domain_is_followed_until_it_is_removed(api: Served) -> None:
    """Each change is told once, and the end is announced."""
    await call(api, "PUT", SHOP, {})
    async with api.client.get(f"{SHOP}/events") as answer:
        events = EventReader(answer)
        assert '"status":"pending"' in (await events.event())["data"]
        report(api, status="issuing", step="ordering")
        assert '"step":"ordering"' in (await events.event())["data"]
        # Something else is observed, and nothing is told.
        api.store.observed.set(api.store.observed.value.with_workers([]))
        await call(api, "PUT", SHOP, {"https": "off"})
        assert '"https":"off"' in (await events.event())["data"]
        await call(api, "DELETE", SHOP)
        end = await events.event()
        assert (end["event"], end["data"]) == ("end", '{"name":"shop.example.com","status":"removed"}')
        assert await events.block() == {}
    await eventually(lambda: len(api.streams) == 0)
    async with api.client.get(f"{SHOP}/events") as answer:
        assert answer.status == 404


async def test_domains_are_protected(signed: Served) -> None:
    """Names of customers are nobody else's business."""
    for path in ("/domains", SHOP, f"{SHOP}/events", f"{SHOP}/check"):
        async with signed.client.get(path) as answer:
            assert answer.status == web.HTTPUnauthorized.status_code
