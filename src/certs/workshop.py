"""`Workshop`: what a node works on certificates with, and what it knows while it does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Final

import msgspec
from publicsuffixlist import PublicSuffixList

from certs.accounts import Accounts
from certs.alarms import Told
from certs.board import Board
from certs.budget import Suffixes, registered_domain
from certs.challenges import HttpSolver, TlsAlpnSolver
from certs.dns01.solver import solver_of
from certs.facts import fact_of
from certs.herald import Herald
from certs.holding import Holding, lease_of
from certs.internal_ca import InternalCa
from certs.ports import Solver
from certs.purse import Purse
from certs.record import Record, Standing
from certs.resolve import Resolver
from certs.settings import CertsSettings, ChallengeType
from certs.stage import Live, SharedStage
from certs.tally import Tally
from certs.unfinished import Unfinished
from certs.vault import Vault
from certs.webhook import Webhook
from state.ports import Lease, Leases
from state.store import Store

NOTHING: Final = Standing()


def utc_now() -> datetime:
    """The moment, aware of its zone."""
    return datetime.now(UTC)


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What tests have otherwise: the clock, the dice (numbers in [0, 1)), and times in seconds.

    `follow_s` is how often what other nodes wrote is looked for, `check_s` how soon records that stand in the way are
    looked at again, `lease_s` for how long a node that died keeps others from its work. `suffixes` reads the list of
    public suffixes.
    """

    clock: Callable[[], datetime] = utc_now
    dice: Callable[[], float] = random.SystemRandom().random
    follow_s: float = 1.0
    check_s: float = 60.0
    lease_s: float = 30.0
    suffixes: Callable[[], Suffixes] = PublicSuffixList


class Workshop:
    """It belongs to one event loop."""

    def __init__(self, settings: CertsSettings, store: Store, live: Live, habits: Habits) -> None:
        """`live` returns once the holdings of a revision are in force at every worker of this node."""
        self.habits = habits
        self.clock = habits.clock
        self.dice = habits.dice
        self.live = live
        self._leases: Leases = store.leases
        self._is_shared = store.is_shared
        self.holdings = store.holdings
        self.vault = Vault(store.shelf("certificates"))
        self.unfinished = Unfinished(store.shelf("orders"))
        self.purse = Purse(store.shelf("certs"))
        self.accounts = Accounts(store.shelf("accounts"), store.leases)
        shelf = store.shelf("challenges") if store.is_shared else None
        self.stage = SharedStage(shelf, store.holdings, live, habits.clock, 1.5 * habits.follow_s)
        self.board = Board(store.observed)
        self.herald = Herald(None)
        self.tally = Tally()
        self.queue = 0
        self.standings: dict[str, Standing] = {}
        # What was told in the middle of a name's turn, until the record says so.
        self.told: dict[str, Told] = {}
        # The ownership tokens of wanted names, as far as a proof is asked for.
        self.tokens: dict[str, str] = {}
        # The names that only a visitor's handshake wants.
        self.demanded: set[str] = set()
        self._authority_shelf = store.shelf("authority")
        self._internal: InternalCa | None = None
        self._internal_turn = asyncio.Lock()
        self._suffixes: Suffixes | None = None
        self.settings = settings
        self.use(settings)

    def use(self, settings: CertsSettings) -> None:
        """Work by these settings from now on; what is under way goes on by those before."""
        if self._internal is not None and settings.internal_suffixes != self.settings.internal_suffixes:
            # Its root can sign for nothing else than it was made for.
            self._internal = None
        self.settings = settings
        self.resolver = Resolver(settings.resolvers)
        self.solvers = self._solvers()
        self._slots = asyncio.Semaphore(max(settings.parallel, 1))
        url, secret = settings.warn_url, settings.warn_secret
        self.herald.use(None if url is None else Webhook(url, secret))

    def alone(self, name: str) -> AbstractAsyncContextManager[Lease | None]:
        """Work on a name as the only node; raises as certs.holding.Holding.

        There is no lease where there are no other nodes: the two writes that it takes would be for nobody.
        """
        return Holding(self._leases, lease_of(name), self.habits.lease_s) if self._is_shared else nullcontext()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """One of so many orders as may be made at the same time."""
        slots = self._slots
        self.queue += 1
        try:
            await slots.acquire()
        finally:
            self.queue -= 1
        try:
            yield
        finally:
            slots.release()

    async def domain_of(self, name: str) -> str:
        """The registered domain of a name."""
        if self._suffixes is None:
            # Reading the list takes a third of a second.
            self._suffixes = await asyncio.to_thread(self.habits.suffixes)
        return registered_domain(name, self._suffixes)

    async def internal(self) -> InternalCa:
        """The internal authority, which is made when it is first asked for; raises StoreError."""
        async with self._internal_turn:
            now = self.clock()
            if self._internal is None or self._internal.is_worn(now):
                suffixes = self.settings.internal_suffixes
                self._internal = await InternalCa.load(self._authority_shelf, suffixes, now)
            return self._internal

    def standing(self, name: str) -> Standing:
        """What is known of a name for the moment."""
        return self.standings.get(name, NOTHING)

    def stand(self, record: Record, standing: Standing) -> None:
        """Know this of a name for the moment, and report it."""
        if standing == NOTHING:
            self.standings.pop(record.name, None)
        else:
            self.standings[record.name] = standing
        self.tell(record)

    def tell(self, record: Record, *, is_wanted: bool = True) -> None:
        """Report how a name does."""
        record = self.counted(record)
        self.board.say(fact_of(record, self.clock(), self.standing(record.name), is_wanted=is_wanted))

    def counted(self, record: Record) -> Record:
        """What counts of what is remembered of a name: nothing obtained before the proof that is asked for."""
        return record.counted(self.tokens.get(record.name, ""))

    def owes_proof(self, record: Record) -> bool:
        """Whether a proof of ownership is asked for that was not seen."""
        return self.tokens.get(record.name, "") not in {"", record.proved}

    def tell_proof(self, record: Record) -> None:
        """Have it known that the owner of a name was proved, if so: before, it answers as no other host does."""
        if record.proved and self.holdings.value.proved.get(record.name) != record.proved:
            self.holdings.set(self.holdings.value.with_proofs({record.name: record.proved}))

    async def serve(self, record: Record) -> None:
        """Serve the certificate of a name; returns once every worker does."""
        if self.show(record):
            await self.live(self.holdings.revision)

    def show(self, record: Record) -> bool:
        """Serve the certificate of a name from now on, if there is one that counts; whether that is news."""
        if self.counted(record).held is None and self.owes_proof(record):
            self.hide(record.name)
            return False
        if record.held is None or self.holdings.value.bundles.get(record.name) == record.held.bundle:
            return False
        self.holdings.set(self.holdings.value.with_bundle(record.name, record.held.bundle))
        return True

    def hide(self, name: str) -> None:
        """Serve no certificate for a name any more."""
        if name in self.holdings.value.bundles:
            self.holdings.set(self.holdings.value.with_bundle(name, None))

    def _solvers(self) -> Mapping[ChallengeType, Solver]:
        solvers: dict[ChallengeType, Solver] = {
            "http-01": HttpSolver(self.stage),
            "tls-alpn-01": TlsAlpnSolver(self.stage),
        }
        if (dns := solver_of(self.settings, self.resolver)) is not None:
            solvers["dns-01"] = dns
        return solvers
