"""What the connections of one worker share: routes, keys, live targets, heads seen before, the clock, the counters."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import random
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from itertools import islice
from typing import TYPE_CHECKING, Final

from mesh.access import Verifier
from mesh.answers import failure_answer
from mesh.deadlines import TICK_S, Deadlines
from mesh.dialer import Dialer
from mesh.downstream import Downstream
from mesh.forward import Peer
from mesh.heads import RequestHeads, ResponseHeads
from mesh.ports import AccessRecord, Counters
from mesh.routes import Delta, MeshSettings, Route, RouteKey, RouteTable, Snapshot
from mesh.targets import LiveRoute, TargetState

if TYPE_CHECKING:
    from mesh.errors import Failure
    from mesh.ports import Observer
    from mesh.upstream import Upstream

_MAX_REMEMBERED_PEERS: Final = 16_384


class Core:
    """The data plane of one event loop; everything here is touched from that loop only."""

    def __init__(self, snapshot: Snapshot, observer: Observer | None = None) -> None:
        """Start from `snapshot`; must be called in the loop that will serve."""
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.draw = random.random
        self.wall_time = time.time
        # The loop's own clock is read once per turn and counts milliseconds.
        self.stopwatch = time.perf_counter
        self.now = self.time()
        self.wall = time.time()
        self.deadlines: Deadlines[Downstream | Upstream] = Deadlines(self.now)
        self.counters = Counters()
        self.observer = observer
        self.visitors: set[Downstream] = set()
        self.is_draining = False
        self._drained = asyncio.Event()
        self._dialer = Dialer(self)
        self.dial = self._dialer.dial
        self.call_later = self._loop.call_later
        self._targets: dict[str, TargetState[Upstream]] = {}
        self._live: dict[int, LiveRoute[Upstream]] = {}
        self._down: Mapping[RouteKey, tuple[str, ...]] = {}
        self._request_id_prefix = os.urandom(8).hex().encode()
        self._request_number = 0
        self._date = b""
        self._date_second = 0
        self._load(snapshot)
        self._tick_handle = self._loop.call_later(TICK_S, self._tick)

    def _load(self, snapshot: Snapshot) -> None:
        before = [live.route for live in self._live.values()]
        self.revision = snapshot.revision
        self._table = RouteTable(snapshot.routes, snapshot.settings.project_suffixes)
        self._succeed(before, snapshot.routes)
        self._use_settings(snapshot.settings)
        self.verifier = Verifier(snapshot.keys)

    def _use_settings(self, settings: MeshSettings) -> None:
        self.settings = settings
        self._trusted = tuple(ipaddress.ip_network(network) for network in settings.trusted_proxies)
        self._peers: dict[str, Peer] = {}
        self.request_heads = RequestHeads(settings.max_headers, settings.max_target_bytes)
        self.response_heads = ResponseHeads()

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
        if change.keys is not None:
            self.verifier = Verifier(change.keys)
        self.revision = change.revision

    def use_health(self, down: Mapping[RouteKey, tuple[str, ...]]) -> None:
        """Take the targets that are down now, by route."""
        self._down = down
        for live in self._live.values():
            live.use_health(down.get(live.route.key, ()))

    def _succeed(self, gone: list[Route], come: tuple[Route, ...]) -> None:
        """Let the routes in use among `gone` go, their successors first: what is known of a common target stays."""
        keys = {route.key for route in gone if id(route) in self._live}
        for route in come if keys else ():
            if route.key in keys:
                self._bring_to_life(route)
        for route in gone:
            self._retire(route)

    def _retire(self, route: Route) -> None:
        live = self._live.pop(id(route), None)
        for target in live.targets if live is not None else ():
            target.routes -= 1
            if not target.routes:
                del self._targets[target.address]
                for upstream in target.pool.retire():
                    upstream.close()

    # What connections and exchanges ask.

    def visitor(self) -> Downstream:
        """The protocol of a visitor's new connection, for `loop.create_server`."""
        return Downstream(self)

    def visitor_arrived(self, visitor: Downstream) -> bool:
        """Count a visitor in; False when there are too many."""
        self.counters.accepted += 1
        if len(self.visitors) >= self.settings.max_connections or self.is_draining:
            self.counters.refused += 1
            return False
        self.visitors.add(visitor)
        return True

    def visitor_left(self, visitor: Downstream) -> None:
        """Count a visitor out."""
        self.visitors.discard(visitor)
        self.deadlines.forget(visitor)
        if self.is_draining and not self.visitors:
            self._drained.set()

    def peer(self, address: str) -> Peer:
        """The one value for a visitor's address."""
        peer = self._peers.get(address)
        if peer is None:
            if len(self._peers) >= _MAX_REMEMBERED_PEERS:
                self._peers.clear()
            peer = self._peers[address] = Peer(_without_mapping(address), b"http", self._is_trusted)
        return peer

    def _is_trusted(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._trusted)

    def find(self, host: bytes, target: bytes) -> LiveRoute[Upstream] | None:
        """The route for a request, with the live records of its targets; raises AmbiguousPath."""
        route = self._table.match(host, target)
        if route is None:
            return None
        # Routes are kept by identity: hashing one would read all of its fields. An entry holds its route, so no other
        # route can have the same identity while it is here.
        return self._live.get(id(route)) or self._bring_to_life(route)

    def _bring_to_life(self, route: Route) -> LiveRoute[Upstream]:
        targets = [self._target(target.address) for target in route.targets]
        for target in targets:
            target.routes += 1
        live = self._live[id(route)] = LiveRoute(route, targets)
        live.use_health(self._down.get(route.key, ()) if self._down else ())
        return live

    def targets(self, most: int) -> Iterator[TargetState[Upstream]]:
        """The records of at most `most` targets."""
        return islice(self._targets.values(), most)

    @property
    def in_flight(self) -> int:
        """How many requests are with targets."""
        return sum(target.in_flight for target in self._targets.values())

    def _target(self, address: str) -> TargetState[Upstream]:
        target = self._targets.get(address)
        if target is None:
            target = self._targets[address] = TargetState(address, self.settings.pool_size)
        return target

    def next_request_id(self) -> bytes:
        """A request id that no other worker or start makes."""
        self._request_number += 1
        return b"%b%08x" % (self._request_id_prefix, self._request_number)

    def date(self) -> bytes:
        """The value of a Date field for now."""
        if int(self.wall) != self._date_second:
            self._date_second = int(self.wall)
            self._date = formatdate(self._date_second, usegmt=True).encode("ascii")
        return self._date

    def failure_answer(self, failure: Failure, accept: bytes, request_id: bytes) -> tuple[bytes, bytes]:
        """The head and the body that tell a visitor of `failure`."""
        return failure_answer(failure, accept, request_id, self.date())

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
        for connection in self.deadlines.due(self.now):
            # One that fails must not take the others of this tick with it.
            self._loop.call_soon(connection.expired)

    async def drain(self, deadline_s: float) -> None:
        """Finish what is under way and take nothing new; returns when done or after `deadline_s` seconds."""
        self.is_draining = True
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
        for visitor in tuple(self.visitors):
            visitor.abort()
        for target in self._targets.values():
            for upstream in target.pool.retire():
                upstream.abort()
        await self._dialer.close()


def _without_mapping(address: str) -> str:
    # A listener for both families gives IPv4 peers as ::ffff:192.0.2.1 (RFC 4291 section 2.5.5.2).
    return address.removeprefix("::ffff:") if address.startswith("::ffff:") and "." in address else address
