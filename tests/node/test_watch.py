"""Whoever watches exchanges sees those that it asked for, and costs the workers nothing once it is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

import pytest

from node import watch
from node.watch import Watchers
from tests.support.records import record

SHOP = record(host="shop.example.com", route="*.example.com", target="/shop")
BLOG = record(host="blog.example.org", route="blog.example.org", target="/blog")


async def _begun(stream: AsyncGenerator[bytes]) -> asyncio.Task[bytes]:
    """The next line of a stream that waits for it now."""
    task = asyncio.get_running_loop().create_task(anext(stream), name="next")
    await asyncio.sleep(0)
    return task


async def test_a_watcher_sees_the_exchanges_from_now_on() -> None:
    """As JSON, with the fields of the access log."""
    watchers = Watchers()
    watchers.take([SHOP], 0)
    async with aclosing(watchers.follow()) as stream:
        line = await _begun(stream)
        assert watchers.is_watched
        watchers.take([BLOG, SHOP], 0)
        assert json.loads(await line)["target"] == "/blog"
        assert json.loads(await anext(stream))["target"] == "/shop"
    assert not watchers.is_watched


@pytest.mark.parametrize(("host", "target"), [("*.example.com", "/shop"), ("blog.example.org", "/blog")])
async def test_a_watcher_of_a_host_sees_no_other(host: str, target: str) -> None:
    """The host is that of the request or of the route."""
    watchers = Watchers()
    async with aclosing(watchers.follow(host)) as stream:
        line = await _begun(stream)
        watchers.take([SHOP, BLOG], 0)
        assert json.loads(await line)["target"] == target


async def test_workers_are_asked_for_what_is_watched() -> None:
    """Some hosts, or all of them, or nothing when the last watcher is gone."""
    asked: list[Collection[str] | None] = []
    watchers = Watchers()
    watchers.use(asked.append)
    async with aclosing(watchers.follow("a")) as one, aclosing(watchers.follow("b")) as other:
        waiting = [await _begun(one), await _begun(other)]
        async with aclosing(watchers.follow()) as everything:
            waiting.append(await _begun(everything))
            watchers.take([record(host="a"), record(host="b")], 0)
            await asyncio.gather(*waiting)
    assert asked == [set(), {"a"}, {"a", "b"}, None, {"a", "b"}, {"a"}, set()]


async def test_what_is_left_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the worker that sent no more, or because nobody took it in time."""
    monkeypatch.setattr(watch, "_MAX_WAITING", 2)
    watchers = Watchers()
    async with aclosing(watchers.follow()) as stream:
        line = await _begun(stream)
        watchers.take([BLOG] * 5, 4)
        lines = [await line, *[await anext(stream) for _ in range(2)]]
    assert json.loads(lines[-1]) == {"dropped": 7}
