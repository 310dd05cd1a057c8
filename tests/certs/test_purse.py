"""What may still be ordered is known to all nodes of a store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from certs.budget import Limit, Wait
from certs.issuers import Circuit
from certs.purse import Purse
from state.ports import Shelf
from state.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
TWO = Limit(key="orders/ca", amount=2, span=timedelta(hours=2), reason="two at most")
DOWN = Circuit(open_until=NOON + timedelta(hours=1), reason="down")


@pytest.fixture
def shelf(store: Store) -> Shelf:
    """Where it is kept."""
    return store.shelf("certs")


async def test_what_is_spent_is_spent_after_a_restart(shelf: Shelf) -> None:
    """A crash is no way around the limits of an authority."""
    assert await Purse(shelf).spend([TWO], NOON) is None
    purse = await read(shelf)
    assert purse.wait([TWO], NOON) is None
    assert await purse.spend([TWO], NOON) is None
    again = await read(shelf)
    assert again.wait([TWO], NOON) == Wait(until=NOON + timedelta(hours=1), reason="two at most")
    assert await again.spend([TWO], NOON) == again.wait([TWO], NOON)


async def test_two_nodes_spend_from_one_purse(shelf: Shelf) -> None:
    """Each learns what the other has spent when it writes itself."""
    one, other = await read(shelf), await read(shelf)
    assert await one.spend([TWO], NOON) is None
    assert await other.spend([TWO], NOON) is None
    assert isinstance(await one.spend([TWO], NOON), Wait)


async def test_many_spend_at_the_same_time(shelf: Shelf) -> None:
    """Of ten, two may."""
    purse = await read(shelf)
    found = await asyncio.gather(*(purse.spend([TWO], NOON) for _ in range(10)))
    assert found.count(None) == 2


async def test_looking_costs_nothing(shelf: Shelf) -> None:
    """However often."""
    purse = await read(shelf)
    for _ in range(5):
        assert purse.wait([TWO], NOON) is None


async def test_a_circuit_is_open_for_all_nodes(shelf: Shelf) -> None:
    """An authority that is down is not found out by each anew."""
    one, other = await read(shelf), await read(shelf)
    await one.learn(lambda circuits: {**circuits, "https://ca/dir": DOWN})
    await other.learn(lambda circuits: {**circuits, "https://other/dir": DOWN})
    assert set(other.circuits) == {"https://ca/dir", "https://other/dir"}
    await one.follow()
    assert one.circuits == other.circuits


async def test_a_lesson_that_changes_nothing_is_not_written(shelf: Shelf) -> None:
    """Every certificate that comes teaches that its authority is well."""
    purse = await read(shelf)
    await purse.learn(dict)
    assert await shelf.since(0) == []


async def test_damage_does_not_stop_orders(shelf: Shelf) -> None:
    """What cannot be read is written anew."""
    await shelf.put("budget", b"\xc1")
    await shelf.put("circuits", b"no map")
    purse = await read(shelf)
    assert await purse.spend([TWO], NOON) is None
    await purse.learn(lambda circuits: {**circuits, "https://ca/dir": DOWN})
    assert set((await read(shelf)).circuits) == {"https://ca/dir"}


async def read(shelf: Shelf) -> Purse:
    """As a node that has just started."""
    purse = Purse(shelf)
    await purse.follow()
    return purse
