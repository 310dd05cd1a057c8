"""Names are looked at when they are due, so many at a time, and none is ever given up."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest
import structlog

from certs import crew
from certs.settings import CertsSettings
from certs.workshop import utc_now
from state.store import Store
from tests.certs.sandbox import HABITS, Sandbox, pem_of, settings_of, until
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble

SHOP = "shop.example.com"


@pytest.fixture
def settings(pebble: Pebble) -> CertsSettings:
    """Pebble, asked for HTTP-01."""
    return settings_of(pebble, challenges=("http-01",))


async def test_a_domain_that_is_removed_is_served_no_more(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """And serves at once when it is added again, without another order."""
    async with Sandbox(store, stage, settings) as box:
        await box.put(SHOP)
        await box.active(SHOP)
        bundle = box.holdings.bundles[SHOP]
        orders = pebble.count("order-plz")
        await box.remove(SHOP)
        await box.gone(SHOP)
        assert SHOP not in box.holdings.bundles
        await box.put(SHOP)
        await box.active(SHOP)
        assert box.holdings.bundles[SHOP] == bundle
        assert pebble.count("order-plz") == orders


async def test_a_domain_that_is_removed_in_the_middle_is_let_go(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """Its order ends, its answers are withdrawn, and nothing is reported of it."""
    async with Sandbox(store, stage, settings) as box:
        box.gate.clear()
        await box.put(SHOP)
        await box.reported(SHOP, lambda fact: fact.status == "issuing")
        await box.remove(SHOP)
        await until(lambda: not box.crew.is_working(SHOP))
        await box.gone(SHOP)
        await until(lambda: not box.holdings.tokens)
        assert SHOP not in box.holdings.bundles


async def test_a_name_that_fails_says_why_and_when_it_is_tried_again(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """It is never given up."""
    async with Sandbox(store, stage, settings) as box:
        box.answered.clear()
        await box.put(SHOP)
        fact = await box.reported(SHOP, lambda fact: fact.attempts > 0)
        assert fact.status == "failing"
        assert fact.last_error
        assert fact.failed_at is not None
        assert fact.next_try is not None
        assert fact.next_try > fact.failed_at
        assert fact.orders == 0
        assert box.manager.counts.failures


async def test_records_that_point_elsewhere_cost_no_order(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """And the certificate is there a moment after they are mended."""
    strict = msgspec.structs.replace(settings, public_addresses=("127.0.0.1",))
    pebble.dns.add_a("lost.example.com", "192.0.2.7")
    orders = pebble.count("order-plz")
    async with Sandbox(store, stage, strict) as box:
        await box.put("lost.example.com")
        fact = await box.reported("lost.example.com", lambda fact: bool(fact.advice))
        assert fact.status == "failing"
        assert "192.0.2.7" in fact.advice[0]
        assert fact.last_error == fact.advice[0]
        assert pebble.count("order-plz") == orders
        assert fact.attempts == 0
        pebble.dns.clear_a("lost.example.com")
        fact = await box.active("lost.example.com")
        assert fact.advice == ()
        assert pebble.count("order-plz") == orders + 1


async def test_a_name_that_a_wildcard_covers_needs_no_order(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """It is active as soon as the wildcard is."""
    async with Sandbox(store, stage, settings) as box:
        await box.manager.desk.import_pem(pem_of("*.wild.example.com"))
        orders = pebble.count("order-plz")
        await box.put("a.wild.example.com")
        fact = await box.active("a.wild.example.com")
        assert fact.step == "covered by the certificate for *.wild.example.com"
        assert pebble.count("order-plz") == orders
        assert "a.wild.example.com" not in box.holdings.bundles


async def test_names_that_come_at_once_are_issued_side_by_side(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """Twenty names that come at once are twenty orders."""
    names = [f"n{number}.many.example.com" for number in range(20)]
    orders = pebble.count("order-plz")
    async with Sandbox(store, stage, settings) as box:
        await asyncio.gather(*map(box.put, names))
        for name in names:
            await box.active(name)
        assert pebble.count("order-plz") == orders + len(names)


async def test_what_issuers_allow_is_spread_over_time(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """The third of two in three hours waits, and says until when."""
    issuers = (msgspec.structs.replace(settings.issuers[0], orders_per_3h=2),)
    async with Sandbox(store, stage, msgspec.structs.replace(settings, issuers=issuers)) as box:
        names = [f"b{number}.example{number}.com" for number in range(3)]
        for name in names:
            await box.put(name)
        await until(lambda: sum(_is_active(box, name) for name in names) == 2)
        waiting = next(name for name in names if not _is_active(box, name))
        fact = await box.reported(waiting, lambda fact: fact.next_try is not None)
        assert fact.status == "pending"
        assert fact.step is not None
        assert "2 certificates in 3 hours" in fact.step


async def test_nobody_begins_while_an_operator_is_at_work_on_a_name(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """What was under way ends, and goes on afterwards; two operators take turns."""
    async with Sandbox(store, stage, settings) as box:
        box.gate.clear()
        await box.put(SHOP)
        await box.reported(SHOP, lambda fact: fact.status == "issuing")
        box.gate.set()
        inside: list[str] = []

        async def work(who: str) -> None:
            async with box.crew.alone(SHOP):
                inside.append(who)
                assert not box.crew.is_working(SHOP)
                box.crew.consider(SHOP)
                await asyncio.sleep(0.02)
                assert not box.crew.is_working(SHOP)
                inside.append(who)

        await asyncio.gather(work("ann"), work("bob"))
        assert inside == ["ann", "ann", "bob", "bob"]
        await box.active(SHOP)


async def test_a_certificate_that_ends_during_a_turn_is_shown_as_ended(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """An authority may hang for as long as an order may take."""
    ahead = [timedelta()]
    habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() + ahead[0])
    async with Sandbox(store, stage, settings, habits=habits) as box:
        await box.put(SHOP)
        await box.active(SHOP)
        box.gate.clear()
        ahead[0] = timedelta(days=89)
        box.crew.consider(SHOP)
        await box.reported(SHOP, lambda fact: fact.step == "presenting" and fact.status == "active")
        with structlog.testing.capture_logs() as lines:
            ahead[0] = timedelta(days=91)
            await box.reported(SHOP, lambda fact: fact.status == "issuing")
            await until(lambda: any(line.get("kind") == "expired" for line in lines))
            box.crew.retell()
            assert len([line for line in lines if line.get("kind") == "expired"]) == 1


async def test_a_clock_that_is_set_back_keeps_nobody_waiting(
    pebble: Pebble, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """What was planned by the wrong time is planned anew."""
    ahead, name = [timedelta(days=20)], "clock.example.com"
    habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() + ahead[0])
    pebble.dns.add_a(name, "192.0.2.7")
    strict = msgspec.structs.replace(settings, public_addresses=("127.0.0.1",))
    async with Sandbox(store, stage, strict, habits=habits) as box:
        await box.put(name)
        await box.reported(name, lambda fact: bool(fact.advice))
        await until(lambda: not box.crew.is_working(name))
        ahead[0] = timedelta()
        pebble.dns.clear_a(name)
        box.crew._is_poked.set()
        await box.active(name)


async def test_an_error_of_the_program_is_no_reason_to_give_up(
    monkeypatch: pytest.MonkeyPatch, store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """It is logged, and the name has its next turn."""
    async with Sandbox(store, stage, settings) as box:
        with monkeypatch.context() as patched:
            patched.setattr(crew, "Turn", _Broken)
            await box.put(SHOP)
            fact = await box.reported(SHOP, lambda fact: fact.next_try is not None)
            assert fact.step == "waiting: an error of the program, see its log"
        await box.manager.desk.renew(SHOP)
        await box.active(SHOP)


async def test_a_store_that_does_not_answer_is_waited_for(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """Nothing is ordered meanwhile."""
    async with Sandbox(store, stage, settings) as box:
        await box.put("first.example.com")
        await box.active("first.example.com")
        box.gate.clear()
        await box.put(SHOP)
        await box.reported(SHOP, lambda fact: fact.step == "presenting")
        await store.close()
        box.gate.set()
        fact = await box.reported(SHOP, lambda fact: fact.next_try is not None)
        assert "the store is closed" in (fact.step or "")


async def test_who_waits_for_a_name_that_is_dropped_is_woken(
    store: Store, stage: ChallengeServer, settings: CertsSettings
) -> None:
    """There will be no turn whose end could be waited for."""
    async with Sandbox(store, stage, msgspec.structs.replace(settings, issuers=())) as box:
        await box.put(SHOP)
        await box.reported(SHOP, lambda fact: fact.next_try is not None)
        async with box.crew.alone(SHOP):
            waiting = asyncio.get_running_loop().create_task(box.crew.hurry(SHOP), name="waiting")
            await asyncio.sleep(0.02)
            assert not waiting.done()
            await box.remove(SHOP)
        async with asyncio.timeout(5):
            await waiting


def _is_active(box: Sandbox, name: str) -> bool:
    fact = box.fact(name)
    return fact is not None and fact.status == "active"


class _Broken:
    """A turn that fails as nobody has foreseen."""

    def __init__(self, *_arguments: object, **_wishes: object) -> None:
        """With anything."""

    async def take(self) -> None:
        """Not at all."""
        raise ZeroDivisionError
