"""The version."""

from __future__ import annotations

from importlib import metadata

import pytest

from node.version import version


def test_the_version_is_that_of_the_package() -> None:
    """One place states it."""
    assert version() == metadata.version("zexio")


def test_a_folder_that_was_never_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs nevertheless."""

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert version() == "0"
