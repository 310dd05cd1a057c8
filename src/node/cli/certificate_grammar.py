"""The grammar of `zexio certs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from node.cli.grammar import Parser, add_client_options, add_name, duration, unicode_text

if TYPE_CHECKING:
    from node.cli.grammar import Commands


def add_certificates(commands: Commands) -> None:
    """`zexio certs` and its actions."""
    actions = commands.add_parser("certs", help="certificates").add_subparsers(metavar="ACTION", required=True)
    ls = _add_action(actions, "ls", "list certificates, and names that want one")
    ls.add_argument("-q", "--query", type=unicode_text, metavar="TEXT", help="only names that contain this text")
    ls.add_argument("--status", choices=["pending", "issuing", "active", "failing"], help="only those")
    add_name(_add_action(actions, "show", "show a certificate, its chain, and what is planned for it"))
    renew = _add_action(actions, "renew", "obtain a new certificate now")
    add_name(renew)
    renew.add_argument("--wait", type=duration, default=300, metavar="TIME", help="how long to watch (5m)")
    renew.add_argument("--no-wait", action="store_true", help="do not watch")
    revoke = _add_action(actions, "revoke", "have the issuer revoke a certificate; another one is obtained")
    add_name(revoke)
    revoke.add_argument(
        "--reason",
        choices=["unspecified", "key_compromise", "superseded", "cessation_of_operation"],
        default="unspecified",
        help="why (unspecified)",
    )
    _add_files(actions)
    _add_action(actions, "trust", "print the root of the internal authority, and where systems want it")


def _add_files(actions: Commands) -> None:
    bring = _add_action(actions, "import", "serve a certificate that was obtained elsewhere", "bring")
    bring.add_argument("file", metavar="FILE", help="the chain in PEM, leaf first, with or without the key (-: stdin)")
    bring.add_argument("--key", type=Path, metavar="FILE", help="the private key in PEM, if FILE does not have it")
    add_name(_add_action(actions, "rm", "remove a certificate that was imported"))
    export = _add_action(actions, "export", "print a certificate with its chain in PEM")
    add_name(export)
    export.add_argument("--with-key", action="store_true", help="and its private key")
    export.add_argument("--out", type=Path, metavar="FILE", help="write a new file that only you may read")


def _add_action(actions: Commands, name: str, help_: str, function: str = "") -> Parser:
    action = actions.add_parser(name, help=help_)
    action.set_defaults(command=f"node.cli.certs:{function or name}")
    add_client_options(action)
    return action
