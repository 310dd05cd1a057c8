"""The commands that list, show, check and remove domains, against a real API."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from admin_api.plane.records import Home
from node.cli import domains
from state.observed import CertificateFact
from state.ports import Advice
from tests.node.cli.conftest import Api, Zexio, answering

NAME = "shop.example.com"
NOW = datetime.now(UTC)


@pytest.fixture
def home() -> Home:
    """Where records have to lead."""
    return Home(public_name="edge.zexio.app")


def report(api: Api, name: str = NAME, **fields: Any) -> None:  # noqa: ANN401
    """What is found out of a certificate."""
    cell = api.store.observed
    cell.set(cell.value.with_certificates([CertificateFact(name=name, **fields)]))


def active(days: float = 60.5) -> dict[str, Any]:
    """What is reported of a certificate that is served."""
    end = NOW + timedelta(days=days)
    return {
        "status": "active",
        "issuer": "letsencrypt",
        "names": (NAME,),
        "not_before": end - timedelta(days=90),
        "not_after": end,
        "renew_at": end - timedelta(days=30),
    }


async def added(zexio: Zexio, api: Api, *names: str) -> None:
    """These domains are there."""
    for name in names:
        assert (await zexio("domains", "add", name, "--no-wait", "--admin", api.url)).code == 0


async def test_domains_are_listed_with_how_they_do(zexio: Zexio, api: Api) -> None:
    """In order, and what ends soon can be seen."""
    await added(zexio, api, NAME, "b.example", "c.example")
    report(api, **active())
    report(api, "b.example", **active(3.5))
    report(api, "c.example", status="failing", last_error="no records")
    lines = (await zexio("domains", "ls", "--admin", api.url)).out.splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "SERVES", "STATUS", "ENDS", "NOTE"],
        ["b.example", "-", "active", "SOON,", "in", "3", "d", "-"],
        ["c.example", "-", "failing", "-", "no", "records"],
        ["shop.example.com", "-", "active", "in", "60", "d", "-"],
    ]
    listed = json.loads((await zexio("domains", "ls", "--status", "failing", "--json", "--admin", api.url)).out)
    assert [domain["name"] for domain in listed] == ["c.example"]


async def test_all_pages_are_listed(zexio: Zexio, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr(domains, "_PAGE", 1)
    await added(zexio, api, "a.example", "b.example", "c.example")
    assert len((await zexio("domains", "ls", "--admin", api.url)).out.splitlines()) == 4


async def test_a_domain_is_shown_with_what_it_needs(zexio: Zexio, api: Api) -> None:
    """Everything that has something to say."""
    await added(zexio, api, NAME)
    report(api, status="failing", last_error="refused", attempts=2, advice=("add a record",), failed_at=NOW)
    lines = (await zexio("domains", "show", NAME, "--admin", api.url)).out.splitlines()
    assert "status       failing" in lines
    assert "error        refused (2 failures in a row)" in lines
    assert "note         add a record" in lines
    assert f"record       {NAME} CNAME edge.zexio.app (brings visitors here)" in lines
    report(api, **active())
    out = (await zexio("domains", "show", NAME, "--admin", api.url)).out
    assert "issuer       letsencrypt\n" in out
    assert json.loads((await zexio("domains", "show", NAME, "--json", "--admin", api.url)).out)["name"] == NAME


async def test_records_are_checked(zexio: Zexio, api: Api) -> None:
    """What stands in the way is the exit code."""
    command = ("domains", "check", NAME, "--admin", api.url)
    result = await zexio(*command)
    assert (result.code, result.out) == (0, "nothing stands in the way\n")
    api.desk.advice = (Advice(is_blocking=False, text="Fine."), Advice(is_blocking=True, text="Add a record."))
    result = await zexio(*command)
    assert (result.code, result.out) == (1, "note: Fine.\nto do: Add a record.\n")
    assert json.loads((await zexio(*command, "--json")).out)["is_blocked"] is True


async def test_a_domain_is_removed(zexio: Zexio, api: Api) -> None:
    """Once."""
    await added(zexio, api, "*.example.com")
    result = await zexio("domains", "rm", "*.example.com", "--json", "--admin", api.url)
    assert json.loads(result.out) == {"removed": "*.example.com"}
    result = await zexio("domains", "rm", "*.example.com", "--admin", api.url)
    assert (result.code, "There is no domain *.example.com." in result.err) == (1, True)


async def test_another_program_is_no_node(zexio: Zexio) -> None:
    """Whatever it answers, there is one line and no traceback."""
    async with answering("{}") as url:
        for action in (("ls",), ("show", NAME), ("check", NAME), ("add", NAME)):
            result = await zexio("domains", *action, "--admin", url)
            assert (result.code, len(result.err.splitlines())) == (1, 1)
