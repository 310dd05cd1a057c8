"""What is of no use any more is forgotten, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from certs.housekeeping import tidy
from certs.workshop import utc_now
from state.store import Store
from tests.certs.sandbox import HABITS, Sandbox, pem_of, settings_of
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble

SHOP = "shop.example.com"


async def test_a_certificate_is_kept_until_it_has_expired_and_nobody_wants_it(
    pebble: Pebble, store: Store, stage: ChallengeServer
) -> None:
    """Wanted again before, it costs no order."""
    ahead = [timedelta()]
    habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() + ahead[0])
    async with Sandbox(store, stage, settings_of(pebble, challenges=("http-01",)), habits=habits) as box:
        await box.put(SHOP)
        await box.active(SHOP)
        assert await tidy(box.shop, box.roster) == frozenset()
        await box.remove(SHOP)
        await box.gone(SHOP)
        assert await tidy(box.shop, box.roster) == frozenset()
        assert box.shop.vault.names == {SHOP}
        ahead[0] = timedelta(days=91)
        assert await tidy(box.shop, box.roster) == {SHOP}
        assert box.shop.vault.names == frozenset()
        assert await store.shelf("certificates").since(0) == []


async def test_an_imported_certificate_goes_when_it_has_expired(
    pebble: Pebble, store: Store, stage: ChallengeServer
) -> None:
    """Nobody renews it."""
    ahead = [timedelta()]
    habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() + ahead[0])
    async with Sandbox(store, stage, settings_of(pebble), habits=habits) as box:
        await box.manager.desk.import_pem(pem_of(SHOP, days=1))
        await box.active(SHOP)
        ahead[0] = timedelta(days=2)
        for name in await tidy(box.shop, box.roster):
            box.crew.consider(name)
        await box.gone(SHOP)
        assert not box.holdings.bundles


async def test_an_order_for_a_name_that_nobody_wants_is_forgotten(
    pebble: Pebble, store: Store, stage: ChallengeServer
) -> None:
    """It runs out at the authority by itself."""
    async with Sandbox(store, stage, settings_of(pebble)) as box:
        await store.shelf("orders").put("gone.example.com", b"begun")
        await tidy(box.shop, box.roster)
        assert await box.shop.unfinished.names() == frozenset()
