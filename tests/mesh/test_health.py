"""Health checks: results in a row turn a target, and a route's probes come and go with the route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mesh.health import HealthChecker, Probe, Streak, failure_of, probes_of
from mesh.routes import Health, Route, RouteKey, Target

QUICK = Health(path="/up", interval_s=0.01, timeout_s=1.0, healthy_after=2, unhealthy_after=3)


class Patient:
    """A target whose health is set by the test; remembers the heads that it saw."""

    def __init__(self) -> None:
        self.status = b"204 No Content"
        self.heads: list[bytes] = []
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one check."""
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % self.status)
        writer.close()


@asynccontextmanager
async def patient() -> AsyncIterator[Patient]:
    """A target on a free port."""
    value = Patient()
    async with await asyncio.start_server(value.answer, "127.0.0.1", 0) as server:
        value.port = server.sockets[0].getsockname()[1]
        yield value


def route(*addresses: str, health: Health | None = QUICK, host: str = "shop.example.com") -> Route:
    """A route to `addresses` that is checked by `health`."""
    return Route(host=host, targets=tuple(Target(address) for address in addresses), health=health)


@pytest.mark.parametrize(
    ("results", "turns"),
    [
        ("000", [2]),
        ("00100", []),
        ("0001", [2]),
        ("00011", [2, 4]),
        ("000101011", [2, 8]),
        ("111", []),
    ],
)
def test_only_results_in_a_row_turn_a_target(results: str, turns: list[int]) -> None:
    """Three failures take it down, two passes bring it back, and one result in between starts the count anew."""
    streak = Streak(QUICK)
    assert [index for index, passed in enumerate(results) if streak.note(passed=passed == "1")] == turns


def test_probes_carry_the_host_that_visitors_send() -> None:
    """An application that serves by Host must see its own; a wildcard has none, so the target's is sent."""
    address = "http://127.0.0.1:9000"
    assert [probe.host for probe in probes_of(route(address))] == ["shop.example.com"]
    assert [probe.host for probe in probes_of(route(address, host="*.example.com"))] == ["127.0.0.1:9000"]
    assert probes_of(route(address, health=None)) == []


async def test_a_check_passes_on_2xx_and_3xx() -> None:
    """Any other status, no answer, and no connection are failures that say why."""
    async with patient() as target:
        probe = probes_of(route(target.address))[0]
        assert await failure_of(probe) == ""
        assert target.heads[0].startswith(b"GET /up HTTP/1.1\r\nHost: shop.example.com\r\n")
        target.status = b"503 Service Unavailable"
        assert await failure_of(probe) == "status 503"
        target.status = b"nonsense"
        assert "status line" in await failure_of(probe)
    assert await failure_of(probe)


async def test_a_target_that_does_not_answer_in_time_fails() -> None:
    """The time limit covers the whole check."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        impatient = Health(timeout_s=0.02)
        assert await failure_of(probes_of(route(address, health=impatient))[0]) == "no answer within 0.02 s"


async def test_the_checker_tells_when_a_target_turns() -> None:
    """Down with a reason, up with none; in between the target is listed as down for its route."""
    turns: asyncio.Queue[tuple[Probe, str]] = asyncio.Queue()
    async with patient() as target:
        checker = HealthChecker(lambda probe, reason: turns.put_nowait((probe, reason)))
        checker.follow([route(target.address)])
        target.status = b"500 Internal Server Error"
        probe, reason = await turns.get()
        assert (probe.address, reason) == (target.address, "status 500")
        assert checker.down == {RouteKey("shop.example.com"): (target.address,)}
        target.status = b"200 OK"
        assert (await turns.get())[1] == ""
        assert checker.down == {}
        await checker.close()


async def test_a_route_that_goes_takes_its_probes_along() -> None:
    """Neither a removed route nor one without a health check leaves a task or a verdict behind."""
    turns: asyncio.Queue[str] = asyncio.Queue()
    checker = HealthChecker(lambda _probe, reason: turns.put_nowait(reason))
    gone = route("http://127.0.0.1:1")
    checker.follow([gone])
    await turns.get()
    assert checker.down
    checker.follow([route("http://127.0.0.1:1", health=None)])
    assert checker.down == {}
    checker.follow([gone])
    await turns.get()
    checker.replace([])
    assert checker.down == {}
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("check") and not task.cancelling()]
    await checker.close()


async def test_a_probe_that_stays_goes_on_undisturbed() -> None:
    """A change of something else in the route does not forget that a target is down."""
    turns: asyncio.Queue[str] = asyncio.Queue()
    checker = HealthChecker(lambda _probe, reason: turns.put_nowait(reason))
    checker.follow([route("http://127.0.0.1:1")])
    await turns.get()
    checker.follow([route("http://127.0.0.1:1", "http://127.0.0.1:2")])
    assert checker.down == {RouteKey("shop.example.com"): ("http://127.0.0.1:1",)}
    await checker.close()
