"""What authorities are shown, by every node of a store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from certs.errors import IssueError
from certs.stage import FORGOTTEN, Answer, SharedStage
from state.cell import Cell
from state.holdings import Bundle, Holdings
from state.ports import Shelf
from state.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BUNDLE = Bundle(fingerprint="00", names=("a.example.com",), chain=b"chain", key=b"key")


class Node:
    """A stage, its holdings, and the revisions that were waited for."""

    def __init__(self, shelf: Shelf) -> None:
        self.now = NOON
        self.waited: list[int] = []
        self.holdings = Cell(Holdings())
        self.stage = SharedStage(shelf, self.holdings, self._live, lambda: self.now)

    async def _live(self, revision: int) -> None:
        self.waited.append(revision)


@pytest.fixture
def shelf(store: Store) -> Shelf:
    """Where answers are kept."""
    return store.shelf("challenges")


async def test_a_token_is_shown_and_then_no_more(shelf: Shelf) -> None:
    """The call returns when that is in force."""
    node = Node(shelf)
    await node.stage.show_token("token", "answer")
    assert dict(node.holdings.value.tokens.items()) == {"token": "answer"}
    assert node.waited == [node.holdings.revision]
    await node.stage.show_token("token", None)
    assert not node.holdings.value.tokens
    assert len(node.waited) == 1


async def test_a_validation_is_shown_and_then_no_more(shelf: Shelf) -> None:
    """By the name that is validated."""
    node = Node(shelf)
    await node.stage.show_validation("a.example.com", BUNDLE)
    assert node.holdings.value.validations["a.example.com"] == BUNDLE
    await node.stage.show_validation("a.example.com", None)
    assert not node.holdings.value.validations
    await node.stage.show_validation("a.example.com", None)


async def test_other_nodes_answer_too(shelf: Shelf) -> None:
    """Whom the authority asks is not for us to choose."""
    one, other = Node(shelf), Node(shelf)
    await one.stage.show_token("token", "answer")
    await one.stage.show_validation("a.example.com", BUNDLE)
    await other.stage.follow()
    assert other.holdings.value.tokens == one.holdings.value.tokens
    assert other.holdings.value.validations == one.holdings.value.validations
    revision = other.holdings.revision
    await other.stage.follow()
    assert other.holdings.revision == revision
    await one.stage.show_token("token", None)
    await one.stage.show_validation("a.example.com", None)
    await other.stage.follow()
    assert not other.holdings.value.tokens
    assert not other.holdings.value.validations


async def test_a_node_that_takes_an_order_over_is_believed(shelf: Shelf) -> None:
    """Who has lost the lease withdraws nothing, and must not go on showing what was right before."""
    one, other = Node(shelf), Node(shelf)
    await one.stage.show_validation("a.example.com", BUNDLE)
    newer = msgspec.structs.replace(BUNDLE, fingerprint="11")
    await other.stage.show_validation("a.example.com", newer)
    await one.stage.follow()
    assert one.holdings.value.validations["a.example.com"] == newer
    await other.stage.show_validation("a.example.com", None)
    await one.stage.follow()
    assert not one.holdings.value.validations


async def test_what_was_withdrawn_before_takes_nothing_away(shelf: Shelf) -> None:
    """What is read may be older than what is written."""
    node = Node(shelf)
    await node.stage.show_validation("a.example.com", BUNDLE)
    await node.stage.show_validation("a.example.com", None)
    await node.stage.show_validation("a.example.com", BUNDLE)
    await node.stage.follow()
    assert node.holdings.value.validations["a.example.com"] == BUNDLE


async def test_what_was_on_show_is_so_again_after_a_crash(shelf: Shelf) -> None:
    """The authority may be about to look."""
    await Node(shelf).stage.show_token("token", "answer")
    node = Node(shelf)
    await node.stage.follow()
    assert node.holdings.value.tokens["token"] == "answer"


async def test_what_nobody_withdrew_is_forgotten(shelf: Shelf) -> None:
    """In time, and what is new is not."""
    node = Node(shelf)
    await node.stage.show_token("old", "answer")
    node.now += FORGOTTEN
    await node.stage.show_token("new", "answer")
    node.now += timedelta(seconds=1)
    await node.stage.tidy()
    assert [sealed.key for sealed in await shelf.since(0)] == ["token/new"]
    assert set(node.holdings.value.tokens) == {"new"}


async def test_damage_is_no_answer(shelf: Shelf) -> None:
    """And is cleared away."""
    await shelf.put("token/broken", b"no answer")
    await shelf.put("token/whole", msgspec.msgpack.encode(Answer(at=NOON, text="answer")))
    node = Node(shelf)
    await node.stage.follow()
    assert set(node.holdings.value.tokens) == {"whole"}
    await node.stage.tidy()
    assert [sealed.key for sealed in await shelf.since(0)] == ["token/whole"]


async def test_an_answer_that_cannot_be_shared_is_a_failure_of_the_solver(store: Store, shelf: Shelf) -> None:
    """To take one away is quiet, whatever happens."""
    node = Node(shelf)
    await store.close()
    with pytest.raises(IssueError, match="could not be saved") as raised:
        await node.stage.show_token("token", "answer")
    assert raised.value.kind == "solver"
    await node.stage.show_token("token", None)
    assert not node.holdings.value.tokens


async def test_a_node_by_itself_keeps_no_answers() -> None:
    """Whoever goes on with an order after a crash shows them anew."""
    now = NOON
    holdings = Cell(Holdings())

    async def live(_revision: int) -> None:
        return None

    stage = SharedStage(None, holdings, live, lambda: now)
    await stage.follow()
    await stage.show_token("token", "answer")
    assert holdings.value.tokens["token"] == "answer"
    await stage.show_token("token", None)
    assert not holdings.value.tokens
    await stage.tidy()
