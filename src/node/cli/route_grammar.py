"""The grammar of `zexio routes`."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from typing import TYPE_CHECKING, Final

from node.cli.grammar import Parser, add_client_options, add_host, duration, unicode_text

if TYPE_CHECKING:
    from node.cli.grammar import Commands

_TARGET_HELP: Final = "http://, https://, h2c:// or h2://HOST:PORT, or unix:/PATH, with ,WEIGHT"


def add_routes(commands: Commands) -> None:
    """`zexio routes` and its actions."""
    actions = commands.add_parser("routes", help="list, change and steer routes").add_subparsers(
        metavar="ACTION", required=True
    )
    _add_reading(actions)
    _add_set(actions)
    _add_put(actions)
    _add_modes(actions)
    _add_draining(actions)
    _add_split(actions)


def _add_reading(actions: Commands) -> None:
    ls = _add_action(actions, "routes:ls", "list routes")
    ls.add_argument("--org", type=unicode_text, metavar="ID", help="only those of this organization")
    ls.add_argument("-q", "--query", type=unicode_text, metavar="TEXT", help="only hosts that contain this text")
    add_host(_add_action(actions, "routes:get", "show one route"))
    add_host(_add_action(actions, "routes:rm", "remove a route"))
    add_host(_add_action(actions, "traffic:stats", "show what the workers saw of a route"))


def _add_set(actions: Commands) -> None:
    set_ = _add_action(
        actions, "routes:set", "create a route, or change one: what is not named stays as it is, but for --replace"
    )
    add_host(set_)
    set_.add_argument("targets", nargs="+", metavar="TARGET", help=f"all its targets from now on: {_TARGET_HELP}")
    set_.add_argument("--replace", action="store_true", help="what is not named goes back to its default")
    set_.add_argument("--org", metavar="ID", help="the organization that owns the route")
    set_.add_argument(
        "--access", choices=["public", "tenant", "by_suffix"], help="who may use it (by_suffix: the node decides)"
    )
    set_.add_argument("--balance", choices=["round_robin", "least_requests", "random_two", "consistent_hash"])
    _add_switch(set_, "--strip-prefix", "remove the path prefix before forwarding")
    _add_switch(set_, "--forward-token", "leave the mesh token in the request")
    _add_switch(set_, "--rewrite-host", "send the target's own address as Host")
    set_.add_argument("--health", metavar="PATH", help="probe the targets at this path")
    set_.add_argument("--retries", type=int, metavar="N", help="other targets to try when one cannot be reached")
    set_.add_argument("--max-body", type=int, metavar="BYTES", help="refuse larger request bodies (0: none)")
    set_.add_argument(
        "--https",
        choices=["off", "on", "redirect"],
        help="redirect answers plain requests with 308 to https:// (off)",
    )
    _add_switch(set_, "--compress", "compress answers for visitors who accept it")
    _add_if_match(set_)


def _add_switch(action: Parser, name: str, help_: str) -> None:
    action.add_argument(name, action=BooleanOptionalAction, help=help_)


def _add_put(actions: Commands) -> None:
    put = _add_action(actions, "routes:put", "create or replace a route: all of it is what a file says")
    add_host(put)
    put.add_argument(
        "--file",
        required=True,
        metavar="FILE",
        help="the route in JSON, as `zexio routes get --json` shows it (-: stdin)",
    )
    _add_if_match(put)


def _add_modes(actions: Commands) -> None:
    pause = _add_action(actions, "traffic:pause", "hold new requests until the route is resumed")
    add_host(pause)
    pause.add_argument("--hold", type=duration, metavar="TIME", help="how long each is held at most: 90s, 5m (30s)")
    stop = _add_action(actions, "traffic:stop", "answer new requests with 503")
    add_host(stop)
    stop.add_argument("--message", default="", metavar="TEXT", help="what visitors are told")
    stop.add_argument("--retry-after", type=duration, default=0, metavar="TIME", help="when they should come back")
    add_host(_add_action(actions, "traffic:resume", "serve again after a pause or a stop"))


def _add_draining(actions: Commands) -> None:
    drain = _add_action(actions, "traffic:drain", "give a target no new requests")
    add_host(drain)
    drain.add_argument("target", metavar="TARGET", help="the URL of the target")
    drain.add_argument(
        "--wait",
        type=duration,
        default=0,
        metavar="TIME",
        help="wait until it is empty, this long at most; else exit 1",
    )
    undrain = _add_action(actions, "traffic:undrain", "give a target new requests again")
    add_host(undrain)
    undrain.add_argument("target", metavar="TARGET", help="the URL of the target")


def _add_split(actions: Commands) -> None:
    split = _add_action(actions, "traffic:split", "send some requests to other targets")
    add_host(split)
    split.add_argument("targets", nargs="+", metavar="TARGET", help=_TARGET_HELP)
    who = split.add_mutually_exclusive_group(required=True)
    who.add_argument("--share", type=float, metavar="SHARE", help="so much of all requests, from 0 to 1")
    who.add_argument("--header", metavar="NAME", help="those with this header")
    who.add_argument("--cookie", metavar="NAME", help="those with this cookie")
    split.add_argument(
        "--value", action="append", default=[], metavar="TEXT", help="with this value only; may be given several times"
    )
    add_host(_add_action(actions, "traffic:unsplit", "send all requests to the route's own targets"))


def _add_if_match(action: Parser) -> None:
    action.add_argument("--if-match", metavar="REVISION", help="only if the route is still of this revision")


def _add_action(actions: Commands, function: str, help_: str) -> Parser:
    action = actions.add_parser(function.partition(":")[2], help=help_)
    action.set_defaults(command=f"node.cli.{function}")
    add_client_options(action)
    return action
