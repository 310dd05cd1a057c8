"""What work on certificates is done with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from certs.record import Progress, Record, Standing
from certs.workshop import NOTHING
from state.store import Store
from tests.certs.sandbox import Sandbox, pem_of, settings_of, until
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble


@pytest.fixture
async def box(pebble: Pebble, store: Store, stage: ChallengeServer) -> AsyncIterator[Sandbox]:
    """A node that makes two orders at a time."""
    async with Sandbox(store, stage, settings_of(pebble, parallel=2)) as box:
        yield box


async def test_so_many_orders_are_under_way_and_no_more(box: Sandbox) -> None:
    """Who waits is counted, and who goes away while waiting is not."""
    done = asyncio.Event()

    async def order() -> None:
        async with box.shop.slot():
            await done.wait()

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(order(), name="order") for _ in range(4)]
    await until(lambda: box.shop.queue == 2)
    tasks[3].cancel()
    await until(lambda: box.shop.queue == 1)
    done.set()
    await asyncio.wait(tasks)
    assert box.shop.queue == 0


async def test_the_registered_domain_is_known(box: Sandbox) -> None:
    """Limits of authorities are counted by it."""
    assert await box.shop.domain_of("*.shop.example.co.uk") == "example.co.uk"
    assert await box.shop.domain_of("a.b.example.com") == "example.com"


async def test_there_is_one_internal_authority(box: Sandbox) -> None:
    """However many ask for it at the same time."""
    one, other = await asyncio.gather(box.shop.internal(), box.shop.internal())
    assert one.root_pem == other.root_pem


async def test_what_is_known_for_the_moment_is_reported(box: Sandbox) -> None:
    """And forgotten when there is nothing to know."""
    record = Record(name="a.example.com")
    assert box.shop.standing(record.name) == NOTHING
    box.shop.stand(record, Standing(progress=Progress("ordering")))
    fact = await box.reported(record.name, lambda fact: fact.step == "ordering")
    assert fact.status == "issuing"
    box.shop.stand(record, NOTHING)
    assert box.shop.standings == {}
    await box.reported(record.name, lambda fact: fact.status == "pending")


async def test_what_is_served_already_is_no_news(box: Sandbox) -> None:
    """The data plane is told nothing then."""
    name = await box.manager.desk.import_pem(pem_of("a.example.com"))
    record, revision = box.shop.vault.get(name), box.holdings.revision
    assert not box.shop.show(record)
    await box.shop.serve(record)
    assert box.holdings.revision == revision
    box.shop.hide(name)
    assert name not in box.holdings.bundles
    revision = box.holdings.revision
    box.shop.hide(name)
    assert box.holdings.revision == revision


async def test_challenges_are_answered_by_what_the_settings_have(pebble: Pebble, box: Sandbox) -> None:
    """DNS-01 only with something that changes records."""
    assert set(box.shop.solvers) == {"http-01", "tls-alpn-01"}
    box.shop.use(settings_of(pebble, dns_command=("/bin/true",)))
    assert set(box.shop.solvers) == {"http-01", "tls-alpn-01", "dns-01"}
