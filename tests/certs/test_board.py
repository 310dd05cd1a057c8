"""Facts are reported soon, and many of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from certs.board import Board
from state.cell import Cell
from state.observed import CertificateFact, Observed


@pytest.fixture
def observed() -> Cell[Observed]:
    """Nothing is known."""
    return Cell(Observed())


@pytest.fixture
async def board(observed: Cell[Observed]) -> AsyncIterator[Board]:
    """A board that reports."""
    found = Board(observed, pause_s=0.01)
    task = asyncio.get_running_loop().create_task(found.run(), name="board")
    yield found
    task.cancel()


async def test_a_fact_is_reported_at_once(board: Board, observed: Cell[Observed]) -> None:
    """Nobody waits for more to come."""
    board.say(CertificateFact(name="a"))
    await reported(observed, 1)
    assert observed.value.certificates["a"] == CertificateFact(name="a")


async def test_a_thousand_facts_are_few_reports(board: Board, observed: Cell[Observed]) -> None:
    """Whoever watches would otherwise do nothing else."""
    for number in range(1000):
        board.say(CertificateFact(name=f"n{number}"))
    await reported(observed, 1)
    assert len(observed.value.certificates) == 1000
    assert observed.revision == 1


async def test_the_same_fact_again_is_no_news(board: Board, observed: Cell[Observed]) -> None:
    """Reported or not."""
    board.say(CertificateFact(name="a"))
    board.say(CertificateFact(name="a"))
    await reported(observed, 1)
    board.say(CertificateFact(name="a"))
    board.forget("unknown")
    board.say(CertificateFact(name="b"))
    await reported(observed, 2)
    assert observed.revision == 2


async def test_what_is_forgotten_is_known_no_more(board: Board, observed: Cell[Observed]) -> None:
    """And may be said again."""
    board.say(CertificateFact(name="a"))
    board.say(CertificateFact(name="b"))
    await reported(observed, 1)
    board.forget("a")
    assert board.fact("a") is None
    await reported(observed, 2)
    assert set(observed.value.certificates) == {"b"}


async def test_what_is_not_reported_yet_is_known_here(observed: Cell[Observed]) -> None:
    """Facts are made from those before them."""
    board = Board(observed)
    board.say(CertificateFact(name="a", step="ordering"))
    found = board.fact("a")
    assert found is not None
    assert found.step == "ordering"
    assert observed.revision == 0


async def reported(observed: Cell[Observed], revision: int) -> None:
    """Wait until there are so many reports."""
    async for value in observed.changes():
        if value.revision >= revision:
            return
