"""Idle connections: the newest first, no closed one, never too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.pool import Pool


class _Connection:
    """Closed or not."""

    def __init__(self) -> None:
        self.is_closed = False


def _filled(size: int, count: int) -> tuple[Pool[_Connection], list[_Connection]]:
    pool: Pool[_Connection] = Pool(size)
    connections = [_Connection() for _ in range(count)]
    for connection in connections:
        pool.give(connection)
    return pool, connections


def test_nothing_is_in_an_empty_pool() -> None:
    """There is nothing to take before something was given."""
    pool, _ = _filled(2, 0)
    assert pool.take() is None
    assert len(pool) == 0


def test_the_newest_is_taken_first() -> None:
    """Last in, first out."""
    pool, (old, new) = _filled(2, 2)
    assert [pool.take(), pool.take(), pool.take()] == [new, old, None]


def test_the_oldest_has_to_go_when_there_are_too_many() -> None:
    """The caller is told what to close."""
    pool, (old, middle) = _filled(2, 2)
    newest = _Connection()
    assert pool.give(newest) is old
    assert [pool.take(), pool.take(), pool.take()] == [newest, middle, None]


def test_one_that_closed_meanwhile_is_passed_over() -> None:
    """A target may close what is idle at any time."""
    pool, (open_one, closed) = _filled(2, 2)
    closed.is_closed = True
    assert len(pool) == 2
    assert [pool.take(), pool.take()] == [open_one, None]


def test_a_retired_pool_gives_everything_back_and_keeps_nothing() -> None:
    """After the target is gone, what comes back late has to be closed too."""
    pool, connections = _filled(2, 2)
    assert pool.retire() == connections
    assert pool.take() is None
    late = _Connection()
    assert pool.give(late) is late
    assert len(pool) == 0


@given(st.integers(0, 4), st.lists(st.sampled_from(["give", "take", "close"]), max_size=40))
def test_the_pool_is_a_bounded_stack(size: int, steps: list[str]) -> None:
    """Whatever happens, the pool gives what a stack without its closed entries would give."""
    pool: Pool[_Connection] = Pool(size)
    stack: list[_Connection] = []
    for step in steps:
        if step == "give":
            newest = _Connection()
            stack.append(newest)
            surplus = stack.pop(0) if len(stack) > size else None
            assert pool.give(newest) is surplus
        elif step == "take":
            while stack and stack[-1].is_closed:
                stack.pop()
            assert pool.take() is (stack.pop() if stack else None)
        elif stack:
            stack[len(stack) // 2].is_closed = True
        assert len(pool) == len(stack) <= size
