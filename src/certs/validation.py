"""What an authority has to see before it believes that names are ours: shown, looked at, and taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from certs.answers import Authorization, Order
from certs.client import Session
from certs.errors import IssueError
from certs.order import challenge_of
from certs.pace import Pace
from certs.ports import Solver, Task
from certs.settings import ChallengeType

WITHDRAW_S: Final = 10.0

_log = structlog.get_logger()


class ChallengeFailed(Exception):
    """A challenge type did not do it for one of `authorizations`; `is_over` says that the order went with it."""

    def __init__(
        self, tried: ChallengeType, error: IssueError, authorizations: Sequence[Authorization], *, is_over: bool
    ) -> None:
        super().__init__(error.detail)
        self.tried = tried
        self.error = error
        self.authorizations = authorizations
        self.is_over = is_over


class Validation:
    """The challenges of one issuance. `on_show` is what may have to be taken away."""

    def __init__(self, solvers: Mapping[ChallengeType, Solver], on_show: Sequence[Task]) -> None:
        self.on_show = tuple(on_show)
        self._solvers = solvers

    def solvable(self, wanted: Sequence[ChallengeType]) -> list[ChallengeType]:
        """Those of the types that can be answered here."""
        return [challenge for challenge in wanted if challenge in self._solvers]

    async def present(self, tasks: Sequence[Task]) -> None:
        """Show what `tasks`, all of one type, ask for. Raises the IssueError of the first solver that cannot."""
        self.on_show = (*self.on_show, *(task for task in tasks if task not in self.on_show))
        await _for_each(tasks, self._solvers[tasks[0].type].present)

    async def withdraw(self) -> None:
        """Take away everything that is on show. A failure of that is no failure of the issuance."""
        tasks, self.on_show = self.on_show, ()
        try:
            async with asyncio.timeout(WITHDRAW_S):
                await _for_each([task for task in tasks if task.type in self._solvers], self._withdraw)
        except TimeoutError:
            _log.warning("challenges are still on show", names=[task.name for task in tasks])

    async def _withdraw(self, task: Task) -> None:
        try:
            await self._solvers[task.type].withdraw(task)
        except IssueError as error:
            # It says what is wrong by itself: a program that fails, say.
            _log.warning("a challenge is still on show", name=task.name, challenge=task.type, reason=error.detail)
        except Exception as error:  # noqa: BLE001 - a solver may be anybody's
            _log.warning("a challenge is still on show", name=task.name, challenge=task.type, exc_info=error)


async def authorizations_of(session: Session, order: Order, names: Sequence[str]) -> list[Authorization]:
    """What an order for `names` waits for. Raises IssueError `badAnswer` when that is about another name."""
    ours = {name.removeprefix("*.") for name in names}
    found = []
    for url in order.authorizations:
        authorization, _ = await session.authorization(url)
        # Who asks for a proof about a name that was not ordered would have us publish it there.
        if authorization.identifier.value.lower() not in ours:
            raise IssueError("badAnswer", "the authority wants a name validated that was not ordered")
        found.append(authorization)
    return found


async def looked_at(
    session: Session, waiting: Sequence[Authorization], challenge: ChallengeType, pace: Pace
) -> list[Authorization]:
    """Have the authority look at what is on show, and what it made of that."""
    for authorization in waiting:
        chosen = challenge_of(authorization, challenge)
        # After a crash it may be looking already.
        if chosen.status == "pending":
            await session.answer(chosen.url)
    return [await _decided(session, authorization, pace) for authorization in waiting]


async def _decided(session: Session, authorization: Authorization, pace: Pace) -> Authorization:
    pace.quicken()
    while True:
        now, wait_s = await session.authorization(authorization.url)
        if now.status != "pending":
            return now
        await pace.wait(wait_s)


async def _for_each(tasks: Sequence[Task], act: Callable[[Task], Awaitable[None]]) -> None:
    """At once for all names, and one after the other for those of one name (a wildcard and the name itself).

    Raises the first error.
    """

    async def in_turn(tasks: Sequence[Task]) -> None:
        for task in tasks:
            await act(task)

    try:
        async with asyncio.TaskGroup() as group:
            for name in dict.fromkeys(task.name for task in tasks):
                group.create_task(in_turn([task for task in tasks if task.name == name]))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
