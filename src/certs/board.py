"""`Board`: reports facts about certificates in batches, so that a thousand names are not a thousand announcements."""

from __future__ import annotations

import asyncio
from typing import Final

from state.cell import Cell
from state.observed import CertificateFact, Observed

PAUSE_S: Final = 0.2


class Board:
    """What was said of each name last; whoever watches is told of all that is new at once."""

    def __init__(self, observed: Cell[Observed], pause_s: float = PAUSE_S) -> None:
        """With nothing said yet."""
        self._observed = observed
        self._pause_s = pause_s
        self._news: dict[str, CertificateFact | None] = {}
        self._has_news = asyncio.Event()

    def fact(self, name: str) -> CertificateFact | None:
        """What was said last, whether it was reported yet or not."""
        return self._news[name] if name in self._news else self._observed.value.certificates.get(name)

    def say(self, fact: CertificateFact) -> None:
        """Report a fact soon, if it is new."""
        if self.fact(fact.name) != fact:
            self._news[fact.name] = fact
            self._has_news.set()

    def forget(self, name: str) -> None:
        """Report soon that nothing is known of a name."""
        if self.fact(name) is not None:
            self._news[name] = None
            self._has_news.set()

    def report(self) -> None:
        """Report now what is new."""
        self._has_news.clear()
        news, self._news = self._news, {}
        gone = [name for name, fact in news.items() if fact is None]
        come = [fact for fact in news.values() if fact is not None]
        observed = self._observed.value
        if come:
            observed = observed.with_certificates(come)
        if gone:
            observed = observed.without_certificates(gone)
        if observed is not self._observed.value:
            self._observed.set(observed)

    async def run(self) -> None:
        """Report what is said, for ever: at once what comes after a silence, and the rest together a moment later."""
        while True:
            await self._has_news.wait()
            self.report()
            await asyncio.sleep(self._pause_s)
