"""Handshakes that wait for a certificate: what workers ask is asked of whoever obtains them, and a no goes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from state.tasks import spawn

CertificateFor = Callable[[str, str], Awaitable[float]]
Refuse = Callable[[str, float], None]

# Names cost whoever makes them up nothing. Each of these waits for an authority, or for somebody's word.
_MOST: Final = 1000
_BUSY_S: Final = 5.0
_FAILED_S: Final = 30.0


class Handshakes:
    """Takes the questions of workers, each answered by a task of its own. Belongs to one event loop."""

    def __init__(self) -> None:
        """Nobody answers before `use`, and nobody asks before TLS listens."""
        self._certificate_for: CertificateFor | None = None
        self._refuse: Refuse | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def use(self, certificate_for: CertificateFor, refuse: Refuse) -> None:
        """Ask `certificate_for` (name, address of the visitor): 0 when workers have it now, else seconds not to ask.

        `refuse` tells the workers that there is none for a name, and for how many seconds that holds.
        """
        self._certificate_for = certificate_for
        self._refuse = refuse

    def wanted(self, name: str, address: str) -> None:
        """A worker has no certificate for `name`, and a visitor from `address` waits for one."""
        if self._refuse is None:
            return
        if self._certificate_for is None or len(self._tasks) >= _MOST:
            self._refuse(name, _BUSY_S)
            return
        answer = _answer(name, address, self._certificate_for, self._refuse)
        _task = spawn(self._tasks, answer, f"certificate for {name}")

    async def close(self) -> None:
        """Answer nobody any more."""
        self._certificate_for = None
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(name: str, address: str, certificate_for: CertificateFor, refuse: Refuse) -> None:
    try:
        wait_s = await certificate_for(name, address)
    except Exception:  # noqa: BLE001  whatever one name can cause, the visitor of the next one is to be answered
        structlog.get_logger().exception("nobody knows whether there is a certificate", name=name)
        wait_s = _FAILED_S
    # With 0 the workers have it: that is what the handshake waits for, and nothing is to be said.
    if wait_s > 0:
        refuse(name, wait_s)
