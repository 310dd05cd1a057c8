"""`Crew`: looks at names when they are due, so many at a time, and plans the next look at each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import msgspec
import structlog

from certs import alarms
from certs.agenda import Agenda, Entry, Rank
from certs.bid import is_still_waiting
from certs.budget import Wait
from certs.facts import covered_fact, fact_of
from certs.holding import Busy, LeaseLost
from certs.news import news_of
from certs.record import Record
from certs.roster import Roster
from certs.turn import Turn
from certs.wanted import Wanted
from certs.workshop import Workshop
from state.errors import Stale, StateError
from state.tasks import spawn

MayGoOn: TypeAlias = Callable[[Wanted], Awaitable[bool]]

# Looks at records cost no order, so more of them are under way than orders.
_LOOKS: Final = 16
_LONGEST_SLEEP_S: Final = 30.0
_BUSY_PAUSE_S: Final = 3.0
_STORE_PAUSE_S: Final = 10.0
_BUG_PAUSE_S: Final = 60.0
_SET_BACK: Final = timedelta(minutes=1)


class Crew:
    """Implements certs.works.Works."""

    def __init__(self, shop: Workshop, roster: Roster, may_go_on: MayGoOn) -> None:
        """`may_go_on` is asked before each turn of a wanted name."""
        self._shop = shop
        self._roster = roster
        self._may_go_on = may_go_on
        self._agenda = Agenda()
        self._working: dict[str, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ends: dict[str, asyncio.Event] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._guests: Counter[str] = Counter()
        self._is_poked = asyncio.Event()
        self._seen: tuple[datetime, float] | None = None

    async def run(self) -> None:
        """Take turns, for ever."""
        while True:
            self._is_poked.clear()
            now = self._shop.clock()
            self._mind_clock(now)
            while self._has_room() and (entry := self._agenda.take(now)) is not None:
                if entry.name in self._locks:
                    continue
                task = spawn(self._tasks, self._attend(entry.name), f"certs: {entry.name}")
                self._working[entry.name] = task
            next_at = self._agenda.next_at(now) if self._has_room() else None
            # Not until then: the clock on the wall may be set, and the machine may sleep.
            pause = _LONGEST_SLEEP_S if next_at is None else min((next_at - now).total_seconds(), _LONGEST_SLEEP_S)
            try:
                async with asyncio.timeout(pause):
                    await self._is_poked.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """End what is under way, and give the leases back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def update(self, names: Iterable[str]) -> None:
        """Take into account that names may be wanted now, or no more."""
        for name in names:
            if self._roster.update(name):
                if self._roster.get(name) is None:
                    self._dismiss(name)
                else:
                    self._admit(name)

    def consider(self, name: str) -> None:
        """Report how a name does and plan its next look, by everything that is known of it now."""
        if name in self._working or name in self._locks:
            # That is done when its turn has ended.
            return
        now, record, wish = self._shop.clock(), self._shop.vault.get(name), self._roster.get(name)
        if wish is None and not self._roster.is_kept(record):
            self._forget(name)
            return
        self._shop.tell_proof(record)
        record = self._shop.counted(record)
        cover = None if wish is None else self._roster.cover_of(name, now)
        standing = self._shop.standing(name)
        fact = fact_of(record, now, standing, is_wanted=wish is not None and cover is None)
        if cover is not None and record.wants_order(now):
            # What nobody renews any more is not served beside the better one.
            self._shop.hide(name)
            self._shop.board.say(covered_fact(name, cover, now))
        else:
            # Also what was obtained before the name was unwanted for a while, or by another node.
            self._shop.show(record)
            self._shop.board.say(fact)
        order_at = record.order_at(now, standing) if wish is not None and cover is None else None
        other = alarms.next_look(fact, now) if cover is None else _end_of(cover, record, now)
        if order_at is None and other is None:
            self._agenda.drop(name)
            self._ended(name)
            return
        entry = record.entry(now, order_at, other)
        if name in self._ends:
            entry = msgspec.structs.replace(entry, at=min(entry.at, now), rank=Rank.WAITED_FOR)
        self._agenda.put(entry)
        self._is_poked.set()

    def consider_all(self, names: Iterable[str]) -> None:
        """The same for several names."""
        for name in names:
            self.consider(name)

    def retell(self) -> None:
        """Report anew how the names do that are being worked on: a certificate may end meanwhile, and that is told."""
        now = self._shop.clock()
        for name in self._working:
            if self._roster.get(name) is not None and self._roster.cover_of(name, now) is None:
                record = self._shop.counted(self._shop.vault.get(name))
                self._shop.tell(record)
                self._tell_of_end(record, now)

    def _tell_of_end(self, record: Record, now: datetime) -> None:
        told = record.told | self._shop.told.get(record.name, frozenset())
        _, events = news_of(msgspec.structs.replace(record, told=told), now, self._shop.standing(record.name))
        for event in events:
            if event.kind == "expired":
                # What else there is to tell can wait for the end of the turn, and is remembered then.
                self._shop.told[record.name] = told | {event.key}
                self._shop.herald.announce(event)

    def is_working(self, name: str) -> bool:
        """Whether this node is at work on a name."""
        return name in self._working

    async def hurry(self, name: str) -> None:
        """Look at a name now, before all others, and return at the end of its turn, however it ended."""
        if name not in self._working:
            now = self._shop.clock()
            self._agenda.put(Entry(name=name, at=now, rank=Rank.WAITED_FOR, before=now))
            self._is_poked.set()
        await self._ends.setdefault(name, asyncio.Event()).wait()

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """End what is under way for a name, and begin nothing before the block has ended."""
        # The lease does not do it: who has it gets it again.
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._guests[name] += 1
        try:
            async with lock:
                self._agenda.drop(name)
                task = self._working.get(name)
                if task is not None:
                    task.cancel()
                    await asyncio.wait([task])
                yield
        finally:
            self._guests[name] -= 1
            if not self._guests[name]:
                del self._guests[name], self._locks[name]
                self.consider(name)

    def _mind_clock(self, now: datetime) -> None:
        """Plan everything anew when the clock was set back: what was planned by the wrong time may be far ahead."""
        at, before = asyncio.get_running_loop().time(), self._seen
        self._seen = now, at
        if before is None or now >= before[0] + timedelta(seconds=at - before[1]) - _SET_BACK:
            return
        structlog.get_logger().warning("the clock was set back, all certificates are looked at again")
        self._shop.standings.clear()
        self.consider_all({*self._roster.wanted, *self._shop.vault.names})

    def _admit(self, name: str) -> None:
        self.consider(name)
        self.consider_all(self._roster.covered_by(self._shop.vault.get(name)))

    def _dismiss(self, name: str) -> None:
        record = self._shop.vault.get(name)
        self._shop.standings.pop(name, None)
        task = self._working.get(name)
        if task is not None:
            task.cancel()
        if self._roster.is_kept(record):
            self.consider(name)
            return
        self._forget(name)
        self.consider_all(self._roster.covered_by(record))

    def _forget(self, name: str) -> None:
        self._agenda.drop(name)
        if name not in self._working:
            self._ended(name)
        self._shop.standings.pop(name, None)
        self._shop.hide(name)
        fact = self._shop.board.fact(name)
        # Others report of certificates in files, and have nothing to do with what is wanted here.
        if fact is not None and fact.source != "file":
            self._shop.board.forget(name)

    def _ended(self, name: str) -> None:
        """Wake who waits for the end of a name's turn."""
        if (ended := self._ends.pop(name, None)) is not None:
            ended.set()

    def _has_room(self) -> bool:
        parallel = self._shop.settings.parallel
        return len(self._working) < _LOOKS + 2 * parallel and self._shop.queue < parallel

    async def _attend(self, name: str) -> None:
        before = self._shop.vault.get(name)
        try:
            await self._take_turn(name)
        finally:
            self._working.pop(name, None)
            self._ended(name)
            try:
                self._settle(before)
            except Exception:  # noqa: BLE001 - a name that is on no agenda would be given up
                structlog.get_logger().exception("what is next for a certificate is not known", name=name)
                at = self._shop.clock() + timedelta(seconds=_BUG_PAUSE_S)
                self._agenda.put(Entry(name=name, at=at, rank=Rank.RENEWAL, before=at))
            self._is_poked.set()

    def _settle(self, before: Record) -> None:
        """Plan what comes after a turn, before which this was known of the name."""
        name = before.name
        self.consider(name)
        after = self._shop.vault.get(name)
        if after.held != before.held or after.proved != before.proved:
            self.consider_all(self._roster.covered_by(after))
        planned = self._agenda.when(name)
        if after == before and planned is not None and planned <= self._shop.clock():
            # Nothing that is known of says so, but nothing must ever go round and round.
            self._put_off(name, _STORE_PAUSE_S, "nothing came of the last turn")
            self.consider(name)

    async def _take_turn(self, name: str) -> None:
        wish = self._roster.get(name)
        is_covered = wish is not None and self._roster.cover_of(name, self._shop.clock()) is not None
        try:
            if wish is not None and not is_covered and await is_still_waiting(self._shop, name):
                return
            if wish is None or await self._may_go_on(wish):
                await Turn(self._shop, name, wish, is_covered=is_covered).take()
        except Busy:
            self._put_off(name, _BUSY_PAUSE_S, "another node is at work on it")
        except (Stale, LeaseLost) as error:
            structlog.get_logger().info("another node took over", name=name, reason=str(error))
            self._put_off(name, _BUSY_PAUSE_S, "another node is at work on it")
        except StateError as error:
            structlog.get_logger().error("the store does not take what is done", name=name, reason=str(error))
            self._put_off(name, _STORE_PAUSE_S, str(error))
        except Exception:  # noqa: BLE001 - a wanted name is never given up, whatever is wrong with the program
            structlog.get_logger().exception("work on a certificate failed", name=name)
            self._put_off(name, _BUG_PAUSE_S, "an error of the program, see its log")

    def _put_off(self, name: str, pause_s: float, reason: str) -> None:
        until = self._shop.clock() + timedelta(seconds=pause_s * (1 + self._shop.dice() / 2))
        wait = Wait(until=until, reason=reason)
        standing = msgspec.structs.replace(self._shop.standing(name), wait=wait, is_paced=False)
        self._shop.standings[name] = standing


def _end_of(cover: Record | None, record: Record, now: datetime) -> datetime | None:
    """When it has to be looked at again whether a name needs a certificate of its own."""
    if cover is None or cover.held is None:
        return None
    times = [cover.held.cover_until]
    if record.held is not None:
        times.append(record.held.plan.renew_at)
    return min((at for at in times if at > now), default=None)
