"""Cases 100 to 140: a target that misbehaves costs its own connection, and the visitor is never lied to."""

from __future__ import annotations

import pytest

from tests.adversity.response_cases import RESPONSE_CASES
from tests.adversity.verdict import Case, Door, check


@pytest.mark.parametrize("case", RESPONSE_CASES, ids=str)
async def test_response(case: Case, door: Door) -> None:
    """The answer in one piece has one of its accepted outcomes."""
    await check(case, door)


@pytest.mark.parametrize("case", RESPONSE_CASES, ids=str)
async def test_response_octet_by_octet(case: Case, our_door: Door) -> None:
    """The case has the same outcomes when every octet of the answer arrives alone."""
    our_door.origin.fragment = 1
    await check(case, our_door)
