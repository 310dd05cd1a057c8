"""`zexio up`: run a node in the foreground."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from node.cli.configured import configured, reader
from node.cli.errors import CommandError
from node.run import run
from node.settings import CannotStart

if TYPE_CHECKING:
    from argparse import Namespace


def up(options: Namespace) -> int:
    """Run until a signal ends it; SIGHUP reads the same sources again."""
    _fill_standard_streams()
    flags = {
        "--data": options.data,
        "--mesh": options.mesh,
        "--mesh-tls": options.mesh_tls,
        "--admin": options.admin,
        "--workers": options.workers,
        "--admin-open-to-network": "true" if options.admin_open_to_network else None,
    }
    read = reader(options.config, flags)
    try:
        return run(configured(read), read)
    except CannotStart as error:
        raise CommandError(str(error)) from None


def _fill_standard_streams() -> None:
    """Open what a service manager may have closed: sockets would get these numbers, in the workers too."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003  it has no name
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
