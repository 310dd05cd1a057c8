"""Where settings come from: a TOML file, the environment and flags, each read into entries that know their origin."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

PREFIX: Final = "ZEXIO_"
# Spellings of other programs that mean one of our settings: the seed's variable for the mesh secret.
ALIASES: Final[Mapping[str, str]] = {"MESH_JWT_SECRET": "jwt.secret"}
# Variables of ours that are read elsewhere: by the client commands, and for the path of the file itself.
RESERVED: Final = frozenset({"ZEXIO_ADMIN", "ZEXIO_CONFIG"})
FLAGS: Final[Mapping[str, str]] = {
    "--data": "node.data",
    "--mesh": "mesh.listen",
    "--mesh-tls": "mesh.tls_listen",
    "--workers": "mesh.workers",
    "--admin": "admin.listen",
    "--admin-open-to-network": "admin.open_to_network",
}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One value as it was found; `origin` is the file and key, the variable or the flag it stands in."""

    key: str
    raw: object
    origin: str
    from_text: bool = True


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, where it stands, and what would be accepted."""

    origin: str
    reason: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.origin}: {self.reason}"


def read_file(path: Path, known: Iterable[str]) -> Iterator[Entry | Problem]:
    """The entries of a TOML file, and a problem for each key that is not `known`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        yield Problem(str(path), f"the file cannot be read: {error.strerror}")
        return
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        yield Problem(str(path), f"the file is not TOML: {error}")
        return
    names = frozenset(known)
    sections = {name.partition(".")[0] for name in names}
    for section, body in document.items():
        if section not in sections:
            yield _unknown(f"{path}: [{section}]", "section", section, sections)
        elif not isinstance(body, dict):
            yield Problem(f"{path}: {section}", f"this is a section; write [{section}] and its keys below it")
        else:
            yield from _read_section(path, section, body, names)


def read_environment(environ: Mapping[str, str], known: Iterable[str]) -> Iterator[Entry | Problem]:
    """The entries of every `ZEXIO_<SECTION>_<KEY>`; an empty variable counts as absent.

    The spelling with two underscores after the section is read as well (contracts/plane.md, Behaviours).
    """
    variables = {PREFIX + key.replace(".", "_").upper(): key for key in known}
    doubled = {PREFIX + key.replace(".", "__").upper(): key for key in variables.values()}
    names = {**variables, **doubled, **ALIASES}
    for name, text in sorted(environ.items()):
        if name in names and text:
            yield Entry(key=names[name], raw=text, origin=name)
        elif name.startswith(PREFIX) and name not in names and name not in RESERVED:
            yield _unknown(name, "setting", name, variables)


def read_flags(flags: Mapping[str, str]) -> Iterator[Entry]:
    """The entries of the command line; `flags` maps a flag of `FLAGS` to its text."""
    for flag, text in flags.items():
        yield Entry(key=FLAGS[flag], raw=text, origin=flag)


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that is spelled most like `name`."""
    return difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]


def _read_section(
    path: Path, section: str, body: Mapping[str, object], known: frozenset[str]
) -> Iterator[Entry | Problem]:
    for name, raw in body.items():
        key = f"{section}.{name}"
        origin = f"{path}: {key}"
        if key in known:
            yield Entry(key=key, raw=raw, origin=origin, from_text=False)
        else:
            yield _unknown(origin, "setting", key, known)


def _unknown(origin: str, noun: str, name: str, known: Iterable[str]) -> Problem:
    return Problem(origin, f"there is no such {noun}; the nearest is {nearest(name, known)}")
