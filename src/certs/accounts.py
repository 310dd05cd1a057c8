"""Accounts at authorities: made once for all nodes of a store, found again, and made anew when forgotten there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import structlog
from josepy.jwk import JWKEC

from certs.answers import one_line
from certs.client import Account, Client, Session
from certs.errors import IssueError
from certs.keys import load_key, make_key
from certs.settings import IssuerSpec
from state.errors import SecretError
from state.ports import Lease, Leases, Shelf

# Longer than two requests take that are given up late.
LEASE_S: Final = 150.0

RETRY_S: Final = 0.2

_log = structlog.get_logger()


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An account on its shelf. Without `url` it may or may not have been made: asking again with the key tells."""

    key: bytes
    url: str | None = None
    contact: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"AccountRecord({self.url!r})"


class Accounts:
    """One account for each directory (and external account), with an ES256 key of its own."""

    def __init__(self, shelf: Shelf, leases: Leases) -> None:
        self._shelf = shelf
        self._leases = leases
        self._locks: dict[str, asyncio.Lock] = {}

    async def sign_in(self, client: Client, spec: IssuerSpec, directory: str) -> Account:
        """The account, which is made if there is none yet.

        Raises IssueError when the authority refuses, and what the shelf raises.
        """
        place = _place(spec, directory)
        record = await self._read(place)
        if record is not None and record.url is not None and record.contact == spec.contact:
            return _account(record, record.url)
        async with self._alone(place) as lease:
            record = await self._read(place)
            if record is not None and record.url is not None:
                return await self._with_contact(client, spec, record, lease, place)
            return await self._register(client, spec, record, lease, place)

    async def sign_in_again(self, client: Client, spec: IssuerSpec, directory: str, lost: Account) -> Account:
        """The account in place of one that the authority does not know, or does not take, any more.

        Raises as `sign_in` does.
        """
        place = _place(spec, directory)
        async with self._alone(place) as lease:
            record = await self._read(place)
            if record is not None and record.url is not None and record.url != lost.url:
                return _account(record, record.url)
            _log.warning("the authority has forgotten the account, making it anew", issuer=spec.name, account=lost.url)
            try:
                return await self._register(client, spec, record, lease, place)
            except IssueError as error:
                # A key whose account was deactivated cannot have another one (RFC 8555 section 7.3.6).
                if error.kind != "unauthorized":
                    raise
                return await self._register(client, spec, None, lease, place)

    async def _register(
        self, client: Client, spec: IssuerSpec, record: AccountRecord | None, lease: Lease, place: str
    ) -> Account:
        meta = client.directory.meta
        if meta.external_account_required and spec.eab_kid is None:
            raise IssueError("externalAccountRequired", f"{spec.name} needs eab_kid and eab_hmac_file")
        if meta.terms_of_service is not None and not spec.accept_terms:
            terms = one_line(meta.terms_of_service)
            raise IssueError("userActionRequired", f"{spec.name} has terms to be accepted: {terms}")
        if record is None:
            # On the shelf before it is used: a crash after the request must not leave an account without its key.
            record = AccountRecord(key=make_key("p256"), contact=spec.contact)
            await self._write(place, record, lease)
        try:
            account = await client.register(spec, _jwk(record))
        except IssueError as error:
            raise _refused(spec, error) from error
        await self._write(place, msgspec.structs.replace(record, url=account.url, contact=spec.contact), lease)
        return account

    async def _with_contact(
        self, client: Client, spec: IssuerSpec, record: AccountRecord, lease: Lease, place: str
    ) -> Account:
        account = _account(record, record.url or "")
        if record.contact == spec.contact:
            return account
        try:
            await Session(client, account).change_contact(spec.contact)
        except IssueError as error:
            # No reason to go without a certificate; whether the account is there at all will show.
            _log.warning("the contact of the account was not changed", issuer=spec.name, reason=error.detail)
        else:
            await self._write(place, msgspec.structs.replace(record, contact=spec.contact), lease)
        return account

    @asynccontextmanager
    async def _alone(self, place: str) -> AsyncIterator[Lease]:
        """Nobody else, here or at another node, makes this account meanwhile."""
        # Of two tasks of one node, both get the lease.
        async with self._locks.setdefault(place, asyncio.Lock()):
            while (lease := await self._leases.take(f"account/{place}", LEASE_S)) is None:  # noqa: ASYNC110 - another node
                await asyncio.sleep(RETRY_S)
            try:
                yield lease
            finally:
                await self._leases.release(lease)

    async def _read(self, place: str) -> AccountRecord | None:
        try:
            sealed = await self._shelf.get(place)
            if sealed is None or sealed.body is None:
                return None
            return msgspec.msgpack.decode(sealed.body, type=AccountRecord)
        except (SecretError, msgspec.DecodeError):
            # Another account serves as well; certificates must not end for this.
            _log.error("the account on the shelf is not what was put there, making another", place=place)
            return None

    async def _write(self, place: str, record: AccountRecord, lease: Lease) -> None:
        await self._shelf.put(place, msgspec.msgpack.encode(record), lease=lease)


def _refused(spec: IssuerSpec, error: IssueError) -> IssueError:
    """The same, and of which setting it may speak: authorities say no more than that a key is not known."""
    if spec.eab_kid is None or error.status is None or error.status not in range(400, 500) or error.status == 429:
        return error
    text = f"{spec.name} made no account with eab_kid and eab_hmac_file: {error.detail}"
    return IssueError(error.kind, text, status=error.status, retry_after_s=error.retry_after_s)


def _place(spec: IssuerSpec, directory: str) -> str:
    """An account is bound to an external one once and for all."""
    return directory if spec.eab_kid is None else f"{directory} {spec.eab_kid}"


def _account(record: AccountRecord, url: str) -> Account:
    return Account(url, _jwk(record))


def _jwk(record: AccountRecord) -> JWKEC:
    return JWKEC(key=load_key(record.key))
