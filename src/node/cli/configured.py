"""The settings that a command runs with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from node.cli.errors import CommandError
from node.settings import Settings, SettingsError, load


def reader(config: Path | None, flags: Mapping[str, str | None]) -> Callable[[], Settings]:
    """Reads the settings anew with every call: the file, the environment, and those flags that were given."""
    named = config or (Path(os.environ["ZEXIO_CONFIG"]) if os.environ.get("ZEXIO_CONFIG") else None)
    given = {flag: text for flag, text in flags.items() if text is not None}
    return partial(load, named, dict(os.environ), given)


def configured(read: Callable[[], Settings]) -> Settings:
    """The settings; raises CommandError (2) with every problem on a line of its own."""
    try:
        return read()
    except SettingsError as error:
        raise CommandError("\nzexio: ".join(map(str, error.problems)), 2) from None
