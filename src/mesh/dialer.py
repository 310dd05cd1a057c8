"""New connections to targets: the only tasks of the data plane, one for each connection while it is being made."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mesh.errors import (
    BAD_RESPONSE,
    CERTIFICATE_REFUSED,
    CONNECT_FAILED,
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    NAME_NOT_FOUND,
    TLS_FAILED,
    Failure,
)
from mesh.h2_upstream import H2Upstream
from mesh.proxy_protocol import header_v1, header_v2
from mesh.sides import stream_of
from mesh.targets import TargetState
from mesh.upstream import Upstream

if TYPE_CHECKING:
    from mesh.core import Core
    from mesh.policies import ProxyProtocol
    from mesh.routes import Route
    from mesh.sides import Dialling, TargetSide
    from mesh.targets import Place

P = TypeVar("P", bound=asyncio.Protocol)

# How long one address has before another is tried beside it, and how many are tried (RFC 8305 section 5).
_STAGGER_S: Final = 0.25
_MOST_ADDRESSES: Final = 8

# What TLS could not be agreed on, as Python's ssl has no error for it.
_NO_HTTP2: Final = "The target does not speak HTTP/2."
_NO_ROOM: Final = "The target takes no request on a new connection."
_MOST_SESSIONS: Final = 8
# A connection takes some 150 microseconds to begin.
_AT_ONCE: Final = 8


class Dialer:
    """Opens connections for exchanges that found none in the pool."""

    def __init__(self, core: Core) -> None:
        """Dial in the loop of `core`."""
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        # Those who came after others in one turn of the loop.
        self._waiting: list[tuple[TargetState[TargetSide], Dialling, Route, float]] = []
        self._is_starting = False
        # Connections for many requests that are being made: who comes meanwhile waits for the same one.
        self._sessions: dict[TargetState[TargetSide], asyncio.Task[H2Upstream]] = {}

    def dial(self, target: TargetState[TargetSide], exchange: Dialling, route: Route, timeout_s: float) -> None:
        """Connect to `target` as `route` wishes, and tell `exchange` how it went.

        Of many who come at once a few begin in each turn of the loop, so that others are served in between.
        """
        self._waiting.append((target, exchange, route, timeout_s))
        if not self._is_starting:
            self._start_some()

    def _start_some(self) -> None:
        starting = self._waiting[:_AT_ONCE]
        del self._waiting[:_AT_ONCE]
        self._is_starting = bool(starting)
        for target, exchange, route, timeout_s in starting:
            task = self._loop.create_task(self._dial(target, exchange, route, timeout_s), name=f"dial {target.address}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if starting:
            # Also when nobody waits: whoever comes in this turn is not the first.
            self._loop.call_soon(self._start_some)

    async def close(self) -> None:
        """Give up every attempt."""
        self._waiting.clear()
        tasks = (*self._tasks, *self._sessions.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _dial(self, target: TargetState[TargetSide], exchange: Dialling, route: Route, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                side = await self._side(target, exchange, route, timeout_s)
        except TimeoutError:
            failure = Failure(CONNECT_TIMEOUT)
        except OSError as error:
            failure = _failure(error)
        except ValueError:
            # A name that no resolver and no certificate could have, such as one with a label of 64 letters.
            failure = Failure(NAME_NOT_FOUND)
        except Failure as error:
            failure = error
        else:
            if exchange.is_settled:
                side.release(is_reusable=True)
            else:
                exchange.connected(side)
            return
        if not exchange.is_settled:
            exchange.connect_failed(failure)

    async def _side(
        self, target: TargetState[TargetSide], exchange: Dialling, route: Route, timeout_s: float
    ) -> TargetSide:
        # What is left to try leads past whoever may have lost the request.
        detour = target.via if not exchange.is_second_try else None
        if detour is not None and (upstream := await self._detour(target, detour, route)) is not None:
            return upstream
        header = _announcement(exchange, route.proxy_protocol) if route.proxy_protocol != "off" else b""
        if target.place.has_http2:
            return await self._stream(target, route, header, timeout_s)
        upstream = await self._connect(lambda: Upstream(self._core, target), target.place, route, header)
        # Who is told whose connection it is takes every request on it for that visitor's.
        upstream.is_private = bool(header)
        return upstream

    async def _detour(self, target: TargetState[TargetSide], via: Place, route: Route) -> Upstream | None:
        """A connection to what stands before the target for a while; None when it is gone."""
        try:
            upstream = await self._connect(lambda: Upstream(self._core, target), via, route, b"")
        except OSError:
            return None
        # Should it end, that is not the target's failure: what may be sent twice is, as on any old connection.
        upstream.is_reused = True
        return upstream

    # HTTP/2: one connection for many requests.

    async def _stream(
        self, target: TargetState[TargetSide], route: Route, header: bytes, timeout_s: float
    ) -> TargetSide:
        stream = None if header else stream_of(target.sessions)
        for _ in range(_MOST_SESSIONS):
            if stream is not None:
                return stream
            if header:
                session = await self._session(target, route, header)
            else:
                session = await self._shared_session(target, route, timeout_s)
            # Others have waited for the same connection, and may have taken all of it.
            stream = session.open_stream()
            if stream is None and session.h2.is_over and not session.h2.is_begun:
                # It answered before it was asked anything, in another protocol.
                raise Failure(BAD_RESPONSE, _NO_HTTP2)
            if header or not target.routes:
                session.retire()
        if stream is None:
            raise Failure(CONNECT_FAILED, _NO_ROOM)
        return stream

    async def _shared_session(self, target: TargetState[TargetSide], route: Route, timeout_s: float) -> H2Upstream:
        task = self._sessions.get(target)
        if task is None:
            work = self._register(target, route, timeout_s)
            task = self._sessions[target] = self._loop.create_task(work, name=f"dial {target.address}")
            task.add_done_callback(lambda task: self._session_dialled(target, task))
        # One visitor who leaves must not take the connection from the others.
        return await asyncio.shield(task)

    def _session_dialled(self, target: TargetState[TargetSide], task: asyncio.Task[H2Upstream]) -> None:
        del self._sessions[target]
        if not task.cancelled():
            # Looked at, so that asyncio does not complain when nobody has waited for it.
            task.exception()

    async def _register(self, target: TargetState[TargetSide], route: Route, timeout_s: float) -> H2Upstream:
        async with asyncio.timeout(timeout_s):
            return await self._session(target, route, b"")

    async def _session(self, target: TargetState[TargetSide], route: Route, header: bytes) -> H2Upstream:
        # A session is found by others through its target; one that belongs to a visitor has a target for itself.
        owner: TargetState[TargetSide] = TargetState(target.address, 0) if header else target
        return await self._connect(lambda: H2Upstream(self._core, owner), target.place, route, header)

    # One connection.

    async def _connect(self, make: Callable[[], P], place: Place, route: Route, header: bytes) -> P:
        self._core.counters.dials += 1
        tls: ssl.SSLContext | None = None
        name: str | None = None
        if place.has_tls:
            tls = await self._core.certificates.target_context(route.target_tls, is_http2=place.has_http2)
            name = route.target_tls.server_name or place.host
        if place.scheme == "unix":
            transport, protocol = await self._loop.create_unix_connection(make, place.path)
            if header:
                transport.write(header)
            return protocol

        async def attempt(address: str) -> tuple[asyncio.Transport, P]:
            if not header:
                return await self._loop.create_connection(make, address, place.port, ssl=tls, server_hostname=name)
            # It goes before TLS, which asyncio would begin at once.
            sock = await self._announced_socket(address, place.port, header)
            return await self._loop.create_connection(make, sock=sock, ssl=tls, server_hostname=name)

        transport, protocol = await self._first(attempt, await self._addresses(place))
        if tls is not None and place.has_http2 and _protocol(transport) != "h2":
            transport.abort()
            raise Failure(TLS_FAILED, _NO_HTTP2)
        return protocol

    async def _announced_socket(self, address: str, port: int, header: bytes) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(0)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(sock, (address, port))
            await self._loop.sock_sendall(sock, header)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _addresses(self, place: Place) -> list[str]:
        """The addresses of a place, one of each family in turn, those first that the system prefers."""
        if _is_address(place.host):
            return [place.host]
        found = await self._loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        families: dict[int, list[str]] = {}
        for family, _type, _protocol, _name, end in found:
            families.setdefault(family, []).append(str(end[0]))
        mixed = chain.from_iterable(zip_longest(*families.values()))
        return [address for address in mixed if address is not None][:_MOST_ADDRESSES]

    async def _first(
        self, attempt: Callable[[str], Coroutine[Any, Any, tuple[asyncio.Transport, P]]], addresses: list[str]
    ) -> tuple[asyncio.Transport, P]:
        """The first attempt that succeeds: a slow address is given company, a bad one its successor (RFC 8305)."""
        if len(addresses) == 1:
            return await attempt(addresses[0])
        left: Iterator[str] = iter(addresses)
        tasks: dict[asyncio.Task[tuple[asyncio.Transport, P]], None] = {}
        errors: list[OSError] = []
        try:
            while True:
                address = next(left, None)
                if address is not None:
                    tasks[self._loop.create_task(attempt(address), name=f"dial {address}")] = None
                elif not tasks:
                    raise errors[0]
                wait_s = _STAGGER_S if address is not None else None
                done, _ = await asyncio.wait(tasks, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del tasks[task]
                    error = task.exception()
                    if error is None:
                        return task.result()
                    if not isinstance(error, OSError):
                        raise error
                    errors.append(error)
        finally:
            await _give_up(tasks)


async def _give_up(tasks: dict[asyncio.Task[tuple[asyncio.Transport, P]], None]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, BaseException):
            result[0].abort()


def _announcement(exchange: Dialling, version: ProxyProtocol) -> bytes:
    """A PROXY header: whose the connection is, and where it came to.

    A visitor of whom a proxy in front has told has no port that is known here.
    """
    address = exchange.address.decode("ascii")
    peer, own = (_end(name) for name in exchange.endpoints())
    source = peer if peer is not None and peer[0] == address else (address, 0)
    is_ipv6 = ":" in address
    if own is None or (":" in own[0]) != is_ipv6:
        own = ("::" if is_ipv6 else "0.0.0.0", 443 if exchange.is_secure else 80)  # noqa: S104
    return header_v1(source, own) if version == "v1" else header_v2(source, own)


def _end(name: object) -> tuple[str, int] | None:
    """An address and a port, IPv4 as such on a socket for both families."""
    if not isinstance(name, tuple):
        return None
    host: str = name[0]
    return host.removeprefix("::ffff:") if "." in host else host, name[1]


def _failure(error: OSError) -> Failure:
    match error:
        case ConnectionRefusedError():
            return Failure(CONNECT_REFUSED)
        case socket.gaierror():
            return Failure(NAME_NOT_FOUND)
        case ssl.SSLCertVerificationError():
            reason = error.verify_message.rstrip(".")
            return Failure(CERTIFICATE_REFUSED, f"The target's certificate is not trusted: {reason}.")
        case ssl.SSLError():
            return Failure(TLS_FAILED, f"TLS with the target failed: {error.reason}." if error.reason else None)
        case _:
            detail = f"The target cannot be reached: {error.strerror}." if error.strerror else None
            return Failure(CONNECT_FAILED, detail)


def _protocol(transport: asyncio.Transport) -> str | None:
    tls = transport.get_extra_info("ssl_object")
    return tls.selected_alpn_protocol() if tls is not None else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
