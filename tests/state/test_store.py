"""Store: an answer means disk, memory never runs ahead of it, and nothing that happens to a caller parts the two."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from state import rows
from state.change import Absent, Change, IfMatch, PutOrganization, RemoveRoute
from state.codec import Codec
from state.domains import RemoveDomain
from state.errors import StoreError
from state.kinds import Kind
from state.model import Desired
from state.ports import Changes, Records, Views
from state.refusal import Refused
from state.schema import KIND_TABLES
from state.secrets import Secrets
from state.store import Store
from tests.state.samples import NOON, OPERATOR, put, put_domain, written

ROOT = Path(__file__).parent.parent.parent


async def on_disk(store: Store) -> Desired:
    """What a start would find now."""
    async with store._tables.engine.begin() as connection:
        return await rows.load(connection, store._tables.codec)


def content(desired: Desired) -> tuple[object, ...]:
    """What two values are compared by."""
    return (desired.revision, desired.uses, desired.prefixes, desired.aliases, *(desired.values(kind) for kind in Kind))


async def agrees(store: Store) -> bool:
    """Whether memory holds what the disk holds, once every write is done."""
    async with store._turn:
        return content(store.desired.value) == content(await on_disk(store))


def statements(store: Store) -> list[str]:
    """How each statement begins that the database is given from now on."""
    given: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        given.append(" ".join(statement.split()[:3]))

    sa.event.listen(store._tables.engine.sync_engine, "before_cursor_execute", note)
    return given


async def test_the_store_is_what_others_are_given(store: Store) -> None:
    """Each of them gets the part that it may use."""
    changes: Changes = store
    views: Views = store
    records: Records = store
    desired = await changes.submit(put(), actor=OPERATOR)
    assert views.desired.value is desired
    assert [entry.revision for entry in await records.audit()] == [1]
    assert (records.journal.newest_id, views.observed.revision) == (0, 0)


async def test_an_answer_means_disk(store: Store) -> None:
    """And it is the value that the change made."""
    desired = await store.submit(put(org_id="org_a"), actor=OPERATOR)
    assert written(desired).revision == 1
    assert content(await on_disk(store)) == content(desired)


async def test_a_refused_change_leaves_no_trace(store: Store) -> None:
    """Neither in memory, nor on disk, nor in the audit."""
    before = store.desired.value
    with pytest.raises(Refused):
        await store.submit(put("a.example:80"), actor=OPERATOR)
    assert store.desired.value is before
    assert await store.audit() == []
    assert (await store.submit(put(), actor=OPERATOR)).revision == 1


async def test_a_granted_wish_writes_nothing(store: Store) -> None:
    """The same value comes back, and the audit does not mention it."""
    desired = await store.submit(put(), actor=OPERATOR)
    assert await store.submit(put(), actor=OPERATOR) is desired
    assert len(await store.audit()) == 1


async def test_the_audit_says_who_did_what_and_when(store: Store) -> None:
    """In order, newest first."""
    await store.submit(put("a.example", org_id="org_a"), actor=OPERATOR)
    await store.submit(RemoveRoute(host="a.example"), actor=OPERATOR)
    removed, created = await store.audit()
    assert (created.actor, created.at, created.change, created.subject) == (OPERATOR, NOON, "put_route", "a.example/")
    assert created.summary == "created route a.example/; created organization org_a"
    assert (removed.revision, removed.summary) == (2, "removed route a.example/")
    assert await store.audit(limit=1, before=2) == [created]


async def test_submissions_at_once_take_turns(store: Store) -> None:
    """Each sees what the one before it did, so of many that expect a free name one gets it."""
    claims = [store.submit(put(retries=number % 6), actor=OPERATOR, expect=Absent()) for number in range(20)]
    others = [store.submit(put(f"h{number}.example"), actor=OPERATOR) for number in range(20)]
    answers = await asyncio.gather(*claims, *others, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Desired] + [Refused] * 19 + [Desired] * 20
    assert [answer.revision for answer in answers if isinstance(answer, Desired)] == list(range(1, 22))
    assert await agrees(store)


async def test_a_watcher_sees_the_last_value(store: Store) -> None:
    """Whatever it skipped on the way."""

    async def watch() -> int:
        async for desired in store.desired.changes():
            if desired.revision == 30:
                return len(desired.routes)
        raise AssertionError

    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(watch()) for _ in range(3)]
        for number in range(30):
            group.create_task(store.submit(put(f"h{number}.example"), actor=OPERATOR))
    assert [watcher.result() for watcher in watchers] == [30] * 3


async def test_nothing_is_announced_before_it_is_on_disk(store: Store) -> None:
    """A watcher that looks at the disk finds what it was told."""
    seen: list[bool] = []

    async def watch() -> None:
        async for desired in store.desired.changes():
            seen.append((await on_disk(store)).revision >= desired.revision)
            if desired.revision == 10:
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        for number in range(10):
            await store.submit(put(f"h{number}.example"), actor=OPERATOR)
    assert all(seen)


@pytest.mark.parametrize("moment", ["BEGIN", "INSERT INTO changes", "INSERT INTO routes", "COMMIT"])
async def test_a_cancelled_call_does_not_part_memory_and_disk(store: Store, moment: str) -> None:
    """Once its turn has come the change is made, whether or not anybody waits for the answer."""
    call = asyncio.get_running_loop().create_task(store.submit(put("a.example"), actor=OPERATOR))
    at_moment(store, moment, call.cancel)
    await asyncio.wait([call])
    assert call.cancelled()
    assert await agrees(store)
    assert (await store.submit(put("b.example"), actor=OPERATOR)).revision == 2
    assert await agrees(store)


def at_moment(store: Store, moment: str, act: Callable[[], object]) -> None:
    """Do something when the database gets a statement that begins so, or is told to begin or to commit."""

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith(moment):
            act()

    engine = store._tables.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    if moment in {"BEGIN", "COMMIT"}:
        sa.event.listen(engine, moment.lower(), lambda _connection: act())


async def test_a_call_cancelled_in_the_queue_changes_nothing(store: Store) -> None:
    """It had not begun."""
    async with store._turn:
        call = asyncio.get_running_loop().create_task(store.submit(put("a.example"), actor=OPERATOR))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    assert (await store.submit(put("b.example"), actor=OPERATOR)).revision == 1


async def test_a_refusal_by_the_database_announces_nothing(sqlite_url: str, secrets: Secrets) -> None:
    """The statement that failed takes those before it along, and the next change is made as if it had not been."""
    async with await Store.open(sqlite_url, secrets) as store:
        async with store._tables.engine.begin() as connection:
            await connection.execute(
                sa.text("CREATE TRIGGER no BEFORE INSERT ON organizations BEGIN SELECT RAISE(ABORT, 'not today'); END")
            )
        before = store.desired.value
        with pytest.raises(StoreError, match="the change could not be saved: not today"):
            await store.submit(put(org_id="org_a"), actor=OPERATOR)
        assert store.desired.value is before
        assert (await store.submit(put(), actor=OPERATOR)).revision == 1
        assert await agrees(store)


async def test_a_commit_that_only_seemed_to_fail_is_found_again(store: Store, secrets: Secrets) -> None:
    """The next change learns that the revision is on disk, takes it in, and is judged against it."""
    before = store.desired.value
    await store.submit(put("a.example"), actor=OPERATOR)
    store.desired.set(before)
    desired = await store.submit(put("b.example"), actor=OPERATOR)
    assert (desired.revision, len(desired.routes)) == (2, 2)
    assert await agrees(store)


async def test_a_closed_store_takes_no_change(store: Store) -> None:
    """Closing twice is closing."""
    await store.close()
    await store.close()
    for call in (store.submit(put(), actor=OPERATOR), store.audit(), store.catch_up()):
        with pytest.raises(StoreError, match="closed"):
            await call


async def test_closing_waits_for_the_write(url: str, secrets: Secrets) -> None:
    """What was begun is answered."""
    store = await Store.open(url, secrets)
    call = asyncio.get_running_loop().create_task(store.submit(put(), actor=OPERATOR))
    await asyncio.sleep(0)
    await store.close()
    assert (await call).revision == 1
    async with await Store.open(url, secrets) as reopened:
        assert reopened.desired.revision == 1


async def test_nodes_that_share_a_database_take_turns(postgresql_url: str, secrets: Secrets) -> None:
    """Each change is made once, at a revision of its own, and both end with the same value."""
    async with await Store.open(postgresql_url, secrets) as one, await Store.open(postgresql_url, secrets) as two:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                for store, name in ((one, "one"), (two, "two")):
                    group.create_task(store.submit(put(f"{name}{number}.example", org_id="org_a"), actor=OPERATOR))
        assert content(await one.catch_up()) == content(await two.catch_up())
        assert (one.desired.revision, len(one.desired.value.routes)) == (40, 40)
        assert await agrees(one)


async def test_a_condition_is_checked_against_what_the_other_node_wrote(postgresql_url: str, secrets: Secrets) -> None:
    """However late this one hears of it."""
    async with await Store.open(postgresql_url, secrets) as one, await Store.open(postgresql_url, secrets) as two:
        await one.submit(put(), actor=OPERATOR)
        await two.catch_up()
        await one.submit(put(retries=0), actor=OPERATOR)
        with pytest.raises(Refused) as refusal:
            await two.submit(put(retries=2), actor=OPERATOR, expect=IfMatch(1))
        assert (refusal.value.kind, refusal.value.reason) == ("precondition", "is 2 by now")
        assert content(two.desired.value) == content(one.desired.value)


async def test_one_route_among_many_is_one_row(sqlite_url: str, secrets: Secrets) -> None:
    """Ten thousand others are neither read nor written."""
    await fill(sqlite_url, secrets, 10_000)
    async with await Store.open(sqlite_url, secrets) as store:
        given = statements(store)
        desired = await store.submit(put("h77.example", retries=5), actor=OPERATOR)
        await store.submit(RemoveRoute(host="h78.example"), actor=OPERATOR)
    assert len(desired.routes) == 10_000
    assert given == [
        *("BEGIN", "INSERT INTO changes", "INSERT INTO routes"),
        *("BEGIN", "INSERT INTO changes", "DELETE FROM routes"),
    ]


async def fill(url: str, secrets: Secrets, count: int) -> None:
    """Leave a store with many routes behind, faster than one by one."""
    codec = Codec(secrets)
    stored = (codec.encode(Kind.ROUTE, put(f"h{number}.example", revision=1).route) for number in range(count))
    values = [{"key": row.key, "revision": row.revision, "body": row.body} for row in stored]
    async with await Store.open(url, secrets) as store:
        await store.submit(PutOrganization(id="org_a"), actor=OPERATOR)
        async with store._tables.engine.begin() as connection:
            await connection.execute(sa.insert(KIND_TABLES[Kind.ROUTE]), values)


CHANGES_OF_ALL_KINDS = st.lists(
    st.one_of(
        st.builds(put, st.sampled_from(["a.example", "b.example"]), org_id=st.sampled_from([None, "org_a", "org_b"])),
        st.builds(RemoveRoute, host=st.sampled_from(["a.example", "b.example"])),
        st.builds(PutOrganization, id=st.sampled_from(["org_a", "org_b"]), name=st.sampled_from(["A", "B"])),
        st.builds(put_domain, serves=st.sampled_from([None, "a.example", "b.example"])),
        st.builds(RemoveDomain, name=st.just("www.example.com")),
    ),
    max_size=12,
)


@settings(max_examples=15)
@given(CHANGES_OF_ALL_KINDS)
async def test_a_restart_changes_nothing(secrets: Secrets, changes: list[Change]) -> None:
    """Whatever was done before it."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/zexio.db"
        async with await Store.open(url, secrets) as store:
            for change in changes:
                await submitted(store, change)
            before = store.desired.value
        async with await Store.open(url, secrets) as store:
            assert content(store.desired.value) == content(before)


async def submitted(store: Store, change: Change) -> bool:
    """Submit a change that may be refused."""
    try:
        await store.submit(change, actor=OPERATOR)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("answers", [1, 400])
async def test_every_answered_change_survives_kill_9(tmp_path: Path, answers: int) -> None:
    """In the middle of a thousand changes, wherever that was."""
    answered = await asyncio.to_thread(kill_after, tmp_path, answers)
    assert answered < 1000
    await check_after_kill(tmp_path, answered)


def kill_after(directory: Path, answers: int) -> int:
    """Start a process that submits a thousand changes, kill it after so many answers; how many it gave in all."""
    command = [sys.executable, "-m", "tests.state.submitter", str(directory), "1000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(answers):
            process.stdout.readline()
        process.kill()
        return answers + sum(line.endswith("\n") for line in process.stdout)


async def check_after_kill(directory: Path, answered: int) -> None:
    """Every answered change is there, at most one more, and the file is whole."""
    async with await Store.open(
        f"sqlite:///{directory}/zexio.db", Secrets.load_or_create(directory / "node.key")
    ) as store:
        desired = store.desired.value
        assert desired.revision in {answered, answered + 1}
        for number in range(answered):
            assert written(desired, f"h{number % 300}.example").retries >= number // 300
        assert len(await store.audit(limit=2000)) == desired.revision
        assert (await store.submit(put("next.example"), actor=OPERATOR)).revision == desired.revision + 1
    with closing(sqlite3.connect(directory / "zexio.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_full_disk_announces_nothing(tmp_path: Path) -> None:
    """The change is refused with the reason, and once there is room again the next one is made."""
    command = [sys.executable, "-m", "tests.state.full_disk", str(tmp_path)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(process.stdout)
    assert result["answered"] == result["announced"]
    assert result["reason"].startswith("the change could not be saved: ")
    assert result["after"] == list(range(1, result["answered"] + 2))
