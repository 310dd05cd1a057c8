"""Inspections over HTTP: an answer that lasts as long as they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from admin_api.plane.inspection import News
from admin_api.plane.system import Sights
from state.model import RouteKey
from state.refusal import refused
from tests.admin_api.served import EventReader, Served, eventually, serve

URL = "/routes/shop.example.com/inspection"
BODY = {"targets": {"http://192.0.2.1": "http://127.0.0.1:8092"}}


class Board:
    """Remembers what it is asked, and says what it is told to."""

    def __init__(self) -> None:
        """Nothing is inspected."""
        self.open: dict[RouteKey, Mapping[str, str]] = {}
        self.news: asyncio.Queue[News] = asyncio.Queue()

    @asynccontextmanager
    async def inspecting(self, key: RouteKey, addresses: Mapping[str, str]) -> AsyncIterator[AsyncGenerator[News]]:
        """Refuse the second one."""
        if key in self.open:
            raise refused("conflict", str(key), "is being inspected by somebody else")
        self.open[key] = addresses
        try:
            yield self._news()
        finally:
            del self.open[key]

    async def end(self, key: RouteKey) -> None:
        """End it."""
        if key not in self.open:
            raise refused("missing", str(key), "is not being inspected")
        self.news.put_nowait(News(state="off", reason="enough"))

    async def _news(self) -> AsyncGenerator[News]:
        while (news := await self.news.get()).state != "off":
            yield news
        yield news


@pytest.fixture
def board() -> Board:
    """What is behind the API."""
    return Board()


@pytest.fixture
async def api(tmp_path: Path, board: Board) -> AsyncIterator[Served]:
    """An admin API of a node that can."""
    async with serve(tmp_path, sights=Sights(inspections=board)) as served:
        yield served


async def problem(served: Served, body: Any) -> tuple[int, Any]:  # noqa: ANN401
    """How a request is refused."""
    async with served.client.post(URL, json=body) as answer:
        return answer.status, await answer.json()


async def test_the_answer_is_the_inspection(api: Served, board: Board) -> None:
    """It begins with the request, tells the news, and ends when the client goes; target URLs are written out."""
    board.news.put_nowait(News(state="on"))
    async with api.client.post(f"{URL}?path_prefix=/api", json=BODY) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        events = EventReader(answer)
        assert (await events.event())["data"] == '{"state":"on","reason":"","uninspected":[]}'
        assert board.open == {RouteKey("shop.example.com", "/api"): {"http://192.0.2.1:80": "http://127.0.0.1:8092"}}
        board.news.put_nowait(News(state="changed", uninspected=("http://192.0.2.2:80",)))
        assert '"uninspected":["http://192.0.2.2:80"]' in (await events.event())["data"]
    await eventually(lambda: not board.open)


async def test_it_is_ended_from_elsewhere(api: Served, board: Board) -> None:
    """The stream says so and ends."""
    async with api.client.delete(URL) as answer:
        assert answer.status == 404
    async with api.client.post(URL, json=BODY) as stream:
        async with api.client.delete(URL) as answer:
            assert (answer.status, await answer.text()) == (204, "")
        events = EventReader(stream)
        assert '"reason":"enough"' in (await events.event())["data"]
        assert await events.block() == {}
    await eventually(lambda: not board.open)


async def test_the_second_one_is_refused(api: Served, board: Board) -> None:
    """With 409, and no stream."""
    async with api.client.post(URL, json=BODY):
        await eventually(lambda: board.open)
        status, error = await problem(api, BODY)
        assert (status, "by somebody else" in error["error"]) == (409, True)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"targets": {}},
        {"targets": {"nonsense": "http://127.0.0.1:8092"}},
        {"targets": {"http://192.0.2.1": "http://192.0.2.9:8092"}},
        {"targets": {"http://192.0.2.1": "https://127.0.0.1:8092"}},
        {"targets": {"http://192.0.2.1": "http://127.0.0.1.example.com:8092"}},
    ],
)
async def test_inspectors_are_on_the_node_s_machine(api: Served, board: Board, body: Any) -> None:  # noqa: ANN401
    """Anything else is refused."""
    status, error = await problem(api, body)
    assert (status, error["fields"][0]["field"].startswith("targets"), board.open) == (400, True, {})


async def test_a_node_without_a_data_plane_inspects_nothing(served: Served) -> None:
    """It says so."""
    assert (await problem(served, BODY))[0] == 404
