"""One try: whom to ask, whether it may be now, and what is remembered of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from certs.attempt import PACE
from certs.settings import CertsSettings
from certs.workshop import utc_now
from state.refusal import Refused
from state.store import Store
from tests.certs.sandbox import HABITS, Sandbox, pem_of, settings_of, spec_of, until
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble

SHOP = "shop.example.com"


@pytest.fixture
def settings(pebble: Pebble) -> CertsSettings:
    """Pebble, asked for HTTP-01."""
    return settings_of(pebble, challenges=("http-01",))


async def test_a_certificate_comes_with_a_new_plan_and_a_clean_history(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """Nothing is left of the order."""
    async with Sandbox(store, stage, settings) as box:
        await box.put(SHOP)
        await box.active(SHOP)
        record = box.shop.vault.get(SHOP)
        assert record.held is not None
        assert (record.held.issuer, record.held.directory) == ("pebble", pebble.directory)
        assert (record.history.failures, len(record.orders.times), record.asked_at) == (0, 1, None)
        assert await box.shop.unfinished.get(SHOP) is None
        assert box.manager.counts.orders == 1


async def test_no_name_has_more_orders_in_a_week_than_the_operator_allows(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """Whatever else says so; the last one is kept for when there is no certificate."""
    strict = msgspec.structs.replace(settings, max_orders_per_name_week=2)
    async with Sandbox(store, stage, strict) as box:
        await box.put(SHOP)
        await box.active(SHOP)
        orders = pebble.count("order-plz")
        with pytest.raises(Refused, match="ordered in a week"):
            await box.manager.desk.renew(SHOP)
        assert box.shop.vault.get(SHOP).asked_at is None
        # As if an authority wanted a renewal all the time.
        await box.shop.vault.ask(box.shop.vault.get(SHOP).asked(utc_now()))
        box.crew.consider(SHOP)
        fact = await box.reported(SHOP, lambda fact: fact.next_try is not None)
        assert fact.status == "active"
        assert "ordered in a week" in (fact.step or "")
        assert (fact.attempts, fact.last_error) == (0, None)
        assert pebble.count("order-plz") == orders
        await box.manager.desk.revoke(SHOP, "key_compromise")
        await box.reported(SHOP, lambda later: later.fingerprint != fact.fingerprint)
        assert pebble.count("order-plz") == orders + 1


async def test_a_failed_validation_does_not_count_against_the_week(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """It has given no certificate."""
    async with Sandbox(store, stage, msgspec.structs.replace(settings, max_orders_per_name_week=1)) as box:
        box.answered.clear()
        await box.put(SHOP)
        fact = await box.reported(SHOP, lambda fact: fact.attempts == 1)
        assert fact.orders == 0
        box.answered.add("http-01")
        await box.manager.desk.renew(SHOP)
        await box.active(SHOP)


async def test_the_next_challenge_is_another_order_of_the_same_try(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """And the first one is not counted, as nothing came of it."""
    async with Sandbox(store, stage, msgspec.structs.replace(settings, challenges=("tls-alpn-01", "http-01"))) as box:
        box.answered.discard("tls-alpn-01")
        orders = pebble.count("order-plz")
        await box.put(SHOP)
        fact = await box.active(SHOP)
        assert (fact.orders, fact.attempts) == (1, 0)
        assert pebble.count("order-plz") - orders == box.manager.counts.orders


async def test_what_our_own_pace_refuses_is_no_failure(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """Nor is it counted as one of an issuer."""
    issuers = (msgspec.structs.replace(settings.issuers[0], orders_per_3h=0),)
    async with Sandbox(store, stage, msgspec.structs.replace(settings, issuers=issuers)) as box:
        await box.put(SHOP)
        fact = await box.reported(SHOP, lambda fact: fact.next_try is not None)
        assert (fact.status, fact.attempts, fact.last_error) == ("pending", 0, None)
        assert not {*box.manager.counts.failures} - {PACE}
        assert not box.shop.purse.circuits


async def test_without_issuers_a_name_waits(store: Store, stage: ChallengeServer, settings: CertsSettings) -> None:
    """And says for what."""
    async with Sandbox(store, stage, msgspec.structs.replace(settings, issuers=())) as box:
        await box.put(SHOP)
        fact = await box.reported(SHOP, lambda fact: fact.next_try is not None)
        assert (fact.status, fact.step) == ("pending", "waiting: no issuers are configured")


async def test_the_next_issuer_is_asked_when_one_is_down(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """At once, and the certificate says whose it is."""
    down = spec_of(pebble, name="down", directory="https://127.0.0.1:1/dir")
    async with Sandbox(store, stage, msgspec.structs.replace(settings, issuers=(down, *settings.issuers))) as box:
        await box.put(SHOP)
        fact = await box.active(SHOP)
        assert fact.issuer == "pebble"
        assert box.manager.counts.failures == {"unreachable": 1}


async def test_who_does_not_own_a_name_gets_no_certificate(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """Though nothing else is looked at."""
    strict = msgspec.structs.replace(settings, ownership=True, preflight="off")
    async with Sandbox(store, stage, strict) as box:
        await box.put("owned.example.com")
        fact = await box.reported("owned.example.com", lambda fact: bool(fact.advice))
        assert "_zexio.owned.example.com" in fact.advice[0]
        assert "token" in fact.advice[0]
        pebble.dns.set_txt("_zexio.owned.example.com", "token")
        first = await box.active("owned.example.com")
        assert box.holdings.proved.get("owned.example.com") == "token"
        pebble.dns.clear_txt("_zexio.owned.example.com")
        # Proved once: customers clear up what seems to be of no more use.
        await box.manager.desk.renew("owned.example.com")
        await box.reported("owned.example.com", lambda fact: fact.fingerprint not in {None, first.fingerprint})


async def test_what_was_obtained_for_another_customer_is_not_served(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """The name comes back with a token of its own; with its proof, the certificate from before does."""
    name, strict = "returned.example.com", msgspec.structs.replace(settings, ownership=True)
    async with Sandbox(store, stage, strict) as box:
        pebble.dns.set_txt(f"_zexio.{name}", "token")
        await box.put(name)
        first = await box.active(name)
        await box.remove(name)
        await box.gone(name)
        await box.put(name, token="another")
        fact = await box.reported(name, lambda fact: bool(fact.advice))
        assert (fact.status, fact.fingerprint, name in box.holdings.bundles) == ("failing", None, False)
        assert box.holdings.proved.get(name) != "another"
    async with Sandbox(store, stage, strict) as box:
        assert name not in box.holdings.bundles
        pebble.dns.clear_txt(f"_zexio.{name}")
        pebble.dns.set_txt(f"_zexio.{name}", "another")
        assert (await box.active(name)).fingerprint == first.fingerprint
        pebble.dns.clear_txt(f"_zexio.{name}")


async def test_another_customer_s_wildcard_does_not_cover_what_is_not_proved(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """With the proof it does, and no order is made."""
    async with Sandbox(store, stage, msgspec.structs.replace(settings, ownership=True)) as box:
        await box.manager.desk.import_pem(pem_of("*.covered.example.com"))
        await box.put("a.covered.example.com")
        fact = await box.reported("a.covered.example.com", lambda fact: bool(fact.advice))
        assert fact.status == "failing"
        orders = pebble.count("order-plz")
        pebble.dns.set_txt("_zexio.a.covered.example.com", "token")
        fact = await box.active("a.covered.example.com")
        assert (fact.source, pebble.count("order-plz")) == ("imported", orders)
        pebble.dns.clear_txt("_zexio.a.covered.example.com")


async def test_an_order_from_before_is_not_gone_on_with_for_another_customer(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """What was paid for is of no use to whoever cannot prove whose the name is."""
    name, strict = "begun.example.com", msgspec.structs.replace(settings, ownership=True)
    pebble.dns.set_txt(f"_zexio.{name}", "token")
    async with Sandbox(store, stage, strict) as box:
        box.gate.clear()
        await box.put(name)
        await box.reported(name, lambda fact: fact.step == "presenting")
    pebble.dns.clear_txt(f"_zexio.{name}")
    async with Sandbox(store, stage, strict) as box:
        await box.remove(name)
        await box.gone(name)
        await box.put(name, token="another")
        fact = await box.reported(name, lambda fact: bool(fact.advice))
        assert (fact.status, name in box.holdings.bundles) == ("failing", False)


async def test_advice_alone_stops_nothing(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """When the operator wants to be warned only."""
    lax = msgspec.structs.replace(settings, preflight="warn", public_addresses=("192.0.2.1",))
    async with Sandbox(store, stage, lax) as box:
        await box.put("advised.example.com")
        fact = await box.active("advised.example.com")
        assert fact.last_error is None


async def test_a_renewal_says_what_it_replaces(
    tmp_path: Path, pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """A certificate in the last third of its life is renewed by itself."""
    ahead = [timedelta()]
    habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() + ahead[0])
    async with Sandbox(store, stage, settings, habits=habits) as box:
        await box.put(SHOP)
        first = await box.active(SHOP)
        ahead[0] = timedelta(days=61)
        box.crew.consider(SHOP)
        second = await box.reported(SHOP, lambda fact: fact.fingerprint != first.fingerprint)
        assert second.status == "active"
        await until(lambda: not box.crew.is_working(SHOP))
