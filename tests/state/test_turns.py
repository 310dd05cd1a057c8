"""Turns: in order, alone, and finished once begun."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from state.turns import Turns


class Notes:
    """What was done, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.begun = asyncio.Event()

    async def work(self, name: str) -> str:
        """Something that takes a while."""
        self.lines.append(f"begin {name}")
        self.begun.set()
        await asyncio.sleep(0.001)
        self.lines.append(f"end {name}")
        return name


async def test_turns_are_taken_in_order_and_alone() -> None:
    """And each call gets its own answer."""
    turns, notes = Turns(), Notes()
    calls = (turns.run(partial(notes.work, name), "test") for name in "abc")
    assert await asyncio.gather(*calls) == ["a", "b", "c"]
    assert notes.lines == ["begin a", "end a", "begin b", "end b", "begin c", "end c"]


async def test_work_that_has_begun_is_finished() -> None:
    """And the next one waits for it, though its caller is gone."""
    turns, notes = Turns(), Notes()
    call = asyncio.get_running_loop().create_task(turns.run(lambda: notes.work("a"), "test"))
    await notes.begun.wait()
    call.cancel()
    await turns.run(lambda: notes.work("b"), "test")
    assert call.cancelled()
    assert notes.lines == ["begin a", "end a", "begin b", "end b"]


async def test_work_that_waits_is_given_up_with_its_caller() -> None:
    """It has done nothing, and holds up nobody."""
    turns, notes = Turns(), Notes()
    async with turns:
        call = asyncio.get_running_loop().create_task(turns.run(lambda: notes.work("a"), "test"))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    assert await turns.run(lambda: notes.work("b"), "test") == "b"
    assert notes.lines == ["begin b", "end b"]


async def test_a_failure_is_the_callers() -> None:
    """The next turn comes all the same."""
    turns, notes = Turns(), Notes()

    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await turns.run(fail, "test")
    assert await turns.run(lambda: notes.work("b"), "test") == "b"


async def test_those_who_wait_inside_do_not_crowd_out_those_outside() -> None:
    """However many wait in the inner queue, one of them is in the outer one."""
    outer, notes = Turns(), Notes()
    inner = Turns(outer)
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(inner.run(partial(notes.work, f"inner {number}"), "test"))
        await notes.begun.wait()
        group.create_task(outer.run(lambda: notes.work("outer"), "test"))
    begun = [line for line in notes.lines if line.startswith("begin")]
    assert begun.index("begin outer") <= 2
    assert len(begun) == 6
