"""Passwords as argon2id hashes in PHC form, made and checked in a thread, one caller at a time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

# OWASP's floor for argon2id: 19 MiB, two passes, one lane.
MEMORY_KIB: Final = 19_456
PASSES: Final = 2
LANES: Final = 1
HASHED: Final = "$argon2id$"

_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32


class Passwords:
    """Hashes the passwords of requests to the API."""

    def __init__(self) -> None:
        # A hash takes 60 ms and 19 MiB: many at a time would starve whatever else the process does.
        self._turn = asyncio.Lock()

    async def hashed(self, wanted: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
        """A hash for every name: of its password, or what is a hash already.

        A password that the hash in `known` is of keeps that one, so that repeating a request changes nothing.
        """
        if all(text.startswith(HASHED) for text in wanted.values()):
            return dict(wanted)
        async with self._turn:
            return await asyncio.to_thread(_hash_all, wanted, known)


def hash_password(password: str) -> str:
    """An argon2id hash with a salt of its own; takes about 60 ms."""
    kdf = Argon2id(
        salt=os.urandom(_SALT_BYTES), length=_HASH_BYTES, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB
    )
    return kdf.derive_phc_encoded(password.encode())


def is_hash_of(hashed: str, password: str) -> bool:
    """Whether `hashed` is the hash of `password`; takes as long as making it did."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), hashed)
    except InvalidKey:
        return False
    return True


def _hash_all(wanted: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    return {name: _hashed(text, known.get(name)) for name, text in wanted.items()}


def _hashed(text: str, known: str | None) -> str:
    if text.startswith(HASHED):
        return text
    return known if known is not None and is_hash_of(known, text) else hash_password(text)
