"""`Record`: all that is remembered of a name in one value, so that a certificate and its key are never apart."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from certs.agenda import Entry, Rank
from certs.alarms import Told
from certs.budget import OrderLog, Wait, cap_of
from certs.issuers import NameHistory
from certs.schedule import Plan, is_due
from state.holdings import Bundle
from state.observed import CertificateSource
from state.ports import RevocationReason

# Renewed at two thirds of its life, a certificate with less than this left has failed to be for some time.
_EXPIRING_SHARE: Final = 1 / 6
# A certificate that another one makes superfluous is renewed in time should that one not be.
_COVER_SHARE: Final = 1 / 4

_BLOCKED_MOST: Final = timedelta(minutes=15)
_BLOCKED_SHARE: Final = 1 / 10


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with its key, where it came from, and when it is to be renewed."""

    bundle: Bundle
    plan: Plan
    serial: str
    key_type: str
    source: CertificateSource = "acme"
    issuer: str | None = None
    directory: str | None = None
    revoked: RevocationReason | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether visitors may rely on it: it has not expired, and was not revoked."""
        return now < self.plan.not_after and self.revoked is None

    @property
    def cover_until(self) -> datetime:
        """Until when other names that it is for need no certificate of their own."""
        return self.plan.not_after - self.plan.life * _COVER_SHARE

    def is_cover(self, now: datetime) -> bool:
        """Whether other names that it is for need no certificate of their own now."""
        return self.is_valid(now) and now < self.cover_until

    def is_expiring(self, now: datetime) -> bool:
        """Whether its renewal cannot wait any more."""
        return not self.is_valid(now) or self.plan.not_after - now < self.plan.life * _EXPIRING_SHARE


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """Public records that stand in the way of an order: since when, what to change, and when to look again."""

    since: datetime
    advice: tuple[str, ...]
    next_check: datetime


class Progress(msgspec.Struct, frozen=True):
    """Where an order is: the step in plain words, and the challenge that is being answered, if any."""

    step: str
    challenge: str | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a name for the moment only, and found out again after a restart.

    `wait` is why nothing is ordered although something is due: `is_paced` if that is our own pace or an authority's.
    `advice` is what the customer may want to change.
    """

    obstacle: Obstacle | None = None
    wait: Wait | None = None
    is_paced: bool = False
    advice: tuple[str, ...] = ()
    progress: Progress | None = None


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is known of one name.

    `unsettled` is which of `orders` may still come to nothing, and does not count then.
    `proved` is the ownership token that was seen in DNS: it is not looked for again, though the customer may remove it.
    `orders` are those of the last week, `told` the events that the operator was told of. `asked_at` is when an operator
    asked for a new certificate that has not come yet. `is_demanded` is a name that a visitor's handshake brought.
    `given_up` are the keys, by certs.served.key_id, that others know.
    """

    name: str
    is_demanded: bool = False
    held: Held | None = None
    history: NameHistory = NameHistory()
    orders: OrderLog = OrderLog()
    told: Told = frozenset()
    asked_at: datetime | None = None
    proved: str = ""
    unsettled: datetime | None = None
    given_up: frozenset[str] = frozenset()

    @property
    def life(self) -> timedelta | None:
        """The life of the present certificate."""
        return None if self.held is None else self.held.plan.life

    def counted(self, token: str) -> Record:
        """What counts while the name's owner has to prove it by `token`, "" for none: nothing obtained for another.

        An operator answers for what an operator has brought.
        """
        is_owned = token in {"", self.proved} or self.held is None or self.held.source == "imported"
        return self if is_owned else msgspec.structs.replace(self, held=None)

    def cap(self, orders_per_week: int) -> int:
        """How many orders the name may have in a week."""
        return cap_of(orders_per_week, self.life)

    def settled(self) -> Record:
        """After the last order came to nothing, or was given up: it gave no certificate, and does not count."""
        if self.unsettled is None:
            return self
        return msgspec.structs.replace(self, orders=self.orders.returned(self.unsettled), unsettled=None)

    def is_urgent(self, now: datetime) -> bool:
        """Whether visitors have no certificate, or will have none soon."""
        return self.held is None or self.held.is_expiring(now)

    def wants_order(self, now: datetime) -> bool:
        """Whether a new certificate is due by what is known of the present one."""
        held = self.held
        return held is None or self.asked_at is not None or not held.is_valid(now) or held.plan.renew_at <= now

    def order_at(self, now: datetime, standing: Standing) -> datetime:
        """When an order is to be made, or what stands in its way looked at again; `now` or before it: at once."""
        wants = now if self.held is None or self.wants_order(now) else self.held.plan.renew_at
        next_try = None if is_due(self.history.next_try, now) else self.history.next_try
        check_at = None if standing.obstacle is None else standing.obstacle.next_check
        waits = None if standing.wait is None else standing.wait.until
        return max(at for at in (wants, next_try, check_at, waits) if at is not None)

    def entry(self, now: datetime, order_at: datetime | None, other: datetime | None) -> Entry:
        """The next look at the name: for an order (None: there will be none), its window, or for `other` reasons.

        Raises ValueError when there is no reason at all.
        """
        held = self.held
        is_polled = held is not None and held.source == "acme" and order_at is not None and now < held.plan.not_after
        poll_at = held.plan.poll_at if held is not None and is_polled else None
        at = min(time for time in (order_at, poll_at, other) if time is not None)
        return Entry(name=self.name, at=at, rank=self._rank(now), before=at if held is None else held.plan.not_after)

    def asked(self, at: datetime) -> Record:
        """After an operator asked for a new certificate: nothing is waited for but what an authority asked for."""
        return msgspec.structs.replace(self, asked_at=at, history=self.history.at_once())

    def is_forgettable(self, now: datetime) -> bool:
        """Whether nothing is lost with it when nobody wants the name: no certificate, and no order of the last week."""
        is_over = self.held is None or now >= self.held.plan.not_after
        return is_over and not self.orders.of_week(now) and not self.given_up

    def _rank(self, now: datetime) -> Rank:
        if self.asked_at is not None and self.history.next_try is None:
            return Rank.WAITED_FOR
        if self.held is None:
            return Rank.NEW
        return Rank.EXPIRING if self.held.is_expiring(now) else Rank.RENEWAL


def blocked(before: Obstacle | None, advice: tuple[str, ...], now: datetime, least_s: float) -> Obstacle:
    """What stands in the way, found `now`, after what stood there before.

    Looking costs no order, so it is done often, every `least_s` seconds at first: somebody may be sitting before the
    records at this moment. What has stood there for long is looked at after a tenth of that time.
    """
    since = now if before is None else min(before.since, now)
    pause = max(min((now - since) * _BLOCKED_SHARE, _BLOCKED_MOST), timedelta(seconds=least_s))
    return Obstacle(since=since, advice=advice, next_check=now + pause)
