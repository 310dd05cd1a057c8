"""What the grammars of all commands are made of: the parser, common options, and the kinds of value."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Commands: TypeAlias = _SubParsersAction["Parser"]

DEFAULT_ADMIN: Final = "http://127.0.0.1:8081"

MAX_DURATION_S: Final = 10 * 365 * 86_400

_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_MAX_PORT: Final = 65_535
_NAME: Final = re.compile(r"[\x21-\x7e]{1,256}")
_UNITS: Final[Mapping[str, int]] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def duration(text: str) -> int:
    """Seconds from `90`, `90s`, `15m`, `1h` or `7d`, ten years at most; raises ArgumentTypeError for anything else."""
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= MAX_DURATION_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 15m, 1h or 7d, ten years at most")
    return seconds


def port(text: str) -> int:
    """A port to listen at, 0 for any that is free; raises ArgumentTypeError."""
    if not _PORT.fullmatch(text) or int(text) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a number from 0 to {_MAX_PORT}")
    return int(text)


def claim(text: str) -> str:
    """A claim that a mesh token may carry; raises ArgumentTypeError for what every route would refuse."""
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 256 visible ASCII characters")
    return text


def unicode_text(text: str) -> str:
    """What a URL can carry; raises ArgumentTypeError for bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not text in UTF-8") from None
    return text


def add_host(action: Parser) -> None:
    """The arguments that name a route."""
    action.add_argument("host", type=unicode_text, metavar="HOST", help="a host name, *.SUFFIX, or * for all others")
    action.add_argument(
        "--path-prefix",
        type=unicode_text,
        default="/",
        metavar="PATH",
        help="the part of the host that it serves (/)",
    )


def add_name(action: Parser) -> None:
    """The argument that names a domain."""
    action.add_argument("name", type=unicode_text, metavar="NAME", help="shop.example.com, or *.shop.example.com")


def add_client_options(command: Parser) -> None:
    """The options of every command that talks to the admin API."""
    admin = os.environ.get("ZEXIO_ADMIN") or DEFAULT_ADMIN
    command.add_argument("--admin", default=admin, metavar="URL", help=f"the admin API (ZEXIO_ADMIN, now {admin})")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument(
        "--signature-secret-file", type=Path, metavar="FILE", help="sign requests with the worker secret in this file"
    )
