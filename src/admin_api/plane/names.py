"""Names in paths and bodies in their one spelling, and pages of values that go by such a name."""

from __future__ import annotations

import asyncio
import base64
import binascii
import heapq
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from aiohttp import web

from admin_api.errors import ApiError, invalid
from state.hosts import fold_domain
from state.refusal import Problem

# With more names than this the first ones are found in a thread: the loop would wait for milliseconds.
INLINE: Final = 1_000

_ACCEPTED: Final = "give a name such as shop.example.com or *.shop.example.com"


class NameSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which names: at most `limit`, after a name, with a text in them, and those that `is_wanted` says."""

    limit: int
    after: str | None
    q: str | None
    is_wanted: Callable[[str], bool]

    def first(self, names: Iterable[str]) -> list[str]:
        """The first of them in order, and one more if there is one."""
        return heapq.nsmallest(self.limit + 1, filter(self._has, names))

    def _has(self, name: str) -> bool:
        if self.after is not None and name <= self.after:
            return False
        return (self.q is None or self.q in name) and self.is_wanted(name)


class NamePage(msgspec.Struct, frozen=True):
    """Names in order, and the name to go on after, None at the end."""

    names: list[str]
    after: str | None


async def page(names: Iterable[str], count: int, selection: NameSelection) -> NamePage:
    """The next page of `count` names, which nobody changes meanwhile."""
    found = selection.first(names) if count <= INLINE else await asyncio.to_thread(selection.first, names)
    if len(found) <= selection.limit:
        return NamePage(found, None)
    found.pop()
    return NamePage(found, found[-1])


def encode_cursor(name: str) -> str:
    """`name` as a word for the client, who need not know what is in it."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The name in a cursor; raises ApiError 400."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid([Problem("cursor", "is not one that this node gave out")]) from None


def fold(text: str, field: str = "name") -> str:
    """A domain from a request in its one spelling; raises ApiError 400."""
    try:
        return fold_domain(text)
    except ValueError as reason:
        raise bad_name(field, str(reason)) from None


def named(request: web.Request) -> str:
    """The domain that the path names; raises ApiError 400."""
    return fold(request.match_info["name"])


def bad_name(field: str, reason: str) -> ApiError:
    """The answer to a name that no certificate can be for."""
    return invalid([Problem(field, f"{reason}; {_ACCEPTED}")])
