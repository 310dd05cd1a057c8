"""`Herald`: tells the operator what happens to certificates, in the log and by a webhook."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from certs.alarms import Event, EventKind
from certs.webhook import Webhook

_BAD: Final[frozenset[EventKind]] = frozenset({"failing", "expiring", "expired", "revoked"})

# A webhook that hangs is waited for some minutes, and an authority's bad day has an event for every name.
_AT_ONCE: Final = 8
_WAITING: Final = 1000


class Herald:
    """Nobody waits for what it does."""

    def __init__(self, webhook: Webhook | None) -> None:
        """Without a webhook it only logs."""
        self._webhook = webhook
        self._tasks: set[asyncio.Task[Any]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def use(self, webhook: Webhook | None) -> None:
        """Another webhook from now on."""
        self._webhook = webhook

    def announce(self, event: Event) -> None:
        """Tell of an event."""
        log = structlog.get_logger()
        say = log.warning if event.kind in _BAD else log.info
        say(event.text, kind=event.kind, name=event.name, issuer=event.issuer, not_after=_written(event))
        if self._webhook is not None:
            if len(self._tasks) >= _WAITING:
                log.warning("an event is not sent: the webhook has not taken those before", name=event.name)
                return
            sending = self._sent(self._webhook, event)
            task = asyncio.get_running_loop().create_task(sending, name=f"certs: tell of {event.name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _sent(self, webhook: Webhook, event: Event) -> None:
        async with self._slots:
            await webhook.send(event)

    async def close(self) -> None:
        """Stop telling."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _written(event: Event) -> str | None:
    return None if event.not_after is None else event.not_after.isoformat()
