"""The grammar of the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from node.cli.certificate_grammar import add_certificates
from node.cli.domain_grammar import add_domains
from node.cli.grammar import Parser, add_client_options, add_host, claim, duration, port, unicode_text
from node.cli.route_grammar import add_routes

if TYPE_CHECKING:
    from node.cli.grammar import Commands


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
    for add in _COMMANDS:
        add(commands)
    return parser


def _add_up(commands: Commands) -> None:
    up = commands.add_parser("up", help="run a node in the foreground")
    up.set_defaults(command="node.cli.up:up")
    up.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML (ZEXIO_CONFIG)")
    up.add_argument("--data", metavar="DIR", help="the folder of everything the node keeps")
    up.add_argument("--mesh", metavar="HOST:PORT", help="where visitors connect (0.0.0.0:8082)")
    up.add_argument("--mesh-tls", metavar="HOST:PORT", help="where they connect over TLS (nowhere)")
    up.add_argument("--admin", metavar="HOST:PORT", help="where the admin API listens (127.0.0.1:8081)")
    up.add_argument("--workers", metavar="N", help="mesh worker processes (one per core)")
    up.add_argument(
        "--admin-open-to-network", action="store_true", help="allow an unsigned admin API on a non-loopback address"
    )


def _add_status(commands: Commands) -> None:
    status = commands.add_parser("status", help="show how the node is")
    status.set_defaults(command="node.cli.status:status")
    add_client_options(status)


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


def _add_logs(commands: Commands) -> None:
    logs = commands.add_parser("logs", help="show what the node says, and who comes")
    logs.set_defaults(command="node.cli.logs:logs")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with new lines, and with every exchange")
    logs.add_argument(
        "-n", "--lines", type=int, default=50, metavar="N", help="so many of the newest lines of the node's log (50)"
    )
    logs.add_argument(
        "--host",
        type=unicode_text,
        metavar="HOST",
        help="with -f: only exchanges of this host, or of the routes with this host",
    )
    add_client_options(logs)


def _add_inspect(commands: Commands) -> None:
    inspect = commands.add_parser("inspect", help="show the requests of one route in mitmproxy, until Ctrl-C")
    inspect.set_defaults(command="node.cli.inspect:inspect")
    add_host(inspect)
    inspect.add_argument(
        "--port", type=port, default=8091, metavar="PORT", help="where its pages are on this machine, 0 for any (8091)"
    )
    mitmweb = os.environ.get("ZEXIO_MITMWEB") or "mitmweb"
    inspect.add_argument(
        "--mitmweb",
        default=mitmweb,
        metavar="PROGRAM",
        help=f"mitmproxy's program with the pages (ZEXIO_MITMWEB, now {mitmweb})",
    )
    add_client_options(inspect)


# Whoever adds a command adds a line: a function that takes the parsers of all commands. What runs is named in
# `command` and imported when it is called.
_COMMANDS: Final[tuple[Callable[[Commands], None], ...]] = (
    _add_up,
    _add_status,
    add_routes,
    add_domains,
    add_certificates,
    _add_logs,
    _add_inspect,
    _add_tokens,
    _add_demo,
)
