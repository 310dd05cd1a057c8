"""How a command fails."""

from __future__ import annotations


class CommandError(Exception):
    """The command failed; the message is what the person reads, the exit code 1, or 2 for a wrong call."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        """A failure with its message."""
        super().__init__(message)
        self.exit_code = exit_code
