"""The node on one screen."""

from __future__ import annotations

import json

import pytest

from mesh.channel import WorkerReport
from mesh.code import is_compiled
from node.cli.status import samples
from node.host import measure
from node.version import version
from state.change import Actor, PutRoute
from state.model import Route, Target
from state.observed import CertificateFact, TargetFact
from tests.node.cli.conftest import Api, Zexio, answering


@pytest.fixture
def running(api: Api) -> Api:
    """A node with one worker that answered seven requests."""
    api.store.observed.set(api.store.observed.value.with_host(measure()))
    api.observer.worker_started(0, 100)
    report = WorkerReport(
        index=0,
        pid=100,
        revision=0,
        accepted=3,
        refused=0,
        requests=7,
        dials=1,
        received=0,
        sent=0,
        statuses=(0, 0, 6, 0, 1),
        causes={},
        connections=2,
        in_flight=1,
    )
    api.observer.reported(report)
    return api


async def test_a_person_sees_how_the_node_is(zexio: Zexio, running: Api) -> None:
    """Routes, workers, requests and the machine."""
    result = await zexio("status", "--admin", running.url)
    lines = result.out.splitlines()
    assert result.code == 0
    assert lines[0] == f"zexio {version()}{' compiled' if is_compiled() else ''} at {running.url}"
    assert "routes    0 (revision 0)" in lines
    assert "certs     none" in lines
    assert "workers   1 of 1 serving, 0 restarts" in lines
    assert "requests  7 (2xx 6, 4xx 1)" in lines
    assert "visitors  2 connections, 1 requests in flight" in lines


async def test_a_worker_that_lags_is_told(zexio: Zexio, running: Api) -> None:
    """Visitors whom it serves do not see the newest routes yet."""
    route = Route(host="a.example.com", targets=(Target("http://127.0.0.1:1"),))
    await running.store.submit(PutRoute(route=route), actor=Actor(kind="operator", name="test"))
    result = await zexio("status", "--admin", running.url)
    assert "workers   1 of 1 serving, 0 restarts, 1 behind" in result.out.splitlines()


async def test_a_target_that_is_down_is_told(zexio: Zexio, running: Api) -> None:
    """The operator need not wait for a visitor to complain."""
    facts = [TargetFact(address="http://127.0.0.1:1"), TargetFact(address="http://127.0.0.1:2", healthy=False)]
    running.store.observed.set(running.store.observed.value.with_targets(facts))
    assert "targets   2 known, 1 down" in (await zexio("status", "--admin", running.url)).out.splitlines()


async def test_certificates_are_counted(zexio: Zexio, running: Api) -> None:
    """By how they do."""
    facts = [CertificateFact(name=name, status="active") for name in "ab"] + [CertificateFact(name="c")]
    running.store.observed.set(running.store.observed.value.with_certificates(facts))
    assert "certs     1 pending, 2 active" in (await zexio("status", "--admin", running.url)).out.splitlines()


@pytest.mark.parametrize("text", ["<p>", "{}", "[]", '{"cpu_usage": 1}'])
async def test_an_answer_of_another_program_is_one_line(zexio: Zexio, text: str) -> None:
    """A page, or JSON with other names in it."""
    async with answering(text) as other:
        result = await zexio("status", "--admin", other)
    assert (result.code, result.out) == (1, "")
    assert result.err == f"zexio: {other} does not answer like a zexio node (see --admin)\n"


async def test_a_machine_gets_json(zexio: Zexio, running: Api) -> None:
    """With the figures of `GET /stats` as they are."""
    found = json.loads((await zexio("status", "--json", "--admin", running.url)).out)
    assert found["requests"] == {"2xx": 6, "4xx": 1}
    assert found["workers"] == [{"index": 0, "ready": True, "restarts": 0, "revision": 0}]
    assert found["stats"]["memory_total"] > 0


async def test_a_node_without_a_worker_is_not_well(zexio: Zexio, running: Api) -> None:
    """The exit code says so to scripts."""
    running.observer.worker_died(0, 100, -9)
    result = await zexio("status", "--admin", running.url)
    assert result.code == 1
    assert "workers   0 of 1 serving" in result.out


def test_samples_reads_the_text_format() -> None:
    """Comments are skipped; a metric may have one label or none."""
    assert samples('# HELP a b\na_total{status="2xx"} 1.0\na_total{status="5xx"} 2\nb 3e2\n') == {
        "a_total": {"2xx": 1.0, "5xx": 2.0},
        "b": {"": 300.0},
    }
