"""Shelves: sealed values by key, versions in order, and writes that hold only on the terms of the writer."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from state.errors import SecretError, Stale, StoreError
from state.ports import Sealed, Shelf
from state.schema import SHELVES
from state.secrets import Secrets
from state.shelf import TOMBSTONES_S
from state.store import Store
from tests.state.samples import OPERATOR, put

SECRET = b"-----BEGIN PRIVATE KEY-----"


@pytest.fixture
def shelf(store: Store) -> Shelf:
    """An empty shelf of the store."""
    return store.shelf("certificates")


async def execute(store: Store, statement: sa.Executable) -> None:
    """Change the tables behind the shelf's back."""
    async with store._tables.engine.begin() as connection:
        await connection.execute(statement)


async def column(store: Store, wanted: sa.Column[object]) -> list[object]:
    """One column of all rows, by version."""
    async with store._tables.engine.begin() as connection:
        return list((await connection.scalars(sa.select(wanted).order_by(SHELVES.c.version))).all())


async def test_a_value_comes_back(shelf: Shelf) -> None:
    """By its key, with the version that wrote it."""
    version = await shelf.put("a.example", SECRET)
    assert await shelf.get("a.example") == Sealed("a.example", version, SECRET)
    assert await shelf.get("b.example") is None


async def test_a_newer_value_replaces_the_older(shelf: Shelf) -> None:
    """There is one for each key."""
    first = await shelf.put("a.example", b"1")
    second = await shelf.put("a.example", b"2")
    assert second > first
    assert await shelf.since() == [Sealed("a.example", second, b"2")]


async def test_shelves_know_nothing_of_each_other(store: Store, shelf: Shelf) -> None:
    """But their versions are of one row, so that a follower of several can compare them."""
    other = store.shelf("orders")
    versions = [await shelf.put("a.example", b"1"), await other.put("a.example", b"2")]
    assert versions[1] > versions[0]
    await other.remove("a.example")
    assert [value.body for value in await shelf.since()] == [b"1"]
    assert await other.get("a.example") is None


async def test_a_shelf_has_no_slash_in_its_name(store: Store) -> None:
    """Shelf and key are parted by one where a row says what it is."""
    with pytest.raises(ValueError, match="no slash"):
        store.shelf("a/b")


async def test_whoever_follows_learns_what_is_new(shelf: Shelf) -> None:
    """In order, of each key the newest, and what was removed as such."""
    seen = await shelf.put("a.example", b"1")
    await shelf.put("b.example", b"1")
    await shelf.put("c.example", b"1")
    await shelf.put("b.example", b"2")
    await shelf.remove("a.example")
    assert [(value.key, value.body) for value in await shelf.since(seen)] == [
        ("c.example", b"1"),
        ("b.example", b"2"),
        ("a.example", None),
    ]
    newest = (await shelf.since(seen))[-1].version
    assert await shelf.since(newest) == []


async def test_whoever_begins_learns_what_there_is(shelf: Shelf) -> None:
    """And nothing of what is gone."""
    await shelf.put("a.example", b"1")
    await shelf.remove("a.example")
    await shelf.put("b.example", b"1")
    assert [value.key for value in await shelf.since()] == ["b.example"]
    assert await shelf.get("a.example") is None


async def test_removing_nothing_is_no_news(shelf: Shelf) -> None:
    """Nor is removing twice."""
    version = await shelf.put("a.example", b"1")
    await shelf.remove("b.example")
    await shelf.remove("a.example")
    found = await shelf.since(version)
    await shelf.remove("a.example")
    assert await shelf.since(version) == found


async def test_a_write_may_expect_a_version(shelf: Shelf) -> None:
    """Zero is none, whether there never was one or it was removed."""
    version = await shelf.put("a.example", b"1", expect=0)
    version = await shelf.put("a.example", b"2", expect=version)
    await shelf.remove("a.example", expect=version)
    await shelf.remove("a.example", expect=0)
    assert await shelf.put("a.example", b"3", expect=0) > version


@pytest.mark.parametrize("other", [-1, 1])
async def test_a_write_that_expected_otherwise_is_not_made(shelf: Shelf, other: int) -> None:
    """The error says which version is there, and nothing of the value."""
    version = await shelf.put("a.example", SECRET)
    for write in (
        shelf.put("a.example", b"2", expect=version + other),
        shelf.remove("a.example", expect=version + other),
        shelf.put("a.example", b"2", expect=0),
        shelf.put("b.example", b"2", expect=version),
    ):
        with pytest.raises(Stale, match="was expected"):
            await write
    assert await shelf.since() == [Sealed("a.example", version, SECRET)]


async def test_of_many_who_expect_none_one_is_first(store: Store) -> None:
    """The others learn it, and no two writes have the same version."""
    shelf = store.shelf("accounts")
    claims = [shelf.put("one", bytes([number]), expect=0) for number in range(10)]
    others = [shelf.put(f"other{number}", b"") for number in range(10)]
    answers = await asyncio.gather(*claims, *others, return_exceptions=True)
    versions = [answer for answer in answers if isinstance(answer, int)]
    assert [type(answer) for answer in answers[:10]].count(Stale) == 9
    assert len(set(versions)) == len(versions) == 11


async def test_a_write_under_a_lease_is_made_while_it_is_held(store: Store, shelf: Shelf) -> None:
    """Even if its time has run out, as long as no other has taken it: the work was done alone."""
    lease = await store.leases.take("certificate/a.example", 0)
    assert lease is not None
    version = await shelf.put("a.example", b"1", lease=lease)
    await shelf.remove("a.example", expect=version, lease=lease)


@pytest.mark.parametrize("loss", ["released", "taken over", "never held"])
async def test_a_write_under_a_lost_lease_is_not_made(store: Store, shelf: Shelf, loss: str) -> None:
    """Whatever became of it."""
    lease = await store.leases.take("certificate/a.example", 0)
    assert lease is not None
    if loss == "released":
        await store.leases.release(lease)
    elif loss == "taken over":
        rival = type(store.leases)(store._transactions, "rival")
        assert await rival.take("certificate/a.example", 30) is not None
    else:
        lease = type(lease)("certificate/b.example", lease.holder, lease.fence)
    for write in (shelf.put("a.example", b"1", lease=lease), shelf.remove("a.example", lease=lease)):
        with pytest.raises(Stale, match=r"the lease of certificate/.\.example was lost"):
            await write
    assert await shelf.since() == []


async def test_what_is_written_is_sealed(store: Store, shelf: Shelf) -> None:
    """The key files of visitors' certificates are in it."""
    await shelf.put("a.example", SECRET)
    assert all(SECRET not in bytes(body) for body in await column(store, SHELVES.c.body) if isinstance(body, bytes))
    assert "PRIVATE" not in repr(await shelf.get("a.example"))


@pytest.mark.parametrize(
    "alteration", [{"key": "b.example"}, {"shelf": "orders"}, {"version": 99}, {"body": b"\x01"}], ids=str
)
async def test_a_value_belongs_to_its_place(store: Store, shelf: Shelf, alteration: dict[str, object]) -> None:
    """Moved to another row, or set back to what it was before, it does not open."""
    await shelf.put("a.example", SECRET)
    await execute(store, sa.update(SHELVES).values(**alteration))
    found = store.shelf(str(alteration.get("shelf", "certificates")))
    with pytest.raises(SecretError, match="shelves/"):
        await found.get(str(alteration.get("key", "a.example")))


async def test_a_damaged_value_does_not_hide_the_others(store: Store, shelf: Shelf) -> None:
    """It is left out, with one line in the log however often one asks; written anew, it is there again."""
    for key in ("a.example", "b.example", "c.example"):
        await shelf.put(key, SECRET)
    await execute(store, sa.update(SHELVES).where(SHELVES.c.key == "b.example").values(body=b"\x01"))
    with capture_logs() as logs:
        found = [await shelf.since() for _ in range(3)]
    assert [[value.key for value in each] for each in found] == [["a.example", "c.example"]] * 3
    assert [(line["event"], line["key"]) for line in logs] == [("a row of a shelf is damaged", "b.example")]
    await shelf.put("b.example", SECRET)
    assert len(await shelf.since()) == 3


async def test_values_survive_a_restart(url: str, secrets: Secrets) -> None:
    """And versions go on from where they were."""
    async with await Store.open(url, secrets) as store:
        version = await store.shelf("accounts").put("one", SECRET)
        await store.shelf("accounts").put("two", b"")
        await store.shelf("accounts").remove("two")
    async with await Store.open(url, secrets) as store:
        assert await store.shelf("accounts").since() == [Sealed("one", version, SECRET)]
        assert await store.shelf("accounts").put("three", b"") == version + 3


async def test_what_was_removed_is_forgotten_after_some_days(
    store: Store, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But the newest row stays, for the next version is counted from it."""
    monkeypatch.setattr("state.shelf._CLEAN_EVERY", 1)
    for key in ("a.example", "b.example", "c.example"):
        await shelf.put(key, b"1")
    await shelf.remove("a.example")
    await shelf.remove("b.example")
    await execute(store, sa.update(SHELVES).values(removed_at=SHELVES.c.removed_at - TOMBSTONES_S - 60))
    await shelf.remove("nothing")
    assert await column(store, SHELVES.c.key) == ["c.example", "b.example"]
    await shelf.remove("c.example")
    assert await column(store, SHELVES.c.key) == ["c.example"]
    assert await shelf.put("d.example", b"1") == 7


async def test_shelves_and_changes_do_not_hinder_each_other(store: Store, shelf: Shelf) -> None:
    """All at once, all are made: SQLite, which has one writer, is never asked by two."""
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(shelf.put(f"h{number}.example", b"1"))
            group.create_task(store.submit(put(f"h{number}.example"), actor=OPERATOR))
            group.create_task(store.leases.take(f"certificate/h{number}.example", 30))
    assert len(await shelf.since()) == len(store.desired.value.routes) == 20


async def test_a_follower_misses_nothing_of_what_two_nodes_write(postgresql_url: str, secrets: Secrets) -> None:
    """A version that is seen means that all before it are."""
    async with await Store.open(postgresql_url, secrets) as one, await Store.open(postgresql_url, secrets) as two:
        seen: dict[str, int] = {}

        async def follow() -> None:
            newest = 0
            while len(seen) < 60:
                for value in await one.shelf("certificates").since(newest):
                    newest = value.version
                    seen[value.key] = value.version

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(follow())
            for number in range(30):
                for store, name in ((one, "one"), (two, "two")):
                    group.create_task(store.shelf("certificates").put(f"{name}{number}", b""))
    assert sorted(seen.values()) == list(range(1, 61))


async def test_whoever_takes_a_lease_over_finds_what_was_written_under_it(
    postgresql_url: str, secrets: Secrets
) -> None:
    """The one waits for the other: either the write is found, or it is not made."""
    async with await Store.open(postgresql_url, secrets) as one, await Store.open(postgresql_url, secrets) as two:
        for number in range(10):
            lease = await one.leases.take(f"n{number}", 0)
            write = asyncio.gather(one.shelf("s").put(f"k{number}", b"", lease=lease), return_exceptions=True)
            taken = await two.leases.take(f"n{number}", 30)
            found = await two.shelf("s").get(f"k{number}")
            (answer,) = await write
            assert taken is not None
            assert (found is not None) == isinstance(answer, int)


async def test_a_cancelled_write_does_not_hold_up_the_next(store: Store, shelf: Shelf) -> None:
    """It is made or not, as a whole."""
    call = asyncio.get_running_loop().create_task(shelf.put("a.example", b"1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    await shelf.put("b.example", b"1")
    assert {value.key for value in await shelf.since()} <= {"a.example", "b.example"}


async def test_a_closed_store_has_no_shelves(store: Store, shelf: Shelf) -> None:
    """Neither to read nor to write."""
    await store.close()
    for call in (shelf.get("a"), shelf.since(), shelf.put("a", b""), shelf.remove("a"), store.leases.take("a", 1)):
        with pytest.raises(StoreError, match="closed"):
            await call
