"""`zexio routes`: list, show, set and remove routes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from node.cli.client import AdminClient, connect
from node.cli.table import table

if TYPE_CHECKING:
    from argparse import Namespace

PAGE = 500


def ls(options: Namespace) -> None:
    """Print every route, in the order of the API."""
    routes = list(_pages(connect(options), {"org_id": options.org, "q": options.query}))
    if options.json:
        print(json.dumps(routes, indent=2))
        return
    heads = ("HOST", "PATH", "ORG", "ACCESS", "TARGETS")
    rows = [(r["host"], r["path_prefix"], r["org_id"], r["access"], _targets(r)) for r in routes]
    print(table(heads, rows))


def get(options: Namespace) -> None:
    """Print one route."""
    answer = connect(options).call("GET", _path(options))
    _show(answer.json(), as_json=options.json)


def set(options: Namespace) -> None:  # noqa: A001  the command is called that
    """Create or replace a route and print it."""
    conditions = {"If-Match": options.if_match} if options.if_match else {}
    answer = connect(options).call("PUT", _path(options), _body(options), conditions)
    _show(answer.json(), as_json=options.json)


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
    url, comma, weight = text.rpartition(",")
    return {"url": url, "weight": int(weight)} if comma and weight.isdigit() else {"url": text}


def _show(route: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(route, indent=2))
        return
    width = max(map(len, route))
    for name, value in route.items():
        shown = _targets(route) if name == "targets" else value
        print(f"{name.ljust(width)}  {shown if isinstance(shown, str) else json.dumps(shown)}")


def _targets(route: dict[str, Any]) -> str:
    return " ".join(
        target["url"] + (f",{target['weight']}" if target["weight"] != 1 else "") for target in route["targets"]
    )
