"""A node's certificates without its mesh: a store, a manager, and small servers where a pebble looks for answers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Self

import msgspec
from publicsuffixlist import PublicSuffixList

from certs.crew import Crew
from certs.manager import Manager
from certs.roster import Roster
from certs.settings import CertsSettings, ChallengeType, IssuerSpec
from certs.workshop import Habits, Workshop
from state.cell import Cell
from state.change import Actor, Change
from state.domains import PutDomain, RemoveDomain
from state.holdings import Holdings
from state.leases import StoredLeases
from state.model import Domain
from state.observed import CertificateFact, Observed
from state.ports import Lease, Leases, Sealed, Shelf
from state.store import Store
from tests.support.authority import Authority
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble

PATIENCE_S: Final = 20.0
ANN: Final = Actor(kind="operator", name="ann")
# Reading the list of public suffixes takes a third of a second, which is once enough.
HABITS: Final = Habits(follow_s=0.05, check_s=0.05, lease_s=3.0, suffixes=functools.cache(PublicSuffixList))


class Process:
    """What one process has of a store; once it is dead, nothing that it asks for happens any more.

    `writes` names all that it wrote. It dies after `deadly` of them: at once, or else (`is_late`) when it writes again;
    or before the one of this name.
    """

    def __init__(self, store: Store, deadly: int | str = -1, *, is_late: bool = False, holder: str = "") -> None:
        """With a `holder` of its own the store is one that is shared: by another node, which has other leases."""
        self.desired = store.desired
        self.observed = Cell(Observed())
        self.holdings = Cell(Holdings())
        self.is_shared = bool(holder)
        self.leases: Leases = _Leases(self, StoredLeases(store._transactions, holder) if holder else store.leases)
        self.is_dead = self.is_buried = False
        self.writes: list[str] = []
        self._store = store
        self._deadly = deadly
        self._is_late = is_late

    def shelf(self, name: str) -> Shelf:
        """As of the store."""
        return _Shelf(self, name, self._store.shelf(name))

    async def before(self, what: str = "") -> None:
        """Before each write; never returns in a process that is dead."""
        if len(self.writes) == self._deadly or what == self._deadly:
            self.is_dead = True
        if self.is_buried:
            raise asyncio.CancelledError
        if self.is_dead:
            await asyncio.Event().wait()

    async def after(self, what: str) -> None:
        """After each write, as above."""
        self.writes.append(what)
        if not self._is_late:
            await self.before()


class Sandbox:
    """Run by `async with`. `process` may be one that dies, as by kill -9. `answered` are the challenges that are.

    While the `gate` is closed, nothing goes live: orders stay where they are.
    """

    def __init__(
        self,
        store: Store,
        stages: ChallengeServer | Sequence[ChallengeServer],
        settings: CertsSettings,
        *,
        process: Process | None = None,
        habits: Habits = HABITS,
    ) -> None:
        self.store = store
        self.process = process or Process(store)
        self.answered: set[ChallengeType] = {"http-01", "tls-alpn-01"}
        self.gate = asyncio.Event()
        self.gate.set()
        self._stages = [stages] if isinstance(stages, ChallengeServer) else stages
        self.manager = Manager(settings, self.process, self._live, habits=habits)  # type: ignore[arg-type]
        self._run: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        await self.manager.restore()
        await self._live(0)
        self._run = asyncio.get_running_loop().create_task(self.manager.run(), name="manager")
        return self

    async def __aexit__(self, *_exit: object) -> None:
        self.process.is_buried = self.process.is_dead
        self._run.cancel()
        with suppress(asyncio.CancelledError):
            await self._run
        await self.manager.close()

    @property
    def shop(self) -> Workshop:
        """What the manager works with."""
        return self.manager._shop

    @property
    def crew(self) -> Crew:
        """Who does the work."""
        return self.manager._crew

    @property
    def roster(self) -> Roster:
        """Who is wanted."""
        return self.manager._roster

    @property
    def holdings(self) -> Holdings:
        """What is served."""
        return self.process.holdings.value

    def fact(self, name: str) -> CertificateFact | None:
        """What was reported of a name last."""
        return self.process.observed.value.certificates.get(name)

    async def put(self, name: str, token: str = "token", **fields: Any) -> None:  # noqa: ANN401 - fields of a domain
        """Add a domain, with `token` to prove whose it is."""
        domain = Domain(name=name, created_at=datetime.now(UTC), **fields)
        await self.submit(PutDomain(domain=domain, token=token))

    async def remove(self, name: str) -> None:
        """Remove a domain."""
        await self.submit(RemoveDomain(name=name))

    async def submit(self, change: Change) -> None:
        """Change what is wanted."""
        await self.store.submit(change, actor=ANN)

    async def reported(self, name: str, condition: Callable[[CertificateFact], bool]) -> CertificateFact:
        """Wait until the fact of a name is so."""
        async with asyncio.timeout(PATIENCE_S):
            async for observed in self.process.observed.changes():
                fact = observed.certificates.get(name)
                if fact is not None and condition(fact):
                    return fact
        raise AssertionError

    async def active(self, name: str) -> CertificateFact:
        """Wait until a name has a certificate, and nobody is at work on it any more."""
        await self.reported(name, lambda fact: fact.status == "active")
        await until(lambda: not self.crew.is_working(name))
        self.shop.board.report()
        return self.process.observed.value.certificates[name]

    async def gone(self, name: str) -> None:
        """Wait until nothing is reported of a name."""
        async with asyncio.timeout(PATIENCE_S):
            async for observed in self.process.observed.changes():
                if name not in observed.certificates:
                    return

    async def dead(self) -> None:
        """Wait until the process has died."""
        await until(lambda: self.process.is_dead)

    async def _live(self, _revision: int) -> None:
        await self.gate.wait()
        for stage in self._stages:
            stage.tokens = dict(self.holdings.tokens.items()) if "http-01" in self.answered else {}
            stage.validations = dict(self.holdings.validations.items()) if "tls-alpn-01" in self.answered else {}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def spec_of(pebble: Pebble, **fields: Any) -> IssuerSpec:  # noqa: ANN401 - the fields of an issuer
    """Pebble as an issuer."""
    return IssuerSpec(**{"name": "pebble", "directory": pebble.directory, "roots": pebble.ca_file, **fields})


def settings_of(pebble: Pebble, **fields: Any) -> CertsSettings:  # noqa: ANN401 - the fields of settings
    """Settings with pebble and its name server."""
    plain = CertsSettings(
        issuers=(spec_of(pebble),), resolvers=(pebble.dns.address,), order_timeout_s=10.0, max_orders_per_name_week=50
    )
    return msgspec.structs.replace(plain, **fields)


def pem_of(*names: str, days: float = 60) -> bytes:
    """A certificate of an authority that nobody knows, with its key."""
    issued = Authority().issue(*names, days=days)
    return issued.chain + issued.key


class _Shelf:
    """A shelf as a process has it."""

    def __init__(self, process: Process, name: str, shelf: Shelf) -> None:
        self._process = process
        self._name = name
        self._shelf = shelf

    async def get(self, key: str) -> Sealed | None:
        return await self._shelf.get(key)

    async def since(self, version: int = 0) -> Sequence[Sealed]:
        return await self._shelf.since(version)

    async def put(self, key: str, body: bytes, *, expect: int | None = None, lease: Lease | None = None) -> int:
        await self._process.before(f"put {self._name}")
        version = await self._shelf.put(key, body, expect=expect, lease=lease)
        await self._process.after(f"put {self._name}")
        return version

    async def remove(self, key: str, *, expect: int | None = None, lease: Lease | None = None) -> None:
        await self._process.before(f"remove {self._name}")
        await self._shelf.remove(key, expect=expect, lease=lease)
        await self._process.after(f"remove {self._name}")


class _Leases:
    """The leases as a process has them."""

    def __init__(self, process: Process, leases: Leases) -> None:
        self._process = process
        self._leases = leases

    async def take(self, name: str, ttl_s: float) -> Lease | None:
        await self._process.before("take")
        lease = await self._leases.take(name, ttl_s)
        await self._process.after("take")
        return lease

    async def keep(self, lease: Lease, ttl_s: float) -> bool:
        return await self._leases.keep(lease, ttl_s)

    async def release(self, lease: Lease) -> None:
        await self._process.before("release")
        await self._leases.release(lease)
        await self._process.after("release")
