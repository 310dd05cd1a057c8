"""Waits grow, obey the authority, and end before the time limit does."""

from __future__ import annotations

import asyncio
import time

import pytest

from certs import pace
from certs.errors import IssueError
from certs.pace import Pace


async def test_a_wait_that_does_not_fit_is_not_begun() -> None:
    """What the authority asked for goes along, for whoever plans the next attempt."""
    with pytest.raises(IssueError, match="to be asked again in 3600 s") as caught:
        await Pace(100.0).wait(3600.0)
    assert (caught.value.kind, caught.value.retry_after_s) == ("timeout", 3600.0)


async def test_the_waits_grow_up_to_a_limit_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until something new was begun; a wait that was asked for is as long as was asked for, but not nothing."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    chosen = Pace(1000.0)
    for _ in range(20):
        await chosen.wait(None)
    assert slept[0] == pace.FIRST_S
    assert slept[-1] == pace.LONGEST_S
    assert slept == sorted(slept)
    chosen.quicken()
    await chosen.wait(None)
    await chosen.wait(7.0)
    await chosen.wait(0.0)
    assert slept[-3:-1] == [pace.FIRST_S, 7.0]
    assert slept[-1] > pace.FIRST_S


async def test_the_wall_clock_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may jump while we wait."""
    chosen = Pace(10.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    await chosen.wait(0.0)
