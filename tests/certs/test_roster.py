"""Who is on the roster, and whom another's certificate covers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from certs.roster import Roster
from certs.workshop import utc_now
from state.store import Store
from tests.certs.sandbox import Sandbox, pem_of, settings_of
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble


@pytest.fixture
async def box(pebble: Pebble, store: Store, stage: ChallengeServer) -> AsyncIterator[Sandbox]:
    """A node without issuers: only what is imported is served."""
    async with Sandbox(store, stage, settings_of(pebble, issuers=(), names=("admin.example.net",))) as box:
        yield box


@pytest.fixture
def roster(box: Sandbox, store: Store) -> Roster:
    """A roster of a test's own."""
    roster = Roster(box.shop, store.desired)
    roster.call()
    return roster


async def test_what_changes_is_news_once(box: Sandbox, roster: Roster) -> None:
    """And only what has changed."""
    assert set(roster.wanted) == {"admin.example.net"}
    await box.put("a.example.com")
    assert roster.news() == {"a.example.com"}
    assert roster.update("a.example.com")
    assert not roster.update("a.example.com")
    assert roster.news() == frozenset()
    await box.remove("a.example.com")
    assert roster.update("a.example.com")
    assert roster.get("a.example.com") is None


async def test_a_demanded_name_is_wanted_until_it_is_over(roster: Roster) -> None:
    """Each step counts when it is taken into account."""
    roster.demand("new.example.org")
    assert roster.get("new.example.org") is None
    assert roster.update("new.example.org")
    wish = roster.get("new.example.org")
    assert wish is not None
    assert wish.origin == "demand"
    assert roster.everybody() == {"admin.example.net", "new.example.org"}
    roster.demand("new.example.org", is_demanded=False)
    assert roster.update("new.example.org")
    assert roster.get("new.example.org") is None


async def test_a_certificate_of_an_operator_is_kept_though_nobody_wants_it(box: Sandbox, roster: Roster) -> None:
    """It was brought to be served."""
    await box.manager.desk.import_pem(pem_of("a.example.com"))
    assert roster.is_kept(box.shop.vault.get("a.example.com"))
    assert not roster.is_kept(box.shop.vault.get("b.example.com"))


async def test_covers_are_found_by_name_and_by_wildcard(box: Sandbox, roster: Roster) -> None:
    """Never the name itself."""
    await box.manager.desk.import_pem(pem_of("*.example.com", "example.com"))
    now = utc_now()
    for name, expected in (
        ("example.com", "*.example.com"),
        ("a.example.com", "*.example.com"),
        ("a.b.example.com", None),
        ("*.example.com", None),
    ):
        found = roster.cover_of(name, now)
        assert (None if found is None else found.name) == expected


async def test_a_certificate_near_its_end_covers_nobody(box: Sandbox, roster: Roster) -> None:
    """Each name needs its own in time."""
    await box.manager.desk.import_pem(pem_of("*.example.com", days=4))
    record = box.shop.vault.get("*.example.com")
    assert record.held is not None
    assert roster.cover_of("a.example.com", utc_now()) is not None
    assert roster.cover_of("a.example.com", record.held.cover_until) is None


async def test_who_is_covered_is_known(pebble: Pebble, box: Sandbox, roster: Roster) -> None:
    """Of the wanted names."""
    for name in ("a.example.com", "b.example.com", "a.b.example.com"):
        await box.put(name)
        roster.update(name)
    await box.manager.desk.import_pem(pem_of("*.example.com"))
    box.manager.reshape(settings_of(pebble, issuers=()))
    await box.manager.desk.import_pem(pem_of("c.example.org", "admin.example.net", "d.example.org"))
    assert set(roster.covered_by(box.shop.vault.get("*.example.com"))) == {"a.example.com", "b.example.com"}
    assert list(roster.covered_by(box.shop.vault.get("c.example.org"))) == ["admin.example.net"]
    assert list(roster.covered_by(box.shop.vault.get("nobody.example.com"))) == []
