"""`zexio routes`: list, show, set and remove routes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from node.cli.client import AdminClient, Answer, NodeError, connect
from node.cli.errors import CommandError
from node.cli.table import table

if TYPE_CHECKING:
    from argparse import Namespace

PAGE = 500
# What a route that names no access gets, by the name of the setting that decides it: the node's, and not ours.
DEFAULT_ACCESS: Final = "by_suffix"

_TRIES: Final = 3
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
    _show(client, client.call("GET", path(options)), as_json=options.json)


def set(options: Namespace) -> None:  # noqa: A001  the command is called that
    """Create a route, or change what the options say of one, and print it."""
    client = connect(options)
    with client.reading():
        answer = _replace(client, options) if options.replace else _merge(client, options)
    _show(client, answer, as_json=options.json)


def put(options: Namespace) -> None:
    """Create or replace a route with what a file says, and print it."""
    conditions = {"If-Match": _tag(options.if_match)} if options.if_match else {}
    client = connect(options)
    _show(client, client.call("PUT", path(options), _document(options.file), conditions), as_json=options.json)


def rm(options: Namespace) -> None:
    """Remove a route."""
    connect(options).call("DELETE", path(options))
    if options.json:
        print(json.dumps({"removed": options.host, "path_prefix": options.path_prefix}))


def _replace(client: AdminClient, options: Namespace) -> Answer:
    conditions = {"If-Match": _tag(options.if_match)} if options.if_match else {}
    return client.call("PUT", path(options), _told(options, {}), conditions)


def _merge(client: AdminClient, options: Namespace) -> Answer:
    """Put the route as it is with what the options say; what they do not name stays.

    A route that somebody else changes between the reading and the writing is read again.
    """
    tries = 1 if options.if_match else _TRIES
    while True:
        known = _known(client, options)
        guard = {"If-Match": _tag(str(known["revision"]))} if known else {"If-None-Match": "*"}
        if options.if_match:
            guard = {"If-Match": _tag(options.if_match)}
        tries -= 1
        try:
            return client.call("PUT", path(options), {**known, **_told(options, known)}, guard)
        except NodeError as error:
            if error.status != HTTPStatus.PRECONDITION_FAILED or not tries:
                raise


def _known(client: AdminClient, options: Namespace) -> dict[str, Any]:
    """The route as it is; nothing when there is none."""
    try:
        found: dict[str, Any] = client.call("GET", path(options)).json()
    except NodeError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return {}
    return found


def _pages(client: AdminClient, filters: dict[str, str | None]) -> Iterator[dict[str, Any]]:
    query = {"limit": str(PAGE)} | {name: value for name, value in filters.items() if value}
    while True:
        page = client.call("GET", f"/routes?{urlencode(query)}").json()
        yield from page["routes"]
        if not page.get("next_cursor"):
            return
        query["cursor"] = page["next_cursor"]


def path(options: Namespace, rest: str = "", query: Mapping[str, str] | None = None) -> str:
    """The path of the route that a command is about, with `rest` below it and a query."""
    names = {} if options.path_prefix == "/" else {"path_prefix": options.path_prefix}
    asked = urlencode({**names, **(query or {})})
    return f"/routes/{quote(options.host, safe='*')}{rest}" + (f"?{asked}" if asked else "")


def target(text: str) -> dict[str, Any]:
    """A target as the API takes it, from `URL` or `URL,WEIGHT`."""
    weighted = _TARGET.fullmatch(text)
    return {"url": weighted["url"], "weight": int(weighted["weight"])} if weighted else {"url": text}


def _document(name: str) -> object:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise CommandError(f"--file: {name}: {error.strerror}", 2) from None
    except ValueError as error:
        raise CommandError(f"--file: {name} is no JSON: {error}", 2) from None


def _told(options: Namespace, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say of the route that is known as `known`."""
    said = {
        "targets": [target(text) for text in options.targets],
        "org_id": options.org,
        "access": options.access,
        "balance": options.balance,
        "path_prefix": options.path_prefix,
        "strip_prefix": options.strip_prefix,
        "health": {**(known.get("health") or {}), "path": options.health} if options.health else None,
        "retries": options.retries,
        "max_body_bytes": options.max_body,
        "forward_token": options.forward_token,
        "preserve_host": None if options.rewrite_host is None else not options.rewrite_host,
        "https": options.https,
        "compression": (known.get("compression") or True) if options.compress else None,
    }
    told = {name: value for name, value in said.items() if value is not None}
    if options.access == DEFAULT_ACCESS:
        told["access"] = None
    if options.compress is False:
        told["compression"] = None
    return told


def _tag(text: str) -> str:
    # The revision as `routes get` shows it, for which a shell would need two kinds of quotes.
    return f'"{text}"' if text.isascii() and text.isdigit() else text


def _show(client: AdminClient, answer: Answer, *, as_json: bool) -> None:
    with client.reading():
        route = answer.json()
        text = json.dumps(route, indent=2) if as_json else _lines(route)
    print(text)


def _lines(route: dict[str, Any]) -> str:
    said = {name: value for name, value in route.items() if not _is_empty(value)}
    shown = {**said, "targets": _targets(route), "access": _access(route)}
    width = max(map(len, shown))
    return "\n".join(
        f"{name.ljust(width)}  {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in shown.items()
    )


def _is_empty(value: object) -> bool:
    """Whether a field says nothing, so that a person need not read it."""
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    # Not by equality alone: 0 equals False, and no retries is something to say.
    return value is None or value is False or value in ("", [])


def _access(route: dict[str, Any]) -> str:
    return str(route["access"] or DEFAULT_ACCESS)


def _targets(route: dict[str, Any]) -> str:
    return " ".join(
        each["url"]
        + (f",{each['weight']}" if each["weight"] != 1 else "")
        + (" (draining)" if each["draining"] else "")
        for each in route["targets"]
    )
