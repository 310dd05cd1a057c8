"""The grammar of `zexio domains`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.cli.grammar import Parser, add_client_options, add_name, duration, unicode_text

if TYPE_CHECKING:
    from node.cli.grammar import Commands


def add_domains(commands: Commands) -> None:
    """`zexio domains` and its actions."""
    actions = commands.add_parser("domains", help="names of customers, and their certificates").add_subparsers(
        metavar="ACTION", required=True
    )
    ls = _add_action(actions, "domains:ls", "list domains")
    ls.add_argument("-q", "--query", type=unicode_text, metavar="TEXT", help="only names that contain this text")
    ls.add_argument("--status", choices=["pending", "issuing", "active", "failing", "off"], help="only those")
    _add_add(actions)
    add_name(_add_action(actions, "domains:show", "show a domain, its certificate, and the records that it needs"))
    add_name(_add_action(actions, "domains:check", "look up the public records of a name; exit 1 if they cannot work"))
    add_name(_add_action(actions, "domains:rm", "remove a domain; its certificate is not renewed any more"))


def _add_add(actions: Commands) -> None:
    add = _add_action(actions, "domain_add:add", "add a domain, and watch until HTTPS answers; exit 1 if it does not")
    add_name(add)
    serves = add.add_mutually_exclusive_group()
    serves.add_argument("--project", type=unicode_text, metavar="ID", help="it answers as this project does")
    serves.add_argument(
        "--to", type=unicode_text, metavar="HOST", help="it answers as this host does (the domain's own routes)"
    )
    add.add_argument(
        "--https",
        choices=["off", "on", "redirect"],
        help="what becomes of plain requests once there is a certificate (redirect)",
    )
    add.add_argument("--certificate", choices=["auto", "off"], help="whether one is obtained (auto)")
    add.add_argument("--wait", type=duration, default=300, metavar="TIME", help="how long to watch: 90s, 5m, 1h (5m)")
    add.add_argument("--no-wait", action="store_true", help="do not watch")


def _add_action(actions: Commands, function: str, help_: str) -> Parser:
    action = actions.add_parser(function.partition(":")[2], help=help_)
    action.set_defaults(command=f"node.cli.{function}")
    add_client_options(action)
    return action
