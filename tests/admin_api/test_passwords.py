"""Passwords: hashed once, checked, and left alone when they are hashes already."""

from __future__ import annotations

from admin_api.passwords import Passwords, hash_password, is_hash_of
from state.text_rules import check_password_hash


def test_a_hash_is_of_its_password_alone() -> None:
    """With a salt of its own each time, in the form that `state` takes."""
    hashed = hash_password("secret")
    assert (is_hash_of(hashed, "secret"), is_hash_of(hashed, "Secret")) == (True, False)
    assert hash_password("secret") != hashed
    assert check_password_hash(hashed) == hashed


async def test_what_is_a_hash_stays_one() -> None:
    """It is what an answer showed."""
    hashed = hash_password("secret")
    assert await Passwords().hashed({"ada": hashed}, {}) == {"ada": hashed}


async def test_a_known_password_keeps_its_hash() -> None:
    """So that repeating a request is no change; another password gets a hash of its own."""
    known = {"ada": hash_password("secret"), "bob": hash_password("secret")}
    found = await Passwords().hashed({"ada": "secret", "bob": "other", "eve": "third"}, known)
    assert found["ada"] == known["ada"]
    assert is_hash_of(found["bob"], "other")
    assert is_hash_of(found["eve"], "third")
