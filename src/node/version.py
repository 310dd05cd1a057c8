"""The version of the installed program."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The version as its package states it, or `0` when it runs from a folder that was never installed."""
    try:
        return metadata.version("zexio")
    except metadata.PackageNotFoundError:
        return "0"
