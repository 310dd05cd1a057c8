"""What is asked of authorities: a certificate, when to renew it, and to revoke it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final

import msgspec

from certs.accounts import Accounts
from certs.client import Client, RenewalInfo, certificate_signer
from certs.errors import IssueError
from certs.issuance import Issuance, Means, Progress, Save, made
from certs.keys import Unusable
from certs.order import IssueRequest, OrderState
from certs.ports import Solver
from certs.settings import ChallengeType, IssuerSpec
from certs.validation import Validation
from state.holdings import Bundle
from state.ports import RevocationReason

REQUESTS_S: Final = 60.0

# RFC 5280 section 5.3.1.
_REASONS: Final[Mapping[RevocationReason, int]] = MappingProxyType(
    {"unspecified": 0, "key_compromise": 1, "superseded": 4, "cessation_of_operation": 5}
)


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that was checked, with its key. `state` is of no more use once the bundle is kept."""

    bundle: Bundle
    state: OrderState


async def _always() -> None:
    """No limit to the number of orders."""


async def issue(  # noqa: PLR0913 - what an issuance needs of its surroundings, each by its name
    request: IssueRequest,
    state: OrderState | None,
    *,
    save: Save,
    accounts: Accounts,
    solvers: Mapping[ChallengeType, Solver],
    progress: Progress,
    may_order: Callable[[], Awaitable[None]] = _always,
) -> Issued:
    """Obtain a certificate, going on from `state` where that was left, and keep what it takes to go on by `save`.

    Whatever the end, what was saved last is what to call this with next: it names the order that is under way, or says
    that there is none. So a crash costs no second order, with one exception: between the moment when the authority has
    made an order and that when its URL is saved. Such an order is looked for among those of the account; where an
    authority does not list them another is made, and the first, on which nothing was spent, runs out by itself
    (Let's Encrypt, which does not list them, hands out the same one again).

    `may_order` is awaited before each new order. `progress` hears of steps (`account`, `ordering`, `presenting`,
    `validating`, `finalizing`, `downloading`) with the challenge type, if any. Raises IssueError, and whatever `save`
    and `may_order` raise.
    """
    means = Means(save, accounts, solvers, progress, may_order)
    work = Issuance(request, await _begun(request, state, solvers), means)
    limit = asyncio.timeout(request.timeout_s)
    try:
        async with limit:
            bundle = await work.run()
    except TimeoutError as error:
        if not limit.expired():
            raise
        late = IssueError("timeout", f"no certificate after {request.timeout_s:g} s, while {work.step}")
        await work.set_back(late)
        raise late from error
    else:
        await work.withdraw()
        return Issued(bundle=bundle, state=work.state)
    finally:
        await work.leave()


async def fetch_renewal_info(spec: IssuerSpec, directory: str, leaf_pem: bytes) -> RenewalInfo | None:
    """When the authority would like a certificate to be renewed (RFC 9773); None when it says nothing about that.

    Raises IssueError.
    """
    async with _in_time(), Client.open(spec, directory) as client:
        try:
            return await client.renewal_info(leaf_pem)
        except Unusable:
            return None


async def revoke(  # noqa: PLR0913 - each by its name
    spec: IssuerSpec,
    directory: str,
    *,
    accounts: Accounts,
    leaf_pem: bytes,
    reason: RevocationReason,
    key_pem: bytes | None = None,
) -> None:
    """Have a certificate revoked; quiet when it already is. Raises IssueError.

    With `key_pem`, the certificate's own key signs when it is compromised, which makes authorities refuse that key from
    then on, and otherwise where the account may not: it need not be the one that ordered the certificate.
    """
    async with _in_time(), Client.open(spec, directory) as client:

        async def by_account() -> None:
            account = await accounts.sign_in(client, spec, directory)
            await client.revoke(leaf_pem, _REASONS[reason], account.signer)

        async def by_key() -> None:
            await client.revoke(leaf_pem, _REASONS[reason], certificate_signer(key_pem or b""))

        ways = [by_account] if key_pem is None else [by_account, by_key]
        if reason == "key_compromise":
            ways.reverse()
        await _first_of(ways)


async def _begun(
    request: IssueRequest, state: OrderState | None, solvers: Mapping[ChallengeType, Solver]
) -> OrderState:
    """The state to go on with: the one given if it is of this wish, else a new one."""
    # Each certificate has a key of its own, so one is used again only for the order that it was made for.
    if state is not None and state.serves(request) and (state.phase != "made" or state.tried):
        return state
    if state is not None:
        await Validation(solvers, state.tasks).withdraw()
    return await made(request)


async def _first_of(ways: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Go one way after the other until one leads there; raises the error of the first when none does."""
    first: IssueError | None = None
    for way in ways:
        try:
            await way()
        except IssueError as error:
            if error.kind == "alreadyRevoked":
                return
            if error.status is None or error.status >= 500:
                raise
            first = first or error
        except Unusable as error:
            first = first or IssueError("badAnswer", str(error))
        else:
            return
    if first is not None:
        raise first


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(REQUESTS_S):
            yield
    except TimeoutError as error:
        raise IssueError("timeout", f"the authority did not answer within {REQUESTS_S:g} s") from error
