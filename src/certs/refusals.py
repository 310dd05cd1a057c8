"""`Refusals`: what was refused of late, so that the same question is not asked of others again and again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MOST: Final = 10_000


class Refusals:
    """Names with the time until which they are refused, the oldest forgotten when there are too many."""

    def __init__(self, most: int = MOST) -> None:
        """Nothing was refused yet."""
        self._most = most
        self._until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, name: str, now: float, seconds: float) -> float:
        """Refuse a name for so many seconds, which are returned."""
        self._until[name] = now + seconds
        self._until.move_to_end(name)
        if len(self._until) > self._most:
            self._until.popitem(last=False)
        return seconds

    def left_s(self, name: str, now: float) -> float:
        """For how many seconds a name is refused from now on; 0: it is not."""
        until = self._until.get(name)
        if until is None:
            return 0.0
        if until <= now:
            del self._until[name]
            return 0.0
        return until - now

    def clear(self) -> None:
        """Refuse nothing any more."""
        self._until.clear()
