"""`zexio routes`: list, show, set and remove routes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from node.cli.client import AdminClient, Answer, connect
from node.cli.table import table

if TYPE_CHECKING:
    from argparse import Namespace

PAGE = 500
# What a route that names no access gets, by the name of the setting that decides it: the node's, and not ours.
DEFAULT_ACCESS: Final = "by_suffix"

_TARGET: Final = re.compile(r"(?P<url>.+),(?P<weight>[0-9]{1,9})", re.ASCII | re.DOTALL)


def ls(options: Namespace) -> None:
    """Print every route, in the order of the API."""
    client = connect(options)
    heads = ("HOST", "PATH", "ORG", "ACCESS", "TARGETS")
    with client.reading():
        routes = list(_pages(client, {"org_id": options.org, "q": options.query}))
        rows = [(r["host"], r["path_prefix"], r["org_id"], _access(r), _targets(r)) for r in routes]
    print(json.dumps(routes, indent=2) if options.json else table(heads, rows))


def get(options: Namespace) -> None:
    """Print one route."""
    client = connect(options)
    _show(client, client.call("GET", _path(options)), as_json=options.json)


def set(options: Namespace) -> None:  # noqa: A001  the command is called that
    """Create or replace a route and print it."""
    conditions = {"If-Match": _tag(options.if_match)} if options.if_match else {}
    client = connect(options)
    _show(client, client.call("PUT", _path(options), _body(options), conditions), as_json=options.json)


def rm(options: Namespace) -> None:
    """Remove a route."""
    connect(options).call("DELETE", _path(options))
    if options.json:
        print(json.dumps({"removed": options.host, "path_prefix": options.path_prefix}))


def _pages(client: AdminClient, filters: dict[str, str | None]) -> Iterator[dict[str, Any]]:
    query = {"limit": str(PAGE)} | {name: value for name, value in filters.items() if value}
    while True:
        page = client.call("GET", f"/routes?{urlencode(query)}").json()
        yield from page["routes"]
        if not page.get("next_cursor"):
            return
        query["cursor"] = page["next_cursor"]


def _path(options: Namespace) -> str:
    path = f"/routes/{quote(options.host, safe='*')}"
    return path if options.path_prefix == "/" else f"{path}?{urlencode({'path_prefix': options.path_prefix})}"


def _body(options: Namespace) -> dict[str, Any]:
    wanted = {
        "targets": [_target(text) for text in options.targets],
        "org_id": options.org,
        "access": options.access,
        "balance": options.balance,
        "path_prefix": options.path_prefix,
        "strip_prefix": options.strip_prefix,
        "health": {"path": options.health} if options.health else None,
        "retries": options.retries,
        "max_body_bytes": options.max_body,
        "forward_token": options.forward_token,
        "preserve_host": not options.rewrite_host,
        "https": options.https,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _target(text: str) -> dict[str, Any]:
    weighted = _TARGET.fullmatch(text)
    return {"url": weighted["url"], "weight": int(weighted["weight"])} if weighted else {"url": text}


def _tag(text: str) -> str:
    # The revision as `routes get` shows it, for which a shell would need two kinds of quotes.
    return f'"{text}"' if text.isascii() and text.isdigit() else text


def _show(client: AdminClient, answer: Answer, *, as_json: bool) -> None:
    with client.reading():
        route = answer.json()
        text = json.dumps(route, indent=2) if as_json else _lines(route)
    print(text)


def _lines(route: dict[str, Any]) -> str:
    shown = {**route, "targets": _targets(route), "access": _access(route)}
    width = max(map(len, shown))
    return "\n".join(
        f"{name.ljust(width)}  {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in shown.items()
    )


def _access(route: dict[str, Any]) -> str:
    return str(route["access"] or DEFAULT_ACCESS)


def _targets(route: dict[str, Any]) -> str:
    return " ".join(
        target["url"] + (f",{target['weight']}" if target["weight"] != 1 else "") for target in route["targets"]
    )
