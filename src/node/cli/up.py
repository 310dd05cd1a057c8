"""`zexio up`: run a node in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.cli.configured import configured, reader
from node.cli.errors import CommandError
from node.run import run
from node.settings import CannotStart

if TYPE_CHECKING:
    from argparse import Namespace


def up(options: Namespace) -> int:
    """Run until a signal ends it; SIGHUP reads the same sources again."""
    flags = {
        "--data": options.data,
        "--mesh": options.mesh,
        "--admin": options.admin,
        "--workers": options.workers,
        "--admin-open-to-network": "true" if options.admin_open_to_network else None,
    }
    read = reader(options.config, flags)
    try:
        return run(configured(read), read)
    except CannotStart as error:
        raise CommandError(str(error)) from None
