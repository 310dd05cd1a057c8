"""The commands that steer a route, against a real API."""

from __future__ import annotations

import asyncio
import json

import pytest

from state.observed import Latency, RouteFact, RouteTargetFact, TargetFact, WorkerFact
from tests.node.cli.conftest import Api, Zexio, answering

HOST = "shop.example.com"
ONE, TWO, THREE = "http://127.0.0.1:9000", "http://127.0.0.1:9001", "http://127.0.0.1:9002"


async def ready(zexio: Zexio, api: Api) -> None:
    """A route with two targets is there."""
    assert (await zexio("routes", "set", HOST, ONE, TWO, "--admin", api.url)).code == 0


def report(api: Api, revision: int, in_flight: int) -> None:
    """What a worker says that serves a revision and has requests in flight at the first target."""
    cell = api.store.observed
    worker = WorkerFact(index=0, pid=1, ready=True, revision=revision)
    cell.set(cell.value.with_workers([worker]).with_targets([TargetFact(address=ONE, in_flight=in_flight)]))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("pause",), f"{HOST} is paused, each request held for up to 30 s"),
        (("pause", "--hold", "2m"), f"{HOST} is paused, each request held for up to 120 s"),
        (("stop", "--message", "Soon.", "--retry-after", "1m"), f"{HOST} is stopped, answered with 503"),
        (("resume",), f"{HOST} is served"),
        (("split", TWO, "--share", "0.1"), f"{HOST} is served; split 10% to {TWO}"),
        (("split", f"{TWO},3", "--header", "X-Beta"), f"{HOST} is served; split header X-Beta to {TWO}"),
        (
            ("split", TWO, "--cookie", "beta", "--value", "a", "--value", "b"),
            f"{HOST} is served; split cookie beta = a or b to {TWO}",
        ),
        (("unsplit",), f"{HOST} is served"),
        (("undrain", ONE), f"{HOST} is served"),
    ],
)
async def test_what_a_route_does_from_now_on_is_said(
    zexio: Zexio, api: Api, command: tuple[str, ...], said: str
) -> None:
    """In a line, or as the whole route."""
    await ready(zexio, api)
    action, *arguments = command
    line = ("routes", action, HOST, *arguments, "--admin", api.url)
    assert (await zexio(*line)).out == f"{said}\n"
    assert json.loads((await zexio(*line, "--json")).out)["host"] == HOST


async def test_everything_of_a_stop_arrives(zexio: Zexio, api: Api) -> None:
    """The message and the time."""
    await ready(zexio, api)
    command = ("routes", "stop", HOST, "--message", "Soon.", "--retry-after", "1m", "--json", "--admin", api.url)
    traffic = json.loads((await zexio(*command)).out)["traffic"]
    assert (traffic["message"], traffic["retry_after_s"]) == ("Soon.", 60)


async def test_a_target_is_drained(zexio: Zexio, api: Api) -> None:
    """Without waiting, what is so now is said, and the command has done what it was asked."""
    await ready(zexio, api)
    report(api, 1, 3)
    result = await zexio("routes", "drain", HOST, ONE, "--admin", api.url)
    assert (result.code, result.out) == (0, f"{ONE} is draining, 3 requests in flight\n")
    shown = await zexio("routes", "ls", "--admin", api.url)
    assert f"{ONE} (draining) {TWO}" in shown.out
    report(api, 2, 0)
    result = await zexio("routes", "drain", HOST, ONE, "--json", "--admin", api.url)
    assert json.loads(result.out) == {"target": ONE, "draining": True, "in_flight": 0, "empty": True}


async def test_a_drain_may_be_waited_for(zexio: Zexio, api: Api) -> None:
    """Until the target is empty."""
    await ready(zexio, api)
    report(api, 1, 1)

    async def finish() -> None:
        async for desired in api.store.desired.changes():
            if desired.revision == 2:
                report(api, 2, 0)
                return

    command = ("routes", "drain", HOST, ONE, "--wait", "1m", "--admin", api.url)
    result, _none = await asyncio.gather(zexio(*command), finish())
    assert (result.code, result.out) == (0, f"{ONE} is empty\n")


async def test_a_drain_that_takes_too_long_fails(zexio: Zexio, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script then does not stop the target."""
    monkeypatch.setattr("node.cli.route_grammar.duration", float)
    await ready(zexio, api)
    report(api, 1, 1)
    assert (await zexio("routes", "drain", HOST, ONE, "--wait", "0.01", "--admin", api.url)).code == 1


async def test_figures_are_shown(zexio: Zexio, api: Api) -> None:
    """Also when there are none."""
    await ready(zexio, api)
    command = ("routes", "stats", HOST, "--admin", api.url)
    assert "latency     -" in (await zexio(*command)).out
    targets = (
        RouteTargetFact(address=ONE, requests=7, in_flight=1, healthy=False),
        RouteTargetFact(address=TWO, draining=True),
        RouteTargetFact(address=THREE, healthy=False, ejected=True),
    )
    fact = RouteFact(
        requests=8, statuses={"2xx": 7, "5xx": 1}, bytes_sent=2048, latency_s=Latency(p50=0.0123), targets=targets
    )
    cell = api.store.observed
    cell.set(cell.value.with_routes({f"{HOST}/": fact}))
    lines = (await zexio(*command)).out.splitlines()
    assert lines[0] == "requests    8 (2xx 7, 5xx 1)"
    assert "latency     p50 12.3 ms" in lines
    assert [line.split() for line in lines[-3:]] == [
        [ONE, "7", "1", "0", "down"],
        [TWO, "0", "0", "0", "draining"],
        [THREE, "0", "0", "0", "ejected"],
    ]
    assert "its figures for all routes that use the address, its state for this one" in lines[-5]
    assert json.loads((await zexio(*command, "--json")).out)["requests"] == 8


@pytest.mark.parametrize("text", ["<p>", "{}", "[]", '{"target": 1}'])
async def test_an_answer_of_another_program_is_one_line(zexio: Zexio, text: str) -> None:
    """A page, or JSON with something else in it."""
    async with answering(text) as other:
        for command in (("stats", HOST), ("drain", HOST, ONE), ("resume", HOST)):
            result = await zexio("routes", *command, "--admin", other)
            assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
            assert "does not answer like a zexio node" in result.err
