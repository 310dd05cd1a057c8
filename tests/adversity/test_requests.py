"""Cases 1 to 88: what the visitor is told, what becomes of both connections, and what the origin saw."""

from __future__ import annotations

import pytest

from tests.adversity.request_cases import REQUEST_CASES
from tests.adversity.verdict import NEXT, Case, Door, barrier, check
from tests.support.client import Visitor


@pytest.mark.parametrize("case", REQUEST_CASES, ids=str)
async def test_request(case: Case, door: Door) -> None:
    """The case in one piece has one of its accepted outcomes."""
    await check(case, door)


@pytest.mark.parametrize("case", REQUEST_CASES, ids=str)
async def test_request_octet_by_octet(case: Case, our_door: Door) -> None:
    """The case has the same outcomes when every octet arrives alone."""
    await check(case, our_door, fragment=1)


@pytest.mark.parametrize("case", [case for case in REQUEST_CASES if case.is_refused], ids=str)
async def test_nothing_behind_a_refused_request_reaches_the_origin(case: Case, our_door: Door) -> None:
    """A well-formed request in the same segment as a refused one is not forwarded."""
    async with await Visitor.connect(our_door.port) as visitor:
        await visitor.send(case.raw + NEXT)
        await visitor.end()
    await barrier(our_door.port)
    assert [seen.target for seen in our_door.origin.requests] == [b"/barrier"]
