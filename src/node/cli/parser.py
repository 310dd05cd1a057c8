"""The grammar of the command line."""

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
_NAME: Final = re.compile(r"[\x21-\x7e]{1,256}")
_UNITS: Final[Mapping[str, int]] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_rest: object) -> None:
        from node.version import version  # noqa: PLC0415  reading package metadata costs more than all the rest here

        print(f"zexio {version()}")
        parser.exit()


def build() -> Parser:
    """The parser of all commands; the result has `command`, the `module:function` to call."""
    parser = Parser(prog="zexio", description="A self-hosted edge: reverse proxy, admin API and what belongs to it.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_up(commands)
    _add_status(commands)
    _add_routes(commands)
    _add_tokens(commands)
    _add_demo(commands)
    return parser


def duration(text: str) -> int:
    """Seconds from `90`, `90s`, `15m`, `1h` or `7d`, ten years at most; raises ArgumentTypeError for anything else."""
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= MAX_DURATION_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 15m, 1h or 7d, ten years at most")
    return seconds


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


def _add_up(commands: Commands) -> None:
    up = commands.add_parser("up", help="run a node in the foreground")
    up.set_defaults(command="node.cli.up:up")
    up.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML (ZEXIO_CONFIG)")
    up.add_argument("--data", metavar="DIR", help="the folder of everything the node keeps")
    up.add_argument("--mesh", metavar="HOST:PORT", help="where visitors connect (0.0.0.0:8082)")
    up.add_argument("--admin", metavar="HOST:PORT", help="where the admin API listens (127.0.0.1:8081)")
    up.add_argument("--workers", metavar="N", help="mesh worker processes (one per core)")
    up.add_argument(
        "--admin-open-to-network", action="store_true", help="allow an unsigned admin API on a non-loopback address"
    )


def _add_status(commands: Commands) -> None:
    status = commands.add_parser("status", help="show how the node is")
    status.set_defaults(command="node.cli.status:status")
    _add_client_options(status)


def _add_routes(commands: Commands) -> None:
    routes = commands.add_parser("routes", help="list and change routes").add_subparsers(
        metavar="ACTION", required=True
    )
    ls = _add_action(routes, "ls", "list routes")
    ls.add_argument("--org", type=unicode_text, metavar="ID", help="only those of this organization")
    ls.add_argument("-q", "--query", type=unicode_text, metavar="TEXT", help="only hosts that contain this text")
    _add_host(_add_action(routes, "get", "show one route"))
    _add_host(_add_action(routes, "rm", "remove a route"))
    set_ = _add_action(routes, "set", "create or replace a route")
    _add_host(set_)
    set_.add_argument(
        "targets",
        nargs="+",
        metavar="TARGET",
        help="http://HOST:PORT, https://HOST:PORT or unix:/PATH, with ,WEIGHT",
    )
    set_.add_argument("--org", metavar="ID", help="the organization that owns the route")
    set_.add_argument("--access", choices=["public", "tenant"], help="who may use it (by_suffix: the node decides)")
    set_.add_argument("--balance", choices=["round_robin", "least_requests", "random_two", "consistent_hash"])
    set_.add_argument("--strip-prefix", action="store_true", help="remove the path prefix before forwarding")
    set_.add_argument("--forward-token", action="store_true", help="leave the mesh token in the request")
    set_.add_argument("--rewrite-host", action="store_true", help="send the target's own address as Host")
    set_.add_argument("--health", metavar="PATH", help="probe the targets at this path")
    set_.add_argument("--retries", type=int, metavar="N", help="other targets to try when one cannot be reached")
    set_.add_argument("--max-body", type=int, metavar="BYTES", help="refuse larger request bodies")
    set_.add_argument(
        "--https",
        choices=["off", "on", "redirect"],
        help="redirect answers 308 to https://, for a TLS terminator in front; "
        "on is the same as off until the node has a TLS listener (off)",
    )
    set_.add_argument("--if-match", metavar="REVISION", help="only if the route is still of this revision")


def _add_tokens(commands: Commands) -> None:
    tokens = commands.add_parser("tokens", help="mesh tokens").add_subparsers(metavar="ACTION", required=True)
    issue = tokens.add_parser("issue", help="mint a mesh token with this node's secret, for trying things")
    issue.set_defaults(command="node.cli.tokens:issue")
    issue.add_argument("--org", type=claim, required=True, metavar="ID", help="the organization it speaks for (orgId)")
    issue.add_argument("--user", type=claim, default="operator", metavar="ID", help="userId (operator)")
    issue.add_argument("--source", type=claim, default="zexio-cli", metavar="NAME", help="sourceService (zexio-cli)")
    issue.add_argument("--target", type=claim, default="any", metavar="NAME", help="targetService (any)")
    issue.add_argument(
        "--ttl", type=duration, default=3600, metavar="TIME", help="how long it is valid: 90s, 15m, 1h (1h)"
    )
    issue.add_argument("--config", type=Path, metavar="FILE", help="the node's settings (ZEXIO_CONFIG)")
    issue.add_argument("--data", metavar="DIR", help="the node's data folder")
    issue.add_argument("--json", action="store_true", help="print JSON")


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser("demo", help="start a node with sample routes and send three requests through it")
    demo.set_defaults(command="node.cli.demo:demo")
    demo.add_argument("--once", action="store_true", help="stop after the three requests; exit 1 if one went wrong")


def _add_action(actions: Commands, name: str, help_: str) -> Parser:
    action = actions.add_parser(name, help=help_)
    action.set_defaults(command=f"node.cli.routes:{name}")
    _add_client_options(action)
    return action


def _add_host(action: Parser) -> None:
    action.add_argument("host", type=unicode_text, metavar="HOST", help="a host name, *.SUFFIX, or * for all others")
    action.add_argument(
        "--path-prefix",
        type=unicode_text,
        default="/",
        metavar="PATH",
        help="the part of the host that it serves (/)",
    )


def _add_client_options(command: Parser) -> None:
    admin = os.environ.get("ZEXIO_ADMIN") or DEFAULT_ADMIN
    command.add_argument("--admin", default=admin, metavar="URL", help=f"the admin API (ZEXIO_ADMIN, now {admin})")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument(
        "--signature-secret-file", type=Path, metavar="FILE", help="sign requests with the worker secret in this file"
    )
