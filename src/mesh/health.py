"""Active health checks: run once per node, in the control process, and told to every worker."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec

from mesh.checkup import failure_of
from mesh.policies import Health, ProxyProtocol, TargetTls
from mesh.routes import Route, RouteKey
from mesh.targets import Place

_MAX_FIRST_DELAY_S: Final = 1.0


class Probe(msgspec.Struct, frozen=True):
    """One check: of one target, for one route, with the Host that is sent, and how the route speaks to its targets."""

    route: RouteKey
    address: str
    host: str
    health: Health
    tls: TargetTls = TargetTls()
    proxy_protocol: ProxyProtocol = "off"


Contexts = Callable[[Probe], Awaitable[ssl.SSLContext]]


class Streak:
    """Results in a row of one probe; a target counts as healthy until enough of them say otherwise."""

    __slots__ = ("_health", "_opposite", "is_healthy")

    def __init__(self, health: Health) -> None:
        """Nothing is known yet."""
        self._health = health
        self._opposite = 0
        self.is_healthy = True

    def note(self, *, passed: bool) -> bool:
        """Take a result; True when it turned the target."""
        if passed == self.is_healthy:
            self._opposite = 0
            return False
        self._opposite += 1
        needed = self._health.unhealthy_after if self.is_healthy else self._health.healthy_after
        if self._opposite < needed:
            return False
        self._opposite = 0
        self.is_healthy = passed
        return True


def probes_of(route: Route) -> list[Probe]:
    """The checks that a route asks for: of all its targets, also those that get no requests at the moment.

    A copy asks for none: a thousand domains of one application would ask its targets a thousand times.
    """
    health = route.health
    if health is None or route.alias_of:
        return []
    split = route.traffic.split
    addresses = dict.fromkeys(target.address for target in (*route.targets, *(split.targets if split else ())))
    return [
        Probe(route.key, address, _host(route, health, address), health, route.target_tls, route.proxy_protocol)
        for address in addresses
    ]


def _host(route: Route, health: Health, address: str) -> str:
    if health.host:
        return health.host
    sends_own_host = route.preserve_host and "*" not in route.host
    return route.host if sends_own_host else Place.read(address).host_value.decode("ascii")


class HealthChecker:
    """Runs the probes of all routes, and says which targets of which routes are down."""

    def __init__(self, turned: Callable[[Probe, str], None], contexts: Contexts | None = None) -> None:
        """`turned` is called when a probe's target goes down, with the reason, or comes back, with an empty one.

        `contexts` gives what a TLS target is spoken to with; it is asked before each check and may raise OSError.
        Without it all are spoken to with the system's roots.
        """
        self._turned = turned
        self._contexts = contexts or self._system_context
        self._tasks: dict[Probe, asyncio.Task[None]] = {}
        self._probes: dict[RouteKey, list[Probe]] = {}
        self._down: dict[RouteKey, set[str]] = {}
        self._system: dict[bool, ssl.SSLContext] = {}

    @property
    def down(self) -> dict[RouteKey, tuple[str, ...]]:
        """The addresses that are down, by route."""
        return {route: tuple(sorted(addresses)) for route, addresses in self._down.items() if addresses}

    def follow(self, put: Iterable[Route], removed: Iterable[RouteKey] = ()) -> bool:
        """Take note of routes that came, changed or went; whether that changed which targets are down.

        A probe that stays the same goes on undisturbed; a new one begins with a healthy target.
        """
        before = self.down
        for key in removed:
            self._use(key, [])
        for route in put:
            self._use(route.key, probes_of(route))
        return self.down != before

    def replace(self, routes: Iterable[Route]) -> bool:
        """Follow exactly `routes`; whether that changed which targets are down."""
        wanted = {route.key: route for route in routes if route.health is not None}
        return self.follow(wanted.values(), [key for key in self._probes if key not in wanted])

    async def close(self) -> None:
        """End every probe."""
        tasks = tuple(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _use(self, key: RouteKey, probes: list[Probe]) -> None:
        for probe in self._probes.pop(key, []):
            if probe not in probes:
                self._tasks.pop(probe).cancel()
                self._down.get(key, set()).discard(probe.address)
        if not probes:
            self._down.pop(key, None)
            return
        self._probes[key] = probes
        for probe in probes:
            if probe not in self._tasks:
                task = asyncio.get_running_loop().create_task(self._run(probe), name=f"check {probe.address}")
                self._tasks[probe] = task

    async def _run(self, probe: Probe) -> None:
        streak = Streak(probe.health)
        interval_s = probe.health.interval_s
        time = asyncio.get_running_loop().time
        with contextlib.suppress(asyncio.CancelledError):
            # A new target is judged soon, but probes that begin together must not stay in step.
            await asyncio.sleep(random.uniform(0, min(interval_s, _MAX_FIRST_DELAY_S)))  # noqa: S311
            while True:
                began = time()
                reason = await self._failure_of(probe)
                if streak.note(passed=not reason):
                    down = self._down.setdefault(probe.route, set())
                    down.discard(probe.address) if streak.is_healthy else down.add(probe.address)
                    self._turned(probe, reason)
                await asyncio.sleep(max(0.0, began + interval_s - time()))

    async def _failure_of(self, probe: Probe) -> str:
        if not Place.read(probe.address).has_tls:
            return await failure_of(probe)
        try:
            tls = await self._contexts(probe)
        except OSError as error:
            return str(error)
        return await failure_of(probe, tls)

    async def _system_context(self, probe: Probe) -> ssl.SSLContext:
        is_http2 = Place.read(probe.address).has_http2
        if is_http2 not in self._system:
            # Reading the system's roots takes tens of milliseconds.
            context = await asyncio.to_thread(ssl.create_default_context)
            context.set_alpn_protocols(["h2"] if is_http2 else ["http/1.1"])
            self._system[is_http2] = context
        return self._system[is_http2]
