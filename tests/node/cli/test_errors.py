"""How commands fail."""

from __future__ import annotations

from node.cli.errors import CommandError


def test_a_failure_is_a_message_and_an_exit_code() -> None:
    """1 unless the call was wrong."""
    assert (str(CommandError("no")), CommandError("no").exit_code, CommandError("no", 2).exit_code) == ("no", 1, 2)
