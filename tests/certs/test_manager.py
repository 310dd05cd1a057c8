"""Names get certificates and keep them, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from certs.keys import bundle_of
from certs.settings import CertsSettings
from state.store import Store
from tests.certs.sandbox import HABITS, Process, Sandbox, settings_of, until
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble

SHOP = "shop.example.com"


@pytest.fixture
def settings(pebble: Pebble) -> CertsSettings:
    """Pebble, asked for HTTP-01."""
    return settings_of(pebble, challenges=("http-01",))


async def test_a_domain_gets_a_certificate(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """And the fact tells everything that there is to know of it."""
    async with Sandbox(store, stage, settings) as box:
        await box.put(SHOP)
        fact = await box.active(SHOP)
        assert (fact.issuer, fact.names, fact.orders, fact.attempts) == ("pebble", (SHOP,), 1, 0)
        assert fact.not_before is not None
        assert fact.not_after is not None
        assert fact.renew_at is not None
        assert fact.not_before < fact.renew_at < fact.not_after
        assert fact.next_try is None
        bundle = box.holdings.bundles[SHOP]
        assert bundle.fingerprint == fact.fingerprint
        assert pebble.status(fact.serial or "") == "Valid"
        assert box.manager.counts.obtained == 1
        await until(lambda: stage.is_empty)


async def test_a_restart_serves_before_any_network(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """From the shelf, with nobody to ask."""
    async with Sandbox(store, stage, settings) as box:
        await box.put(SHOP)
        await box.active(SHOP)
        bundle = box.holdings.bundles[SHOP]
    alone = msgspec.structs.replace(settings, issuers=(), resolvers=("127.0.0.1:1",))
    async with Sandbox(store, stage, alone) as box:
        assert box.holdings.bundles[SHOP] == bundle
        fact = box.fact(SHOP)
        assert fact is not None
        assert fact.status == "active"


async def test_an_internal_name_asks_no_authority(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """Its certificate is our own."""
    orders = pebble.count("order-plz")
    async with Sandbox(store, stage, settings) as box:
        await box.put("db.zexio.internal")
        fact = await box.active("db.zexio.internal")
        assert (fact.source, fact.issuer) == ("internal", "internal")
        assert pebble.count("order-plz") == orders


async def test_a_staging_authority_is_asked_first_after_a_failure(
    tmp_path: Path, pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """And what it issues is shown to nobody; production is asked at once then."""
    roots = tmp_path / "roots.pem"
    with Pebble() as staging:
        roots.write_bytes(pebble.ca_file.read_bytes() + staging.ca_file.read_bytes())
        issuer = msgspec.structs.replace(settings.issuers[0], staging=staging.directory, roots=roots)
        chosen = msgspec.structs.replace(settings, issuers=(issuer,))
        orders = pebble.count("order-plz")
        async with ChallengeServer(staging) as twin, Sandbox(store, (stage, twin), chosen) as box:
            box.answered.clear()
            await box.put(SHOP)
            await box.reported(SHOP, lambda fact: fact.attempts > 0)
            box.answered.add("http-01")
            await box.manager.desk.renew(SHOP)
            fact = await box.active(SHOP)
            assert staging.count("order-plz") == 1
            assert pebble.count("order-plz") == orders + 2
            assert pebble.status(fact.serial or "") == "Valid"
            assert (fact.attempts, fact.last_error) == (0, None)


async def test_two_nodes_of_one_store_make_one_order(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """Both serve what came of it, and both let go of what nobody wants."""
    async with (
        Sandbox(store, stage, settings, process=Process(store, holder="one")) as one,
        Sandbox(store, stage, settings, process=Process(store, holder="other")) as other,
    ):
        names = [f"both{number}.example.com" for number in range(4)]
        orders = pebble.count("order-plz")
        await asyncio.gather(*map(one.put, names))
        for name in names:
            await one.active(name)
            await other.active(name)
            assert one.holdings.bundles[name] == other.holdings.bundles[name]
        assert pebble.count("order-plz") == orders + len(names)
        await one.remove(names[0])
        await one.gone(names[0])
        await other.gone(names[0])
        assert names[0] not in other.holdings.bundles


async def test_a_node_goes_on_with_what_another_has_left_behind(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """When the lease of the dead has run out, with the same order."""
    orders = pebble.count("order-plz")
    async with Sandbox(store, stage, settings, process=Process(store, 7, holder="one")) as one:
        await one.put("left.example.com")
        await one.dead()
    impatient = msgspec.structs.replace(HABITS, lease_s=0.3)
    async with Sandbox(store, stage, settings, process=Process(store, holder="other"), habits=impatient) as other:
        await other.active("left.example.com")
    assert pebble.count("order-plz") == orders + 1


async def test_what_an_operator_asks_of_one_node_is_done_once(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """By whichever node comes first."""
    async with (
        Sandbox(store, stage, settings, process=Process(store, holder="one")) as one,
        Sandbox(store, stage, settings, process=Process(store, holder="other")) as other,
    ):
        await one.put(SHOP)
        first = await one.active(SHOP)
        await other.active(SHOP)
        orders = pebble.count("order-plz")
        await other.manager.desk.renew(SHOP)
        for box in (one, other):
            await box.reported(SHOP, lambda fact: fact.status == "active" and fact.fingerprint != first.fingerprint)
        await until(lambda: not one.crew.is_working(SHOP) and not other.crew.is_working(SHOP))
        assert pebble.count("order-plz") == orders + 1
        assert one.shop.vault.get(SHOP).asked_at is None


async def test_other_settings_hold_for_names_that_failed(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """They are tried again at once."""
    unreachable = msgspec.structs.replace(settings.issuers[0], directory="https://127.0.0.1:1/dir")
    async with Sandbox(store, stage, msgspec.structs.replace(settings, issuers=(unreachable,))) as box:
        await box.put(SHOP)
        await box.reported(SHOP, lambda fact: fact.attempts > 0)
        box.manager.reshape(settings)
        await box.active(SHOP)


async def test_names_of_the_settings_come_and_go_with_them(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """As domains do."""
    async with Sandbox(store, stage, msgspec.structs.replace(settings, names=("admin.example.net",))) as box:
        await box.active("admin.example.net")
        box.manager.reshape(settings)
        await box.gone("admin.example.net")
        assert not box.holdings.bundles


async def test_the_order_of_a_certificate_that_was_kept_is_not_gone_on_with(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """The process died between the two; the renewal has a key of its own all the same."""
    async with Sandbox(store, stage, settings, process=Process(store, "remove orders")) as box:
        await box.put(SHOP)
        await box.dead()
    async with Sandbox(store, stage, settings) as box:
        first = await box.active(SHOP)
        key = box.holdings.bundles[SHOP].key
        assert await box.shop.unfinished.get(SHOP) is not None
        await box.manager.desk.renew(SHOP)
        await box.reported(SHOP, lambda fact: fact.fingerprint != first.fingerprint)
        assert box.holdings.bundles[SHOP].key != key
        assert await box.shop.unfinished.get(SHOP) is None


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_death_at_any_write_costs_no_second_order(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings, is_late: bool
) -> None:
    """Nothing is ordered twice, and what is served is whole: the key belongs to the certificate."""
    async with Sandbox(store, stage, settings) as box:
        await box.put("warm.example.com")
        await box.active("warm.example.com")
    async with Sandbox(store, stage, settings) as box:
        await box.put("all.example.com")
        await box.active("all.example.com")
        await until(lambda: not box.crew.is_working("all.example.com"))
        writes = box.process.writes
    for number in range(1, len(writes)):
        name = f"dies{number}.example.com"
        orders = pebble.count("order-plz")
        async with Sandbox(store, stage, settings, process=Process(store, number, is_late=is_late)) as box:
            await box.put(name)
            await box.dead()
        async with Sandbox(store, stage, settings) as box:
            await box.active(name)
            bundle = box.holdings.bundles[name]
            assert bundle_of(bundle.chain, bundle.key) == bundle
        assert pebble.count("order-plz") == orders + 1, f"after {writes[number - 1]}, the write number {number}"
