"""Active health checks: run once per node, in the control process, and told to every worker."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from mesh.errors import Failure
from mesh.routes import Health, Route, RouteKey
from mesh.targets import Place
from mesh.wire import parse_status_line

_MAX_STATUS_LINE: Final = 1024


class Probe(msgspec.Struct, frozen=True):
    """One check: of one target, for one route, with the Host that visitors of the route send."""

    route: RouteKey
    address: str
    host: str
    health: Health


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
    """The checks that a route asks for."""
    if route.health is None:
        return []
    sends_own_host = route.preserve_host and "*" not in route.host
    hosts = {
        target.address: route.host if sends_own_host else Place.read(target.address).host_value.decode("ascii")
        for target in route.targets
    }
    return [Probe(route.key, address, host, route.health) for address, host in hosts.items()]


async def failure_of(probe: Probe, tls: ssl.SSLContext | None = None) -> str:
    """Run a check once: nothing when it passed (a status of 2xx or 3xx in time), else why it did not.

    `tls` is what an https target is spoken to with.
    """
    try:
        async with asyncio.timeout(probe.health.timeout_s):
            status = await _status(probe, tls)
    except TimeoutError:
        return f"no answer within {probe.health.timeout_s:g} s"
    except (OSError, ValueError, Failure) as error:
        return str(error) or type(error).__name__
    return "" if 200 <= status < 400 else f"status {status}"


async def _status(probe: Probe, tls: ssl.SSLContext | None) -> int:
    place = Place.read(probe.address)
    if place.scheme == "unix":
        reader, writer = await asyncio.open_unix_connection(place.path, limit=_MAX_STATUS_LINE)
    else:
        reader, writer = await asyncio.open_connection(place.host, place.port, ssl=tls, limit=_MAX_STATUS_LINE)
    try:
        head = f"GET {probe.health.path} HTTP/1.1\r\nHost: {probe.host}\r\nUser-Agent: zexio-health\r\n"
        writer.write(head.encode("ascii") + b"Accept: */*\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
        return parse_status_line(line.removesuffix(b"\r\n")).status
    finally:
        writer.transport.abort()


class HealthChecker:
    """Runs the probes of all routes, and says which targets of which routes are down."""

    def __init__(self, turned: Callable[[Probe, str], None]) -> None:
        """`turned` is called when a probe's target goes down, with the reason, or comes back, with an empty one."""
        self._turned = turned
        self._tasks: dict[Probe, asyncio.Task[None]] = {}
        self._probes: dict[RouteKey, list[Probe]] = {}
        self._down: dict[RouteKey, set[str]] = {}
        self._tls: ssl.SSLContext | None = None

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
        with contextlib.suppress(asyncio.CancelledError):
            tls = await self._context() if probe.address.startswith("https:") else None
            # Probes that begin together must not stay in step.
            await asyncio.sleep(random.uniform(0, probe.health.interval_s))  # noqa: S311
            while True:
                reason = await failure_of(probe, tls)
                if streak.note(passed=not reason):
                    down = self._down.setdefault(probe.route, set())
                    down.discard(probe.address) if streak.is_healthy else down.add(probe.address)
                    self._turned(probe, reason)
                await asyncio.sleep(probe.health.interval_s)

    async def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            # Reading the system's roots takes tens of milliseconds.
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls
