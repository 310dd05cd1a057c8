"""Custom domains of projects, as contracts/plane.md rows 12 and 13 have them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.admin_api.served import Served

PATH = "/projects/demo/domains"
BODY = {"domain": "Shop.Example.com"}


async def call(api: Served, method: str, body: Any = None, path: str = PATH) -> tuple[int, str]:  # noqa: ANN401
    """The status of an answer and its text."""
    async with api.client.request(method, path, json=body) as answer:
        return answer.status, await answer.text()


async def test_a_domain_is_added_and_removed_any_number_of_times(served: Served) -> None:
    """With the same answer, and no change the second time."""
    await served.put("demo.zexio.app")
    assert [await call(served, "POST", BODY) for _ in range(2)] == [(200, "Domain added")] * 2
    domain = served.store.desired.value.domains["shop.example.com"]
    assert (domain.serves, domain.revision, served.store.desired.revision) == ("demo.zexio.app", 2, 2)
    assert [await call(served, "DELETE", BODY) for _ in range(2)] == [(200, "Domain removed")] * 2
    assert "shop.example.com" not in served.store.desired.value.domains


async def test_what_an_operator_said_of_a_domain_stays(served: Served) -> None:
    """One that served nothing yet serves the project."""
    await served.put("demo.zexio.app")
    async with served.client.put("/domains/shop.example.com", json={"https": "on"}):
        pass
    await call(served, "POST", BODY)
    domain = served.store.desired.value.domains["shop.example.com"]
    assert (domain.serves, domain.https) == ("demo.zexio.app", "on")


async def test_the_domain_of_another_project_stays_with_it(served: Served) -> None:
    """It cannot be taken, and it is not removed from where it is not."""
    await served.put("demo.zexio.app")
    await served.put("other.zexio.app")
    await call(served, "POST", BODY, "/projects/other/domains")
    status, text = await call(served, "POST", BODY)
    assert (status, "answers as other.zexio.app does" in text) == (409, True)
    assert await call(served, "DELETE", BODY) == (200, "Domain removed")
    assert served.store.desired.value.domains["shop.example.com"].serves == "other.zexio.app"


@pytest.mark.parametrize("project", ["nobody", "De_mo", "a.b", "*"])
async def test_an_unknown_project_is_missing(served: Served, project: str) -> None:
    """In the one form of errors."""
    await served.put("a.b.zexio.app")
    await served.put("*.zexio.app")
    for method in ("POST", "DELETE"):
        status, text = await call(served, method, BODY, f"/projects/{project}/domains")
        assert (status, text) == (404, f"""{{"error":"There is no project '{project}'."}}""")


async def test_domains_outlive_the_routes_of_a_project(served: Served) -> None:
    """Or nobody could remove them here."""
    await served.put("demo.zexio.app")
    await call(served, "POST", BODY)
    async with served.client.delete("/routes/demo.zexio.app") as answer:
        assert answer.status == 204
    assert await call(served, "DELETE", BODY) == (200, "Domain removed")
    assert (await call(served, "DELETE", BODY))[0] == 404


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "domain is required"),
        ({"domain": "localhost"}, "domain has a single label; give a name such as"),
        ({"domain": ""}, "domain should have at least 1 character"),
        ({"domain": "a.example", "project": "demo"}, "project is unknown"),
    ],
)
async def test_what_is_wrong_is_named(served: Served, body: Any, word: str) -> None:  # noqa: ANN401
    """With 400."""
    await served.put("demo.zexio.app")
    for method in ("POST", "DELETE"):
        status, text = await call(served, method, body)
        assert (status, word in text) == (400, True)


async def test_projects_are_protected(signed: Served) -> None:
    """With an empty 401."""
    assert await call(signed, "POST", BODY) == (401, "")


async def test_those_who_come_at_once_get_the_same_answer(served: Served) -> None:
    """Whoever was second looks again."""
    await served.put("demo.zexio.app")
    for method, text in (("POST", "Domain added"), ("DELETE", "Domain removed")):
        answers = await asyncio.gather(*(call(served, method, BODY) for _ in range(5)))
        assert answers == [(200, text)] * 5


@pytest.mark.parametrize("name", ["other.zexio.app", "*.zexio.app", "a.b.zexio.app"])
async def test_the_names_of_the_node_are_no_projects_own(served: Served, name: str) -> None:
    """They would shut other projects out."""
    await served.put("demo.zexio.app")
    status, text = await call(served, "POST", {"domain": name})
    assert (status, "is a name of this node" in text) == (409, True)
