"""One issuance, driven from wherever it was left to the certificate; certs.order decides what comes next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs.accounts import Accounts
from certs.answers import Authorization, Order, one_line
from certs.client import Client, Session
from certs.errors import IssueError
from certs.keys import Unusable, bundle_of, cert_id, certificates, leaf_of, make_csr, make_key, preferred_chain
from certs.order import (
    IssueRequest,
    OrderState,
    Step,
    choose_challenge,
    failed_validation,
    in_sum,
    is_for,
    may_rotate,
    pending,
    step_of,
    task_of,
)
from certs.pace import Pace
from certs.ports import Solver
from certs.settings import ChallengeType
from certs.validation import ChallengeFailed, Validation, authorizations_of, looked_at
from state.errors import StateError
from state.holdings import Bundle

Save = Callable[[OrderState], Awaitable[None]]
Progress = Callable[[str, ChallengeType | None], None]

# How an authority refuses an order for what it replaces, and not for itself.
_WITHOUT_REPLACING: Final = frozenset({"alreadyReplaced", "malformed"})

# How an authority says that an order is not there, or not ours.
_GONE: Final = frozenset({401, 403, 404, 410})

# What a request for an order may still take once nobody wants to wait for it.
_LAST_S: Final = 5.0

_log = structlog.get_logger()


class Means(NamedTuple):
    """What an issuance is given; see certs.issue.issue."""

    save: Save
    accounts: Accounts
    solvers: Mapping[ChallengeType, Solver]
    progress: Progress
    may_order: Callable[[], Awaitable[None]]


class Issuance:
    """One attempt. `step` is where it is."""

    def __init__(self, request: IssueRequest, state: OrderState, means: Means) -> None:
        """`state` is to be for this request; its challenges may be on show."""
        self.step = "connecting"
        self.state = state
        self._request = request
        self._means = means
        self._validation = Validation(means.solvers, state.tasks)
        self._pace = Pace(request.timeout_s)
        self._errors: dict[ChallengeType, IssueError] = {}
        self._session: Session

    async def run(self) -> Bundle:
        """The certificate, checked."""
        issuer, directory = self._request.issuer, self._request.directory
        async with Client.open(issuer, directory) as client:
            self._tell("account")
            account = await self._means.accounts.sign_in(client, issuer, directory)
            self._session = Session(client, account)
            try:
                return await self._rotate()
            except IssueError as error:
                if error.kind != "accountDoesNotExist":
                    raise
            self._session = Session(
                client, await self._means.accounts.sign_in_again(client, issuer, directory, account)
            )
            # The orders went with the account.
            await self.withdraw()
            await self._save(self.state.afresh())
            return await self._rotate()

    async def set_back(self, error: IssueError) -> None:
        """The order has not come to its end; see certs.order.OrderState.with_setback."""
        state = self.state.with_setback(error)
        if state != self.state:
            await self._save(state)

    async def withdraw(self) -> None:
        """Take away what is on show."""
        await self._validation.withdraw()

    async def leave(self) -> None:
        """Take away what is still on show after a failure, unless another node goes on with it."""
        if not self._validation.on_show:
            return
        try:
            # Fails when the lease was lost: the other node shows the same answers for the same order.
            await self._means.save(self.state)
        except StateError:
            return
        await self.withdraw()

    async def _rotate(self) -> Bundle:
        """Try one challenge type after the other."""
        while True:
            try:
                return await self._attempt()
            except IssueError as error:
                await self.set_back(error)
                if error.kind == "budget" and self._errors:
                    # What there was an order for has failed, and that is what has to be told.
                    raise in_sum(self._errors) from error
                raise
            except ChallengeFailed as failed:
                await self.withdraw()
                self._errors[failed.tried] = failed.error
                state = self.state.failed(failed.tried)
                if not may_rotate(failed.error) or not self._is_another(failed.authorizations, state):
                    # The next attempt begins with the first type again.
                    await self._save(state.afresh() if failed.is_over else state.with_all_challenges())
                    raise in_sum(self._errors) from failed
                await self._save(state.without_order() if failed.is_over else state)

    def _is_another(self, authorizations: Sequence[Authorization], state: OrderState) -> bool:
        with suppress(IssueError):
            choose_challenge(authorizations, self._solvable(), state.tried)
            return True
        return False

    async def _attempt(self) -> Bundle:
        """From the order, whatever has become of it, to the certificate."""
        order, wait_s = await self._order(), None
        self._pace.quicken()
        while True:
            step = await self._step_of(order)
            if step == "download":
                return await self._download(order)
            advance = {"authorize": self._authorize, "finalize": self._finalize}.get(step)
            if advance is not None and await advance(order):
                self._pace.quicken()
            else:
                await self._pace.wait(wait_s)
            order, wait_s = await self._session.order_at(order.url)

    async def _step_of(self, order: Order) -> Step:
        try:
            return step_of(order)
        except IssueError:
            await self._save(self.state.afresh())
            raise

    async def _order(self) -> Order:
        """The order that is under way, or a new one."""
        if self.state.order is not None:
            order = await self._resumed(self.state.order)
            if order is not None:
                return order
            # What was shown for it is of no use any more.
            await self.withdraw()
            await self._save(self.state.without_order())
        if self.state.phase == "ordering":
            order = await self._found()
            if order is not None:
                await self._save(self.state.ordered(order))
                return order
        await self._means.may_order()
        await self._save(self.state.ordering())
        self._tell("ordering")
        return await _to_its_end(self._ordered())

    async def _resumed(self, url: str) -> Order | None:
        """The order as it is now; None when it has come to nothing meanwhile."""
        try:
            order, _ = await self._session.order_at(url)
        except IssueError as error:
            if error.kind == "accountDoesNotExist" or error.status not in _GONE:
                raise
            return None
        return order if order.status != "invalid" and is_for(order, self._request.names) else None

    async def _found(self) -> Order | None:
        """An order for the same names that was made just before a crash, if the authority lists the orders."""
        try:
            async for order in self._session.orders():
                if order.status in {"pending", "ready"} and is_for(order, self._request.names):
                    return order
        except IssueError as error:
            if error.kind in {"accountDoesNotExist", "unreachable", "rateLimited"}:
                raise
        return None

    async def _ordered(self) -> Order:
        try:
            order = await self._ask()
        except IssueError as error:
            if error.status is not None and error.status < 500:
                # A refusal, and not the failure of a gateway behind which there may be an order now.
                await self._save(self.state.without_order())
            if error.kind == "unauthorized" and await self._is_deactivated():
                raise IssueError("accountDoesNotExist", error.detail, status=error.status) from error
            raise
        await self._save(self.state.ordered(order))
        return order

    async def _ask(self) -> Order:
        names, profile, replaces = self._request.names, self._request.issuer.profile, _replaced(self._request)
        offered = self._session.directory.meta.profiles
        if profile is not None and offered is not None and profile not in offered:
            detail = f"the authority has no profile {profile!r}, only {one_line(', '.join(offered))}"
            raise IssueError("invalidProfile", detail, status=400)
        try:
            return await self._session.order(names, profile=profile, replaces=replaces)
        except IssueError as error:
            if replaces is None or (error.kind not in _WITHOUT_REPLACING and error.status != 409):
                raise
            # RFC 9773 section 5: replaced already, by whomever. The certificate is wanted all the same.
            _log.info("ordering without saying what is replaced", names=names, reason=error.detail)
            return await self._session.order(names, profile=profile)

    async def _is_deactivated(self) -> bool:
        """Whether it is the account that has no right any more, not the account that has none to these names."""
        try:
            return (await self._session.body()).status != "valid"
        except IssueError as error:
            return error.kind in {"unauthorized", "accountDoesNotExist"}

    async def _authorize(self, order: Order) -> bool:
        """Have all names validated; False when they already are."""
        authorizations = await authorizations_of(self._session, order, self._request.names)
        if (refusal := failed_validation(authorizations)) is not None:
            await self._save(self.state.afresh())
            raise refusal
        waiting = pending(authorizations)
        if not waiting:
            return False
        chosen = self._chosen(waiting)
        account = self._session.account
        tasks = tuple(task_of(each, chosen, account.thumbprint, account.url) for each in waiting)
        await self._save(self.state.presenting(chosen, tasks))
        self._tell("presenting", chosen)
        try:
            await self._validation.present(tasks)
        except IssueError as error:
            raise ChallengeFailed(chosen, error, waiting, is_over=False) from error
        self._tell("validating", chosen)
        outcome = await looked_at(self._session, waiting, chosen, self._pace)
        if (refusal := failed_validation(outcome)) is not None:
            raise ChallengeFailed(chosen, refusal, waiting, is_over=True)
        return True

    def _chosen(self, waiting: Sequence[Authorization]) -> ChallengeType:
        """The type that is on show already, after a crash, else the next."""
        begun, solvable = self.state.challenge, self._solvable()
        preferred = [begun, *solvable] if begun is not None and begun in solvable else solvable
        return choose_challenge(waiting, preferred, self.state.tried)

    def _solvable(self) -> list[ChallengeType]:
        return self._validation.solvable(self._request.challenges)

    async def _finalize(self, order: Order) -> bool:
        """Have the certificate made; False when the authority is not ready for that."""
        self._tell("finalizing")
        try:
            await self._session.finalize(order.finalize, self.state.csr)
        except IssueError as error:
            if error.kind == "orderNotReady":
                return False
            raise
        return True

    async def _download(self, order: Order) -> Bundle:
        self._tell("downloading")
        try:
            return _checked(await self._chains(order), self._request, self.state.key)
        except Unusable as error:
            # It may have been the transfer: the same order is asked again before it is given up.
            raise IssueError("badAnswer", str(error)) from error

    async def _chains(self, order: Order) -> Sequence[bytes]:
        if order.certificate is None:
            raise Unusable("the authority does not say where the certificate is")
        return await self._session.chains(order.certificate, with_alternates=self._request.issuer.chain is not None)

    async def _save(self, state: OrderState) -> None:
        # Here first: whoever is cancelled meanwhile does not know whether it is on disk.
        self.state = state
        await self._means.save(state)

    def _tell(self, step: str, challenge: ChallengeType | None = None) -> None:
        self.step = step
        self._means.progress(step, challenge)


async def made(request: IssueRequest) -> OrderState:
    """The state of an issuance that has not begun, with a new key."""
    # RSA takes up to seconds.
    key = await asyncio.to_thread(make_key, request.key_type)
    return OrderState(
        issuer=request.issuer.name,
        directory=request.directory,
        is_staging=request.is_staging,
        names=request.names,
        key_type=request.key_type,
        key=key,
        csr=make_csr(key, request.names),
        profile=request.issuer.profile,
    )


async def _to_its_end(work: Coroutine[Any, Any, Order]) -> Order:
    """What `work` returns; when it is cancelled, it has a little time left to save what it did."""
    task = asyncio.get_running_loop().create_task(work, name="acme order")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            async with asyncio.timeout(_LAST_S):
                await task
        raise


def _replaced(request: IssueRequest) -> str | None:
    with suppress(Unusable):
        return cert_id(request.replaces) if request.replaces is not None else None
    return None


def _checked(chains: Sequence[bytes], request: IssueRequest, key_pem: bytes) -> Bundle:
    """The bundle, if it is what was ordered; raises certs.keys.Unusable if not."""
    chain = preferred_chain(chains, request.issuer.chain)
    bundle = bundle_of(chain, key_pem)
    # More names than were asked for are no harm: some authorities add `www`.
    if not set(request.names) <= set(bundle.names):
        raise Unusable("the certificate is for other names")
    if len(certificates(chain)) < 2 and not _is_below(chain, request.issuer.roots):
        raise Unusable("the chain ends with the certificate itself: visitors could not find its root")
    if leaf_of(chain).not_after <= datetime.now(UTC):
        raise Unusable("the certificate has expired already")
    return bundle


def _is_below(leaf_pem: bytes, roots: Path | None) -> bool:
    """Whether a leaf is signed by one of the roots themselves, as at small authorities of one's own."""
    if roots is None:
        return False
    for root in x509.load_pem_x509_certificates(roots.read_bytes()):
        with suppress(Unusable):
            return len(certificates(leaf_pem + root.public_bytes(Encoding.PEM))) > 1
    return False
