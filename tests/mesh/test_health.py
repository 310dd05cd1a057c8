"""Health checks: results in a row turn a target, and a route's probes come and go with the route."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from mesh.health import HealthChecker, Probe, Streak, probes_of
from mesh.policies import Health, Split, Target, TargetTls, Traffic
from mesh.routes import Route, RouteKey
from tests.support.authority import Authority

QUICK = Health(path="/up", interval_s=0.01, timeout_s=1.0, healthy_after=2, unhealthy_after=3)


class Patient:
    """A target whose health is set by the test."""

    def __init__(self) -> None:
        self.status = b"204 No Content"
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one check, unless it is given up before it has asked."""
        with contextlib.suppress(EOFError, OSError):
            await reader.readuntil(b"\r\n\r\n")
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


def test_a_copy_of_a_route_is_not_checked_again() -> None:
    """A thousand domains of one application are no thousand checks."""
    copy = msgspec.structs.replace(route("http://127.0.0.1:9000", host="custom.example.org"), alias_of="a.example.com")
    assert probes_of(copy) == []
    assert copy.checked_as == RouteKey("a.example.com")


def test_a_check_may_have_a_host_of_its_own() -> None:
    """Some targets answer checks under one name only."""
    probe = probes_of(route("http://127.0.0.1:9000", health=Health(host="up.internal")))[0]
    assert probe.host == "up.internal"


def test_every_target_is_probed_once() -> None:
    """Draining ones and those of the second set too: whether they work has to be known before they are used."""
    split = Split(targets=(Target("http://b"), Target("http://c")), share=0.1)
    targets = (Target("http://a", is_draining=True), Target("http://b"))
    probed = Route(host="a", targets=targets, health=QUICK, traffic=Traffic(split=split))
    assert [probe.address for probe in probes_of(probed)] == ["http://a", "http://b", "http://c"]


def test_probes_know_how_their_route_speaks_to_targets() -> None:
    """A target that expects a PROXY header, or another name, is checked with it."""
    tls = TargetTls(server_name="inner.example.com")
    probed = Route(host="a", targets=(Target("https://a"),), health=QUICK, target_tls=tls, proxy_protocol="v2")
    assert [(probe.tls, probe.proxy_protocol) for probe in probes_of(probed)] == [(tls, "v2")]


async def test_routes_check_the_same_address_each_for_itself() -> None:
    """What is good enough for one route may not be for another."""
    turns: asyncio.Queue[Probe] = asyncio.Queue()
    async with patient() as target:
        checker = HealthChecker(lambda probe, _reason: turns.put_nowait(probe))
        strict = msgspec.structs.replace(QUICK, statuses=((200, 200),))
        checker.follow([route(target.address), route(target.address, health=strict, host="strict.example.com")])
        assert (await turns.get()).route.host == "strict.example.com"
        assert checker.down == {RouteKey("strict.example.com"): (target.address,)}
        await checker.close()


async def test_a_target_is_judged_soon_after_it_came() -> None:
    """The first check does not wait for a long interval to pass."""
    checked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        checked.set()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        checker = HealthChecker(lambda _probe, _reason: None)
        checker.follow([route(address, health=Health(interval_s=3600.0))])
        async with asyncio.timeout(3):
            await checked.wait()
        await checker.close()


async def test_tls_targets_are_spoken_to_as_the_route_wants() -> None:
    """Contexts come from whoever knows CA and certificates; one that cannot be had is a reason to be down."""
    authority = Authority()
    asked: list[TargetTls] = []

    async def contexts(probe: Probe) -> ssl.SSLContext:
        asked.append(probe.tls)
        if not probe.tls.server_name:
            raise ssl.SSLError("no certificate covers that")
        return authority.visitor_context()

    value = Patient()
    served = authority.issue("inner.example.com").server_context()
    turns: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    async with await asyncio.start_server(value.answer, "127.0.0.1", 0, ssl=served) as server:
        address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        checker = HealthChecker(lambda probe, reason: turns.put_nowait((probe.route.host, reason)), contexts)
        good = msgspec.structs.replace(route(address, host="a"), target_tls=TargetTls(server_name="inner.example.com"))
        value.status = b"500 Internal Server Error"
        checker.follow([good, route(address, host="b")])
        assert {await turns.get(), await turns.get()} == {("a", "status 500"), ("b", "('no certificate covers that',)")}
        assert set(asked) == {TargetTls(), good.target_tls}
        await checker.close()


async def test_without_contexts_the_roots_of_the_system_are_believed() -> None:
    """A certificate of nobody takes a target down, over HTTP/1 and HTTP/2."""
    turns: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    value = Patient()
    served = Authority().issue("127.0.0.1").server_context()
    async with await asyncio.start_server(value.answer, "127.0.0.1", 0, ssl=served) as server:
        port = server.sockets[0].getsockname()[1]
        checker = HealthChecker(lambda probe, reason: turns.put_nowait((probe.address[:3], reason)))
        checker.follow([route(f"https://127.0.0.1:{port}", f"h2://127.0.0.1:{port}")])
        turned = dict([await turns.get(), await turns.get()])
        assert turned.keys() == {"htt", "h2:"}
        assert all("certificate verify failed" in reason for reason in turned.values())
        await checker.close()


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
