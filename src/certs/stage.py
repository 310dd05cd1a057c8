"""`SharedStage`: what authorities are shown while they validate names, by this node and by all that share its store."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import msgspec
import structlog

from certs.errors import IssueError
from state.cell import Cell
from state.errors import StateError
from state.holdings import Bundle, Holdings
from state.ports import Sealed, Shelf

# An authorization that is pending lives for a week at most authorities; an order of ours is over in minutes.
FORGOTTEN: Final = timedelta(hours=6)

_TOKEN: Final = "token/"  # noqa: S105  how a key begins
_VALIDATION: Final = "validation/"
# Later than every version that there is.
_UNDER_WAY: Final = sys.maxsize


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer on the shelf, since when: to HTTP-01 with `text`, to TLS-ALPN-01 with `bundle`."""

    at: datetime
    text: str | None = None
    bundle: Bundle | None = None


Live: TypeAlias = Callable[[int], Awaitable[None]]


class SharedStage:
    """Implements certs.ports.Stage. `spread_s` is how long other nodes need to learn of an answer."""

    def __init__(
        self,
        shelf: Shelf | None,
        holdings: Cell[Holdings],
        live: Live,
        clock: Callable[[], datetime],
        spread_s: float = 0.0,
    ) -> None:
        """`live` returns once the holdings of a revision are in force at every worker of this node.

        Without other nodes there is no shelf: after a crash, whoever goes on with an order shows its answers anew.
        """
        self._shelf = shelf
        self._holdings = holdings
        self._live = live
        self._clock = clock
        self._spread_s = spread_s
        self._version = 0
        # What this node shows itself, by the version on the shelf: what is read may be older than what was written.
        # What is newer is of a node that took the order over.
        self._own: dict[str, int] = {}

    async def show_token(self, token: str, answer: str | None) -> None:
        """As in certs.ports.Stage, but nobody waits until an answer is gone.

        One that cannot be saved raises IssueError.
        """
        self._holdings.set(self._holdings.value.with_token(token, answer))
        await self._publish(_TOKEN + token, None if answer is None else Answer(at=self._clock(), text=answer))

    async def show_validation(self, name: str, bundle: Bundle | None) -> None:
        """As `show_token`, for a name."""
        self._holdings.set(self._holdings.value.with_validation(name, bundle))
        await self._publish(_VALIDATION + name, None if bundle is None else Answer(at=self._clock(), bundle=bundle))

    async def follow(self) -> None:
        """Show what is on the shelf: all of it the first time, and later what other nodes have changed since."""
        if self._shelf is None:
            return
        found = await self._shelf.since(self._version)
        holdings = self._holdings.value
        for sealed in found:
            if sealed.version > self._own.get(sealed.key, 0):
                self._own.pop(sealed.key, None)
                holdings = self._taken(holdings, sealed)
            self._version = max(self._version, sealed.version)
        if holdings is not self._holdings.value:
            self._holdings.set(holdings)

    async def tidy(self) -> None:
        """Remove the answers of orders that nobody finished."""
        if self._shelf is None:
            return
        for sealed in await self._shelf.since(0):
            answer = _decoded(sealed)
            if answer is None or self._clock() - answer.at > FORGOTTEN:
                await self._shelf.remove(sealed.key, expect=sealed.version)
                self._own.pop(sealed.key, None)
                self._holdings.set(self._taken(self._holdings.value, Sealed(sealed.key, sealed.version, None)))

    async def _publish(self, key: str, answer: Answer | None) -> None:
        revision = self._holdings.revision
        if self._shelf is not None:
            await self._share(key, answer, self._shelf)
        if answer is not None:
            await self._live(revision)

    async def _share(self, key: str, answer: Answer | None, shelf: Shelf) -> None:
        if answer is None:
            await _remove(key, shelf)
            self._own.pop(key, None)
            return
        self._own[key], version = _UNDER_WAY, 0
        try:
            version = await shelf.put(key, msgspec.msgpack.encode(answer))
        except StateError as error:
            raise IssueError("solver", f"the answer to the challenge could not be saved: {error}") from None
        finally:
            self._own[key] = version
        # Whom the authority asks is not for us to choose: by then every node must have looked at the shelf.
        await asyncio.sleep(self._spread_s)

    def _taken(self, holdings: Holdings, sealed: Sealed) -> Holdings:
        answer = _decoded(sealed)
        if sealed.key.startswith(_TOKEN):
            token = sealed.key.removeprefix(_TOKEN)
            text = None if answer is None else answer.text
            return holdings if holdings.tokens.get(token) == text else holdings.with_token(token, text)
        name = sealed.key.removeprefix(_VALIDATION)
        bundle = None if answer is None else answer.bundle
        return holdings if holdings.validations.get(name) == bundle else holdings.with_validation(name, bundle)


def _decoded(sealed: Sealed) -> Answer | None:
    if sealed.body is None:
        return None
    try:
        return msgspec.msgpack.decode(sealed.body, type=Answer)
    except msgspec.MsgspecError:
        structlog.get_logger().error("an answer to a challenge cannot be read", key=sealed.key)
        return None


async def _remove(key: str, shelf: Shelf) -> None:
    try:
        await shelf.remove(key)
    except StateError as error:
        # It harms nobody: nobody asks for it any more, and it is forgotten in time.
        structlog.get_logger().warning("the answer to a challenge could not be removed", reason=str(error))
