"""Overlays of routes, over a desired state and an edge that are watched as the data plane watches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import msgspec
import pytest

from admin_api.plane.inspection import News
from node.compile import Edge
from node.inspection import Inspections, urls_of
from state.cell import Cell
from state.change import Change, PutRoute, RemoveRoute, apply
from state.model import Desired, Route, RouteKey, Split, Target, Traffic
from state.policies import TargetTls
from state.refusal import Refused
from tests.support.stage import until

NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
FIRST, SECOND, THIRD = (f"http://192.0.2.{number}:80" for number in (1, 2, 3))
KEY: Final = RouteKey("shop.example.com")
ROUTE: Final = Route(host=KEY.host, targets=(Target(FIRST), Target(SECOND)))


class Node:
    """What inspections are made of; `published` are the overlays of the route as each change went live."""

    def __init__(self) -> None:
        """With one route."""
        self.desired = Cell(Desired())
        self.edge = Cell(Edge())
        self.published: list[dict[str, str]] = []
        self.inspections = Inspections(self.desired, self.edge, self.publish)
        self.change(PutRoute(route=ROUTE))

    def change(self, change: Change) -> None:
        """Change what is wanted."""
        self.desired.set(apply(self.desired.value, change, at=NOW))

    async def publish(self) -> None:
        """Go live."""
        self.published.append(self.shown)

    @property
    def shown(self) -> dict[str, str]:
        """The overlay of the route."""
        return dict(self.edge.value.inspected.get(KEY, {}))


@pytest.fixture
def node() -> Node:
    """A node."""
    return Node()


@pytest.fixture
async def inspector() -> AsyncIterator[str]:
    """The address of something that listens."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def following(node: Node) -> AsyncIterator[None]:
    """Routes are watched meanwhile."""
    task = asyncio.get_running_loop().create_task(node.inspections.follow())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def rest(news: AsyncGenerator[News]) -> list[News]:
    """All that is still to come."""
    return [each async for each in news]


async def test_a_route_is_inspected_for_as_long_as_the_block_runs(node: Node, inspector: str) -> None:
    """Live before the first word, and off again in every worker when it is over."""
    revision = node.edge.revision
    async with node.inspections.inspecting(KEY, {FIRST: inspector}) as news:
        assert node.published == [{FIRST: inspector}]
        assert await anext(news) == News(state="on", uninspected=(SECOND,))
    assert node.published == [{FIRST: inspector}, {}]
    assert node.edge.revision == revision + 2
    assert await rest(news) == [News(state="off", reason="nobody watches")]


async def test_it_ends_with_whoever_fails(node: Node, inspector: str) -> None:
    """However that is."""
    with pytest.raises(RuntimeError):
        async with node.inspections.inspecting(KEY, {FIRST: inspector}):
            raise RuntimeError
    assert node.shown == {}


async def test_one_at_a_time(node: Node, inspector: str) -> None:
    """The second is refused, and the first goes on."""
    async with node.inspections.inspecting(KEY, {FIRST: inspector}):
        with pytest.raises(Refused, match="by somebody else") as caught:
            async with node.inspections.inspecting(KEY, {SECOND: inspector}):
                pass
        assert caught.value.kind == "conflict"
        assert node.shown == {FIRST: inspector}


async def test_anybody_may_end_it(node: Node, inspector: str) -> None:
    """Whoever watches is told; and the next one may begin, whom the end of the first does not concern."""
    async with node.inspections.inspecting(KEY, {FIRST: inspector}) as news:
        await anext(news)
        await node.inspections.end(KEY)
        assert node.published[-1] == {}
        assert await rest(news) == [News(state="off", reason="it was ended through the admin API")]
        second = node.inspections.inspecting(KEY, {SECOND: inspector})
        await second.__aenter__()
    assert node.shown == {SECOND: inspector}
    await second.__aexit__(None, None, None)
    with pytest.raises(Refused, match="is not being inspected"):
        await node.inspections.end(KEY)


async def test_new_targets_pass_uninspected(node: Node, inspector: str) -> None:
    """Whoever watches is told, once for each change that matters."""
    other = msgspec.structs.replace(ROUTE, targets=(Target(FIRST), Target(THIRD)))
    async with following(node), node.inspections.inspecting(KEY, {FIRST: inspector, SECOND: inspector}) as news:
        assert await anext(news) == News(state="on")
        for route in (ROUTE, msgspec.structs.replace(ROUTE, retries=2), other):
            node.change(PutRoute(route=route))
            await asyncio.sleep(0)
        assert await anext(news) == News(state="changed", uninspected=(THIRD,))
        assert node.shown == {FIRST: inspector, SECOND: inspector}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (RemoveRoute(host=KEY.host), "the route was removed"),
        (PutRoute(route=msgspec.structs.replace(ROUTE, proxy_protocol="v1")), "PROXY header"),
        (PutRoute(route=msgspec.structs.replace(ROUTE, target_tls=TargetTls(verify=False))), "speaks TLS"),
    ],
)
async def test_a_change_that_it_cannot_follow_ends_it(node: Node, inspector: str, change: Change, reason: str) -> None:
    """With the reason."""
    async with following(node), node.inspections.inspecting(KEY, {FIRST: inspector}) as news:
        await anext(news)
        node.change(change)
        last = (await rest(news))[-1]
        assert (last.state, reason in last.reason) == ("off", True)
        await until(lambda: node.shown == {})


@pytest.mark.parametrize(
    ("route", "addresses", "reason"),
    [
        (None, {}, "is no route"),
        (ROUTE, {THIRD: ""}, f"has no target {THIRD}"),
        (msgspec.structs.replace(ROUTE, proxy_protocol="v2"), {FIRST: ""}, "PROXY header"),
    ],
)
async def test_what_cannot_be_inspected(
    node: Node, inspector: str, route: Route | None, addresses: dict[str, str], reason: str
) -> None:
    """Nothing is changed by it."""
    node.change(RemoveRoute(host=KEY.host) if route is None else PutRoute(route=route))
    with pytest.raises(Refused, match=reason):
        async with node.inspections.inspecting(KEY, dict.fromkeys(addresses, inspector)):
            pass
    assert node.edge.revision == 0


async def test_an_inspector_that_the_node_cannot_reach(node: Node) -> None:
    """One on another machine would otherwise see nothing, and nobody would know why."""
    with pytest.raises(Refused, match="cannot be reached by the node"):
        async with node.inspections.inspecting(KEY, {FIRST: "http://127.0.0.1:1"}):
            pass


def test_the_targets_of_a_split_are_targets_too() -> None:
    """Each once."""
    split = Split(targets=(Target(SECOND), Target(THIRD)), share=0.5)
    assert urls_of(msgspec.structs.replace(ROUTE, traffic=Traffic(split=split))) == (FIRST, SECOND, THIRD)
