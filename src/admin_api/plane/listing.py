"""Pages of routes in the order of their hosts, each one found without sorting all routes again."""

from __future__ import annotations

import asyncio
import base64
import binascii
import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

import msgspec

from admin_api.errors import invalid
from state.cell import Cell
from state.kinds import Kind
from state.model import Desired, Route, RouteKey
from state.refusal import Problem

# So many keys are looked at before other work gets a turn: about a millisecond.
CHUNK: Final = 1_000


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which routes, at most how many, and after which key."""

    limit: int
    after: RouteKey | None = None
    org_id: str | None = None
    q: str | None = None

    def find(self, desired: Desired, key: RouteKey) -> Route | None:
        """The route of `key`, if it is one of them."""
        if self.q is not None and self.q not in key.host:
            return None
        route = desired.routes[key]
        return route if self.org_id in {None, route.org_id} else None


class Page(msgspec.Struct, frozen=True):
    """Routes of one revision, and the key to go on after, None at the end."""

    revision: int
    routes: list[Route]
    after: RouteKey | None


class RouteIndex:
    """The keys of all routes in order, brought up to date when a page is asked for.

    A few changes cost a search each; only the first page, or one after thousands of changes, sorts everything, in a
    thread. The list of keys is replaced and never changed, so a page keeps the one that it began with.
    """

    def __init__(self, desired: Cell[Desired]) -> None:
        self._desired = desired
        self._lock = asyncio.Lock()
        self._keys: list[RouteKey] = []
        self._revision = -1

    async def page(self, selection: Selection) -> Page:
        """The next routes in order, as they are now."""
        desired, keys = await self._current()
        start = 0 if selection.after is None else bisect_right(keys, selection.after)
        found: list[Route] = []
        for place in range(start, len(keys)):
            if (place - start) % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
            route = selection.find(desired, keys[place])
            if route is None:
                continue
            if len(found) == selection.limit:
                return Page(desired.revision, found, found[-1].key)
            found.append(route)
        return Page(desired.revision, found, None)

    async def _current(self) -> tuple[Desired, list[RouteKey]]:
        async with self._lock:
            desired = self._desired.value
            if desired.revision != self._revision:
                self._keys = await self._keys_of(desired)
                self._revision = desired.revision
            return desired, self._keys

    async def _keys_of(self, desired: Desired) -> list[RouteKey]:
        touched = desired.touched_since(self._revision)
        if touched is None:
            return await asyncio.to_thread(_sorted_keys, desired)
        return _patched(self._keys, desired, (key for kind, key in touched if kind is Kind.ROUTE))


def encode_cursor(key: RouteKey) -> str:
    """`key` as a word for the client, who need not know what is in it."""
    return base64.urlsafe_b64encode(msgspec.json.encode((key.host, key.path_prefix))).decode().rstrip("=")


def decode_cursor(cursor: str) -> RouteKey:
    """The key in a cursor; raises ApiError 400."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        host, path_prefix = msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=tuple[str, str])
    except (binascii.Error, ValueError):
        raise invalid([Problem("cursor", "is not one that this node gave out")]) from None
    return RouteKey(host, path_prefix)


def _sorted_keys(desired: Desired) -> list[RouteKey]:
    # One call of sorted() would keep the interpreter, and so the event loop, to itself for all of its 200 ms.
    keys = [*(key for key in desired.routes)]
    return list(heapq.merge(*(sorted(keys[place : place + CHUNK]) for place in range(0, len(keys), CHUNK))))


def _patched(keys: list[RouteKey], desired: Desired, touched: Iterable[RouteKey]) -> list[RouteKey]:
    patched = keys.copy()
    for key in touched:
        place = bisect_left(patched, key)
        is_listed = place < len(patched) and patched[place] == key
        if key in desired.routes and not is_listed:
            patched.insert(place, key)
        elif key not in desired.routes and is_listed:
            del patched[place]
    return patched
