"""Programs as connectors: what they say, where they answer, and that nothing of them stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import connectors
from tests.support.connectors import free_port, started, status_of, until


def test_a_program_is_read_and_ends(tmp_path: Path) -> None:
    """With its status."""
    with started(["/bin/sh", "-c", "echo one; echo two >&2; exit 3"], tmp_path) as program:
        assert program.ended() == 3
        assert program.said == b"one\ntwo\n"


def test_nothing_of_it_stays(tmp_path: Path) -> None:
    """Nor of what it has started."""
    with started(["/bin/sh", "-c", "sleep 60 & echo $!; wait"], tmp_path) as program:
        program.until_said("\n")
        child = int(program.said)
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2])
    assert program.process.returncode is not None


def test_its_environment_is_what_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a place to live in."""
    monkeypatch.setitem(os.environ, "PORT", "1")
    with started(["/usr/bin/env"], tmp_path, {"A": "b"}) as program:
        program.ended()
        assert {line.partition(b"=")[0] for line in program.said.split()} == {b"PATH", b"HOME", b"A"}


def test_a_page_that_is_not_there_has_no_status() -> None:
    """Nobody answers at a port that is free."""
    assert status_of(free_port(), "/") == 0


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error that fails the test."""
    monkeypatch.setattr(connectors, "PATIENCE_S", 0.02)
    with pytest.raises(AssertionError, match="come to be"):
        until(lambda: False)
