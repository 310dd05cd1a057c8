"""`Bid`: whom to ask for a certificate now, for what, and what that would cost; or until when to wait."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from certs.budget import Limit, OrderLog, Wait, limits_of
from certs.issuers import Choice, choose
from certs.order import IssueRequest
from certs.record import Record
from certs.workshop import Workshop

_NO_ISSUER_PAUSE: Final = timedelta(hours=1)


class Bid(msgspec.Struct, frozen=True, kw_only=True):
    """One possible order; `limits` are what it takes from."""

    choice: Choice
    request: IssueRequest
    limits: tuple[Limit, ...]


async def bid_for(shop: Workshop, record: Record) -> Bid | Wait:
    """What to do next for a name, by how its issuers did."""
    now, issuers = shop.clock(), shop.settings.issuers
    if not issuers:
        return Wait(until=now + _NO_ISSUER_PAUSE, reason="no issuers are configured")
    choice = choose(issuers, record.history, shop.purse.circuits, now)
    if isinstance(choice, Wait):
        return choice
    request = _request(shop, record, choice)
    domain = await shop.domain_of(record.name)
    is_renewal, is_demanded = request.replaces is not None, record.name in shop.demanded
    limits = limits_of(choice.issuer, choice.directory, domain, is_renewal=is_renewal, is_demanded=is_demanded)
    return Bid(choice=choice, request=request, limits=limits)


def wait_for(shop: Workshop, record: Record, bid: Bid) -> Wait | None:
    """Until when the bid has to wait for the limits, as far as is known here; None when it need not."""
    now = shop.clock()
    wait = shop.purse.wait(bid.limits, now)
    if wait is not None or bid.choice.is_staging:
        return wait
    orders = orders_after(shop, record, now)
    return orders if isinstance(orders, Wait) else None


def orders_after(shop: Workshop, record: Record, now: datetime) -> OrderLog | Wait:
    """The orders of a name with one more, or until when to wait. Another one is made only if the last gave nothing."""
    orders = record.settled().orders
    cap = record.cap(shop.settings.max_orders_per_name_week)
    return orders.spent(now, cap, is_urgent=record.is_urgent(now))


async def is_still_waiting(shop: Workshop, name: str) -> bool:
    """Whether a name that waited for the limits has to wait on, which is found out without taking its lease.

    A thousand names may wait for one order to be allowed, and all of them look when it is.
    """
    standing = shop.standing(name)
    if not standing.is_paced:
        return False
    record = shop.vault.get(name)
    bid = await bid_for(shop, record)
    wait = bid if isinstance(bid, Wait) else wait_for(shop, record, bid)
    if wait is None:
        return False
    shop.stand(record, msgspec.structs.replace(standing, wait=wait))
    return True


def _request(shop: Workshop, record: Record, choice: Choice) -> IssueRequest:
    settings, held = shop.settings, record.held
    is_same = held is not None and held.source == "acme" and held.directory == choice.directory
    is_replaced = is_same and choice.may_replace and held is not None and held.revoked is None
    return IssueRequest(
        names=(record.name,),
        issuer=choice.issuer,
        directory=choice.directory,
        key_type=settings.key_type,
        challenges=tuple(kind for kind in settings.challenges if kind in shop.solvers),
        replaces=held.bundle.chain if held is not None and is_replaced else None,
        timeout_s=settings.order_timeout_s,
    )
