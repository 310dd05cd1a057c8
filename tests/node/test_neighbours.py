"""Other nodes of a shared store."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from node.neighbours import follow_neighbours
from state.errors import StoreError


class Store:
    """A store that answers as told, and ends the test after the last answer."""

    def __init__(self, *answers: StoreError | None, is_shared: bool = True) -> None:
        """One answer for each time that it is looked at."""
        self.is_shared = is_shared
        self.answers = list(answers)

    async def catch_up(self) -> None:
        """What `state.store.Store` offers."""
        if not self.answers:
            raise asyncio.CancelledError
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer


async def test_others_are_followed_again_and_again() -> None:
    """For as long as the node runs."""
    store = Store(None, None, None)
    with pytest.raises(asyncio.CancelledError):
        await follow_neighbours(store, 0.0)
    assert store.answers == []


async def test_a_store_that_does_not_answer_is_complained_of_once() -> None:
    """And once more when that happens again."""
    store = Store(StoreError("gone"), StoreError("gone"), None, StoreError("gone again"))
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await follow_neighbours(store, 0.0)
    assert [entry["reason"] for entry in logs] == ["gone", "gone again"]


async def test_a_node_alone_follows_nobody() -> None:
    """There is nothing to wait for."""
    store = Store(None, is_shared=False)
    await follow_neighbours(store, 0.0)
    assert len(store.answers) == 1
