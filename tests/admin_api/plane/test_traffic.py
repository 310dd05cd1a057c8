"""Steering a running route over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from state.model import RouteKey
from state.observed import Latency, RouteFact, TargetFact, WorkerFact
from tests.admin_api.served import Served

URL = "/routes/shop.example.com"
FIRST, SECOND = "http://127.0.0.1:9000", "http://127.0.0.1:9001"
TWO = [{"url": FIRST}, {"url": SECOND}]


async def ask(served: Served, line: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of an answer to `METHOD rest-of-the-path`."""
    method, rest = line.split()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with served.client.request(method, URL + rest, json=body, headers=fields) as answer:
        return answer.status, await answer.json()


def report(served: Served, revision: int, in_flight: int) -> None:
    """What a worker says that serves a revision and has requests in flight at the first target."""
    cell = served.store.observed
    worker = WorkerFact(index=0, pid=1, ready=True, revision=revision)
    fact = TargetFact(address=FIRST, in_flight=in_flight)
    cell.set(cell.value.with_workers([worker]).with_targets([fact]))


async def test_a_route_is_held_stopped_and_resumed(served: Served) -> None:
    """Each with its own words; the answer is the route."""
    await served.put("shop.example.com")
    for line, body, expected in (
        ("POST /pause", {"hold_s": 5}, ("pause", 5.0, "", 0)),
        ("POST /pause", None, ("pause", 30.0, "", 0)),
        ("POST /stop", {"message": "Back soon.", "retry_after_s": 60}, ("stop", 30.0, "Back soon.", 60)),
        ("POST /resume", None, ("serve", 30.0, "", 0)),
    ):
        status, route = await ask(served, line, body)
        traffic = route["traffic"]
        assert status == 200
        assert (traffic["mode"], traffic["hold_s"], traffic["message"], traffic["retry_after_s"]) == expected


async def test_a_prefix_names_the_route(served: Served) -> None:
    """As everywhere."""
    await served.put("shop.example.com")
    await served.put("shop.example.com", path_prefix="/api")
    status, route = await ask(served, "POST /stop?path_prefix=/api")
    assert (status, route["path_prefix"]) == (200, "/api")
    assert served.store.desired.value.routes[RouteKey("shop.example.com")].traffic.mode == "serve"


async def test_a_condition_guards_here_too(served: Served) -> None:
    """It is the route's ETag that counts."""
    tag = await served.put("shop.example.com")
    assert (await ask(served, "POST /stop", If_Match='"9"'))[0] == 412
    assert (await ask(served, "POST /stop", If_Match=tag))[0] == 200


@pytest.mark.parametrize(
    ("line", "body", "status", "field"),
    [
        ("POST /pause", {"hold_s": 0}, 400, "hold_s"),
        ("POST /pause", {"hold": 1}, 400, "hold"),
        ("POST /stop", {"message": "x" * 4097}, 400, "message"),
        ("POST /drain", {}, 400, "target"),
        ("POST /drain", {"target": "nonsense"}, 400, "target"),
        ("POST /drain", {"target": FIRST, "wait_s": 301}, 400, "wait_s"),
        ("POST /drain", {"target": "http://127.0.0.1:1"}, 404, None),
        ("GET /drain", None, 400, "target"),
        (f"GET /drain?target={FIRST}&wait_s=x", None, 400, "wait_s"),
        ("PUT /split", {"targets": []}, 400, "targets"),
        ("PUT /split", {"targets": [{"url": "x"}], "share": 2}, 400, "targets[0].url"),
        ("PUT /split", {"targets": TWO, "by": "cookie"}, 400, "name"),
        ("PUT /split", {"targets": TWO, "by": "share", "name": "x"}, 400, "name"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    served: Served, line: str, body: object, status: int, field: str | None
) -> None:
    """By name, and nothing changes."""
    await served.put("shop.example.com", targets=TWO)
    found, answer = await ask(served, line, body)
    assert found == status
    assert field is None or answer["fields"][0]["field"] == field
    assert served.store.desired.revision == 1


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("POST /pause", {}),
        ("POST /stop", {}),
        ("POST /resume", {}),
        ("POST /drain", {"target": FIRST}),
        (f"GET /drain?target={FIRST}", None),
        ("POST /undrain", {"target": FIRST}),
        ("PUT /split", {"targets": TWO}),
        ("DELETE /split", None),
        ("GET /stats", None),
    ],
)
async def test_a_route_that_is_not_there_is_a_404(served: Served, line: str, body: object) -> None:
    """Whatever is asked."""
    assert (await ask(served, line, body))[0] == 404


async def test_a_target_is_empty_when_every_worker_says_so(served: Served) -> None:
    """Not before each serves the revision of the drain: until then it may be given another request."""
    await served.put("shop.example.com", targets=TWO)
    report(served, revision=1, in_flight=0)
    status, answer = await ask(served, "POST /drain", {"target": "http://127.0.0.1:09000"})
    assert (status, answer["route"]["targets"][0]["draining"]) == (202, True)
    assert answer["target"] == {"target": FIRST, "draining": True, "in_flight": 0, "empty": False}
    for revision, in_flight, empty in ((2, 1, False), (1, 0, False), (2, 0, True)):
        report(served, revision, in_flight)
        _status, state = await ask(served, f"GET /drain?target={FIRST}")
        assert (state["in_flight"], state["empty"]) == (in_flight, empty)


async def test_an_answer_may_wait_until_a_target_is_empty(served: Served) -> None:
    """For as long as the caller says."""
    await served.put("shop.example.com", targets=TWO)
    report(served, revision=1, in_flight=1)
    await ask(served, "POST /drain", {"target": FIRST})
    _status, state = await ask(served, f"GET /drain?target={FIRST}&wait_s=0.01")
    assert not state["empty"]
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(ask(served, f"GET /drain?target={FIRST}&wait_s=60"), name="wait")
        await asyncio.sleep(0.02)
        assert not waiting.done()
        report(served, revision=2, in_flight=0)
    assert waiting.result()[1]["empty"]


async def test_a_target_that_is_taken_back_is_not_waited_for(served: Served) -> None:
    """It will not be empty."""
    await served.put("shop.example.com", targets=TWO)
    status, route = await ask(served, "POST /undrain", {"target": FIRST})
    assert (status, route["revision"]) == (200, 1)
    _status, state = await ask(served, f"GET /drain?target={FIRST}&wait_s=60")
    assert (state["draining"], state["empty"]) == (False, False)


async def test_a_target_goes_on_draining_after_a_put(served: Served) -> None:
    """Until it is taken back, or is no target any more."""
    await served.put("shop.example.com", targets=TWO)
    await ask(served, "POST /drain", {"target": FIRST})
    for targets, expected in ((TWO, [True, False]), (TWO[1:], [False]), (TWO, [False, False])):
        await served.put("shop.example.com", targets=targets)
        route = served.store.desired.value.routes[RouteKey("shop.example.com")]
        assert [target.draining for target in route.targets] == expected


async def test_requests_are_split_until_they_are_not(served: Served) -> None:
    """By a share, a header or a cookie; its targets can be drained too."""
    await served.put("shop.example.com")
    body = {"targets": [{"url": SECOND}], "by": "cookie", "name": "beta", "values": ["yes"]}
    status, route = await ask(served, "PUT /split", body)
    assert (status, route["traffic"]["split"]["values"], route["traffic"]["split"]["share"]) == (200, ["yes"], 0.0)
    await ask(served, "POST /drain", {"target": SECOND})
    await ask(served, "POST /pause")
    _status, route = await ask(served, "PUT /split", {"targets": [{"url": SECOND}], "share": 0.1})
    assert (route["traffic"]["mode"], route["traffic"]["split"]["targets"][0]["draining"]) == ("pause", True)
    _status, route = await ask(served, "DELETE /split")
    assert (route["traffic"]["split"], route["traffic"]["mode"]) == (None, "pause")


async def test_figures_are_what_was_reported(served: Served) -> None:
    """Zeros before there was anything."""
    await served.put("shop.example.com")
    assert (await ask(served, "GET /stats"))[1]["requests"] == 0
    fact = RouteFact(requests=3, statuses={"2xx": 3}, latency_s=Latency(p50=0.01))
    cell = served.store.observed
    cell.set(cell.value.with_routes({"shop.example.com/": fact}))
    status, found = await ask(served, "GET /stats")
    assert (status, found["requests"], found["statuses"], found["latency_s"]["p50"]) == (200, 3, {"2xx": 3}, 0.01)


async def test_a_domain_has_figures_of_its_own(served: Served) -> None:
    """Though its routes are those of the host that it serves."""
    await served.put("demo.zexio.app")
    async with served.client.put("/domains/shop.example.com", json={"serves": "demo.zexio.app"}):
        pass
    cell = served.store.observed
    cell.set(cell.value.with_routes({"shop.example.com/": RouteFact(requests=3), "demo.zexio.app/": RouteFact()}))
    status, found = await ask(served, "GET /stats")
    assert (status, found["requests"]) == (200, 3)
