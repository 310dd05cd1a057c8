"""Index: what is listed under a key, and nothing left behind under one that has nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rpds import HashTrieMap, HashTrieSet

from state.index import Index, members, reindexed

KEYS = st.sampled_from(["a", "b", "c"])
ENTRIES = st.none() | st.tuples(KEYS, KEYS)


def listed(index: Index) -> dict[str, set[str]]:
    """The whole index as plain sets."""
    return {key: set(index[key]) for key in index}


def test_nothing_is_listed_under_an_unknown_key() -> None:
    """It need not be asked for first."""
    assert members(HashTrieMap(), "a") == HashTrieSet()


def test_members_of_a_key_add_up() -> None:
    """Each once."""
    index: Index = HashTrieMap()
    for member in ("x", "y", "x"):
        index = reindexed(index, None, ("a", member))
    assert set(members(index, "a")) == {"x", "y"}


def test_a_member_moves_from_key_to_key() -> None:
    """In one step, and the index before it stays as it was."""
    before = reindexed(HashTrieMap(), None, ("a", "x"))
    after = reindexed(before, ("a", "x"), ("b", "x"))
    assert listed(after) == {"b": {"x"}}
    assert listed(before) == {"a": {"x"}}


def test_a_key_without_members_is_gone() -> None:
    """So two indexes with the same content are equal, however they came about."""
    index = reindexed(HashTrieMap(), None, ("a", "x"))
    assert reindexed(index, ("a", "x"), None) == HashTrieMap()


def test_no_change_is_no_new_index() -> None:
    """A value that was replaced by one with the same entry costs nothing."""
    index = reindexed(HashTrieMap(), None, ("a", "x"))
    assert reindexed(index, ("a", "x"), ("a", "x")) is index
    assert reindexed(index, None, None) is index


def test_what_is_not_listed_may_be_taken_away() -> None:
    """Nothing happens."""
    assert reindexed(HashTrieMap(), ("a", "x"), None) == HashTrieMap()


@given(st.lists(st.tuples(ENTRIES, ENTRIES), max_size=30))
def test_any_sequence_is_what_plain_sets_would_say(steps: list[tuple[tuple[str, str] | None, ...]]) -> None:
    """Whatever goes and comes."""
    index: Index = HashTrieMap()
    pairs: set[tuple[str, str]] = set()
    for gone, come in steps:
        index = reindexed(index, gone, come)
        if gone != come:
            pairs = (pairs - {gone}) | ({come} if come else set())
    assert {(key, member) for key in index for member in index[key]} == pairs
    assert all(listed(index).values())
