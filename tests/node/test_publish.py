"""Publishing changes to the data plane."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec

from mesh.routes import AccessKeys, Challenges, Delta, Snapshot
from node.compile import Edge
from node.publish import Publisher
from state.cell import Cell
from state.change import PutRoute, apply
from state.holdings import Holdings
from state.model import Desired, Route, Target

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Plane:
    """A data plane that takes what it is given, as soon as it is let."""

    def __init__(self) -> None:
        """Open at first."""
        self.taken: asyncio.Queue[Delta | Snapshot] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, change: Delta | Snapshot) -> None:
        """Take one change."""
        self.taken.put_nowait(change)
        await self.gate.wait()


class Node:
    """Desired state, an edge, and their publisher."""

    def __init__(self) -> None:
        """Empty."""
        self.desired = Cell(Desired())
        self.edge = Cell(Edge())
        self.holdings = Cell(Holdings())
        self.plane = Plane()
        self.live: list[int] = []
        self.publisher = Publisher(self.desired, self.edge, self.holdings, self.live.append)

    def put(self, host: str) -> None:
        """Put a route."""
        route = Route(host=host, targets=(Target("http://127.0.0.1:1"),))
        self.desired.set(apply(self.desired.value, PutRoute(route=route), at=NOW))

    def rekey(self, generation: int) -> None:
        """Use other keys."""
        edge = self.edge.value
        keys = AccessKeys(generation=generation)
        self.edge.set(msgspec.structs.replace(edge, revision=edge.revision + 1, keys=keys))

    def hosts(self, change: Delta | Snapshot) -> list[str]:
        """The hosts that a delta puts."""
        assert isinstance(change, Delta)
        return [route.host for route in change.put]


async def test_the_first_snapshot_is_live() -> None:
    """The data plane starts with it, so nothing of it is sent again."""
    node = Node()
    node.put("a.example.com")
    assert [route.host for route in node.publisher.first().routes] == ["a.example.com"]
    await node.publisher.publish(node.plane)
    assert node.plane.taken.empty()


async def test_a_change_is_published_as_a_delta() -> None:
    """Whoever follows sees desired state and the edge."""
    node = Node()
    node.publisher.first()
    async with asyncio.TaskGroup() as group:
        follow = group.create_task(node.publisher.follow(node.plane))
        node.put("a.example.com")
        assert node.hosts(await node.plane.taken.get()) == ["a.example.com"]
        node.rekey(3)
        assert await node.plane.taken.get() == Delta(revision=1, keys=AccessKeys(generation=3))
        follow.cancel()


async def test_a_revision_is_live_when_it_was_taken() -> None:
    """Not when it was sent: workers may take their time."""
    node = Node()
    node.publisher.first()
    node.plane.gate.clear()
    async with asyncio.TaskGroup() as group:
        node.put("a.example.com")
        publish = group.create_task(node.publisher.publish(node.plane))
        await node.plane.taken.get()
        assert node.live == [0]
        node.plane.gate.set()
        await publish
        assert node.live == [0, 1]


async def test_changes_that_come_meanwhile_are_sent_together() -> None:
    """A slow data plane gets fewer, larger deltas, and misses nothing."""
    node = Node()
    node.publisher.first()
    node.plane.gate.clear()
    async with asyncio.TaskGroup() as group:
        follow = group.create_task(node.publisher.follow(node.plane))
        node.put("a.example.com")
        await node.plane.taken.get()
        node.put("b.example.com")
        node.put("c.example.com")
        node.rekey(1)
        node.plane.gate.set()
        together = await node.plane.taken.get()
        assert node.hosts(together) == ["b.example.com", "c.example.com"]
        assert isinstance(together, Delta)
        assert together.keys == AccessKeys(generation=1)
        follow.cancel()
    assert node.plane.taken.empty()


async def test_a_change_of_the_default_access_is_a_snapshot() -> None:
    """Every route may be compiled differently."""
    node = Node()
    node.publisher.first()
    node.edge.set(Edge(revision=1, tenant_everywhere=True))
    await node.publisher.publish(node.plane)
    assert isinstance(node.plane.taken.get_nowait(), Snapshot)


async def test_holdings_are_published_and_live_when_they_were_taken() -> None:
    """Whoever obtained a certificate, or shows a challenge, waits for it."""
    node = Node()
    node.publisher.first()
    await node.publisher.live(0)
    node.plane.gate.clear()
    async with asyncio.TaskGroup() as group:
        follow = group.create_task(node.publisher.follow(node.plane))
        node.holdings.set(node.holdings.value.with_token("t", "t.x"))
        waiting = [group.create_task(node.publisher.live(1)) for _waiter in range(3)]
        change = await node.plane.taken.get()
        assert change == Delta(revision=0, challenges=Challenges(tokens=(("t", "t.x"),)))
        assert not any(task.done() for task in waiting)
        node.plane.gate.set()
        await asyncio.gather(*waiting)
        follow.cancel()


async def test_what_is_live_already_is_not_waited_for() -> None:
    """The first snapshot had what was restored."""
    node = Node()
    node.holdings.set(node.holdings.value.with_token("t", "t.x"))
    assert node.publisher.first().challenges.tokens == (("t", "t.x"),)
    await node.publisher.live(1)
    await node.publisher.publish(node.plane)
    assert node.plane.taken.empty()
