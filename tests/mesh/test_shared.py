"""Buckets that several processes count in."""

from __future__ import annotations

import os
import subprocess
import sys

from mesh.shared import attach, make

TAKE = """
import sys
from mesh.shared import attach

print(attach(int(sys.argv[1])).buckets.take(b"key", 0.0, 1.0, 1))
"""


def test_what_one_process_counts_the_other_sees() -> None:
    """A visitor has one limit, whichever worker answers."""
    memory = make()
    try:
        assert attach(memory).buckets.take(b"key", 0.0, 1.0, 1) == 0.0
        there = subprocess.run(
            [sys.executable, "-c", TAKE, str(memory)], pass_fds=[memory], capture_output=True, text=True, check=True
        )
        assert float(there.stdout) == 1.0
        assert attach(memory).buckets.take(b"other key", 0.0, 1.0, 1) == 0.0
    finally:
        os.close(memory)


def test_every_node_has_a_secret_of_its_own() -> None:
    """Nobody can find out elsewhere which visitors share a place."""
    memories = [make(), make()]
    secrets = {os.pread(memory, 32, 0) for memory in memories}
    for memory in memories:
        os.close(memory)
    assert len(secrets) == 2
    assert all(any(secret) for secret in secrets)
