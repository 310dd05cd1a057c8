"""Whom to ask for a certificate, and whether it may be now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest

from certs.bid import Bid, bid_for, is_still_waiting, orders_after, wait_for
from certs.budget import Budget, OrderLog, Wait
from certs.issuers import NameHistory
from certs.keys import bundle_of
from certs.record import Record, Standing
from certs.served import held_of
from certs.settings import CertsSettings
from certs.workshop import NOTHING, Workshop, utc_now
from state.store import Store
from tests.certs.sandbox import Sandbox, settings_of, spec_of
from tests.support.authority import Authority
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble

SHOP = "shop.example.com"
NEW = Record(name=SHOP)


@pytest.fixture
def settings(pebble: Pebble) -> CertsSettings:
    """Two orders in three hours, and two for a name in a week."""
    return settings_of(pebble, issuers=(spec_of(pebble, orders_per_3h=2),), max_orders_per_name_week=2)


@pytest.fixture
async def shop(store: Store, stage: ChallengeServer, settings: CertsSettings) -> AsyncIterator[Workshop]:
    """That of a node that nobody wants anything of."""
    async with Sandbox(store, stage, settings) as box:
        yield box.shop


async def test_a_bid_says_what_is_asked_of_whom(pebble: Pebble, shop: Workshop) -> None:
    """Only challenges that can be answered here are named."""
    bid = await bid_of(shop, NEW)
    assert (bid.choice.issuer.name, bid.request.directory) == ("pebble", pebble.directory)
    assert (bid.request.names, bid.request.replaces) == ((SHOP,), None)
    assert bid.request.challenges == ("http-01", "tls-alpn-01")
    assert len(bid.limits) == 2


async def test_names_that_visitors_bring_leave_half_to_operators(shop: Workshop) -> None:
    """Of each limit."""
    shop.demanded.add(SHOP)
    assert [limit.reserved for limit in (await bid_of(shop, NEW)).limits] == [1, 20]


async def test_only_a_certificate_of_the_same_authority_is_replaced(pebble: Pebble, shop: Workshop) -> None:
    """Unless it was revoked, or the authority does not want to hear of it any more."""
    record = await held(pebble, shop)
    assert record.held is not None
    assert (await bid_of(shop, record)).request.replaces == record.held.bundle.chain
    for changes in ({"directory": "https://other/dir"}, {"source": "imported"}, {"revoked": "superseded"}):
        other = msgspec.structs.replace(record, held=msgspec.structs.replace(record.held, **changes))
        assert (await bid_of(shop, other)).request.replaces is None
    refused = msgspec.structs.replace(record, history=NameHistory(may_replace=False))
    assert (await bid_of(shop, refused)).request.replaces is None


async def test_a_planned_try_is_waited_for(shop: Workshop) -> None:
    """With the reason of the failure before it."""
    later = utc_now() + timedelta(hours=1)
    found = await bid_for(shop, Record(name=SHOP, history=NameHistory(failures=1, next_try=later, last_error="no")))
    assert found == Wait(until=later, reason="no")


async def test_limits_are_looked_at_before_anything_is_done(shop: Workshop) -> None:
    """Those of the issuer, and those of the name."""
    bid = await bid_of(shop, NEW)
    assert wait_for(shop, NEW, bid) is None
    now = utc_now()
    ordered = Record(name=SHOP, orders=OrderLog((now, now)))
    assert isinstance(wait_for(shop, ordered, bid), Wait)
    await shop.purse.spend(bid.limits, now)
    await shop.purse.spend(bid.limits, now)
    assert isinstance(wait_for(shop, NEW, bid), Wait)


async def test_an_order_that_came_to_nothing_does_not_count(shop: Workshop) -> None:
    """The next challenge takes its place."""
    now = utc_now()
    once = Record(name=SHOP, orders=OrderLog((now, now)))
    assert isinstance(orders_after(shop, once, now), Wait)
    unsettled = msgspec.structs.replace(once, unsettled=now)
    assert orders_after(shop, unsettled, now) == OrderLog((now, now))
    assert (unsettled.settled().orders, unsettled.settled().unsettled) == (OrderLog((now,)), None)


async def test_who_waits_for_the_limits_looks_without_a_lease(shop: Workshop) -> None:
    """And is told when there is nothing to wait for any more."""
    bid = await bid_of(shop, NEW)
    assert not await is_still_waiting(shop, SHOP)
    now = utc_now()
    for _ in range(2):
        await shop.purse.spend(bid.limits, now)
    shop.standings[SHOP] = Standing(wait=Wait(until=now, reason="limits"), is_paced=True)
    assert await is_still_waiting(shop, SHOP)
    wait = shop.standing(SHOP).wait
    assert wait is not None
    assert wait.until > now
    shop.purse._budget = Budget()
    assert not await is_still_waiting(shop, SHOP)
    shop.standings[SHOP] = Standing(wait=Wait(until=now, reason="another node"))
    assert not await is_still_waiting(shop, SHOP)
    assert shop.standing("other.example.com") == NOTHING


async def bid_of(shop: Workshop, record: Record) -> Bid:
    """A bid that there is."""
    found = await bid_for(shop, record)
    assert isinstance(found, Bid)
    return found


async def held(pebble: Pebble, shop: Workshop) -> Record:
    """A name with a certificate that says that it is pebble's."""
    issued = Authority().issue(SHOP)
    found = held_of(bundle_of(issued.chain, issued.key), utc_now(), 0.0)
    return Record(name=SHOP, held=msgspec.structs.replace(found, issuer="pebble", directory=pebble.directory))
