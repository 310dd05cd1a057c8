"""What is remembered of names is on a shelf before it is in memory."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from certs.issuers import NameHistory
from certs.record import Record
from certs.vault import Vault
from state.errors import Stale
from state.ports import Lease, Shelf
from state.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FAILED = NameHistory(failures=1, last_error="no")


@pytest.fixture
def shelf(store: Store) -> Shelf:
    """Where records are kept."""
    return store.shelf("certificates")


@pytest.fixture
async def lease(store: Store) -> Lease:
    """The leave to work on a name."""
    lease = await store.leases.take("certificate/a", 60.0)
    assert lease is not None
    return lease


async def test_nothing_is_remembered_of_a_new_name(shelf: Shelf) -> None:
    """An empty record, which is on no shelf."""
    vault = Vault(shelf)
    assert vault.get("a") == Record(name="a")
    assert await vault.refreshed("a") == Record(name="a")
    assert vault.names == frozenset()


async def test_what_was_saved_is_found_after_a_restart(shelf: Shelf, lease: Lease) -> None:
    """In one piece."""
    record = Record(name="a", history=FAILED)
    assert await Vault(shelf).save(record, lease) == record
    vault = Vault(shelf)
    assert await vault.follow() == {"a"}
    assert vault.get("a") == record
    assert vault.names == {"a"}


async def test_nodes_learn_from_one_another(shelf: Shelf, lease: Lease) -> None:
    """Each thing once, and what they wrote themselves is no news."""
    one, other = Vault(shelf), Vault(shelf)
    await one.save(Record(name="a", history=FAILED), lease)
    assert await one.follow() == frozenset()
    assert await other.follow() == {"a"}
    assert await other.follow() == frozenset()
    await one.forget("a")
    assert await other.follow() == {"a"}
    assert other.names == frozenset()


async def test_who_has_lost_the_lease_writes_nothing(store: Store, shelf: Shelf, lease: Lease) -> None:
    """Another node may have gone on already."""
    vault = Vault(shelf)
    await store.leases.release(lease)
    with pytest.raises(Stale):
        await vault.save(Record(name="a", history=FAILED), lease)
    assert vault.names == frozenset()
    assert await shelf.get("a") is None


async def test_what_an_operator_asks_for_during_the_work_is_not_lost(shelf: Shelf, lease: Lease) -> None:
    """At this node or at another one."""
    worker, desk = Vault(shelf), Vault(shelf)
    record = await worker.save(Record(name="a", history=FAILED), lease)
    await desk.follow()
    await desk.ask(desk.get("a").asked(NOON))
    saved = await worker.save(msgspec.structs.replace(record, told=frozenset({"failing"})), lease)
    assert (saved.asked_at, saved.told, saved.history.failures) == (NOON, frozenset({"failing"}), 1)
    assert (await desk.refreshed("a")) == saved


async def test_what_was_asked_for_and_done_is_over(shelf: Shelf, lease: Lease) -> None:
    """The one who did it says so."""
    vault = Vault(shelf)
    await vault.ask(Record(name="a").asked(NOON))
    saved = await vault.save(Record(name="a"), lease)
    assert saved.asked_at is None


async def test_who_asks_looks_first(shelf: Shelf, lease: Lease) -> None:
    """Or hears that something else was written meanwhile."""
    worker, desk = Vault(shelf), Vault(shelf)
    await desk.follow()
    await worker.save(Record(name="a", history=FAILED), lease)
    with pytest.raises(Stale):
        await desk.ask(Record(name="a").asked(NOON))
    await desk.ask((await desk.refreshed("a")).asked(NOON))


async def test_damage_costs_the_record_and_nothing_else(shelf: Shelf, lease: Lease) -> None:
    """The name starts anew, and the others are as they were."""
    await shelf.put("a", b"no record")
    vault = Vault(shelf)
    await vault.save(Record(name="b", history=FAILED), lease)
    again = Vault(shelf)
    assert await again.follow() == {"a", "b"}
    assert again.get("a") == Record(name="a")
    assert again.get("b").history == FAILED
    await again.save(Record(name="a", history=FAILED), lease)
    assert (await again.refreshed("a")).history == FAILED


async def test_a_record_that_came_back_is_a_new_one(shelf: Shelf, lease: Lease) -> None:
    """One node forgot it while another still knew it."""
    one, other = Vault(shelf), Vault(shelf)
    await one.save(Record(name="a"), lease)
    await other.follow()
    await one.forget("a")
    await other.save(Record(name="a", history=FAILED), lease)
    assert (await one.refreshed("a")).history == FAILED
