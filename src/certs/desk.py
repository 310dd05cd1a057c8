"""`Desk`: what operators ask of certificates themselves, as state.ports.CertificateDesk has it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import structlog

from certs import alarms, preflight
from certs.bid import bid_for, wait_for
from certs.budget import Wait
from certs.errors import IssueError
from certs.facts import fact_of
from certs.holding import Busy, LeaseLost
from certs.issue import revoke
from certs.issuers import NameHistory
from certs.keys import Unusable, bundle_of
from certs.preflight import expectation_of
from certs.record import Held, Record
from certs.roster import Roster
from certs.served import check_servable, held_of, key_id
from certs.settings import IssuerSpec
from certs.wanted import is_internal
from certs.works import Works
from certs.workshop import Workshop
from state.errors import Stale
from state.hosts import fold_domain
from state.ports import Advice, Lease, RevocationReason
from state.refusal import refused

# Nothing is looked at twice: of a block without an end, the search for it must not begin anew at each beginning.
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]++)-----[^-]*+(?:-(?!----)[^-]*+)*+-----END \1-----\s*+")


class Desk:
    """Implements state.ports.CertificateDesk. Every call also raises state.errors.StoreError."""

    def __init__(self, shop: Workshop, roster: Roster, works: Works) -> None:
        """`works` carries out what is asked for."""
        self._shop = shop
        self._roster = roster
        self._works = works

    async def renew(self, name: str) -> None:
        """As in state.ports.CertificateDesk."""
        if self._roster.get(name) is None:
            if self._roster.is_kept(self._shop.vault.get(name)):
                raise refused(
                    "conflict", "name", "has a certificate that was imported; import a newer one, or add the domain"
                )
            raise refused("missing", "name", "is not a name that wants a certificate")
        cover = self._roster.cover_of(name, self._shop.clock())
        if cover is not None:
            raise refused("conflict", "name", f"is covered by the certificate for {cover.name}; renew that one")
        if self._works.is_working(name) and self._shop.standing(name).progress is not None:
            # It is being obtained at this moment.
            return
        while True:
            record = (await self._shop.vault.refreshed(name)).asked(self._shop.clock())
            await self._check_pace(record)
            try:
                await self._shop.vault.ask(record)
            except Stale:
                continue
            break
        self._shop.standings.pop(name, None)
        self._works.consider(name)

    async def _check_pace(self, record: Record) -> None:
        """Refuse what would have to wait: in some days nobody would expect it any more."""
        if is_internal(record.name, self._shop.settings.internal_suffixes) or record.is_urgent(self._shop.clock()):
            return
        bid = await bid_for(self._shop, record)
        wait = bid if isinstance(bid, Wait) else wait_for(self._shop, record, bid)
        if wait is not None:
            reason = f"cannot be renewed before {wait.until.isoformat(timespec='seconds')}: {wait.reason}"
            raise refused("conflict", "name", reason)

    async def revoke(self, name: str, reason: RevocationReason) -> None:
        """As in state.ports.CertificateDesk."""
        self._revocable(self._shop.vault.get(name))
        async with self._alone(name) as lease:
            record = await self._shop.vault.refreshed(name)
            held, spec = self._revocable(record)
            await self._tell_authority(held, spec, reason)
            now = self._shop.clock()
            event = alarms.revoked(fact_of(record, now), reason, now)
            # What is wanted goes on with it until there is another: a warning is less than a wall.
            given_up = record.given_up | ({key_id(held.bundle)} if reason == "key_compromise" else set())
            changes = {"held": msgspec.structs.replace(held, revoked=reason), "given_up": given_up}
            changed = msgspec.structs.replace(record, **changes)
            await self._shop.vault.save(changed.asked(now), lease)
            self._shop.standings.pop(name, None)
        self._shop.herald.announce(event)

    async def import_pem(self, pem: bytes) -> str:
        """As in state.ports.CertificateDesk."""
        held = await asyncio.to_thread(self._read, pem)
        names = held.bundle.names
        name = next((name for name in names if self._roster.get(name) is not None), names[0])
        if any(key_id(held.bundle) in self._shop.vault.get(each).given_up for each in names):
            raise refused("conflict", "pem", "has a key that was given up as compromised; make another one")
        async with self._alone(name) as lease:
            before = await self._shop.vault.refreshed(name)
            changes = {"held": held, "history": NameHistory(), "told": frozenset(), "asked_at": None}
            record = msgspec.structs.replace(before, is_demanded=False, **changes)
            record = await self._shop.vault.save(record, lease)
            await self._shop.unfinished.drop(name, lease)
            self._shop.standings.pop(name, None)
            await self._shop.serve(record)
        for covered in self._roster.covered_by(record):
            self._works.consider(covered)
        structlog.get_logger().info("a certificate was imported", name=name, names=names)
        return name

    async def remove(self, name: str) -> None:
        """Serve a certificate that was imported no more, and forget it; a name that is wanted gets one of its own.

        Raises state.refusal.Refused: "missing" without a certificate, "conflict" for one that was not imported.
        """
        async with self._alone(name) as lease:
            record = await self._shop.vault.refreshed(name)
            if record.held is None:
                raise refused("missing", "name", "has no certificate here")
            if record.held.source != "imported":
                raise refused("conflict", "name", "has a certificate that was not imported; remove the domain instead")
            covered = list(self._roster.covered_by(record))
            await self._shop.vault.save(msgspec.structs.replace(record, held=None, told=frozenset()), lease)
            self._shop.hide(name)
        for each in covered:
            self._works.consider(each)

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[Lease | None]:
        """Nobody else works on the name, here or at another node."""
        try:
            async with self._works.alone(name), self._shop.alone(name) as lease:
                yield lease
        except (Busy, LeaseLost, Stale):
            raise refused("conflict", "name", "is being worked on by another node; try again in a minute") from None

    async def export_pem(self, name: str, *, with_key: bool) -> bytes:
        """As in state.ports.CertificateDesk."""
        held = self._shop.vault.get(name).held
        bundle = self._shop.holdings.value.bundles.get(name) if held is None else held.bundle
        if bundle is None:
            raise refused("missing", "name", "has no certificate here")
        return bundle.chain + bundle.key if with_key else bundle.chain

    async def root_pem(self) -> bytes:
        """As in state.ports.CertificateDesk."""
        if not self._shop.settings.internal_suffixes:
            raise refused("missing", "root", "is not there: no names are internal")
        return (await self._shop.internal()).root_pem

    async def check(self, name: str) -> Sequence[Advice]:
        """As in state.ports.CertificateDesk. When nothing stands in the way any more, an order is made at once."""
        try:
            name = fold_domain(name)
        except ValueError as error:
            raise refused("invalid", "name", str(error)) from None
        settings = self._shop.settings
        if is_internal(name, settings.internal_suffixes):
            return ()
        wish = self._roster.get(name)
        token = wish.ownership if wish is not None and self._shop.owes_proof(self._shop.vault.get(name)) else ""
        report = await preflight.check(name, expectation_of(settings, token=token), self._shop.resolver)
        if not report.is_blocked and self._shop.standing(name).obstacle is not None:
            self._shop.standings.pop(name, None)
            self._works.consider(name)
        return report.advice

    def _read(self, pem: bytes) -> Held:
        blocks = [(match[1], match[0].strip() + b"\n") for match in _BLOCK.finditer(pem)]
        chain = b"".join(block for kind, block in blocks if kind == b"CERTIFICATE")
        keys = [block for kind, block in blocks if kind.endswith(b"PRIVATE KEY")]
        if not chain or len(keys) != 1:
            raise refused("invalid", "pem", "must hold a chain of certificates, leaf first, and one private key")
        now = self._shop.clock()
        try:
            bundle = bundle_of(chain, keys[0])
            check_servable(bundle)
            held = held_of(bundle, now, self._shop.dice(), source="imported")
        except Unusable as error:
            raise refused("invalid", "pem", f"cannot be used: {error}") from None
        if not held.is_valid(now):
            raise refused("invalid", "pem", f"has expired at {held.plan.not_after.isoformat()}")
        if held.plan.not_before > now:
            # It would take the place of one that visitors can rely on now.
            raise refused("invalid", "pem", f"is not valid before {held.plan.not_before.isoformat()}")
        if not held.bundle.names:
            raise refused("invalid", "pem", "is for no name")
        return held

    def _revocable(self, record: Record) -> tuple[Held, IssuerSpec]:
        held = record.held
        if held is None:
            raise refused("missing", "name", "has no certificate here")
        if held.source != "acme":
            raise refused("conflict", "name", f"has a certificate that is {held.source}: no authority is known for it")
        spec = next((spec for spec in self._shop.settings.issuers if spec.directory == held.directory), None)
        if spec is None:
            raise refused("conflict", "name", f"has a certificate of {held.issuer}, which is not configured any more")
        return held, spec

    async def _tell_authority(self, held: Held, spec: IssuerSpec, reason: RevocationReason) -> None:
        try:
            await revoke(
                spec,
                spec.directory,
                accounts=self._shop.accounts,
                leaf_pem=held.bundle.chain,
                reason=reason,
                key_pem=held.bundle.key,
            )
        except IssueError as error:
            raise refused("conflict", "name", f"was not revoked: {error.detail}") from None
