"""How many orders are made at most, as values to be saved: below the limits of authorities, and per name and week."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec

from certs.settings import IssuerSpec

_WEEK: Final = timedelta(days=7)
_ORDERS_SPAN: Final = timedelta(hours=3)


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing may be asked for before `until`, and why, for the operator to read."""

    until: datetime
    reason: str


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """So many in a span of time, as a token bucket under `key`: all may come at once, and they come back evenly.

    `reserved` of them are for others, who share the bucket.
    """

    key: str
    amount: int
    span: timedelta
    reason: str
    reserved: int = 0

    @property
    def interval(self) -> timedelta:
        """How long it takes until one more may be made."""
        return self.span / max(self.amount, 1)


class Budget(msgspec.Struct, frozen=True):
    """What was spent lately, by the keys of limits: the time from which all of a limit may be spent at once again.

    It holds only what is not full again, which is little however many names there are.
    """

    full_at: Mapping[str, datetime] = msgspec.field(default_factory=dict)

    def left(self, limit: Limit, now: datetime) -> int:
        """How many may be made now."""
        return limit.amount - math.ceil((_held(self, limit, now) - now) / limit.interval)


def limits_of(
    spec: IssuerSpec, directory: str, domain: str, *, is_renewal: bool, is_demanded: bool = False
) -> tuple[Limit, ...]:
    """What an order takes from.

    Args:
        spec: The issuer.
        directory: The URL of the directory that is asked: the issuer's own or that of its staging twin.
        domain: The registered domain of the name.
        is_renewal: Whether a certificate for the same names of the same issuer is replaced. Authorities let renewals
            pass when new names have to wait, and a certificate that expires does more harm than an order too many.
        is_demanded: Whether only a visitor's handshake wants it: half of everything is for what operators want.
    """
    orders = Limit(
        key=f"orders/{directory}",
        amount=spec.orders_per_3h,
        span=_ORDERS_SPAN,
        reason=f"{spec.name} is asked for {spec.orders_per_3h} certificates in 3 hours at most",
        reserved=spec.orders_per_3h // 2 if is_demanded else 0,
    )
    if is_renewal or directory != spec.directory:
        return (orders,)
    week = Limit(
        key=f"domain/{directory}/{domain}",
        amount=spec.certificates_per_domain_week,
        span=_WEEK,
        reason=f"{spec.name} is asked for {spec.certificates_per_domain_week} certificates for {domain} a week at most",
        reserved=spec.certificates_per_domain_week // 2 if is_demanded else 0,
    )
    return (orders, week)


def spend(budget: Budget, limits: Iterable[Limit], now: datetime) -> Budget | Wait:
    """Take one from each of the limits, or from none.

    Returns what is to be saved before the order is made; or until when to wait, which is the longest wait of all.
    """
    spent: dict[str, datetime] = {}
    waits: list[Wait] = []
    for limit in limits:
        held = _held(budget, limit, now)
        left = limit.amount - limit.reserved
        at = held - (left - 1) * limit.interval if left > 0 else now + limit.span
        if at > now:
            waits.append(Wait(until=at, reason=limit.reason))
        spent[limit.key] = held + limit.interval
    if waits:
        return max(waits, key=lambda wait: wait.until)
    kept = {key: full_at for key, full_at in budget.full_at.items() if full_at > now}
    return Budget({**kept, **spent})


class OrderLog(msgspec.Struct, frozen=True):
    """When orders for one name were made that gave a certificate, or may still give one; no older than a week."""

    times: tuple[datetime, ...] = ()

    def of_week(self, now: datetime) -> tuple[datetime, ...]:
        """Those of the last seven days. What lies in the future was written by a wrong clock: it counts as of now."""
        return tuple(min(time, now) for time in self.times if now - time < _WEEK)

    def spent(self, now: datetime, cap: int, *, is_urgent: bool) -> OrderLog | Wait:
        """With one more order, to be saved before it is made; or until when to wait.

        One of `cap` is kept for when it `is_urgent`, that is for names without a valid certificate or with one that is
        about to expire, so that schedules and windows alone can never use up what keeps a name alive.
        """
        times = self.of_week(now)
        most = max(cap if is_urgent else cap - 1, 1)
        if len(times) < most:
            return OrderLog((*times, now))
        reason = f"{len(times)} certificates were ordered in a week, and {cap} are the most for one name"
        if len(times) < cap:
            reason += ", of which one is kept for when it has no valid one"
        return Wait(until=sorted(times)[len(times) - most] + _WEEK, reason=reason)

    def returned(self, time: datetime) -> OrderLog:
        """Without the order of `time`, which ended without a certificate."""
        times = list(self.times)
        if time in times:
            times.remove(time)
        return OrderLog(tuple(times))


def cap_of(orders_per_week: int, life: timedelta | None) -> int:
    """How many orders a name may have in a week: what the settings say, or twice what its short life needs."""
    if life is None or life <= timedelta():
        return orders_per_week
    return max(orders_per_week, math.ceil(2 * _WEEK / (life * 2 / 3)))


class Suffixes(Protocol):
    """The public suffix list, as far as it is asked here; `publicsuffixlist.PublicSuffixList` is one."""

    def privatesuffix(self, domain: str) -> str | None:
        """The registered domain, or None for what is a public suffix itself."""


def registered_domain(name: str, suffixes: Suffixes) -> str:
    """What limits of authorities and of our own are counted by: `example.co.uk` for `*.shop.example.co.uk`."""
    bare = name.removeprefix("*.")
    return suffixes.privatesuffix(bare) or bare


def _held(budget: Budget, limit: Limit, now: datetime) -> datetime:
    # Nobody is further ahead than the whole, unless the limit has changed or the clock was set back since.
    return min(max(budget.full_at.get(limit.key, now), now), now + limit.amount * limit.interval)
