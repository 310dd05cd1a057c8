"""Relatives of the numbered cases under the same judgement, in one piece and octet by octet."""

from __future__ import annotations

import pytest

from tests.adversity.variant_cases import REQUEST_VARIANTS, RESPONSE_VARIANTS
from tests.adversity.verdict import Case, Door, check


@pytest.mark.parametrize("fragment", [0, 1], ids=["whole", "octets"])
@pytest.mark.parametrize("case", REQUEST_VARIANTS, ids=str)
async def test_request(case: Case, fragment: int, our_door: Door) -> None:
    """The request has one of its accepted outcomes."""
    await check(case, our_door, fragment)


@pytest.mark.parametrize("fragment", [0, 1], ids=["whole", "octets"])
@pytest.mark.parametrize("case", RESPONSE_VARIANTS, ids=str)
async def test_response(case: Case, fragment: int, our_door: Door) -> None:
    """The answer has one of its accepted outcomes."""
    our_door.origin.fragment = fragment
    await check(case, our_door)
