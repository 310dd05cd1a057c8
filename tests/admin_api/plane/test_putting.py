"""What a PUT does under its condition, and without one."""

from __future__ import annotations

import asyncio

from tests.admin_api.served import Served


async def test_the_first_put_creates_and_the_next_replaces(served: Served) -> None:
    """The status tells which."""
    for status in (201, 200):
        async with served.client.put("/domains/shop.example.com", json={}) as answer:
            assert answer.status == status


async def test_of_puts_at_once_one_creates(served: Served) -> None:
    """The others are tried again, for their client set no condition."""

    async def put(https: str) -> int:
        async with served.client.put("/domains/shop.example.com", json={"https": https}) as answer:
            return answer.status

    statuses = await asyncio.gather(*(put(https) for https in ("off", "on", "redirect")))
    assert sorted(statuses) == [200, 200, 201]


async def test_a_condition_that_does_not_hold_is_no_second_try(served: Served) -> None:
    """But 412."""
    async with served.client.put("/domains/shop.example.com", json={}, headers={"If-Match": "*"}) as answer:
        assert answer.status == 412
    async with served.client.put("/domains/shop.example.com", json={}, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    async with served.client.put("/domains/shop.example.com", json={}, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 412
