"""Issuances against a pebble, with everything that they need, and deaths at chosen moments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from certs.accounts import Accounts
from certs.challenges import HttpSolver, TlsAlpnSolver
from certs.issue import Issued, issue
from certs.order import IssueRequest, OrderState
from certs.ports import Solver, Task
from certs.settings import ChallengeType, IssuerSpec
from state.store import Store
from tests.support.challenge_server import ChallengeServer, TxtSolver
from tests.support.pebble import Pebble


class Killed(BaseException):
    """The process is no more."""


class Issuing:
    """A node's side of issuances. `saved` is what is durable, oldest first; `steps` is what progress was told.

    Killed at a moment (`before_save` or `after_save` so many, or `at_step`), it leaves challenges on show.
    """

    def __init__(self, pebble: Pebble, store: Store, stage: ChallengeServer) -> None:
        self.pebble = pebble
        self.stage = stage
        self.spec = IssuerSpec(name="pebble", directory=pebble.directory, roots=pebble.ca_file)
        self.accounts = Accounts(store.shelf("accounts"), store.leases)
        self.solvers: dict[ChallengeType, Solver] = {
            "http-01": HttpSolver(stage),
            "tls-alpn-01": TlsAlpnSolver(stage),
            "dns-01": TxtSolver(pebble.dns),
        }
        self.saved: list[OrderState] = []
        self.steps: list[tuple[str, ChallengeType | None]] = []
        self.before_save = 0
        self.after_save = 0
        self.at_step: str | None = None
        self._saves = 0
        self._is_dead = False

    @property
    def orders(self) -> int:
        """How many orders were asked for at the authority since its start."""
        return self.pebble.count("order-plz")

    async def issue(
        self,
        *names: str,
        challenges: tuple[ChallengeType, ...] = ("http-01",),
        state: OrderState | None = None,
        spec: Mapping[str, Any] | None = None,
        **wishes: Any,  # noqa: ANN401 - the fields of a request
    ) -> Issued:
        """A certificate, or what there is in its way; `spec` are fields of the issuer's that are otherwise."""
        issuer = msgspec.structs.replace(self.spec, **(spec or {}))
        request = IssueRequest(
            names=names,
            issuer=issuer,
            directory=issuer.directory,
            challenges=challenges,
            **{"timeout_s": 20.0, **wishes},
        )
        solvers: dict[ChallengeType, Solver] = {kind: _Mortal(self, solver) for kind, solver in self.solvers.items()}
        return await issue(
            request, state, save=self._save, accounts=self.accounts, solvers=solvers, progress=self._progress
        )

    async def resumed(self, *names: str, **wishes: Any) -> Issued:  # noqa: ANN401 - as above
        """The same in a new process, from what is durable."""
        self.before_save = self.after_save = 0
        self.at_step = None
        self._is_dead = False
        return await self.issue(*names, state=self.saved[-1] if self.saved else None, **wishes)

    async def _save(self, state: OrderState) -> None:
        if self._is_dead:
            raise Killed
        self._saves += 1
        if self._saves == self.before_save:
            self._die()
        # As on a shelf.
        self.saved.append(OrderState.decode(state.encode()))
        if self._saves == self.after_save:
            self._die()

    def _progress(self, step: str, challenge: ChallengeType | None) -> None:
        self.steps.append((step, challenge))
        if step == self.at_step:
            self._die()

    def _die(self) -> None:
        self._is_dead = True
        raise Killed

    @property
    def is_dead(self) -> bool:
        """Whether this process acts no more."""
        return self._is_dead


class _Mortal:
    """A solver that dies with its process."""

    def __init__(self, process: Issuing, solver: Solver) -> None:
        self._process = process
        self._solver = solver

    async def present(self, task: Task) -> None:
        await self._solver.present(task)

    async def withdraw(self, task: Task) -> None:
        if not self._process.is_dead:
            await self._solver.withdraw(task)
