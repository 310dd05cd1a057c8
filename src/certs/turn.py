"""`Turn`: what is done when a name is due: it is taken alone, looked up anew, and brought up to date."""

from __future__ import annotations

import asyncio
from datetime import datetime

import msgspec
import structlog

from certs.attempt import Attempt
from certs.errors import IssueError
from certs.issue import fetch_renewal_info
from certs.issuers import NameHistory
from certs.news import news_of
from certs.record import Held, Record
from certs.schedule import Window
from certs.served import INTERNAL, held_of
from certs.settings import IssuerSpec
from certs.wanted import Wanted
from certs.workshop import Workshop
from state.ports import Lease


class Turn:
    """One look at one name that is wanted, or whose certificate was imported."""

    def __init__(self, shop: Workshop, name: str, wish: Wanted | None, *, is_covered: bool) -> None:
        """`is_covered` says that another certificate is for the name as well, so that it needs none of its own."""
        self._shop = shop
        self._name = name
        self._wish = wish
        self._is_covered = is_covered

    async def take(self) -> Record:
        """What is known of the name afterwards.

        Raises certs.holding.Busy while another node is at it, LeaseLost and Stale when one took over, and StoreError.
        """
        async with self._shop.alone(self._name) as lease:
            record = await self._shop.vault.refreshed(self._name)
            if self._is_covered:
                return record
            # Another node may have done it already: then there is nothing left but to serve it.
            await self._shop.serve(record)
            if self._wish is not None:
                if not self._shop.owes_proof(record):
                    record = await self._polled(record, lease)
                record = await self._ordered(record, self._wish, lease)
            return record if self._shop.owes_proof(record) else await self._announced(record, lease)

    async def _ordered(self, record: Record, wish: Wanted, lease: Lease | None) -> Record:
        now = self._shop.clock()
        counted = self._shop.counted(record)
        if not counted.wants_order(now) or counted.order_at(now, self._shop.standing(self._name)) > now:
            return record
        if wish.is_internal:
            return await self._certified(record, lease)
        return await Attempt(self._shop, wish, lease, record).make()

    async def _certified(self, record: Record, lease: Lease | None) -> Record:
        """A leaf of the internal authority, which refuses nobody."""
        shop = self._shop
        authority = await shop.internal()
        now = shop.clock()
        bundle = await asyncio.to_thread(authority.leaf, (self._name,), now)
        held = await asyncio.to_thread(held_of, bundle, now, shop.dice(), record.held, source="internal")
        held = msgspec.structs.replace(held, issuer=INTERNAL)
        changed = msgspec.structs.replace(record, held=held, history=NameHistory(), asked_at=None)
        record = await shop.vault.save(changed, lease)
        await shop.serve(record)
        shop.tell(record)
        return record

    async def _polled(self, record: Record, lease: Lease | None) -> Record:
        """After its authority was asked when it wants the certificate to be renewed (RFC 9773), if that is due."""
        held, now = record.held, self._shop.clock()
        if held is None or held.source != "acme" or not held.plan.wants_poll(now):
            return record
        spec = self._issuer_of(held)
        window, retry_after_s = None, None
        if spec is not None:
            window, retry_after_s = await self._window(spec, held)
        before = held.plan.window
        plan = held.plan.polled(window, now, retry_after_s=retry_after_s, jitter=self._shop.dice())
        if window is not None and plan.window != before:
            log = structlog.get_logger()
            log.info(
                "the authority wants a renewal", name=self._name, at=_written(plan.renew_at), why=window.explanation_url
            )
        changed = msgspec.structs.replace(record, held=msgspec.structs.replace(held, plan=plan))
        record = await self._shop.vault.save(changed, lease)
        self._shop.tell(record)
        return record

    async def _window(self, spec: IssuerSpec, held: Held) -> tuple[Window | None, float | None]:
        try:
            info = await fetch_renewal_info(spec, spec.directory, held.bundle.chain)
        except IssueError as error:
            structlog.get_logger().info("no word on the renewal", name=self._name, kind=error.kind, reason=error.detail)
            return None, error.retry_after_s
        return (None, None) if info is None else (info.window, info.retry_after_s)

    def _issuer_of(self, held: Held) -> IssuerSpec | None:
        specs = self._shop.settings.issuers
        return next((spec for spec in specs if spec.directory == held.directory), None)

    async def _announced(self, record: Record, lease: Lease | None) -> Record:
        """After the operator was told what there is to tell."""
        standing, is_wanted = self._shop.standing(self._name), self._wish is not None
        told = record.told | self._shop.told.pop(self._name, frozenset())
        before = msgspec.structs.replace(record, told=told)
        changed, events = news_of(before, self._shop.clock(), standing, is_wanted=is_wanted)
        if changed != record:
            record = await self._shop.vault.save(changed, lease)
        for event in events:
            self._shop.herald.announce(event)
        return record


def _written(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
