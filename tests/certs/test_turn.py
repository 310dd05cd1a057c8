"""A name is taken alone, looked up anew, and brought up to date."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
import structlog

from certs.holding import Busy, lease_of
from certs.record import Record
from certs.settings import CertsSettings
from certs.turn import Turn
from certs.wanted import Wanted
from certs.workshop import utc_now
from state.store import Store
from tests.certs.sandbox import HABITS, Process, Sandbox, settings_of, spec_of, until
from tests.support.acme_front import AcmeFront
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble

SHOP = "shop.example.com"
WISH = Wanted(name=SHOP, origin="domain")


@pytest.fixture
def settings(pebble: Pebble) -> CertsSettings:
    """Pebble, asked for HTTP-01."""
    return settings_of(pebble, challenges=("http-01",))


@pytest.fixture
async def box(store: Store, stage: ChallengeServer, settings: CertsSettings) -> AsyncIterator[Sandbox]:
    """A node whose turns are taken by hand: nobody wants anything of it."""
    async with Sandbox(store, stage, settings) as box:
        yield box


async def test_what_a_peer_has_done_is_served_and_not_done_again(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings, box: Sandbox
) -> None:
    """It is looked up after the lease was taken."""
    async with Sandbox(store, stage, settings) as peer:
        record = await Turn(peer.shop, SHOP, WISH, is_covered=False).take()
    orders = pebble.count("order-plz")
    assert await Turn(box.shop, SHOP, WISH, is_covered=False).take() == record
    assert record.held is not None
    assert box.holdings.bundles[SHOP] == record.held.bundle
    assert pebble.count("order-plz") == orders


async def test_two_nodes_do_not_work_on_one_name(store: Store, stage: ChallengeServer, settings: CertsSettings) -> None:
    """The second one hears of the first, and has not to wait when that is ready."""
    async with Sandbox(store, stage, settings, process=Process(store, holder="one")) as one:
        lease = await store.leases.take(lease_of(SHOP), 60.0)
        assert lease is not None
        with pytest.raises(Busy):
            await Turn(one.shop, SHOP, WISH, is_covered=False).take()
        await store.leases.release(lease)
        await Turn(one.shop, SHOP, WISH, is_covered=False).take()
        assert await store.leases.take(lease_of(SHOP), 1.0) is not None


async def test_a_node_by_itself_takes_no_lease(store: Store, box: Sandbox) -> None:
    """It would cost two writes, for nobody."""
    await Turn(box.shop, SHOP, WISH, is_covered=False).take()
    assert "take" not in box.process.writes[2:]


async def test_a_covered_name_is_left_alone(pebble: Pebble, box: Sandbox) -> None:
    """Nothing is ordered and nothing is served for it."""
    orders = pebble.count("order-plz")
    assert await Turn(box.shop, SHOP, WISH, is_covered=True).take() == Record(name=SHOP)
    assert pebble.count("order-plz") == orders


async def test_a_name_inside_is_certified_by_ourselves(box: Sandbox) -> None:
    """Again and again, as its leaves are short."""
    wish = Wanted(name="db.zexio.internal", origin="domain", is_internal=True)
    record = await Turn(box.shop, wish.name, wish, is_covered=False).take()
    assert record.held is not None
    assert record.held.plan.not_after - utc_now() <= timedelta(hours=12)
    assert await Turn(box.shop, wish.name, wish, is_covered=False).take() == record


async def test_an_operator_is_told_of_each_thing_once(box: Sandbox) -> None:
    """Whatever turns there are."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            await Turn(box.shop, SHOP, WISH, is_covered=False).take()
    assert [line["kind"] for line in lines if "kind" in line] == ["obtained"]


async def test_an_authority_says_when_it_wants_a_renewal(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """A window in the past means now, and the new order names what it replaces."""
    ahead = [timedelta()]
    habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() + ahead[0], dice=lambda: 0.5)
    async with AcmeFront(pebble) as front:
        front_settings = msgspec.structs.replace(
            settings, issuers=(spec_of(pebble, name="front", directory=front.directory),)
        )
        async with Sandbox(store, stage, front_settings, habits=habits) as box:
            await box.put(SHOP)
            first = await box.active(SHOP)
            await until(lambda: not box.crew.is_working(SHOP))
            identifier = front.ids_of(SHOP)[0]
            front.set_window(identifier, utc_now() - timedelta(days=2), utc_now() - timedelta(days=1))
            ahead[0] = timedelta(hours=12)
            box.crew.consider(SHOP)
            second = await box.reported(SHOP, lambda fact: fact.fingerprint != first.fingerprint)
            assert second.status == "active"
            assert front.polls[identifier] == 1
            assert front.orders[SHOP] == 2
            assert identifier in front._replaced_by
