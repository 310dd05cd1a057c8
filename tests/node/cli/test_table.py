"""Columns."""

from __future__ import annotations

import pytest

from node.cli.table import size, table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """And nothing trails."""
    assert table(("A", "BB"), [("long", 1), (None, "")]) == "A     BB\nlong  1\n-     -"


def test_no_rows_are_heads_alone() -> None:
    """An empty list is not an error."""
    assert table(("HOST", "PATH"), []) == "HOST  PATH"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (1 << 42, "4.0 TiB")]
)
def test_a_size_has_a_unit(number: int, text: str) -> None:
    """Binary units, one decimal."""
    assert size(number) == text
