"""Sets of texts by a text, kept beside a map of values so that a question about many of them need not scan it."""

from __future__ import annotations

from typing import Final, TypeAlias

from rpds import HashTrieMap, HashTrieSet

Index: TypeAlias = "HashTrieMap[str, HashTrieSet[str]]"
Entry: TypeAlias = tuple[str, str] | None

_NOBODY: Final[HashTrieSet[str]] = HashTrieSet()


def members(index: Index, key: str) -> HashTrieSet[str]:
    """What is listed under `key`."""
    return index.get(key, _NOBODY)


def reindexed(index: Index, gone: Entry, come: Entry) -> Index:
    """The index without the entry (key and member) that is `gone`, and with the one that has `come`."""
    if gone == come:
        return index
    if gone is not None:
        key, member = gone
        left = members(index, key).discard(member)
        index = index.insert(key, left) if left else index.discard(key)
    if come is not None:
        key, member = come
        index = index.insert(key, members(index, key).insert(member))
    return index
