"""How many second tries a route may make, so that a target in trouble is not given more to do for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from mesh.policies import RetryBudget

_WINDOW_S: Final = 10.0
# How often the requests are counted where nobody asks for a second try.
_NOTE_S: Final = 5.0


class Counted(Protocol):
    """A target, as far as its number of requests goes; that only grows."""

    @property
    def requests(self) -> int:
        """How many requests it has been given."""


class Budget:
    """Tokens for second tries: a share of all requests of the last ten seconds, and some per second in any case.

    The requests are read off the targets' own counters now and then, so that they cost nothing while they pass. What
    is not spent within the window is lost. Times are in seconds of a monotonic clock.
    """

    __slots__ = ("_noted_at", "_policy", "_requests", "_targets", "_tokens", "due")

    def __init__(self, policy: RetryBudget, targets: Sequence[Counted]) -> None:
        """Begin with what the window gives in any case."""
        self._policy = policy
        self._targets = targets
        self._tokens = policy.min_per_s * _WINDOW_S
        self._requests = -1
        self._noted_at = 0.0
        # When the requests should be counted again.
        self.due = 0.0

    def note(self, now: float) -> None:
        """Take in the requests since the last time; called when `due`, by whoever comes by."""
        requests = sum(target.requests for target in self._targets)
        if self._requests >= 0:
            elapsed = max(0.0, now - self._noted_at)
            left = max(0.0, 1.0 - elapsed / _WINDOW_S)
            # What came in a longer time is taken as spread over it evenly.
            lately = _WINDOW_S / max(elapsed, _WINDOW_S)
            self._tokens = self._tokens * left + self._policy.share * (requests - self._requests) * lately
            self._tokens += self._policy.min_per_s * min(elapsed, _WINDOW_S)
        self._requests = requests
        self._noted_at = now
        self.due = now + _NOTE_S

    def allows(self, now: float) -> bool:
        """Whether one more second try may be made; it is counted if so."""
        self.note(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
