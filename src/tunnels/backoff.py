"""How long a supervisor waits before it starts a program again, and when it stops to do so at its usual pace.

Times are seconds of a clock that never jumps; random numbers come from the caller.
"""

from __future__ import annotations

from typing import Final

import msgspec

# 2 ** 30 times the base is more than any cap, and no float overflows on the way there.
_MOST_DOUBLINGS: Final = 30


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a supervisor is; all times in seconds.

    After a failure it waits a random time up to `base_s`, doubled with each failure in a row, at most `cap_s`, and at
    least `least_s`. What was ready for `stable_s` has not failed before. More than `budget` ends within `window_s`
    are a crash loop: from then on it is started every `slow_s`, until it was ready that long or an operator starts it.
    """

    base_s: float = 1.0
    cap_s: float = 60.0
    least_s: float = 0.1
    stable_s: float = 60.0
    budget: int = 10
    window_s: float = 600.0
    slow_s: float = 300.0


def ceiling_s(failures: int, pace: Pace) -> float:
    """The longest wait after so many failures in a row, 1 or more."""
    return min(pace.cap_s, pace.base_s * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS))


def pause_s(failures: int, jitter: float, pace: Pace) -> float:
    """The wait after so many failures in a row; `jitter` is a random number in [0, 1).

    All of it is random, so that tunnels which lost the same network at once do not come back at once.
    """
    ceiling = ceiling_s(failures, pace)
    least = min(pace.least_s, ceiling)
    return least + (ceiling - least) * jitter


def slow_pause_s(jitter: float, pace: Pace) -> float:
    """The wait in a crash loop: the slow pace, or up to a quarter more."""
    return pace.slow_s * (1 + jitter / 4)


class Budget(msgspec.Struct, frozen=True):
    """When the last ends were, the oldest first: as many as it takes to know whether they are too many."""

    ends: tuple[float, ...] = ()

    def with_end(self, now: float, pace: Pace) -> Budget:
        """After one more end."""
        return Budget((*self.ends, now)[-pace.budget - 1 :])

    def is_spent(self, now: float, pace: Pace) -> bool:
        """Whether there were more ends than the budget within the window that ends now."""
        return sum(now - end < pace.window_s for end in self.ends) > pace.budget
