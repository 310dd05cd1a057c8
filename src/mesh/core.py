"""What the connections of one worker share: routes, keys, live targets, heads seen before, the clock, the counters."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Coroutine, Iterator, Mapping
from email.utils import formatdate
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from mesh.access import Verifier
from mesh.announced import Announced
from mesh.arrival import Arrival
from mesh.challenges import answering_first
from mesh.deadlines import TICK_S, Deadlines, Expiring
from mesh.dialer import Dialer
from mesh.downstream import Downstream
from mesh.forward import Peer
from mesh.h2_downstream import H2Downstream
from mesh.heads import RequestHeads, ResponseHeads
from mesh.ledger import Ledger
from mesh.live import Live
from mesh.native import mypyc_attr
from mesh.networks import Networks
from mesh.on_demand import OnDemand
from mesh.policies import Target
from mesh.ports import AccessRecord, Counters
from mesh.ratelimit import SIZE, Buckets
from mesh.routes import Challenges, Delta, MeshSettings, Route, RouteKey, Snapshot
from mesh.rules import Rules
from mesh.secure import Secured
from mesh.table import RouteTable
from mesh.targets import TargetState
from mesh.tls import Certificates

if TYPE_CHECKING:
    from mesh.errors import Failure
    from mesh.ports import Observer
    from mesh.sides import TargetSide

# The last two digits of a request id.
_LAST_DIGITS: Final = tuple(b"%02x" % number for number in range(256))
_MAX_REMEMBERED_PEERS: Final = 16_384
_MAX_FOUND: Final = 4096
# An answer that says that time is up takes some 60 microseconds.
_EXPIRING_AT_ONCE: Final = 8
# argon2id takes tens of milliseconds and megabytes; more at a time than this would take the machine from everybody.
_MAX_HASHING: Final = 2


class Newcomer(Expiring, Protocol):
    """A visitor's connection before its first request: it shakes hands, or is announced."""

    def abort(self) -> None:
        """Close at once."""


class Connected(Expiring, Protocol):
    """A visitor's connection, whatever it speaks."""

    @property
    def peer(self) -> Peer:
        """Who it is."""

    def retire(self) -> None:
        """Close as soon as nothing is under way."""

    def abort(self) -> None:
        """Close at once."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Core:
    """The data plane of one event loop; everything here is touched from that loop only."""

    def __init__(self, snapshot: Snapshot, observer: Observer | None = None) -> None:
        """Start from `snapshot`; must be called in the loop that will serve."""
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.draw = random.random
        self.random_bytes = os.urandom
        self.wall_time = time.time
        # The loop's own clock is read once per turn and counts milliseconds.
        self.stopwatch = time.perf_counter
        self.now = self.time()
        self.wall = time.time()
        self.deadlines: Deadlines[Expiring] = Deadlines(self.now)
        self.counters = Counters()
        self.observer = observer
        # Takes the records of exchanges whose trace is recorded.
        self.spans: Observer | None = None
        self.visitors: set[Connected] = set()
        self._newcomers: set[Newcomer] = set()
        self._by_address: dict[bytes, int] = {}
        self.is_draining = False
        self._drained = asyncio.Event()
        self._dialer = Dialer(self)
        self.dial = self._dialer.dial
        self.call_later = self._loop.call_later
        self.call_soon = self._loop.call_soon
        # How many answers are being compressed.
        self.encoders = 0
        self.hashing = asyncio.Semaphore(_MAX_HASHING)
        self._tasks: set[asyncio.Task[None]] = set()
        # A worker of a node shares its buckets with its siblings.
        self.buckets = Buckets(memoryview(bytearray(SIZE)), os.urandom(32))
        self._targets: dict[object, TargetState[TargetSide]] = {}
        self._services: dict[str, TargetState[TargetSide]] = {}
        self._live: dict[int, Live] = {}
        self.ledger = Ledger()
        self._changes: dict[int, asyncio.Future[None]] = {}
        self._down: Mapping[RouteKey, tuple[str, ...]] = {}
        self._request_id_prefix = os.urandom(8).hex().encode()
        self._request_number, self._request_id_front = 0, b""
        self._date, self._date_second = b"", 0
        self.certificates = Certificates(snapshot.settings)
        self.on_demand = OnDemand(self)
        self._expiring: list[Expiring] = []
        self._load(snapshot)
        self._tick_handle = self._loop.call_later(TICK_S, self._tick)

    def _load(self, snapshot: Snapshot) -> None:
        before = [live.route for live in self._live.values()]
        self.revision = snapshot.revision
        self._table = RouteTable(snapshot.routes, snapshot.settings.project_suffixes)
        self._use_settings(snapshot.settings)
        self._succeed(before, snapshot.routes)
        self._use_challenges(snapshot.challenges)
        self.certificates.use_settings(snapshot.settings)
        self.certificates.use(snapshot.certificates)
        self.on_demand.look_again()
        self.verifier = Verifier(snapshot.keys)

    def _use_challenges(self, challenges: Challenges) -> None:
        # Where nothing is validated, and that is nearly always, no request is looked at for it.
        self._match = answering_first(challenges.tokens, self._table.match)
        self._has_tokens = bool(challenges.tokens)
        self._found.clear()
        self.certificates.use_validations(challenges.validations)

    def _use_settings(self, settings: MeshSettings) -> None:
        self.settings = settings
        # By host, those whose route does not depend on the path; strangers may make up hosts under a wildcard.
        self._found: dict[bytes, Live] = {}
        # What every request asks for: a Struct is read by the name of its field, which takes longer.
        self.tracing = settings.tracing
        self.max_requests_per_connection = settings.max_requests_per_connection
        self.keepalive_idle_s = settings.keepalive_idle_s
        self.pool_idle_s = settings.pool_idle_s
        self._trusted = Networks(settings.trusted_proxies)
        # From where connections begin by saying whose they are.
        self.announcers = Networks(settings.proxy_protocol_from)
        self._peers: dict[tuple[str, bytes], Peer] = {}
        self.request_heads = RequestHeads(settings.max_headers, settings.max_target_bytes)
        self.response_heads = ResponseHeads()
        # What holds where there is no route.
        self.rules = Rules(Route(host="", targets=()), settings)
        for live in self._live.values():
            live.rules = Rules(live.route, settings)

    # What the operator changes.

    def apply(self, change: Delta | Snapshot) -> None:
        """Take the next revision; exchanges under way keep what they found."""
        if isinstance(change, Snapshot):
            self._load(change)
            return
        self._succeed(self._table.apply(change), change.put)
        if change.settings is not None:
            self._table.use_project_suffixes(change.settings.project_suffixes)
            self._use_settings(change.settings)
            self.certificates.use_settings(change.settings)
        if change.challenges is not None:
            self._use_challenges(change.challenges)
        self.certificates.apply(change)
        if change.put_certificates or change.settings is not None:
            self.on_demand.look_again()
        if change.keys is not None:
            self.verifier = Verifier(change.keys)
        self.revision = change.revision

    def use_health(self, down: Mapping[RouteKey, tuple[str, ...]]) -> None:
        """Take the targets that are down now, by route."""
        self._down = down
        for live in self._live.values():
            live.use_health(down.get(live.route.checked_as, ()))

    def _succeed(self, gone: list[Route], come: tuple[Route, ...]) -> None:
        """Let the routes in use among `gone` go, their successors first: what is known of a common target stays."""
        self._found.clear()
        keys = {route.key for route in gone if id(route) in self._live}
        for route in come if keys else ():
            if route.key in keys:
                self._bring_to_life(route)
        for route in gone:
            self._retire(route)

    def _retire(self, route: Route) -> None:
        live = self._live.pop(id(route), None)
        if live is None:
            return
        live.counts = self.ledger.close(live.counts)
        changed = self._changes.pop(id(route), None)
        if changed is not None and not changed.done():
            changed.set_result(None)
        for target in _all_targets(route):
            key = _target_key(route, target)
            state = self._targets[key]
            state.routes -= 1
            if not state.routes:
                del self._targets[key]
                _close(state)

    # What connections and exchanges ask.

    def visitor(self) -> asyncio.Protocol:
        """The protocol of a visitor's new connection, for `loop.create_server`."""
        return Announced(self, is_tls=False) if self.settings.proxy_protocol_from else Downstream(self)

    def secured_visitor(self) -> asyncio.Protocol:
        """The protocol of a visitor's new connection over TLS, for `loop.create_server`."""
        return Announced(self, is_tls=True) if self.settings.proxy_protocol_from else Secured(self)

    def http_visitor(self, arrival: Arrival) -> asyncio.Protocol:
        """The protocol of a visitor's connection that is ready for HTTP/1."""
        return Downstream(self, arrival)

    def http2_visitor(self, arrival: Arrival) -> asyncio.Protocol:
        """The protocol of a visitor's connection that is ready for HTTP/2."""
        return H2Downstream(self, arrival)

    def visitor_arrived(self, visitor: Connected) -> bool:
        """Count a visitor in; False when there are too many, in all or from the same address."""
        self.counters.accepted += 1
        settings, peer = self.settings, visitor.peer
        from_there = self._by_address.get(peer.address, 0)
        is_crowd = 0 < settings.max_connections_per_address <= from_there and not peer.is_trusted
        if len(self.visitors) >= settings.max_connections or self.is_draining or is_crowd:
            self.counters.refused += 1
            return False
        self.visitors.add(visitor)
        self._by_address[peer.address] = from_there + 1
        return True

    def newcomer_arrived(self, newcomer: Newcomer) -> bool:
        """Take note of a connection that is not yet ready for requests; False when there are too many."""
        if len(self.visitors) + len(self._newcomers) >= self.settings.max_connections or self.is_draining:
            self.counters.accepted += 1
            self.counters.refused += 1
            return False
        self._newcomers.add(newcomer)
        return True

    def newcomer_left(self, newcomer: Newcomer) -> None:
        """The connection is ready, or gone."""
        self._newcomers.discard(newcomer)
        self.deadlines.forget(newcomer)

    def visitor_left(self, visitor: Connected) -> None:
        """Count a visitor out."""
        if visitor not in self.visitors:
            return
        self.visitors.discard(visitor)
        self.deadlines.forget(visitor)
        address = visitor.peer.address
        left = self._by_address[address] - 1
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]
        if self.is_draining and not self.visitors:
            self._drained.set()

    def peer(self, address: str, proto: bytes = b"http") -> Peer:
        """The one value for a visitor's address, by plain connections or by secure ones."""
        peer = self._peers.get((address, proto))
        if peer is None:
            if len(self._peers) >= _MAX_REMEMBERED_PEERS:
                self._peers.clear()
            peer = self._peers[address, proto] = Peer(_without_mapping(address), proto, self._trusted.has)
        return peer

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` beside everything else; cancelled when the core closes."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def find(self, host: bytes, target: bytes) -> Live | None:
        """The route for a request, with the live records of its targets; raises AmbiguousPath and Challenged."""
        live = self._found.get(host)
        if live is not None:
            return live
        route = self._match(host, target)
        if route is None:
            return None
        # Routes are kept by identity: hashing one would read all of its fields. An entry holds its route, so no other
        # route can have the same identity while it is here.
        live = self._live.get(id(route)) or self._bring_to_life(route)
        if not self._has_tokens and self._table.is_undivided(host):
            if len(self._found) >= _MAX_FOUND:
                self._found.clear()
            self._found[host] = live
        return live

    def _bring_to_life(self, route: Route) -> Live:
        targets = [self._target(route, target) for target in route.targets]
        split = route.traffic.split
        split_targets = [self._target(route, target) for target in split.targets] if split is not None else []
        live = self._live[id(route)] = Live(
            route, targets, split_targets, Rules(route, self.settings), self.ledger.open(route.key)
        )
        live.use_health(self._down.get(route.checked_as, ()) if self._down else ())
        return live

    async def when_changed(self, live: Live) -> None:
        """Return when the route is in force no more in this form."""
        changed = self._changes.get(id(live.route))
        if changed is None:
            if id(live.route) not in self._live:
                return
            changed = self._changes[id(live.route)] = self._loop.create_future()
        await asyncio.shield(changed)

    def client_ca(self, server_name: str) -> tuple[str, bool]:
        """What the certificates of visitors to this name are verified against, and whether all need one."""
        return self._table.client_ca(server_name.encode("ascii", "replace"))

    def targets(self, most: int) -> Iterator[TargetState[TargetSide]]:
        """The records of at most `most` targets."""
        return islice(self._targets.values(), most)

    @property
    def in_flight(self) -> int:
        """How many requests are with targets."""
        return sum(target.in_flight for target in self._targets.values())

    def _target(self, route: Route, wanted: Target) -> TargetState[TargetSide]:
        key = _target_key(route, wanted)
        target = self._targets.get(key)
        if target is None:
            target = self._targets[key] = TargetState(wanted.address, self.settings.pool_size, wanted.via)
        target.routes += 1
        return target

    def service(self, address: str) -> TargetState[TargetSide]:
        """The record of a service that the proxy itself asks, which no route has as a target."""
        service = self._services.get(address)
        if service is None:
            service = self._services[address] = TargetState(address, self.settings.pool_size)
        return service

    def next_request_id(self) -> bytes:
        """A request id that no other worker or start makes."""
        number = self._request_number = self._request_number + 1
        last = number & 0xFF
        if not last or not self._request_id_front:
            # Formatting a number takes longer than the rest of this.
            self._request_id_front = b"%b%06x" % (self._request_id_prefix, number >> 8)
        return self._request_id_front + _LAST_DIGITS[last]

    def date(self) -> bytes:
        """The value of a Date field for now."""
        if int(self.wall) != self._date_second:
            self._date_second = int(self.wall)
            self._date = formatdate(self._date_second, usegmt=True).encode("ascii")
        return self._date

    def refused(self, failure: Failure, peer: Peer, request_id: bytes, size: int) -> None:
        """Count a request whose head could not be read."""
        self.counters.statuses[failure.status // 100] += 1
        self.counters.failed(failure)
        if self.observer is not None:
            self.observer.record(
                AccessRecord(
                    began_at=self.wall,
                    duration_s=0.0,
                    peer=peer.address.decode("ascii"),
                    method="",
                    host="",
                    target="",
                    version="",
                    status=failure.status,
                    received=0,
                    sent=size,
                    request_id=request_id.decode("ascii"),
                    cause=failure.cause,
                    detail=failure.detail,
                )
            )

    # Time, and the end.

    def _tick(self) -> None:
        self._tick_handle = self._loop.call_later(TICK_S, self._tick)
        self.now = self.time()
        self.wall = time.time()
        was_idle = not self._expiring
        self._expiring += self.deadlines.due(self.now)
        if was_idle and self._expiring:
            self._expire_some()

    def _expire_some(self) -> None:
        """Tell a few whose deadline has come: visitors who came together end together, and others wait meanwhile."""
        for connection in self._expiring[:_EXPIRING_AT_ONCE]:
            if connection.deadline > self.now:
                # Something has moved since.
                self.deadlines.watch(connection)
            else:
                # One that fails must not take the others with it.
                self._loop.call_soon(connection.expired)
        del self._expiring[:_EXPIRING_AT_ONCE]
        if self._expiring:
            self._loop.call_soon(self._expire_some)

    async def drain(self, deadline_s: float) -> None:
        """Finish what is under way and take nothing new; returns when done or after `deadline_s` seconds."""
        self.is_draining = True
        for changed in self._changes.values():
            if not changed.done():
                changed.set_result(None)
        # What they wait for would not be heard of any more.
        self.on_demand.release()
        for visitor in tuple(self.visitors):
            visitor.retire()
        if self.visitors:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    await self._drained.wait()

    async def close(self) -> None:
        """Cut what is left."""
        self.is_draining = True
        self._tick_handle.cancel()
        for newcomer in tuple(self._newcomers):
            newcomer.abort()
        for visitor in tuple(self.visitors):
            visitor.abort()
        for target in (*self._targets.values(), *self._services.values()):
            _close(target)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._dialer.close()


def _all_targets(route: Route) -> Iterator[Target]:
    yield from route.targets
    if route.traffic.split is not None:
        yield from route.traffic.split.targets


def _target_key(route: Route, target: Target) -> object:
    # Connections that were made in another name, told who they are for, or lead past others, are not to be shared.
    is_plain = target.address.startswith(("http:", "unix:", "h2c:"))
    return target.address, None if is_plain else route.target_tls, route.proxy_protocol, target.via


def _close(target: TargetState[TargetSide]) -> None:
    for upstream in target.pool.retire():
        upstream.close()
    for session in tuple(target.sessions):
        session.retire()


def _without_mapping(address: str) -> str:
    # A listener for both families gives IPv4 peers as ::ffff:192.0.2.1 (RFC 4291 section 2.5.5.2).
    return address.removeprefix("::ffff:") if address.startswith("::ffff:") and "." in address else address
