"""The workers, seen from the control process: started, told, watched, replaced and drained."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from mesh.channel import (
    Applied,
    CertificateRefused,
    CertificateWanted,
    Channel,
    Complaint,
    Down,
    Drain,
    FinishedSpans,
    Records,
    RouteReports,
    TargetHealth,
    ToControl,
    UnknownKid,
    Watch,
    WorkerReport,
    encode,
)
from mesh.errors import Failure
from mesh.health import HealthChecker, Probe
from mesh.ledger import RouteReport
from mesh.listener import ListenSpec, bind, shown
from mesh.ports import AccessRecord
from mesh.routes import AccessKeys, Certificate, Challenges, Delta, MeshSettings, Snapshot
from mesh.shared import make
from mesh.table import RouteTable
from mesh.targets import Place
from mesh.tls import Certificates

# What a worker may know of the operator's environment; SSL_* name the roots that https targets are checked against.
_PASSED_ON: Final = frozenset({"LANG", "LC_ALL", "PATH", "PYTHONPATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TZ"})
# glibc gives memory back to the system after every large chunk of a body and asks for it again with the next, which
# costs three times the CPU of the copying itself.
_ALLOCATOR: Final[Mapping[str, str]] = MappingProxyType(
    {"MALLOC_TRIM_THRESHOLD_": str(16 << 20), "MALLOC_MMAP_THRESHOLD_": str(4 << 20)}
)
_START_S: Final = 30.0
_STEADY_S: Final = 5.0
_MAX_PAUSE_S: Final = 5.0
_KILL_AFTER_S: Final = 3.0
# Workers report every second; one that says nothing for so many of them hangs.
_SILENT_TICKS: Final = 10
_START_TICKS: Final = 60
_TICK_S: Final = 1.0
_LAGGARD_S: Final = 1.0
_HEALTH_DELAY_S: Final = 0.05


class FleetObserver:
    """What the fleet tells the node; the defaults take no notice."""

    def reported(self, report: WorkerReport) -> None:
        """A worker counted something."""

    def routes_reported(self, reports: Sequence[RouteReport]) -> None:
        """What came of the requests of some routes since the worker last said so."""

    def watched(self, records: Sequence[AccessRecord], dropped: int) -> None:
        """Exchanges that were asked for by `Fleet.watch`, and how many more there were than are sent."""

    def spans_finished(self, records: Sequence[AccessRecord]) -> None:
        """Exchanges whose traces are recorded."""

    def unknown_kid(self, kid: str) -> None:
        """A worker saw a mesh token made with a key that it does not have."""

    def certificate_wanted(self, name: str, address: str) -> None:
        """Visitors of a worker, the first from `address`, wait for a certificate of `name`, which may be any text.

        They go on when a change brings one, or `Fleet.certificate_refused` says that none comes, or by themselves
        after `on_demand_s`. Each worker says so, once at a time.
        """

    def complained(self, index: int, message: str) -> None:
        """Something went wrong in a worker that no request answers for; `message` may have several lines."""

    def target_turned(self, probe: Probe, reason: str) -> None:
        """A health check found a target down, for `reason`, or up again, when it is empty."""

    def worker_started(self, index: int, pid: int) -> None:
        """A worker serves."""

    def worker_died(self, index: int, pid: int, status: int) -> None:
        """A worker ended unasked; another takes its place."""


class Fleet:
    """N workers on the same addresses, and the state that a new one needs."""

    def __init__(self, listen: Sequence[ListenSpec], workers: int, observer: FleetObserver | None = None) -> None:
        """Nothing happens before `start`."""
        self._listen = tuple(listen)
        self._observer = observer or FleetObserver()
        self._seats = [_Seat(self, index, self._observer) for index in range(workers)]
        self._sockets: list[list[socket.socket]] = []
        self._memory = -1
        self._table = RouteTable()
        self._revision = 0
        self._keys = AccessKeys()
        self._certificates: dict[str, Certificate] = {}
        self._challenges = Challenges()
        self._settings = MeshSettings()
        # How many changes were published: several may have the same revision.
        self._changes = 0
        self._watch = Watch()
        # For the checks of TLS targets; most nodes have none, and reading certificates takes time.
        self._tls: Certificates | None = None
        self._checker = HealthChecker(self._target_turned, self._target_context)
        self._health_timer: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """The port of the first address."""
        return int(self._sockets[0][0].getsockname()[1])

    @property
    def addresses(self) -> list[str]:
        """Every address that is bound, as HOST:PORT, in the order of `listen`."""
        return [shown(*group[0].getsockname()[:2]) for group in self._sockets]

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes of the workers that run now."""
        return tuple(seat.pid for seat in self._seats if seat.pid)

    def bind(self) -> None:
        """Take the addresses; raises mesh.listener.CannotListen, an OSError."""
        for spec in self._listen:
            self._sockets.append(bind(spec, len(self._seats)))

    async def start(self, snapshot: Snapshot) -> None:
        """Start the workers with `snapshot`; returns when all of them serve. Binds first, unless that is done."""
        if not self._sockets:
            self.bind()
        self._memory = make()
        self._load(snapshot)
        for seat in self._seats:
            seat.occupy(self._inheritance(seat.index))
        async with asyncio.timeout(_START_S):
            await asyncio.gather(*(seat.serves() for seat in self._seats))

    async def publish(self, change: Delta | Snapshot) -> None:
        """Tell every worker; returns when all that serve act on it. One that is being replaced begins with it.

        A worker that hangs is waited for only a moment: it must not hold back the changes of all others.
        """
        if isinstance(change, Snapshot):
            is_health_new = self._load(change)
        else:
            self._table.apply(change)
            is_health_new = self._checker.follow(change.put, change.removed)
            self._follow_certificates(change)
            self._keys = change.keys or self._keys
            self._settings = change.settings or self._settings
            if change.challenges is not None:
                self._challenges = change.challenges
            self._revision = change.revision
        self._changes += 1
        number, frame = self._changes, encode(change)
        for seat in self._seats:
            seat.send_change(number, frame)
        if is_health_new:
            self._send_health()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAGGARD_S):
                await asyncio.gather(*(seat.follows(number) for seat in self._seats))

    def certificate_refused(self, name: str, retry_after_s: float) -> None:
        """No certificate comes for a name that was wanted: whoever waits goes on without, and nobody asks for so long.

        With 0 seconds the next visitor asks again.
        """
        frame = encode(CertificateRefused(name, retry_after_s))
        for seat in self._seats:
            seat.send(frame)

    def watch(self, hosts: Collection[str] | None) -> None:
        """Let the observer be told each exchange for these hosts, or of the routes with these; None: every exchange."""
        self._watch = Watch(None if hosts is None else tuple(sorted(hosts)))
        frame = encode(self._watch)
        for seat in self._seats:
            seat.send(frame)

    async def drain(self, deadline_s: float) -> None:
        """Stop accepting, let the workers finish what is under way, and end them."""
        for seat in self._seats:
            seat.expect_end()
        # As long as this process listens too, newcomers would wait in a queue that nobody serves.
        for group in self._sockets:
            for listener in group:
                listener.close()
        await self._checker.close()
        await asyncio.gather(*(seat.vacate(deadline_s) for seat in self._seats))
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def first_messages(self) -> list[bytes]:
        """What a worker that starts now has to know, as frames."""
        return [encode(self.snapshot()), encode(self._health()), encode(self._watch)]

    @property
    def changes(self) -> int:
        """How many changes were published so far, the first snapshot not counted."""
        return self._changes

    def snapshot(self) -> Snapshot:
        """Everything that was published so far."""
        return Snapshot(
            revision=self._revision,
            routes=tuple(self._table),
            certificates=tuple(self._certificates.values()),
            challenges=self._challenges,
            keys=self._keys,
            settings=self._settings,
        )

    def _inheritance(self, index: int) -> list[tuple[str, int]]:
        """The descriptors that the worker at `index` inherits, each behind the argument that says what it is."""
        kinds = ["--listen-tls" if spec.tls else "--listen" for spec in self._listen]
        listeners = [(kind, group[index].fileno()) for kind, group in zip(kinds, self._sockets, strict=True)]
        return [("--buckets", self._memory), *listeners]

    def _health(self) -> TargetHealth:
        return TargetHealth(tuple(Down(route, addresses) for route, addresses in self._checker.down.items()))

    async def _target_context(self, probe: Probe) -> ssl.SSLContext:
        """What a TLS target is checked with; raises OSError when its route's certificate cannot be had."""
        if self._tls is None:
            self._tls = Certificates(self._settings, self._certificates.values())
        try:
            return await self._tls.target_context(probe.tls, is_http2=Place.read(probe.address).has_http2)
        except Failure as failure:
            raise OSError(str(failure)) from None

    def _target_turned(self, probe: Probe, reason: str) -> None:
        self._observer.target_turned(probe, reason)
        if self._health_timer is None:
            # A rack that goes down takes many targets with it: tell of all of them at once.
            self._health_timer = asyncio.get_running_loop().call_later(_HEALTH_DELAY_S, self._send_health)

    def _send_health(self) -> None:
        if self._health_timer is not None:
            self._health_timer.cancel()
            self._health_timer = None
        frame = encode(self._health())
        for seat in self._seats:
            seat.send(frame)

    def _load(self, snapshot: Snapshot) -> bool:
        """Take over a snapshot; whether it changed which targets are down."""
        self._table = RouteTable(snapshot.routes)
        self._revision, self._keys, self._settings = snapshot.revision, snapshot.keys, snapshot.settings
        self._certificates = {certificate.fingerprint: certificate for certificate in snapshot.certificates}
        self._challenges = snapshot.challenges
        self._tls = None
        return self._checker.replace(snapshot.routes)

    def _follow_certificates(self, delta: Delta) -> None:
        for fingerprint in delta.removed_certificates:
            self._certificates.pop(fingerprint, None)
        for certificate in delta.put_certificates:
            self._certificates[certificate.fingerprint] = certificate
        if self._tls is not None:
            self._tls.apply(delta)


class _Seat:
    """The place of one worker, whichever process fills it."""

    def __init__(self, fleet: Fleet, index: int, observer: FleetObserver) -> None:
        self.index = index
        self.pid = 0
        self._fleet = fleet
        self._observer = observer
        self._task: asyncio.Task[None] | None = None
        self._channel: Channel[ToControl] | None = None
        self._inheritance: list[tuple[str, int]] = []
        # The changes that the worker was sent and has not applied yet, and the last one that it has; -1 before any.
        self._sent: deque[int] = deque()
        self._applied = -1
        self._silent_ticks = 0
        self._moved = asyncio.Condition()
        self._vacated = asyncio.Event()

    def occupy(self, inheritance: list[tuple[str, int]]) -> None:
        """Keep a worker here, which inherits these descriptors, each behind the argument that says what it is."""
        self._inheritance = inheritance
        self._task = asyncio.get_running_loop().create_task(self._keep_occupied(), name=f"worker {self.index}")

    def send(self, frame: bytes) -> None:
        """Tell the worker; one that is not there yet begins with a snapshot that has it."""
        if self._channel is not None:
            self._channel.send(frame)

    def send_change(self, number: int, frame: bytes) -> None:
        """Tell the worker of the change with this number; the worker says once for each when it is in force."""
        if self._channel is not None:
            self._sent.append(number)
            self._channel.send(frame)

    async def serves(self) -> None:
        """Return when there is a worker here that serves."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._applied >= 0 or self._vacated.is_set())

    async def follows(self, number: int) -> None:
        """Return when nothing older than the change with this number is served here."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._channel is None or self._applied >= number)

    def expect_end(self) -> None:
        """From now on a worker that ends is not replaced."""
        self._vacated.set()

    async def vacate(self, deadline_s: float) -> None:
        """End the worker, by force when it takes longer than it may."""
        if self._task is None:
            return
        self.send(encode(Drain(deadline_s)))
        done, _ = await asyncio.wait([self._task], timeout=deadline_s + _KILL_AFTER_S)
        if not done:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep_occupied(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = 0.0
        while not self._vacated.is_set():
            began = loop.time()
            pid, status = await self._run_one()
            if self._vacated.is_set():
                break
            self._observer.worker_died(self.index, pid, status)
            # The first replacement comes at once; one that dies young is replaced more and more slowly.
            pause_s = 0.0 if loop.time() - began > _STEADY_S else min(max(0.1, pause_s * 2), _MAX_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _run_one(self) -> tuple[int, int]:
        """Start a worker and stay with it; its process id (0 when it could not be started) and its exit status."""
        ours, theirs = socket.socketpair()
        channel: Channel[ToControl] = Channel(ours, ToControl)
        await channel.open()
        try:
            process = await self._spawn(theirs)
        except OSError as error:
            channel.close()
            return 0, error.errno or 1
        finally:
            theirs.close()
        self.pid = process.pid
        # From here on deltas follow on the same channel, in order, so nothing is missed between the two.
        for frame in self._fleet.first_messages():
            channel.send(frame)
        self._sent = deque([self._fleet.changes])
        self._channel = channel
        watch = asyncio.get_running_loop().create_task(self._end_when_silent(process), name=f"watch {self.index}")
        try:
            async for message in channel.messages():
                self._silent_ticks = 0
                await self._receive(message)
            return process.pid, await process.wait()
        finally:
            watch.cancel()
            self._channel = None
            self._sent.clear()
            await self._move(-1)
            channel.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            self.pid = 0

    async def _end_when_silent(self, process: asyncio.subprocess.Process) -> None:
        """Kill a worker that has nothing to say any more: it keeps its share of the visitors waiting.

        Silence is counted in ticks of this loop and not by the clock: when it was this process that stood still, the
        worker's reports are waiting. A worker says nothing before it has read its snapshot, however large that is.
        """
        self._silent_ticks = 0
        while self._silent_ticks < (_SILENT_TICKS if self._applied >= 0 else _START_TICKS):
            await asyncio.sleep(_TICK_S)
            self._silent_ticks += 1
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    async def _spawn(self, end: socket.socket) -> asyncio.subprocess.Process:
        inherited = [("--channel", end.fileno()), *self._inheritance]
        named = [word for argument, descriptor in inherited for word in (argument, str(descriptor))]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "mesh.worker", "--index", str(self.index)),
            *named,
            pass_fds=[descriptor for _argument, descriptor in inherited],
            stdin=asyncio.subprocess.DEVNULL,
            env={**{name: value for name, value in os.environ.items() if name in _PASSED_ON}, **_ALLOCATOR},
        )

    async def _receive(self, message: ToControl) -> None:
        match message:
            case Applied() if self._sent:
                if self._applied < 0:
                    self._observer.worker_started(self.index, self.pid)
                await self._move(self._sent.popleft())
            case WorkerReport():
                self._observer.reported(message)
            case RouteReports(routes=reports):
                self._observer.routes_reported(reports)
            case Records(records=records, dropped=dropped):
                self._observer.watched(records, dropped)
            case FinishedSpans(records=records):
                self._observer.spans_finished(records)
            case UnknownKid(kid=kid):
                self._observer.unknown_kid(kid)
            case CertificateWanted(name=name, address=address):
                self._observer.certificate_wanted(name, address)
            case Complaint(message=text):
                self._observer.complained(self.index, text)

    async def _move(self, number: int) -> None:
        async with self._moved:
            self._applied = number
            self._moved.notify_all()
