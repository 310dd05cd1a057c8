"""The audit's summaries: which fields, never which values."""

from __future__ import annotations

import pytest

from state.audit import summarize
from state.change import Change, PutOrganization, RemoveRoute, apply
from state.domains import RemoveDomain
from state.model import Desired
from state.policies import HeaderEdits
from tests.state.samples import NOON, put, put_domain

SECRET = HeaderEdits(request={"Authorization": "Bearer s3cret"})


@pytest.mark.parametrize(
    ("change", "summary"),
    [
        (put("b.example"), "created route b.example/"),
        (put("b.example", org_id="org_b"), "created route b.example/; created organization org_b"),
        (put("a.example", retries=0, headers=SECRET), "changed route a.example/: retries, headers"),
        (RemoveRoute(host="a.example"), "removed route a.example/"),
        (PutOrganization(id="org_a", name="Acme"), "changed organization org_a: name"),
        (put_domain("x.example", token="s3cret"), "created domain x.example"),
        (put_domain("w.example", token="s3cret", https="off"), "changed domain w.example: https"),
        (RemoveDomain(name="w.example"), "removed domain w.example"),
    ],
)
def test_a_summary_names_what_was_touched(change: Change, summary: str) -> None:
    """Values and field names, but nothing that was in them."""
    before = Desired()
    for earlier in (PutOrganization(id="org_a"), put("a.example"), put_domain("w.example")):
        before = apply(before, earlier, at=NOON)
    assert summarize(before, apply(before, change, at=NOON)) == summary
