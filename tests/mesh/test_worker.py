"""A worker process: it serves what its channel says, reports what it counts, and ends when told to or left alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from mesh.channel import (
    Applied,
    CertificateRefused,
    CertificateWanted,
    Channel,
    Complaint,
    Drain,
    FinishedSpans,
    Records,
    RouteReports,
    ToControl,
    ToWorker,
    UnknownKid,
    Watch,
    WorkerReport,
    encode,
)
from mesh.listener import ListenSpec, bind
from mesh.policies import Ejection, Target
from mesh.routes import AccessLog, Challenges, Delta, MeshSettings, Route, RouteKey, Snapshot
from mesh.shared import make
from mesh.worker import Listeners, Worker
from tests.support.authority import Authority
from tests.support.client import Visitor, ask
from tests.support.mesh_node import HOST, route_to
from tests.support.origin import Origin
from tests.support.secure_visitor import SecureVisitor
from tests.support.stage import Stage, answering, head_of, request, until_refused
from tests.support.tokens import access_keys, bearer, claims, mint

AUTHORITY = Authority()
GET = request(b"GET / HTTP/1.1")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
DEADLINE_S = 10.0
TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = b"00f067aa0ba902b7"

M = TypeVar("M", bound=ToControl)


class _Control:
    """The control process's side of one worker."""

    def __init__(
        self, port: int, tls_port: int, process: asyncio.subprocess.Process, channel: Channel[ToControl]
    ) -> None:
        self.port = port
        self.tls_port = tls_port
        self.process = process
        self.channel = channel
        self._messages = channel.messages()

    def tell(self, message: ToWorker) -> None:
        """Send a message."""
        self.channel.send(encode(message))

    async def hear(self, kind: type[M]) -> M:
        """The next message of this kind; the others are passed over."""
        async with asyncio.timeout(DEADLINE_S):
            async for message in self._messages:
                if isinstance(message, kind):
                    return message
        raise EOFError

    async def ended(self) -> int:
        """The exit status."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def _worker(*first: ToWorker) -> AsyncIterator[_Control]:
    """A worker process that has been told this much; what is left of it in the end is killed."""
    (listener,) = bind(ListenSpec("127.0.0.1", 0), 1)
    (secured,) = bind(ListenSpec("127.0.0.1", 0, tls=True), 1)
    ours, theirs = socket.socketpair()
    channel: Channel[ToControl] = Channel(ours, ToControl)
    await channel.open()
    passed = {
        "--channel": theirs.fileno(),
        "--listen": listener.fileno(),
        "--listen-tls": secured.fileno(),
        "--buckets": make(),
    }
    arguments = [word for name, descriptor in passed.items() for word in (name, str(descriptor))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "mesh.worker", "--index", "3"),
        *arguments,
        pass_fds=list(passed.values()),
        stdout=asyncio.subprocess.PIPE,
    )
    control = _Control(listener.getsockname()[1], secured.getsockname()[1], process, channel)
    os.close(passed["--buckets"])
    for end in (theirs, listener, secured):
        end.close()
    try:
        for message in first:
            control.tell(message)
        if first and isinstance(first[0], Snapshot):
            assert await control.hear(Applied) == Applied(first[0].revision)
        yield control
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        channel.close()


def _snapshot(*routes: Route, access_log: AccessLog = "off") -> Snapshot:
    settings = MeshSettings(access_log=access_log)
    return Snapshot(revision=1, routes=routes, settings=settings, keys=access_keys())


async def test_a_worker_serves_its_snapshot_and_what_comes_after() -> None:
    """It says which revision is in force, and drains when it is told to."""
    async with Origin() as origin, _worker(_snapshot(route_to(origin.port))) as control:
        assert (await ask(control.port, GET)).status == 200
        control.tell(Delta(revision=2, put=(Route(host="b", targets=route_to(origin.port).targets),)))
        assert await control.hear(Applied) == Applied(2)
        assert (await ask(control.port, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")).status == 200
        control.tell(Snapshot(revision=3))
        assert await control.hear(Applied) == Applied(3)
        assert (await ask(control.port, GET)).status == 404
        control.tell(Drain(1.0))
        report = await control.hear(WorkerReport)
        assert (report.index, report.pid, report.revision) == (3, control.process.pid, 3)
        assert (report.accepted, report.requests, report.dials, report.refused) == (3, 3, 1, 0)
        assert (report.statuses[2], report.statuses[4], report.causes) == (2, 1, {"destination_not_found": 1})
        assert await control.ended() == 0


async def test_draining_finishes_the_request_under_way() -> None:
    """Nobody else comes in meanwhile."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        control.tell(Drain(5.0))
        await go.wait()
        writer.write(OK)

    async with Stage(scene) as stage, _worker(_snapshot(route_to(stage.port))) as control:
        async with await Visitor.connect(control.port) as visitor:
            await visitor.send(GET)
            await until_refused(control.port)
            go.set()
            answer = await visitor.answer()
            assert answer is not None
            assert (answer.body, answer.announces_close) == (b"hello", True)
        assert await control.ended() == 0


async def test_a_worker_without_a_control_process_ends_by_itself() -> None:
    """No orphan keeps the port, and what is under way is finished."""
    async with Stage(answering(OK)) as stage, _worker(_snapshot(route_to(stage.port))) as control:
        assert (await ask(control.port, GET)).status == 200
        control.channel.close()
        assert await control.ended() == 0


async def test_a_worker_that_is_told_nothing_ends() -> None:
    """Its control process died before it could say anything."""
    async with _worker() as control:
        control.channel.close()
        assert await control.ended() == 0


async def test_a_first_message_that_is_no_snapshot_ends_the_worker() -> None:
    """There is nothing to serve."""
    async with _worker(Drain(0.0)) as control:
        assert await control.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_for_the_node_do_not_end_a_worker(number: signal.Signals) -> None:
    """They reach the whole process group, and only the control process knows what they mean."""
    async with _worker(_snapshot()) as control:
        os.kill(control.process.pid, number)
        assert (await ask(control.port, GET)).status == 404
        control.tell(Drain(0.0))
        assert await control.ended() == 0


async def test_a_worker_answers_authorities() -> None:
    """From its first moment, and as changes say."""
    raw = request(b"GET /.well-known/acme-challenge/token HTTP/1.1")
    pending = Challenges(tokens=(("token", "authorization"),))
    async with _worker(Snapshot(revision=1, challenges=pending)) as control:
        assert (await ask(control.port, raw)).body == b"authorization"
        control.tell(Delta(revision=1, challenges=Challenges(tokens=(("token", "another"),))))
        await control.hear(Applied)
        assert (await ask(control.port, raw)).body == b"another"


async def test_a_worker_asks_for_certificates_and_hears_the_answer() -> None:
    """One handshake goes on with the certificate, another without one."""
    context, issued = AUTHORITY.visitor_context(), AUTHORITY.issue(HOST)
    async with _worker(Snapshot(revision=1, settings=MeshSettings(on_demand_s=20.0))) as control:
        async with asyncio.TaskGroup() as group:
            visiting = group.create_task(SecureVisitor.connect(control.tls_port, context, HOST), name="visitor")
            assert await control.hear(CertificateWanted) == CertificateWanted(HOST, "127.0.0.1")
            control.tell(Delta(revision=2, put_certificates=(issued.certificate,)))
        visitor = visiting.result()
        assert visitor.tls.getpeercert(binary_form=True) == issued.der
        visitor.wire.close()
        other = SecureVisitor(await Visitor.connect(control.tls_port), context, "other.example.org")
        async with other:
            with pytest.raises(ssl.SSLWantReadError):
                other.tls.do_handshake()
            await other.flush()
            assert (await control.hear(CertificateWanted)).name == "other.example.org"
            control.tell(CertificateRefused("other.example.org", 60.0))
            assert await other.wire.octets(100) == b"\x15\x03\x03\x00\x02\x02\x70"


async def test_a_control_process_that_does_not_listen_keeps_nobody_waiting() -> None:
    """It is not asked when it has not heard of what was said before."""

    class Deaf(Channel[ToWorker]):
        is_behind = True

    ours, theirs = socket.socketpair()
    channel = Deaf(theirs, ToWorker)
    await channel.open()
    worker = Worker(0, channel, Listeners())
    assert not worker._ask_for_certificate(HOST, "192.0.2.1")
    channel.close()
    ours.close()


def _is_json(line: bytes) -> bool:
    return bool(json.loads(line)["target"] == "/logged")


def _is_logfmt(line: bytes) -> bool:
    return b" target=/logged " in line and b" status=404 " in line


def _is_combined(line: bytes) -> bool:
    return b'"GET /logged HTTP/1.1" 404 ' in line


async def test_the_access_log_goes_to_standard_output() -> None:
    """In the format of the settings, which may change; what waits is written in the end."""
    raw = request(b"GET /logged HTTP/1.1")
    checks: tuple[tuple[AccessLog, Callable[[bytes], bool]], ...] = (
        ("combined", _is_combined),
        ("logfmt", _is_logfmt),
        ("json", _is_json),
    )
    async with _worker(_snapshot(access_log="json")) as control:
        assert control.process.stdout is not None
        await ask(control.port, raw)
        for revision, (mode, _) in enumerate(checks, 2):
            control.tell(Delta(revision=revision, settings=MeshSettings(access_log=mode)))
            await control.hear(Applied)
            await ask(control.port, raw)
        control.tell(Delta(revision=9, settings=MeshSettings(access_log="off")))
        await control.hear(Applied)
        await ask(control.port, raw)
        control.tell(Drain(0.0))
        lines = (await control.process.stdout.read()).splitlines()
    assert len(lines) == 4
    assert _is_json(lines[0])
    for line, (_, check) in zip(lines[1:], checks, strict=True):
        assert check(line)


async def test_what_a_callback_lets_out_is_told() -> None:
    """The log is the control process's to write."""
    ours, theirs = socket.socketpair()
    control: Channel[ToControl] = Channel(ours, ToControl)
    channel: Channel[ToWorker] = Channel(theirs, ToWorker)
    await control.open()
    await channel.open()
    worker = Worker(0, channel, Listeners())
    loop = asyncio.get_running_loop()
    worker._complain(loop, {"message": "Exception in callback", "exception": ZeroDivisionError("by zero")})
    worker._complain(loop, {"message": "Task was destroyed"})
    channel.close()
    told = [message async for message in control.messages()]
    control.close()
    assert told == [Complaint("Exception in callback\nZeroDivisionError: by zero"), Complaint("Task was destroyed")]


async def test_reports_come_by_themselves() -> None:
    """Every second, with the keys that tokens named and nobody has."""
    route = Route(host=HOST, targets=(Target("http://127.0.0.1:9"),), access="tenant", org_id="org_a")
    token = mint(claims(time.time()), "rsa-1", kid="rsa-unknown")
    async with _worker(_snapshot(route)) as control:
        answer = await ask(control.port, request(b"GET / HTTP/1.1", b"Authorization: " + bearer(token)))
        assert answer.status == 401
        report = await control.hear(WorkerReport)
        assert (report.requests, report.statuses[4]) == (1, 1)
        assert await control.hear(UnknownKid) == UnknownKid("rsa-unknown")


async def test_targets_that_were_ejected_are_reported() -> None:
    """With the seconds that are left, of which some have passed by then."""
    route = Route(host=HOST, targets=(Target("unix:/nowhere/a"),), retries=0, ejection=Ejection(after=1, base_s=50))
    async with _worker(_snapshot(route)) as control:
        await ask(control.port, GET)
        (target,) = (await control.hear(WorkerReport)).targets
        assert (target.failures, 40 < target.ejected_s < 50) == (1, True)


async def test_what_routes_did_is_reported_once() -> None:
    """As differences; what came to no route is counted too."""
    async with Stage(answering(OK)) as stage, _worker(_snapshot(route_to(stage.port))) as control:
        await ask(control.port, GET)
        await ask(control.port, b"GET / HTTP/1.1\r\nHost: nowhere.example.com\r\n\r\n")
        reports = (await control.hear(RouteReports)).routes
        while len(reports) < 2:
            # The second came between the two requests.
            reports += (await control.hear(RouteReports)).routes
        found, lost = reports
        assert (found.route, lost.route) == (RouteKey(HOST), None)
        assert (found.statuses[2], found.sent, lost.statuses[4]) == (1, 5, 1)
        assert sum(found.durations.values()) == sum(found.first_bytes.values()) == 1
        assert 0 < found.first_bytes_sum_s <= found.durations_sum_s
        await ask(control.port, GET)
        control.tell(Drain(0.0))
        (again,) = (await control.hear(RouteReports)).routes
        assert (again.route, again.statuses[2]) == (RouteKey(HOST), 1)


async def test_exchanges_are_told_while_somebody_watches() -> None:
    """Those of the hosts that are watched."""
    async with _worker(_snapshot()) as control:
        for hosts, host, is_told in ((("a",), "a", True), (("a",), "b", False), (None, "c", True), ((), "d", False)):
            control.tell(Watch(hosts))
            control.tell(Delta(revision=2))
            await control.hear(Applied)
            await ask(control.port, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            if is_told:
                assert [record.host for record in (await control.hear(Records)).records] == [host]
        control.tell(Drain(0.0))
        with pytest.raises(EOFError):
            await control.hear(Records)


async def test_recorded_traces_are_told() -> None:
    """Those of visitors who record theirs; the span of the proxy is the target's parent."""
    settings = MeshSettings(tracing=0.0)
    async with Origin() as origin:
        async with _worker(Snapshot(revision=1, routes=(route_to(origin.port),), settings=settings)) as control:
            for flags in (b"00", b"01"):
                await ask(control.port, request(b"GET / HTTP/1.1", b"traceparent: 00-%b-%b-%b" % (TRACE, SPAN, flags)))
            (record,) = (await control.hear(FinishedSpans)).records
        parents = [b"".join(request.values(b"traceparent")).split(b"-") for request in origin.requests]
    assert (record.trace_id, record.parent_id) == (TRACE.decode(), SPAN.decode())
    assert [parent[1] for parent in parents] == [TRACE, TRACE]
    assert (parents[1][2], parents[1][3]) == (record.span_id.encode(), b"01")


async def test_plain_http_is_not_spoken_where_tls_is() -> None:
    """The two kinds of listeners are served by different protocols."""
    async with Stage(answering(OK)) as stage, _worker(_snapshot(route_to(stage.port))) as control:
        assert (await ask(control.port, GET)).status == 200
        assert (await ask(control.tls_port, GET)).status == 400
