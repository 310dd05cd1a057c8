"""Reading the file, the environment and flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.sources import Entry, Problem, read_environment, read_file, read_flags

KNOWN = ("mesh.workers", "mesh.head_timeout_s", "jwt.secret", "log.level")


def read(tmp_path: Path, text: str) -> list[Entry | Problem]:
    """The entries of a file with this text."""
    path = tmp_path / "zexio.toml"
    path.write_text(text)
    return list(read_file(path, KNOWN))


def test_a_file_gives_entries_with_their_place(tmp_path: Path) -> None:
    """The origin names the file and the key."""
    (entry,) = read(tmp_path, "[mesh]\nworkers = 3\n")
    assert entry == Entry(key="mesh.workers", raw=3, origin=f"{tmp_path}/zexio.toml: mesh.workers", from_text=False)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("[mesh]\nwrokers = 3", "mesh.wrokers", "the nearest is mesh.workers"),
        ("[msh]\nworkers = 3", "[msh]", "the nearest is mesh"),
        ("workers = 3", "[workers]", "there is no such section"),
        ("mesh = 3", "mesh", "write [mesh]"),
        ("[mesh", "zexio.toml", "not TOML"),
        ("[mesh]\nworkers = 1\nworkers = 2", "zexio.toml", "not TOML"),
    ],
)
def test_a_file_with_a_mistake_names_it(tmp_path: Path, text: str, place: str, reason: str) -> None:
    """Unknown names come with the nearest known one."""
    (problem,) = read(tmp_path, text)
    assert isinstance(problem, Problem)
    assert place in problem.origin
    assert reason in problem.reason


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    """A file that was named must be there."""
    (problem,) = read_file(tmp_path / "absent.toml", KNOWN)
    assert str(problem) == f"{tmp_path}/absent.toml: the file cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ZEXIO_MESH_WORKERS", "mesh.workers"),
        ("ZEXIO_MESH_HEAD_TIMEOUT_S", "mesh.head_timeout_s"),
        ("ZEXIO_MESH__WORKERS", "mesh.workers"),
        ("MESH_JWT_SECRET", "jwt.secret"),
    ],
)
def test_a_variable_gives_an_entry(name: str, key: str) -> None:
    """Section and key in capitals, and the seed's own spellings."""
    assert list(read_environment({name: "x"}, KNOWN)) == [Entry(key=key, raw="x", origin=name)]


def test_other_variables_are_left_alone() -> None:
    """Neither those of other programs, nor those that are read elsewhere, nor empty ones."""
    environ = {"PATH": "/bin", "ZEXIO_ADMIN": "http://node", "ZEXIO_CONFIG": "f", "ZEXIO_MESH_WORKERS": ""}
    assert list(read_environment(environ, KNOWN)) == []


def test_an_unknown_variable_names_the_nearest() -> None:
    """A typing error in a variable is caught like one in the file."""
    (problem,) = read_environment({"ZEXIO_MESH_WORKRES": "2"}, KNOWN)
    assert str(problem) == "ZEXIO_MESH_WORKRES: there is no such setting; the nearest is ZEXIO_MESH_WORKERS"


def test_flags_give_entries() -> None:
    """The command line has short names for a few settings."""
    assert list(read_flags({"--workers": "2"})) == [Entry(key="mesh.workers", raw="2", origin="--workers")]
