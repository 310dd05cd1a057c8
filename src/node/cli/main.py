"""The `zexio` program: from arguments to one command, and from its failure to one line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from node.cli.errors import CommandError
from node.cli.parser import build

OK: Final = 0
FAILED: Final = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 when it failed, or 2 when it was called wrongly."""
    arguments = build().parse_args(argv)
    module, _colon, function = arguments.command.partition(":")
    # Commands are imported by name so that `zexio status` does not pay for the modules that `zexio up` needs.
    command: Callable[..., int | None] = getattr(importlib.import_module(module), function)
    try:
        return command(arguments) or OK
    except CommandError as error:
        print(f"zexio: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever reads us, `head` for example, has seen enough; Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
