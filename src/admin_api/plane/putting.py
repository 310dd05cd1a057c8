"""How a PUT creates or replaces a value, under the condition that the client set, if any."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from admin_api.auth import PRINCIPAL
from admin_api.preconditions import expectation
from state.change import Absent, Change, Present
from state.model import Desired, Entity
from state.ports import Changes
from state.refusal import Refused


async def put(
    changes: Changes, request: web.Request, change: Change, find: Callable[[], Entity | None]
) -> tuple[Desired, bool]:
    """What is wanted after `change`, and whether the value that `find` looks up is new.

    Raises ApiError 412 when the client's condition does not hold, and Refused.
    """
    while True:
        current = find()
        asked = expectation(request.headers, current.revision if current else None)
        seen = Present() if current else Absent()
        try:
            after = await changes.submit(change, actor=request[PRINCIPAL].actor, expect=asked or seen)
        except Refused as refused:
            # The client set no condition: somebody else came or went first, and only the status depends on it.
            if asked or refused.kind != "precondition":
                raise
        else:
            return after, current is None
