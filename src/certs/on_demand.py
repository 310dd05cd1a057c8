"""`OnDemand`: certificates for names that a handshake has asked for, one order for all who ask at the same time."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from certs.asking import NoAnswer, ask
from certs.budget import Wait
from certs.record import Record
from certs.refusals import Refusals
from certs.roster import Roster
from certs.served import INTERNAL, held_of
from certs.throttle import Throttle
from certs.wanted import Wanted, is_host, is_internal, is_named, leaf_name
from certs.works import Works
from certs.workshop import Workshop
from state.cell import Cell
from state.errors import StateError
from state.hosts import fold_domain
from state.model import Desired

# For how long a name is not asked for again: one that can be none, one that was refused, and what may be over soon.
_NEVER_S: Final = 3600.0
_REFUSED_S: Final = 60.0
_SOON_S: Final = 5.0
_ASK_AGAIN: Final = timedelta(minutes=10)
_ASK_LATER: Final = timedelta(hours=1)
_NOT_ALLOWED: Final = "it is not allowed any more, and its certificate is served until it ends"
# A flood of names is told so often, in seconds.
_TELL_S: Final = 60.0

# New names, not visitors: those who look for names that are allowed run into these.
_PER_ADDRESS: Final = (20, 600.0)
_PER_DOMAIN: Final = (50, 3600.0)

_STRAYS: Final = 1000
# A leaf that is thrown away a little before its end is made again at the next handshake.
_LEAF_SHARE: Final = 9 / 10


class _Throttled(Exception):
    """Too many new names came from one network, or below one registered domain."""


class OnDemand:
    """It belongs to one event loop."""

    def __init__(self, shop: Workshop, roster: Roster, works: Works, desired: Cell[Desired]) -> None:
        """With nothing asked for yet."""
        self._shop = shop
        self._roster = roster
        self._works = works
        self._desired = desired
        self._refusals = Refusals()
        self._by_address = Throttle(*_PER_ADDRESS)
        self._by_domain = Throttle(*_PER_DOMAIN)
        self._running: dict[str, asyncio.Task[float]] = {}
        self._leaves: OrderedDict[str, datetime] = OrderedDict()
        self._strays: OrderedDict[str, datetime] = OrderedDict()
        self._throttled = 0
        self._tell_at = 0.0

    async def certificate_for(self, name: str, address: str) -> float:
        """0 once a certificate for `name` is in force at every worker, else for how many seconds not to ask again."""
        try:
            name = fold_domain(name)
        except ValueError:
            return _NEVER_S
        if self._shop.holdings.value.covers(name):
            await self._shop.live(self._shop.holdings.revision)
            return 0.0
        now = asyncio.get_running_loop().time()
        if (left_s := self._refusals.left_s(name, now)) > 0:
            return left_s
        task = self._running.get(name)
        if task is None:
            obtaining = self._obtained(name, address)
            task = asyncio.get_running_loop().create_task(obtaining, name=f"certs: {name} for a visitor")
            self._running[name] = task
            task.add_done_callback(lambda _task: self._running.pop(name, None))
        # One of many who wait may go away; the others wait for the same.
        return await asyncio.shield(task)

    async def may_go_on(self, wish: Wanted) -> bool:
        """Whether a name that is due may have a turn: one that a handshake brought is asked about before a renewal."""
        record, now = self._shop.vault.get(wish.name), self._shop.clock()
        if wish.origin != "demand" or record.held is None or not record.wants_order(now):
            return True
        try:
            is_allowed = await self._is_allowed(wish.name, "")
        except NoAnswer as error:
            wait = Wait(until=now + _ASK_AGAIN, reason=str(error))
            self._shop.stand(record, msgspec.structs.replace(self._shop.standing(wish.name), wait=wait))
            return False
        if not is_allowed and record.held.is_valid(now):
            # One wrong answer, in the middle of a deploy say, must not take a name down that has weeks left.
            wait = Wait(until=min(now + _ASK_LATER, record.held.plan.not_after), reason=_NOT_ALLOWED)
            self._shop.stand(record, msgspec.structs.replace(self._shop.standing(wish.name), wait=wait))
            return False
        if not is_allowed:
            structlog.get_logger().info("a name is not allowed any more", name=wish.name)
            # Or it would be served again after a restart.
            await self._shop.vault.ask(msgspec.structs.replace(record, is_demanded=False))
            self._undemand(wish.name)
        return is_allowed

    def prune(self, now: datetime) -> None:
        """Throw away the leaves of the internal authority that end soon."""
        for leaves, most in ((self._leaves, None), (self._strays, _STRAYS)):
            self._prune(leaves, most, now)

    def _prune(self, leaves: OrderedDict[str, datetime], most: int | None, now: datetime) -> None:
        while leaves:
            name, until = next(iter(leaves.items()))
            if now < until and (most is None or len(leaves) <= most):
                return
            del leaves[name]
            # Wanted by an operator meanwhile, it is no leaf of ours any more.
            if self._roster.get(name) is None:
                self._shop.hide(name)
                self._shop.board.forget(name)

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def forgive(self) -> None:
        """Judge anew what was refused: the settings have changed."""
        self._refusals.clear()

    async def _obtained(self, name: str, address: str) -> float:
        loop = asyncio.get_running_loop()
        try:
            seconds = await self._judged(name, address)
        except StateError as error:
            structlog.get_logger().error("no certificate for a visitor", name=name, reason=str(error))
            seconds = _SOON_S
        except _Throttled:
            # Not remembered: whoever uses up what is his would otherwise keep others from the names that he asks for.
            return _SOON_S
        except Exception:  # noqa: BLE001 - whoever holds a handshake needs an answer, whatever is wrong with the program
            structlog.get_logger().exception("no certificate for a visitor", name=name)
            return _SOON_S
        return self._refusals.add(name, loop.time(), seconds) if seconds > 0 else 0.0

    async def _judged(self, name: str, address: str) -> float:
        wish = self._roster.get(name)
        if wish is not None:
            return await self._hurried(name)
        inside = is_internal(name, self._shop.settings.internal_suffixes)
        is_off = name in self._desired.value.domains
        if is_off or not (inside or self._shop.settings.on_demand):
            return _REFUSED_S
        if inside:
            # It costs no order, so nobody is kept from it; what counts is that somebody has named it.
            return await self._inside(name) if is_named(name, self._desired.value) else _SOON_S
        self._throttle(self._by_address, _network_of(address), name)
        try:
            is_allowed = await self._is_allowed(name, address)
        except NoAnswer as error:
            structlog.get_logger().warning("no certificate for a visitor", name=name, reason=str(error))
            return _SOON_S
        if not is_allowed:
            return _REFUSED_S
        # Only now: whoever makes names up must not use up what is there for those that are allowed.
        self._throttle(self._by_domain, await self._shop.domain_of(name), name)
        return await self._demanded(name)

    def _throttle(self, throttle: Throttle, key: str, name: str) -> None:
        now = asyncio.get_running_loop().time()
        if throttle.take(key, now) > 0:
            self._throttled += 1
            if now >= self._tell_at:
                structlog.get_logger().info("too many new names", name=name, by=key, refused=self._throttled)
                self._throttled, self._tell_at = 0, now + _TELL_S
            raise _Throttled

    async def _is_allowed(self, name: str, address: str) -> bool:
        """Raises NoAnswer."""
        if self._shop.settings.ask_url is not None:
            return await ask(self._shop.settings.ask_url, name, address)
        return is_named(name, self._desired.value)

    async def _demanded(self, name: str) -> float:
        self._roster.demand(name)
        self._works.update([name])
        seconds = await self._hurried(name)
        if seconds > 0 and self._shop.vault.get(name).held is None:
            # Visitors want much; only what they get is kept for ever.
            self._undemand(name)
        return seconds

    def _undemand(self, name: str) -> None:
        self._roster.demand(name, is_demanded=False)
        self._works.update([name])

    async def _hurried(self, name: str) -> float:
        """What comes of the name's next turn, if that is now."""
        while not self._shop.holdings.value.covers(name):
            now = self._shop.clock()
            order_at = self._shop.vault.get(name).order_at(now, self._shop.standing(name))
            if order_at > now and not self._works.is_working(name):
                return min(max((order_at - now).total_seconds(), _SOON_S), _REFUSED_S)
            await self._works.hurry(name)
            if self._roster.get(name) is None:
                return _REFUSED_S
        await self._shop.live(self._shop.holdings.revision)
        return 0.0

    async def _inside(self, name: str) -> float:
        name = leaf_name(name, self._desired.value)
        return await self._certified(name) if self._roster.get(name) is None else await self._hurried(name)

    async def _certified(self, name: str) -> float:
        """A leaf of the internal authority, kept in memory only: it costs no more to make it again."""
        authority = await self._shop.internal()
        now = self._shop.clock()
        bundle = await asyncio.to_thread(authority.leaf, (name,), now)
        held = await asyncio.to_thread(held_of, bundle, now, 0.0, source="internal")
        # What lies deeper below a wildcard than one label has a leaf of its own, and there is no end to such names.
        leaves = self._leaves if is_host(name, self._desired.value) else self._strays
        leaves[name] = now + (held.plan.not_after - now) * _LEAF_SHARE
        leaves.move_to_end(name)
        self.prune(now)
        record = Record(name=name, held=msgspec.structs.replace(held, issuer=INTERNAL))
        await self._shop.serve(record)
        self._shop.tell(record, is_wanted=False)
        return 0.0


def _network_of(address: str) -> str:
    """What counts as one visitor: an IPv6 network of 64 bits is one household's."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    if found.ipv4_mapped is not None:
        # A listener for both families gives IPv4 peers as ::ffff:192.0.2.1 (RFC 4291 section 2.5.5.2).
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found.packed, 64), strict=False))
