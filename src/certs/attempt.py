"""`Attempt`: one try to obtain a certificate for a name: whom to ask, whether it may be now, and what came of it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from certs import preflight
from certs.bid import Bid, bid_for, orders_after, wait_for
from certs.budget import OrderLog, Wait
from certs.errors import IssueError
from certs.issue import Issued, issue
from certs.issuers import Choice, Outcome, after
from certs.news import news_of
from certs.order import OrderState
from certs.preflight import expectation_of
from certs.record import Progress, Record, blocked
from certs.served import held_of
from certs.settings import ChallengeType
from certs.wanted import Wanted
from certs.workshop import NOTHING, Workshop
from state.ports import Lease

# What our own pace refuses is no failure of the name, of its records or of an issuer.
PACE: Final = "budget"


class Attempt:
    """Made for one try, under the lease of the name. Whatever it learns is saved, and reported."""

    def __init__(self, shop: Workshop, wish: Wanted, lease: Lease | None, record: Record) -> None:
        """`record` is what the shelf has of the name since the lease was taken."""
        self._shop = shop
        self._wish = wish
        self._lease = lease
        self._record = record
        self._is_order_open = False

    async def make(self) -> Record:
        """What is known of the name afterwards; a failure is no exception, it is a part of that.

        Raises Stale when the lease was lost, and StoreError.
        """
        if self._shop.owes_proof(self._record):
            # Before anything else: it is not served until then, and an order that was begun may have been another's.
            # With the proof, a certificate that is there may do, which is seen in the next turn.
            await self._is_unobstructed()
            return self._record
        bid = await bid_for(self._shop, self._record)
        if isinstance(bid, Wait):
            return self._wait(bid)
        begun = await self._begun()
        self._is_order_open = begun is not None and begun.phase != "made" and begun.serves(bid.request)
        # What has been ordered is paid for: nothing is won by looking at the limits and the records once more.
        if not self._is_order_open:
            if (wait := wait_for(self._shop, self._record, bid)) is not None:
                return self._wait(wait)
            if not await self._is_unobstructed():
                return self._record
        try:
            return await self._carried_out(bid, begun)
        finally:
            if self._shop.standing(self._record.name).progress is not None:
                self._stand(progress=None)

    async def _carried_out(self, bid: Bid, begun: OrderState | None) -> Record:
        try:
            issued = await self._issue(bid, begun)
        except IssueError as error:
            return await self._failed(bid.choice, error)
        return await self._proven(bid.choice) if bid.choice.is_staging else await self._obtained(bid.choice, issued)

    async def _begun(self) -> OrderState | None:
        """The order that was begun before, unless the present certificate came of it."""
        name, held = self._record.name, self._record.held
        state = await self._shop.unfinished.get(name)
        if state is None or held is None or held.bundle.key != state.key:
            return state
        # The process died when the certificate was kept, and the order not yet forgotten.
        await self._shop.unfinished.drop(name, self._lease)
        return None

    async def _is_unobstructed(self) -> bool:
        shop, name = self._shop, self._record.name
        token = self._wish.ownership if shop.owes_proof(self._record) else ""
        mode = shop.settings.preflight
        if mode == "off" and not token:
            self._stand(obstacle=None, wait=None, is_paced=False, advice=())
            return True
        report = await preflight.check(name, expectation_of(shop.settings, token=token), shop.resolver)
        if token and report.is_owned:
            # Durably: customers clear up, and resolvers fail, which must not keep a certificate from being renewed.
            proved = msgspec.structs.replace(self._record, proved=token)
            self._record = await shop.vault.save(proved, self._lease)
        blocking = tuple(advice.text for advice in report.advice if advice.is_blocking)
        others = tuple(advice.text for advice in report.advice if not advice.is_blocking)
        before = shop.standing(name).obstacle
        obstacle = None
        if (report.is_blocked and mode == "block") or not report.is_owned:
            obstacle = blocked(before, blocking, shop.clock(), shop.habits.check_s)
        self._stand(obstacle=obstacle, wait=None, is_paced=False, advice=(*blocking, *others))
        if obstacle is not None and before is None:
            shop.tally.failed("preflight")
            # The log may be read by more people than those who may know the token.
            said = [text.replace(self._wish.ownership or "\0", "(the token)") for text in blocking]
            structlog.get_logger().info("the records of a name stand in the way", name=name, advice=said)
        return obstacle is None

    async def _issue(self, bid: Bid, begun: OrderState | None) -> Issued:
        async def save(state: OrderState) -> None:
            self._is_order_open = state.phase != "made"
            await self._shop.unfinished.put(self._record.name, state, self._lease)

        async def may_order() -> None:
            await self._pay(bid)

        def progress(step: str, challenge: ChallengeType | None) -> None:
            self._stand(progress=Progress(step, challenge))

        async with self._shop.slot():
            progress("ordering", None)
            return await issue(
                bid.request,
                begun,
                save=save,
                accounts=self._shop.accounts,
                solvers=self._shop.solvers,
                progress=progress,
                may_order=may_order,
            )

    async def _pay(self, bid: Bid) -> None:
        """Spend what an order costs, durably, before it is made; raises IssueError of the kind PACE."""
        shop, now = self._shop, self._shop.clock()
        orders: OrderLog | Wait = self._record.orders
        if not bid.choice.is_staging:
            # An order before it has come to nothing: its challenge failed, it was not found, or is another issuer's.
            orders = orders_after(shop, self._record, now)
        if isinstance(orders, Wait):
            raise _paced(orders, now)
        if (wait := await shop.purse.spend(bid.limits, now)) is not None:
            raise _paced(wait, now)
        if not bid.choice.is_staging:
            # This is also the proof that what is ordered can be kept.
            record = msgspec.structs.replace(self._record, orders=orders, unsettled=now)
            self._record = await shop.vault.save(record, self._lease)
        shop.tally.ordered()

    async def _failed(self, choice: Choice, error: IssueError) -> Record:
        shop, record, now = self._shop, self._record, self._shop.clock()
        if error.kind == PACE:
            return self._wait(Wait(until=now + timedelta(seconds=error.retry_after_s or 0.0), reason=error.detail))
        shop.tally.failed(error.kind)
        outcome = self._outcome(choice, error)
        await shop.purse.learn(lambda circuits: after(record.history, circuits, outcome)[1])
        history, _ = after(record.history, shop.purse.circuits, outcome)
        if not self._is_order_open:
            record = record.settled()
        record = await shop.vault.save(msgspec.structs.replace(record, history=history), self._lease)
        structlog.get_logger().warning(
            "no certificate",
            name=record.name,
            issuer=choice.issuer.name,
            staging=choice.is_staging,
            kind=error.kind,
            reason=error.detail,
            next_try=None if history.next_try is None else history.next_try.isoformat(timespec="seconds"),
        )
        return self._learned(record)

    async def _proven(self, choice: Choice) -> Record:
        """Staging made one, so production is asked next; nobody sees what staging makes."""
        outcome = self._outcome(choice, None)
        history, _ = after(self._record.history, self._shop.purse.circuits, outcome)
        record = await self._shop.vault.save(msgspec.structs.replace(self._record, history=history), self._lease)
        await self._shop.unfinished.drop(record.name, self._lease)
        return self._learned(record)

    async def _obtained(self, choice: Choice, issued: Issued) -> Record:
        shop, record = self._shop, self._record
        outcome = self._outcome(choice, None)
        held = await asyncio.to_thread(held_of, issued.bundle, shop.clock(), shop.dice(), record.held)
        held = msgspec.structs.replace(held, issuer=choice.issuer.name, directory=choice.directory)
        await shop.purse.learn(lambda circuits: after(record.history, circuits, outcome)[1])
        history, _ = after(record.history, shop.purse.circuits, outcome)
        changes = {"held": held, "history": history, "asked_at": None, "unsettled": None}
        obtained = msgspec.structs.replace(record, is_demanded=self._wish.origin == "demand", **changes)
        record, events = news_of(obtained, shop.clock(), NOTHING)
        # Chain and key in one value, and on disk before the order is forgotten and before anybody is told.
        record = await shop.vault.save(record, self._lease)
        await shop.unfinished.drop(record.name, self._lease)
        shop.tally.obtained()
        await shop.serve(record)
        for event in events:
            shop.herald.announce(event)
        return self._learned(record)

    def _outcome(self, choice: Choice, error: IssueError | None) -> Outcome:
        return Outcome(
            name=self._record.name,
            choice=choice,
            error=error,
            at=self._shop.clock(),
            jitter=self._shop.dice(),
            specs=self._shop.settings.issuers,
            life=self._record.life,
        )

    def _wait(self, wait: Wait) -> Record:
        self._stand(wait=wait, is_paced=True, progress=None)
        return self._record

    def _learned(self, record: Record) -> Record:
        self._record = record
        advice = () if record.history.failures == 0 else self._shop.standing(record.name).advice
        self._shop.stand(record, msgspec.structs.replace(NOTHING, advice=advice))
        return record

    def _stand(self, **changes: object) -> None:
        before = self._shop.standing(self._record.name)
        self._shop.stand(self._record, msgspec.structs.replace(before, **changes))


def _paced(wait: Wait, now: datetime) -> IssueError:
    return IssueError(PACE, wait.reason, retry_after_s=(wait.until - now).total_seconds())
