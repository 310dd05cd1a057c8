"""Kinds: each has all its parts."""

from __future__ import annotations

import pytest

from state.kinds import Kind
from state.model import KINDS, Desired
from state.schema import KIND_TABLES


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_has_a_map_a_line_and_a_table_of_one_name(kind: Kind) -> None:
    """A kind that lacks one of its parts is found here and not by an operator."""
    assert len(Desired().values(kind)) == 0
    assert KIND_TABLES[kind].name == kind.collection
    assert KINDS[kind].type.__struct_fields__[-1] == "revision"
