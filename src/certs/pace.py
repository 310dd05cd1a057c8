"""How long to wait before an authority is asked again, within a time limit that no clock's change can move."""

from __future__ import annotations

import asyncio
from typing import Final

from certs.errors import IssueError

# Pebble is done within milliseconds, Let's Encrypt within seconds.
FIRST_S: Final = 0.02
GROWTH: Final = 1.6
LONGEST_S: Final = 5.0


class Pace:
    """The waits of one issuance, which has `timeout_s` seconds from now. It belongs to the running loop."""

    def __init__(self, timeout_s: float) -> None:
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._next_s = FIRST_S

    def quicken(self) -> None:
        """Something new was begun: ask for it soon at first."""
        self._next_s = FIRST_S

    async def wait(self, asked_s: float | None) -> None:
        """As long as the authority asked for, else a little longer each time.

        Raises IssueError `timeout`, at once, when that is longer than there is time.
        """
        # Zero, and a date that is over, would have us ask without end.
        chosen = asked_s or self._next_s
        self._next_s = min(self._next_s * GROWTH, LONGEST_S)
        if asyncio.get_running_loop().time() + chosen >= self._deadline:
            detail = f"the authority is not done; it is to be asked again in {chosen:.0f} s"
            raise IssueError("timeout", detail, retry_after_s=asked_s)
        await asyncio.sleep(chosen)
