"""The memory that all workers of a node share: a secret, and the buckets of their rate limits."""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from typing import Final, NamedTuple

from mesh.ratelimit import SIZE, Buckets

_SECRET_BYTES: Final = 32


def make() -> int:
    """The descriptor of such a memory, zeroed behind its secret; nothing of it has a name that others could open."""
    memory = _memory()
    os.ftruncate(memory, _SECRET_BYTES + SIZE)
    # Not an argument of the workers: every user of the machine can read those.
    os.pwrite(memory, os.urandom(_SECRET_BYTES), 0)
    return memory


class Shared(NamedTuple):
    """What workers have in common: the buckets, and a secret that nobody else knows."""

    buckets: Buckets
    secret: bytes


def attach(descriptor: int) -> Shared:
    """What is in the memory that `make` made, in this process or another."""
    view = memoryview(mmap.mmap(descriptor, _SECRET_BYTES + SIZE))
    secret = bytes(view[:_SECRET_BYTES])
    return Shared(Buckets(view[_SECRET_BYTES:], secret), hashlib.blake2b(secret, person=b"zexio-workers").digest())


def _memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("zexio")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
