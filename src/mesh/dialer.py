"""New connections to targets: the only tasks of the data plane, one for each connection while it is being made."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

from mesh.errors import (
    CERTIFICATE_REFUSED,
    CONNECT_FAILED,
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    NAME_NOT_FOUND,
    TLS_FAILED,
    Failure,
)
from mesh.upstream import Upstream

if TYPE_CHECKING:
    from mesh.core import Core
    from mesh.exchange import Exchange
    from mesh.targets import TargetState


class Dialer:
    """Opens connections for exchanges that found none in the pool."""

    def __init__(self, core: Core) -> None:
        """Dial in the loop of `core`."""
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None

    def dial(self, target: TargetState[Upstream], exchange: Exchange, timeout_s: float) -> None:
        """Connect to `target` and tell `exchange` how it went."""
        self._core.counters.dials += 1
        task = self._loop.create_task(self._dial(target, exchange, timeout_s), name=f"dial {target.address}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up every attempt."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _dial(self, target: TargetState[Upstream], exchange: Exchange, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                upstream = await self._connect(target)
        except TimeoutError:
            failure = Failure(CONNECT_TIMEOUT)
        except ConnectionRefusedError:
            failure = Failure(CONNECT_REFUSED)
        except socket.gaierror:
            failure = Failure(NAME_NOT_FOUND)
        except ssl.SSLCertVerificationError as error:
            failure = Failure(CERTIFICATE_REFUSED, f"The target's certificate is not trusted: {error.verify_message}.")
        except ssl.SSLError as error:
            failure = Failure(TLS_FAILED, f"TLS with the target failed: {error.reason}." if error.reason else None)
        except OSError as error:
            failure = Failure(
                CONNECT_FAILED, f"The target cannot be reached: {error.strerror}." if error.strerror else None
            )
        else:
            if exchange.is_settled:
                upstream.release(is_reusable=True)
            else:
                exchange.connected(upstream)
            return
        if not exchange.is_settled:
            exchange.connect_failed(failure)

    async def _connect(self, target: TargetState[Upstream]) -> Upstream:
        def make() -> Upstream:
            return Upstream(self._core, target)

        place = target.place
        if place.scheme == "unix":
            _, upstream = await self._loop.create_unix_connection(make, place.path)
        else:
            tls = await self._tls_context() if place.scheme == "https" else None
            _, upstream = await self._loop.create_connection(make, place.host, place.port, ssl=tls)
        return upstream

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            # Reading the system's roots takes tens of milliseconds.
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls
