"""Columns."""

from __future__ import annotations

import pytest

from node.cli.table import fitted, size, table, terminal_width


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


def test_a_table_is_made_to_fit() -> None:
    """The first flexible column first, and none beyond what can be read."""
    heads, rows = ("NAME", "NOTE"), [("shop.example.com", "a long text that says much"), ("a", "b")]
    assert fitted(heads, rows, (1, 0), None) == table(heads, rows)
    lines = fitted(heads, rows, (1, 0), 30).splitlines()
    assert (lines[1], max(map(len, lines))) == ("shop.example.com  a long text…", 30)
    lines = fitted(heads, rows, (1, 0), 20).splitlines()
    assert (lines[1], max(map(len, lines))) == ("shop.exam…  a long …", 20)
    assert len(fitted(heads, rows, (1, 0), 5).splitlines()[1]) == 18


def test_a_program_gets_all_there_is() -> None:
    """What is written into a pipe or a file is not cut."""
    assert terminal_width() is None
