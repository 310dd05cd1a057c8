"""The workers together: all serve the same, one that dies is replaced and misses nothing, and all end in time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Sequence

import pytest

from mesh import fleet as fleet_module
from mesh.channel import (
    Applied,
    CertificateWanted,
    Complaint,
    FinishedSpans,
    Records,
    RouteReports,
    ToControl,
    UnknownKid,
    WorkerReport,
)
from mesh.fleet import Fleet, FleetObserver
from mesh.health import Probe
from mesh.ledger import RouteReport
from mesh.listener import ListenSpec
from mesh.policies import Health, RateLimit, Target, TargetTls
from mesh.ports import AccessRecord
from mesh.routes import Certificate, Challenges, Delta, MeshSettings, Route, RouteKey, Snapshot
from tests.support.authority import Authority
from tests.support.client import Visitor, ask
from tests.support.mesh_node import HOST, route_to
from tests.support.origin import Origin
from tests.support.records import record
from tests.support.secure_visitor import Cut, SecureVisitor
from tests.support.stage import Stage, answering, head_of, request, until, until_refused

AUTHORITY = Authority()
GET = request(b"GET / HTTP/1.1")
LOOPBACK = ListenSpec("127.0.0.1", 0)
SERVED = RouteReport(route=RouteKey("a"), statuses=(0, 0, 1, 0, 0, 0, 0, 0, 0, 0))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Seen(FleetObserver):
    """Remembers what the fleet told."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.started: list[tuple[int, int]] = []
        self.died: list[tuple[int, int, int]] = []
        self.reports: list[WorkerReport] = []
        self.turned: list[tuple[str, str]] = []
        self.said: list[tuple[int, str]] = []
        self.served: list[RouteReport] = []
        self.records: list[AccessRecord] = []
        self.spans: list[AccessRecord] = []
        self.wanted: list[tuple[str, str]] = []

    def certificate_wanted(self, name: str, address: str) -> None:
        """Remember."""
        self.wanted.append((name, address))

    def routes_reported(self, reports: Sequence[RouteReport]) -> None:
        """Remember."""
        self.served += reports

    def watched(self, records: Sequence[AccessRecord], dropped: int) -> None:
        """Remember."""
        self.records += records

    def spans_finished(self, records: Sequence[AccessRecord]) -> None:
        """Remember."""
        self.spans += records

    def worker_started(self, index: int, pid: int) -> None:
        """Remember."""
        self.started.append((index, pid))

    def worker_died(self, index: int, pid: int, status: int) -> None:
        """Remember."""
        self.died.append((index, pid, status))

    def reported(self, report: WorkerReport) -> None:
        """Remember."""
        self.reports.append(report)

    def unknown_kid(self, kid: str) -> None:
        """Remember."""
        self.said.append((-1, kid))

    def complained(self, index: int, message: str) -> None:
        """Remember."""
        self.said.append((index, message))

    def target_turned(self, probe: Probe, reason: str) -> None:
        """Remember."""
        self.turned.append((probe.address, reason))


@contextlib.asynccontextmanager
async def _fleet(*routes: Route, workers: int = 2, seen: Seen | None = None) -> AsyncIterator[Fleet]:
    """Workers that serve these routes, drained in the end."""
    fleet = Fleet([LOOPBACK], workers, seen)
    await fleet.start(Snapshot(revision=1, routes=routes))
    try:
        yield fleet
    finally:
        await fleet.drain(0.2)


def _host(name: str, port: int) -> Route:
    return Route(host=name, targets=route_to(port).targets)


def _get(host: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


async def _statuses(port: int, raw: bytes, count: int = 24) -> set[int]:
    """What so many visitors, each on a connection of its own, are answered."""
    return {(await ask(port, raw)).status for _ in range(count)}


async def _until_answered(port: int, status: int) -> None:
    async with asyncio.timeout(5):
        while await _statuses(port, GET) != {status}:
            continue


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_all_workers_serve_and_all_end() -> None:
    """Visitors meet every one of them; after the drain no process is left."""
    seen = Seen()
    async with Origin() as origin, _fleet(route_to(origin.port), seen=seen) as fleet:
        assert await _statuses(fleet.port, GET) == {200}
        prefixes = {request.values(b"x-request-id")[0][:16] for request in origin.requests}
        assert len(prefixes) == 2
        pids = fleet.pids
        assert sorted(seen.started) == sorted(enumerate(pids))
    assert not any(map(_is_alive, pids))
    assert fleet.pids == ()
    assert sum(report.requests for report in seen.reports[-2:]) == 24
    assert seen.died == []


async def test_what_is_published_is_live_everywhere() -> None:
    """When `publish` returns, no worker serves what was before."""
    async with Origin() as origin, _fleet(route_to(origin.port)) as fleet:
        await fleet.publish(Delta(revision=2, put=(_host("b", origin.port),), removed=(RouteKey(HOST),)))
        assert await _statuses(fleet.port, _get("b")) == {200}
        assert await _statuses(fleet.port, GET) == {404}
        await fleet.publish(Snapshot(revision=3, routes=(route_to(origin.port),)))
        assert await _statuses(fleet.port, _get("b")) == {404}
        assert await _statuses(fleet.port, GET) == {200}
        assert fleet.snapshot() == Snapshot(revision=3, routes=(route_to(origin.port),))


async def test_a_worker_that_dies_harms_nobody_else_and_misses_nothing() -> None:
    """It is replaced by one that has all routes, those published meanwhile too."""
    seen = Seen()
    async with Origin() as origin, _fleet(route_to(origin.port), seen=seen) as fleet:
        visitors = [await Visitor.connect(fleet.port) for _ in range(16)]
        for visitor in visitors:
            await visitor.send(GET)
            assert await visitor.answer()
        victim, survivor = fleet.pids
        os.kill(victim, signal.SIGKILL)
        await fleet.publish(Delta(revision=2, put=(_host("b", origin.port),)))
        kept = 0
        for visitor in visitors:
            await visitor.send(_get("b"))
            answer = await visitor.answer()
            kept += answer is not None and answer.status == 200
            visitor.close()
        assert 0 < kept < 16
        await until(lambda: len(seen.started) == 3)
        assert seen.died == [(0, victim, -signal.SIGKILL)]
        assert seen.started[-1] == (0, fleet.pids[0])
        assert fleet.pids[1] == survivor
        assert await _statuses(fleet.port, _get("b")) == {200}
        await fleet.publish(Delta(revision=3, removed=(RouteKey("b"),)))
        assert await _statuses(fleet.port, _get("b")) == {404}


async def test_visitors_in_the_queue_of_a_dead_worker_are_served_by_the_next() -> None:
    """The control process keeps the listening sockets."""
    async with Origin() as origin, _fleet(route_to(origin.port)) as fleet:
        os.kill(fleet.pids[0], signal.SIGKILL)
        assert await _statuses(fleet.port, GET) == {200}


async def test_publishing_never_minds_where_a_replacement_is() -> None:
    """At every moment between the end of one worker and the first answer of the next."""
    seen = Seen()
    async with Origin() as origin, _fleet(workers=1, seen=seen) as fleet:
        os.kill(fleet.pids[0], signal.SIGKILL)
        async with asyncio.TaskGroup() as group:
            revision = 1
            while len(seen.started) < 2:
                revision += 1
                put = (_host(f"h{revision}", origin.port),)
                group.create_task(fleet.publish(Delta(revision=revision, put=put)), name="publish")
                await asyncio.sleep(0.001)
        assert await _statuses(fleet.port, _get(f"h{revision}"), 1) == {200}


async def test_a_worker_that_stands_still_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing any more; changes do not wait for it for long."""
    monkeypatch.setattr(fleet_module, "_LAGGARD_S", 0.05)
    monkeypatch.setattr(fleet_module, "_TICK_S", 0.15)
    seen = Seen()
    async with Origin() as origin, _fleet(seen=seen) as fleet:
        victim = fleet.pids[0]
        os.kill(victim, signal.SIGSTOP)
        await fleet.publish(Delta(revision=2, put=(route_to(origin.port),)))
        await until(lambda: len(seen.started) == 3)
        assert seen.died == [(0, victim, -signal.SIGKILL)]
        assert await _statuses(fleet.port, GET) == {200}


async def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may have no memory or no process to spare for a moment."""
    seen = Seen()
    async with _fleet(workers=1, seen=seen) as fleet:
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/nowhere/python")
            os.kill(fleet.pids[0], signal.SIGKILL)
            await until(lambda: len(seen.died) == 2)
        await until(lambda: len(seen.started) == 2)
        assert seen.died[1][:2] == (0, 0)
        assert await _statuses(fleet.port, GET, 1) == {404}


async def test_draining_finishes_what_is_under_way_and_refuses_the_rest() -> None:
    """The answer comes, and the port is free at once."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await go.wait()
        writer.write(OK)

    async with Stage(scene) as stage:
        fleet = Fleet([LOOPBACK], 2)
        await fleet.start(Snapshot(revision=1, routes=(route_to(stage.port),)))
        port, pids = fleet.port, fleet.pids
        async with await Visitor.connect(port) as visitor:
            await visitor.send(GET)
            await until(lambda: stage.entered)
            draining = asyncio.get_running_loop().create_task(fleet.drain(5.0), name="drain")
            await until_refused(port)
            go.set()
            answer = await visitor.answer()
            assert answer is not None
            assert (answer.body, answer.announces_close) == (b"hello", True)
        await draining
        assert not any(map(_is_alive, pids))


async def test_a_worker_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the deadline and a little patience."""
    monkeypatch.setattr(fleet_module, "_KILL_AFTER_S", 0.1)
    fleet = Fleet([LOOPBACK], 1)
    await fleet.start(Snapshot(revision=1))
    (pid,) = fleet.pids
    os.kill(pid, signal.SIGSTOP)
    await fleet.drain(0.1)
    assert not _is_alive(pid)


async def test_a_fleet_that_was_never_started_has_nothing_to_drain() -> None:
    """A node may stop before it has begun."""
    fleet = Fleet([LOOPBACK], 2)
    fleet.bind()
    assert fleet.port
    await fleet.drain(1.0)
    assert fleet.pids == ()


async def test_a_port_in_use_is_an_error_before_anything_starts() -> None:
    """Of `bind` and of `start` alike."""
    async with _fleet(workers=1) as fleet:
        other = Fleet([ListenSpec("127.0.0.1", fleet.port)], 1)
        with pytest.raises(OSError, match="in use") as caught:
            await other.start(Snapshot(revision=1))
        assert caught.value.errno == errno.EADDRINUSE
        assert other.pids == ()


async def test_health_checks_reach_every_worker() -> None:
    """A target that is down gets nothing, and everything again when nobody checks it any more."""
    seen = Seen()
    async with Stage(answering(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")) as stage:
        target = Target(f"http://127.0.0.1:{stage.port}")
        health = Health(interval_s=0.02, unhealthy_after=1)
        async with _fleet(Route(host=HOST, targets=(target,), health=health), seen=seen) as fleet:
            await until(lambda: seen.turned)
            assert seen.turned == [(target.address, "status 500")]
            await _until_answered(fleet.port, 503)
            os.kill(fleet.pids[0], signal.SIGKILL)
            await until(lambda: len(seen.started) == 3)
            await _until_answered(fleet.port, 503)
            await fleet.publish(Delta(revision=2, put=(Route(host=HOST, targets=(target,)),)))
            assert await _statuses(fleet.port, GET) == {500}


async def test_what_workers_say_is_passed_on() -> None:
    """Keys that they do not have, and what went wrong."""
    seen = Seen()
    seat = Fleet([LOOPBACK], 1, seen)._seats[0]
    await seat._receive(UnknownKid("k"))
    await seat._receive(Complaint("broken"))
    await seat._receive(RouteReports((SERVED,)))
    await seat._receive(FinishedSpans((record(),)))
    await seat._receive(CertificateWanted("a.example.com", "192.0.2.1"))
    assert seen.wanted == [("a.example.com", "192.0.2.1")]
    assert (seen.served, seen.spans) == ([SERVED], [record()])
    assert seen.said == [(-1, "k"), (0, "broken")]


async def test_an_observer_may_take_no_notice() -> None:
    """All of it is optional."""
    seat = Fleet([LOOPBACK], 1)._seats[0]
    told: list[ToControl] = [UnknownKid("k"), Complaint("broken"), Applied(1)]
    told += [RouteReports((SERVED,)), Records((record(),)), FinishedSpans((record(),)), CertificateWanted("a", "b")]
    seat._sent.append(0)
    for message in [*told, Applied(1)]:
        await seat._receive(message)
    await asyncio.gather(seat.serves(), seat.follows(2))


async def test_settings_and_keys_stay_when_a_change_does_not_name_them() -> None:
    """A worker that starts later is told the last of each."""
    fleet = Fleet([LOOPBACK], 1)
    await fleet.start(Snapshot(revision=1, settings=MeshSettings(max_headers=7)))
    await fleet.publish(Delta(revision=2))
    assert fleet.snapshot() == Snapshot(revision=2, settings=MeshSettings(max_headers=7))
    await fleet.publish(Delta(revision=3, settings=MeshSettings(max_headers=8)))
    assert fleet.snapshot() == Snapshot(revision=3, settings=MeshSettings(max_headers=8))
    await fleet.drain(0.1)


async def test_a_change_is_followed_whatever_its_revision_is() -> None:
    """Challenges and certificates change without anything that an operator wished for."""
    raw = request(b"GET /.well-known/acme-challenge/token HTTP/1.1")
    async with _fleet(workers=2) as fleet:
        for number in range(5):
            await fleet.publish(Delta(revision=1, challenges=Challenges(tokens=(("token", "authorization"),))))
            assert await _statuses(fleet.port, raw, 8) == {200}, number
            await fleet.publish(Delta(revision=1, challenges=Challenges()))
            assert await _statuses(fleet.port, raw, 8) == {404}, number


async def test_challenges_are_kept_for_workers_that_start_later() -> None:
    """An authority may come to any of them, and asks from several places."""
    pending, seen = Challenges(tokens=(("token", "authorization"),)), Seen()
    raw = request(b"GET /.well-known/acme-challenge/token HTTP/1.1")
    fleet = Fleet([LOOPBACK], 1, seen)
    await fleet.start(Snapshot(revision=1, challenges=pending))
    assert await _statuses(fleet.port, raw, 3) == {200}
    await fleet.publish(Delta(revision=2))
    assert fleet.snapshot() == Snapshot(revision=2, challenges=pending)
    os.kill(fleet.pids[0], signal.SIGKILL)
    await until(lambda: len(seen.started) == 2)
    assert await _statuses(fleet.port, raw, 3) == {200}
    await fleet.publish(Delta(revision=3, challenges=Challenges()))
    assert fleet.snapshot() == Snapshot(revision=3)
    await fleet.drain(0.1)


async def test_a_handshake_waits_for_a_certificate_in_any_worker() -> None:
    """Each asks once; a change that brings the certificate is enough of an answer, and a no ends the waiting."""
    seen, context = Seen(), AUTHORITY.visitor_context()
    fleet = Fleet([ListenSpec("127.0.0.1", 0, tls=True)], 2, seen)
    await fleet.start(Snapshot(revision=1, settings=MeshSettings(on_demand_s=20.0)))
    async with asyncio.TaskGroup() as group:
        connecting = (SecureVisitor.connect(fleet.port, context, HOST) for _ in range(12))
        visitors = [group.create_task(visitor, name="visitor") for visitor in connecting]
        await until(lambda: len(seen.wanted) == 2)
        assert seen.wanted == [(HOST, "127.0.0.1")] * 2
        issued = AUTHORITY.issue(HOST)
        await fleet.publish(Delta(revision=1, put_certificates=(issued.certificate,)))
    for visitor in [task.result() for task in visitors]:
        assert visitor.tls.getpeercert(binary_form=True) == issued.der
        visitor.wire.close()
    await fleet.drain(0.1)


async def test_a_worker_that_is_replaced_asks_again() -> None:
    """Who waited there comes back, and the answer holds for all."""
    seen, context = Seen(), AUTHORITY.visitor_context()
    fleet = Fleet([ListenSpec("127.0.0.1", 0, tls=True)], 1, seen)
    await fleet.start(Snapshot(revision=1, settings=MeshSettings(on_demand_s=20.0)))

    async def refused() -> bool:
        try:
            await SecureVisitor.connect(fleet.port, context, HOST)
        except (ssl.SSLError, Cut, OSError):
            return True
        return False

    async with asyncio.TaskGroup() as group:
        first = group.create_task(refused(), name="first")
        await until(lambda: len(seen.wanted) == 1)
        os.kill(fleet.pids[0], signal.SIGKILL)
        assert await first
        second = group.create_task(refused(), name="second")
        await until(lambda: len(seen.wanted) == 2)
        fleet.certificate_refused(HOST, 60.0)
        assert await second
        assert await refused()
    assert len(seen.wanted) == 2
    await fleet.drain(0.1)


async def test_certificates_are_kept_for_workers_that_start_later() -> None:
    """By fingerprint; one that is replaced goes when the next one comes."""
    old, new, other = (
        Certificate(fingerprint=name, names=("a.example.com",), chain=b"chain", key=b"key") for name in ("1", "2", "3")
    )
    fleet = Fleet([LOOPBACK], 1)
    await fleet.start(Snapshot(revision=1, certificates=(old, other)))
    await fleet.publish(Delta(revision=2, put_certificates=(new,), removed_certificates=("1", "unknown")))
    assert fleet.snapshot() == Snapshot(revision=2, certificates=(other, new))
    await fleet.publish(Snapshot(revision=3, certificates=(old,)))
    assert fleet.snapshot() == Snapshot(revision=3, certificates=(old,))
    await fleet.drain(0.1)


async def test_every_address_is_told_in_the_order_of_the_settings() -> None:
    """With the port that the system chose; the first one is `port`."""
    fleet = Fleet([LOOPBACK, ListenSpec("127.0.0.2", 0, tls=True)], 2)
    fleet.bind()
    first, second = fleet.addresses
    await fleet.drain(0.0)
    assert first == f"127.0.0.1:{first.rpartition(':')[2]}"
    assert second.startswith("127.0.0.2:")
    assert not second.endswith(":0")


async def test_every_worker_tells_of_what_is_watched() -> None:
    """One that starts later too."""
    seen = Seen()
    async with _fleet(seen=seen) as fleet:
        fleet.watch([HOST])
        await _statuses(fleet.port, GET)
        await until(lambda: len(seen.records) == 24)
        os.kill(fleet.pids[0], signal.SIGKILL)
        await until(lambda: len(seen.started) == 3)
        await _statuses(fleet.port, GET)
        await until(lambda: len(seen.records) == 48)
        assert {record.host for record in seen.records} == {HOST}


async def test_a_rate_limit_holds_for_all_workers_together() -> None:
    """They count in the same memory, and one that starts later goes on counting there."""
    seen = Seen()
    async with Origin() as origin:
        limit = RateLimit(requests=8, per_s=3600.0)
        route = Route(host=HOST, targets=route_to(origin.port).targets, rate_limit=limit)
        async with _fleet(route, workers=3, seen=seen) as fleet:
            statuses = [(await ask(fleet.port, GET)).status for _ in range(24)]
            assert (statuses.count(200), statuses.count(429)) == (8, 16)
            os.kill(fleet.pids[0], signal.SIGKILL)
            await until(lambda: len(seen.started) == 4)
            assert await _statuses(fleet.port, GET) == {429}


async def test_every_worker_does_handshakes_with_the_certificates_of_the_node() -> None:
    """One that starts later has those that came meanwhile."""
    authority, seen = Authority(), Seen()
    certificate = authority.issue(HOST).certificate
    fleet = Fleet([LOOPBACK, ListenSpec("127.0.0.1", 0, tls=True)], 2, seen)
    async with Origin() as origin:
        await fleet.start(Snapshot(revision=1, routes=(route_to(origin.port),)))
        try:
            await fleet.publish(Delta(revision=2, put_certificates=(certificate,)))
            port = int(fleet.addresses[1].rpartition(":")[2])
            statuses = {await _status_over_tls(port, authority) for _ in range(12)}
            os.kill(fleet.pids[0], signal.SIGKILL)
            await until(lambda: len(seen.started) == 3)
            statuses |= {await _status_over_tls(port, authority) for _ in range(12)}
            assert statuses == {b"200"}
        finally:
            await fleet.drain(0.2)


async def _status_over_tls(port: int, authority: Authority) -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=authority.visitor_context(), server_hostname=HOST
    )
    writer.write(request(b"GET / HTTP/1.1", b"Connection: close"))
    answer = await reader.read()
    writer.close()
    return answer.split(b" ")[1]


async def test_tls_targets_are_checked_as_their_route_says() -> None:
    """By its own CA, and with the certificate that it names; a node without that one takes the target for down."""
    authority, seen = Authority(), Seen()
    client = authority.issue("client.example.com", for_client=True).certificate
    async with Stage(answering(OK), tls=authority.issue("127.0.0.1").server_context()) as stage:
        route = Route(
            host=HOST,
            targets=(Target(f"https://127.0.0.1:{stage.port}"),),
            health=Health(interval_s=0.02, unhealthy_after=1, healthy_after=1),
            target_tls=TargetTls(ca=authority.pem, certificate="client.example.com"),
        )
        async with _fleet(route, workers=1, seen=seen) as fleet:
            await until(lambda: seen.turned)
            assert "no certificate" in seen.turned[0][1]
            await fleet.publish(Delta(revision=2, put_certificates=(client,)))
            await until(lambda: len(seen.turned) == 2)
            assert seen.turned[1][1] == ""
