"""Handshakes bring names, and get certificates for those that are allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import structlog
from aiohttp import web

from certs.on_demand import _network_of
from certs.workshop import utc_now
from state.change import PutRoute
from state.model import Route, Target
from state.store import Store
from tests.certs.sandbox import HABITS, Sandbox, settings_of, until
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble

VISITOR = "192.0.2.7"


@pytest.fixture
async def box(pebble: Pebble, store: Store, stage: ChallengeServer) -> AsyncIterator[Sandbox]:
    """A node that makes certificates for whom its routes name."""
    async with Sandbox(store, stage, settings_of(pebble, challenges=("http-01",), on_demand=True)) as box:
        await route(box, "*.demand.example.com")
        yield box


async def test_the_first_handshake_brings_a_certificate(pebble: Pebble, box: Sandbox) -> None:
    """And the second finds it."""
    orders = pebble.count("order-plz")
    assert await box.manager.certificate_for("a.demand.example.com", VISITOR) == 0.0
    assert "a.demand.example.com" in box.holdings.bundles
    assert await box.manager.certificate_for("A.demand.example.com.", VISITOR) == 0.0
    assert pebble.count("order-plz") == orders + 1


async def test_handshakes_at_the_same_time_are_one_order(pebble: Pebble, box: Sandbox) -> None:
    """Whoever goes away takes nothing from the others."""
    orders = pebble.count("order-plz")
    loop = asyncio.get_running_loop()
    asking = [
        loop.create_task(box.manager.certificate_for("many.demand.example.com", VISITOR), name="visitor")
        for _ in range(20)
    ]
    await asyncio.sleep(0)
    asking[0].cancel()
    assert await asyncio.gather(*asking[1:]) == [0.0] * 19
    assert pebble.count("order-plz") == orders + 1


async def test_a_name_that_no_route_names_is_refused(pebble: Pebble, box: Sandbox) -> None:
    """For a while, without asking anybody again."""
    orders = pebble.count("order-plz")
    assert await box.manager.certificate_for("other.example.com", VISITOR) > 0
    assert await box.manager.certificate_for("other.example.com", VISITOR) > 0
    assert pebble.count("order-plz") == orders
    assert box.fact("other.example.com") is None


@pytest.mark.parametrize("name", ["localhost", "192.0.2.7", "[2001:db8::1]", "*", "no name", ""])
async def test_what_is_no_domain_is_refused_for_long(box: Sandbox, name: str) -> None:
    """It never will be one."""
    assert await box.manager.certificate_for(name, VISITOR) >= 3600


async def test_visitors_get_nothing_unless_the_operator_wants_it(
    pebble: Pebble, store: Store, stage: ChallengeServer
) -> None:
    """It is off by default."""
    async with Sandbox(store, stage, settings_of(pebble)) as box:
        await route(box, "a.example.com")
        assert await box.manager.certificate_for("a.example.com", VISITOR) > 0


async def test_a_domain_with_certificates_off_gets_none(box: Sandbox) -> None:
    """Though a route names it."""
    await box.put("off.demand.example.com", certificate="off")
    assert await box.manager.certificate_for("off.demand.example.com", VISITOR) > 0


async def test_a_handshake_waits_for_a_domain_that_is_on_its_way(
    pebble: Pebble, store: Store, stage: ChallengeServer
) -> None:
    """Whether certificates on demand are on or not."""
    async with Sandbox(store, stage, settings_of(pebble, challenges=("http-01",))) as box:
        await box.put("shop.example.com")
        assert await box.manager.certificate_for("shop.example.com", VISITOR) == 0.0


async def test_a_demanded_name_that_fails_is_not_wanted_for_ever(box: Sandbox) -> None:
    """The next handshake may ask again, later."""
    box.answered.clear()
    seconds = await box.manager.certificate_for("mute.demand.example.com", VISITOR)
    assert seconds > 0
    await box.gone("mute.demand.example.com")


async def test_one_visitor_does_not_bring_names_without_end(pebble: Pebble, box: Sandbox) -> None:
    """Others still may."""
    box.answered.clear()
    for number in range(20):
        await box.manager.certificate_for(f"n{number}.example{number}.com", VISITOR)
    await route(box, "late.example.com")
    box.answered.add("http-01")
    assert await box.manager.certificate_for("late.example.com", VISITOR) > 0
    assert await box.manager.certificate_for("late.example.com", "2001:db8::1") == 0.0


async def test_a_demanded_name_is_served_after_a_restart(
    pebble: Pebble, store: Store, stage: ChallengeServer, box: Sandbox
) -> None:
    """And is renewed like others."""
    assert await box.manager.certificate_for("a.demand.example.com", VISITOR) == 0.0
    async with Sandbox(store, stage, settings_of(pebble, on_demand=True)) as again:
        assert "a.demand.example.com" in again.holdings.bundles
        fact = await again.active("a.demand.example.com")
        assert fact.renew_at is not None


async def test_an_internal_name_gets_a_leaf_that_is_kept_nowhere(pebble: Pebble, box: Sandbox) -> None:
    """If a route names it."""
    orders = pebble.count("order-plz")
    assert await box.manager.certificate_for("db.zexio.internal", VISITOR) > 0
    await route(box, "web.zexio.internal")
    assert await box.manager.certificate_for("web.zexio.internal", VISITOR) == 0.0
    assert "web.zexio.internal" in box.holdings.bundles
    fact = await box.active("web.zexio.internal")
    assert (fact.source, fact.issuer, fact.renew_at) == ("internal", "internal", None)
    assert box.shop.vault.names == frozenset()
    assert pebble.count("order-plz") == orders


async def test_names_below_an_internal_wildcard_have_one_leaf(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes names up takes nobody's leaf away, and adds none."""
    monkeypatch.setattr("certs.on_demand._STRAYS", 2)
    await route(box, "*.acme.zexio.internal")
    await route(box, "db.acme.zexio.internal")
    assert await box.manager.certificate_for("db.acme.zexio.internal", VISITOR) == 0.0
    for number in range(4):
        assert await box.manager.certificate_for(f"n{number}.acme.zexio.internal", VISITOR) == 0.0
        assert await box.manager.certificate_for(f"a.n{number}.acme.zexio.internal", VISITOR) == 0.0
    assert set(box.holdings.bundles) == {
        "db.acme.zexio.internal",
        "*.acme.zexio.internal",
        "a.n2.acme.zexio.internal",
        "a.n3.acme.zexio.internal",
    }


async def test_an_internal_leaf_is_thrown_away_before_it_ends(
    pebble: Pebble, store: Store, stage: ChallengeServer
) -> None:
    """The next handshake gets another one."""
    ahead = [timedelta()]
    habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() + ahead[0])
    async with Sandbox(store, stage, settings_of(pebble), habits=habits) as box:
        await route(box, "web.zexio.internal")
        assert await box.manager.certificate_for("web.zexio.internal", VISITOR) == 0.0
        first = box.holdings.bundles["web.zexio.internal"]
        ahead[0] = timedelta(hours=11)
        await box.put("poke.example.com")
        await until(lambda: "web.zexio.internal" not in box.holdings.bundles)
        assert await box.manager.certificate_for("web.zexio.internal", VISITOR) == 0.0
        assert box.holdings.bundles["web.zexio.internal"] != first


async def test_a_flood_of_names_is_a_line_of_the_log(box: Sandbox) -> None:
    """Or it would push out everything else that is there to read."""
    with structlog.testing.capture_logs() as lines:
        for number in range(40):
            box.manager._on_demand._by_address.take(VISITOR, asyncio.get_running_loop().time())
            await box.manager.certificate_for(f"n{number}.elsewhere.example.com", VISITOR)
    assert len([line for line in lines if line["event"] == "too many new names"]) == 1


async def test_the_operators_program_decides(pebble: Pebble, store: Store, stage: ChallengeServer) -> None:
    """Instead of the routes; and it is asked again before a renewal. What it refuses then is served until its end."""
    allowed, ahead = {"yes.example.com"}, [timedelta()]
    habits = msgspec.structs.replace(HABITS, clock=lambda: utc_now() + ahead[0])
    async with program(allowed) as url:
        settings = settings_of(pebble, challenges=("http-01",), on_demand=True, ask_url=url)
        async with Sandbox(store, stage, settings, habits=habits) as box:
            await route(box, "no.example.com")
            assert await box.manager.certificate_for("no.example.com", VISITOR) > 0
            assert await box.manager.certificate_for("yes.example.com", VISITOR) == 0.0
            first = box.holdings.bundles["yes.example.com"]
            await box.manager.desk.renew("yes.example.com")
            await until(lambda: box.holdings.bundles.get("yes.example.com") != first)
            allowed.clear()
            await until(lambda: not box.crew.is_working("yes.example.com"))
            await box.manager.desk.renew("yes.example.com")
            fact = await box.reported("yes.example.com", lambda fact: "not allowed" in (fact.step or ""))
            assert (fact.status, "yes.example.com" in box.holdings.bundles) == ("active", True)
            await until(lambda: not box.crew.is_working("yes.example.com"))
            ahead[0] = timedelta(days=91)
            box.crew._is_poked.set()
            await box.gone("yes.example.com")
            assert not box.holdings.bundles


async def test_a_program_that_does_not_answer_stops_no_renewal_for_good(
    pebble: Pebble, store: Store, stage: ChallengeServer
) -> None:
    """The certificate stays, and the program is asked again later."""
    async with program({"yes.example.com"}) as url:
        settings = settings_of(pebble, challenges=("http-01",), on_demand=True, ask_url=url)
        async with Sandbox(store, stage, settings) as box:
            assert await box.manager.certificate_for("yes.example.com", VISITOR) == 0.0
            box.manager.reshape(msgspec.structs.replace(settings, ask_url="http://127.0.0.1:1/"))
            assert await box.manager.certificate_for("new.example.com", VISITOR) > 0
            await box.manager.desk.renew("yes.example.com")
            fact = await box.reported("yes.example.com", lambda fact: fact.next_try is not None)
            assert fact.status == "active"
            assert "does not answer" in (fact.step or "")


async def test_names_that_are_made_up_use_nothing_up(box: Sandbox) -> None:
    """Or a few visitors could keep everybody from the names below a registered domain."""
    for number in range(60):
        assert await box.manager.certificate_for(f"made-up-{number}.example.com", f"198.51.100.{number}") >= 59.0
    assert await box.manager.certificate_for("after.demand.example.com", VISITOR) == 0.0


def test_visitors_of_a_listener_for_both_families_are_told_apart() -> None:
    """Such a one writes IPv4 addresses as parts of one network of IPv6."""
    assert {_network_of(f"::ffff:192.0.2.{number}") for number in range(3)} == {f"192.0.2.{n}" for n in range(3)}
    assert _network_of("2001:db8::1") == _network_of("2001:db8::2") == "2001:db8::/64"
    assert _network_of("fe80::1%eth0") == "fe80::/64"
    assert _network_of("unix") == "unix"


@asynccontextmanager
async def program(allowed: set[str]) -> AsyncIterator[str]:
    """A program that allows these; its URL."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.query["domain"] in allowed else 403)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def route(box: Sandbox, host: str, **fields: Any) -> None:  # noqa: ANN401 - the fields of a route
    """Have a route for a host."""
    await box.submit(PutRoute(route=Route(host=host, targets=(Target("http://127.0.0.1:1"),), **fields)))
