"""Whoever watches exchanges as they end: the workers are asked for no more than somebody looks at."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from typing import Final

import msgspec

from mesh.ports import AccessRecord

_MAX_WAITING: Final = 1000

_encode: Final = msgspec.json.Encoder().encode


class Watchers:
    """The watchers of now, each with a bounded queue of its own. Belongs to one event loop."""

    def __init__(self) -> None:
        """Nobody watches, and nobody is asked for anything before `use`."""
        self._watchers: list[_Watcher] = []
        self._ask: Callable[[Collection[str] | None], None] | None = None

    def use(self, ask: Callable[[Collection[str] | None], None]) -> None:
        """`ask` is told for which hosts records are wanted from now on: none, some, or all (None)."""
        self._ask = ask
        self._asked()

    @property
    def is_watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    def take(self, records: Sequence[AccessRecord], dropped: int) -> None:
        """Give each watcher the records that it wants; `dropped` is how many more there were."""
        lines = [(record, _encode(record)) for record in records] if self._watchers else []
        for watcher in self._watchers:
            watcher.take(lines, dropped)

    async def follow(self, host: str | None = None) -> AsyncGenerator[bytes]:
        """Every exchange from now on as one JSON object, the fields of the access log; `host` is one of a route, too.

        `{"dropped": 7}` stands for those that were left out: a watcher is not to slow the node down. Close the
        generator when nobody reads it any more.
        """
        watcher = _Watcher(host)
        self._watchers.append(watcher)
        self._asked()
        try:
            while True:
                await watcher.filled.wait()
                for line in watcher.taken():
                    yield line
        finally:
            self._watchers.remove(watcher)
            self._asked()

    def _asked(self) -> None:
        if self._ask is not None:
            hosts = {watcher.host for watcher in self._watchers}
            self._ask(None if None in hosts else {host for host in hosts if host is not None})


class _Watcher:
    def __init__(self, host: str | None) -> None:
        self.host = host
        self.filled = asyncio.Event()
        self._lines: deque[bytes] = deque()
        self._dropped = 0

    def take(self, lines: Sequence[tuple[AccessRecord, bytes]], dropped: int) -> None:
        self._dropped += dropped
        for record, line in lines:
            if self.host is None or self.host in (record.host, record.route):
                if len(self._lines) < _MAX_WAITING:
                    self._lines.append(line)
                else:
                    self._dropped += 1
        if self._lines or self._dropped:
            self.filled.set()

    def taken(self) -> list[bytes]:
        self.filled.clear()
        lines = [*self._lines, *([_encode({"dropped": self._dropped})] if self._dropped else [])]
        self._lines.clear()
        self._dropped = 0
        return lines
