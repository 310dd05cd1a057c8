"""What a route's edits make of field lines: removed, then set, then added, and everything else as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.edits import Edits, edits_of, folded, without
from mesh.policies import HeaderEdits

LINES = b"Host: shop\r\nX-Old: 1\r\nx-old: 2\r\nX_Old: 3\r\nx.OLD: 4\r\nAccept: */*\r\n"
KEPT = b"Host: shop\r\nAccept: */*\r\n"

names = st.sampled_from(["X-A", "x-a", "X_A", "x.a", "X-B", "Accept", "Cookie"])
fields = st.tuples(names, st.text(alphabet="ab: ", max_size=5))
edits = st.builds(
    HeaderEdits,
    remove=st.lists(names, max_size=3).map(tuple),
    set=st.lists(fields, max_size=3).map(tuple),
    add=st.lists(fields, max_size=3).map(tuple),
)
sections = st.lists(fields, max_size=6).map(lambda pairs: "".join(f"{name}: {value}\r\n" for name, value in pairs))


def test_a_field_is_removed_in_every_spelling() -> None:
    """Also in those that a target may fold to the same name."""
    assert Edits(HeaderEdits(remove=("X-OLD",))).apply(LINES) == KEPT


def test_a_field_that_is_set_replaces_all_of_its_name() -> None:
    """What was there before, in any spelling, is gone."""
    assert Edits(HeaderEdits(set=(("X-Old", "new"),))).apply(LINES) == KEPT + b"X-Old: new\r\n"


def test_a_field_that_is_set_to_nothing_is_removed() -> None:
    """An empty field says no more than none."""
    assert Edits(HeaderEdits(set=(("X-Old", ""),))).apply(LINES) == KEPT


def test_a_field_that_is_added_leaves_the_others() -> None:
    """Set-Cookie and Link may be there several times."""
    assert Edits(HeaderEdits(add=(("X-Old", "5"), ("X-Old", "6")))).apply(LINES) == LINES + b"X-Old: 5\r\nX-Old: 6\r\n"


def test_removal_comes_first_and_what_is_added_last() -> None:
    """A name that is removed, set and added is there as set and as added."""
    all_three = HeaderEdits(remove=("X-Old",), set=(("X-Old", "set"),), add=(("X-Old", "added"),))
    assert Edits(all_three).apply(LINES) == KEPT + b"X-Old: set\r\nX-Old: added\r\n"


def test_a_name_that_only_begins_alike_stays() -> None:
    """Names are compared whole."""
    lines = b"X-Older: 1\r\nX-Ol: 2\r\n"
    assert Edits(HeaderEdits(remove=("X-Old",))).apply(lines) == lines


def test_no_lines_at_all_are_edited_too() -> None:
    """A message without fields gets what is set."""
    edited = Edits(HeaderEdits(remove=("A",), set=(("B", "1"),)))
    assert edited.apply(b"") == edited.apply(b"") == b"B: 1\r\n"


def test_other_lines_get_their_own_result() -> None:
    """The last result is kept for the same lines only."""
    edited = Edits(HeaderEdits(remove=("X-Old",)))
    assert [edited.apply(lines) for lines in (LINES, LINES, b"A: 1\r\n", LINES)] == [KEPT, KEPT, b"A: 1\r\n", KEPT]


def test_long_lines_are_edited_and_not_kept() -> None:
    """A section of 32 KiB on every route would be a lot of memory."""
    edited, lines = Edits(HeaderEdits(remove=("X-Old",))), b"Cookie: %b\r\n" % (b"c" * 5000)
    assert edited.apply(lines + b"X-Old: 1\r\n") == lines
    assert edited.apply(lines) == lines


@pytest.mark.parametrize("empty", [HeaderEdits(), HeaderEdits(remove=(), set=(), add=())])
def test_a_route_without_edits_has_none(empty: HeaderEdits) -> None:
    """Nothing is called for it."""
    assert edits_of(empty) is None


@pytest.mark.parametrize(
    "some", [HeaderEdits(remove=("A",)), HeaderEdits(set=(("A", ""),)), HeaderEdits(add=(("A", "1"),))]
)
def test_a_route_with_edits_has_them(some: HeaderEdits) -> None:
    """Each of the three is enough."""
    assert edits_of(some) is not None


@given(edits, sections)
def test_what_is_neither_removed_nor_set_stays_in_its_order(edit: HeaderEdits, section: str) -> None:
    """A model of the edits, one line at a time."""
    gone = {folded(name.encode()) for name in (*edit.remove, *(name for name, _ in edit.set))}
    kept = [line for line in section.encode().splitlines(keepends=True) if folded(line.partition(b":")[0]) not in gone]
    new = [f"{name}: {value}\r\n".encode() for name, value in (*edit.set, *edit.add) if value]
    assert Edits(edit).apply(section.encode()) == b"".join(kept + new)


def test_lines_without_some_names() -> None:
    """The tool that others use: names in folded form."""
    assert without(LINES, frozenset({b"x-old", b"host"})) == b"Accept: */*\r\n"
