"""`Manager`: keeps a certificate for every wanted name, for ever, and knows what other nodes do for the same names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec
import structlog

from certs.alarms import Event
from certs.crew import Crew
from certs.desk import Desk
from certs.housekeeping import tidy
from certs.on_demand import OnDemand
from certs.roster import Roster
from certs.settings import CertsSettings
from certs.stage import Live
from certs.tally import Counts
from certs.wanted import Wanted
from certs.workshop import Habits, Workshop
from state.errors import StateError
from state.store import Store
from state.tasks import spawn

_RESTART_PAUSE_S: Final = 1.0
_TIDY_S: Final = 3600.0


class Manager:
    """Made, then `restore`d before anything is served, then `run` until it is cancelled, then `close`d."""

    def __init__(self, settings: CertsSettings, store: Store, live: Live, *, habits: Habits | None = None) -> None:
        """`live` returns once the holdings of a revision are in force at every worker of this node."""
        self._store = store
        self._shop = Workshop(settings, store, live, habits or Habits())
        self._roster = Roster(self._shop, store.desired)
        self._crew = Crew(self._shop, self._roster, self._may_go_on)
        self._on_demand = OnDemand(self._shop, self._roster, self._crew, store.desired)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.desk = Desk(self._shop, self._roster, self._crew)

    @property
    def counts(self) -> Counts:
        """What was done since the process started."""
        return self._shop.tally.counts

    async def restore(self) -> None:
        """Read what is remembered and serve it: TLS works before the network does. Raises StoreError."""
        shop = self._shop
        await shop.purse.follow()
        await shop.vault.follow()
        for kept in shop.vault.records.values():
            if kept.record.is_demanded and kept.record.held is not None:
                self._roster.demand(kept.record.name)
        self._roster.call()
        records = [kept.record for kept in shop.vault.records.values() if self._roster.is_kept(kept.record)]
        bundles = {one.name: one.held.bundle for one in map(shop.counted, records) if one.held is not None}
        proofs = {record.name: record.proved for record in records if record.proved}
        shop.holdings.set(shop.holdings.value.with_bundles(bundles).with_proofs(proofs))
        await shop.stage.follow()
        self._crew.consider_all({*self._roster.wanted, *(record.name for record in records)})
        shop.board.report()

    async def run(self) -> None:
        """Work, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_kept_up(self._shop.board.run), name="certs: report")
            group.create_task(_kept_up(self._watch), name="certs: watch what is wanted")
            group.create_task(_kept_up(self._crew.run), name="certs: take turns")
            group.create_task(_kept_up(self._keep_tidy), name="certs: keep tidy")
            group.create_task(_kept_up(self._keep_pruned), name="certs: keep pruned")
            if self._store.is_shared:
                group.create_task(_kept_up(self._follow), name="certs: follow other nodes")

    async def close(self) -> None:
        """End what is under way and give the leases back; orders are gone on with when it starts again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._crew.close()
        await self._on_demand.close()
        await self._shop.herald.close()
        self._shop.board.report()

    def reshape(self, settings: CertsSettings) -> None:
        """Go on by other settings; what failed under those before is tried again at once."""
        is_about_issuers = settings.issuers != self._shop.settings.issuers
        names = set(self._roster.everybody())
        self._shop.use(settings)
        self._shop.standings.clear()
        self._on_demand.forgive()
        self._crew.update({*names, *self._roster.everybody()})
        self._crew.consider_all(self._roster.wanted)
        if is_about_issuers:
            self._tasks.add(spawn(self._tasks, self._try_again(), "certs: try again"))

    async def certificate_for(self, name: str, address: str) -> float:
        """For a handshake that found no certificate: 0 once there is one in force, else seconds not to ask again."""
        return await self._on_demand.certificate_for(name, address)

    def announce(self, event: Event) -> None:
        """Tell the operator of something that others found out about a certificate."""
        self._shop.herald.announce(event)

    async def _may_go_on(self, wish: Wanted) -> bool:
        return await self._on_demand.may_go_on(wish)

    async def _watch(self) -> None:
        self._crew.update(self._roster.everybody())
        async for _desired in self._store.desired.changes():
            self._crew.update(self._roster.news())

    async def _follow(self) -> None:
        """Learn what other nodes have done."""
        is_down = False
        while True:
            await asyncio.sleep(self._shop.habits.follow_s)
            try:
                changed = await self._shop.vault.follow()
                await self._shop.stage.follow()
                await self._shop.purse.follow()
            except StateError as error:
                if not is_down:
                    structlog.get_logger().warning("other nodes cannot be followed", reason=str(error))
                is_down = True
            else:
                is_down = False
                self._take_over(changed)

    def _take_over(self, names: Iterable[str]) -> None:
        for name in names:
            record = self._shop.vault.get(name)
            if record.is_demanded and record.held is not None:
                self._roster.demand(name)
            self._roster.update(name)
            self._shop.standings.pop(name, None)
            self._crew.consider(name)
            self._crew.consider_all(self._roster.covered_by(record))

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_S * (1 + self._shop.dice()) / 2)
            for name in await tidy(self._shop, self._roster):
                self._crew.consider(name)

    async def _keep_pruned(self) -> None:
        while True:
            await asyncio.sleep(self._shop.habits.follow_s)
            self._on_demand.prune(self._shop.clock())
            self._crew.retell()

    async def _try_again(self) -> None:
        for name in list(self._roster.wanted):
            record = self._shop.vault.get(name)
            if record.history.failures:
                try:
                    await self._shop.vault.ask(msgspec.structs.replace(record, history=record.history.at_once()))
                except StateError as error:
                    structlog.get_logger().info("a name is not tried again at once", name=name, reason=str(error))
                self._crew.consider(name)


async def _kept_up(work: Callable[[], Awaitable[None]]) -> None:
    """Do it for ever: an error of the program must not end a node that serves."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001
            structlog.get_logger().exception("work on certificates failed, and is begun again")
        await asyncio.sleep(_RESTART_PAUSE_S)
