"""Running programs: what they say, and how they fail."""

from __future__ import annotations

import pytest

from tests.support import programs
from tests.support.programs import ProgramFailed, run


async def test_what_is_said_comes_back() -> None:
    """On either output, and with what was given."""
    assert await run("sh", "-c", "cat; echo said >&2", stdin=b"given ") == b"given said\n"


async def test_a_failure_says_what_was_said() -> None:
    """With the program's name and its exit code."""
    with pytest.raises(ProgramFailed, match="sh ended with 3: oh"):
        await run("sh", "-c", "echo oh; exit 3")


async def test_one_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """When patience is."""
    monkeypatch.setattr(programs, "PATIENCE_S", 0.02)
    with pytest.raises(TimeoutError):
        await run("sleep", "60")
