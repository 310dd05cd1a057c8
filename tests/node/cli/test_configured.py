"""The settings of a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.cli.configured import configured, reader
from node.cli.errors import CommandError


def test_flags_that_were_not_given_count_for_nothing(tmp_path: Path) -> None:
    """The parser leaves None for them."""
    settings = configured(reader(None, {"--data": str(tmp_path), "--workers": None}))
    assert settings.node.data == tmp_path


def test_the_file_may_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service file sets ZEXIO_CONFIG; the flag is stronger."""
    (tmp_path / "a.toml").write_text("[mesh]\nworkers = 3\n")
    (tmp_path / "b.toml").write_text("[mesh]\nworkers = 4\n")
    monkeypatch.setenv("ZEXIO_CONFIG", str(tmp_path / "a.toml"))
    assert configured(reader(None, {})).mesh.workers == 3
    assert configured(reader(tmp_path / "b.toml", {})).mesh.workers == 4


def test_a_reader_reads_anew(tmp_path: Path) -> None:
    """That is what SIGHUP is for."""
    path = tmp_path / "zexio.toml"
    path.write_text("[mesh]\nworkers = 3\n")
    read = reader(path, {})
    assert read().mesh.workers == 3
    path.write_text("[mesh]\nworkers = 4\n")
    assert read().mesh.workers == 4


def test_problems_are_lines_of_a_wrong_call(tmp_path: Path) -> None:
    """All of them, with the exit code of usage."""
    with pytest.raises(CommandError) as caught:
        configured(reader(tmp_path / "absent.toml", {"--workers": "many"}))
    assert len(str(caught.value).splitlines()) == 2
    assert caught.value.exit_code == 2
