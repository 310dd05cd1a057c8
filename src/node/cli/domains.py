"""`zexio domains`: list, show, check and remove domains."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from node.cli.client import AdminClient, connect
from node.cli.moments import ends, moment, until
from node.cli.progress import advice_word, is_advised
from node.cli.table import fitted, terminal_width

if TYPE_CHECKING:
    from argparse import Namespace

_PAGE: Final = 500


def ls(options: Namespace) -> None:
    """Print every domain, in the order of their names."""
    client = connect(options)
    now = datetime.now(UTC)
    heads = ("NAME", "SERVES", "STATUS", "ENDS", "NOTE")
    with client.reading():
        domains = list(pages(client, "domains", {"q": options.query, "status": options.status}))
        rows = [
            (d["name"], d["serves"], d["status"], d["fact"] and ends(d["fact"], now), note(d["fact"])) for d in domains
        ]
    shown = json.dumps(domains, indent=2) if options.json else fitted(heads, rows, (4, 1, 0), terminal_width())
    print(shown)


def show(options: Namespace) -> None:
    """Print one domain, and how its certificate does."""
    client = connect(options)
    with client.reading():
        view = client.call("GET", path(options.name)).json()
        shown = json.dumps(view, indent=2) if options.json else "\n".join(_lines(view, datetime.now(UTC)))
    print(shown)


def check(options: Namespace) -> int:
    """Print what the public records of a name say; 1 when they stand in the way of a certificate."""
    client = connect(options)
    with client.reading():
        found = client.call("GET", path(options.name, "/check")).json()
        advice = [f"{'to do' if each['is_blocking'] else 'note'}: {each['text']}" for each in found["advice"]]
        is_blocked = bool(found["is_blocked"])
    print(json.dumps(found, indent=2) if options.json else "\n".join(advice or ["nothing stands in the way"]))
    return 1 if is_blocked else 0


def rm(options: Namespace) -> None:
    """Remove a domain."""
    connect(options).call("DELETE", path(options.name))
    if options.json:
        print(json.dumps({"removed": options.name}))


def path(name: str, rest: str = "") -> str:
    """The path of a domain, with `rest` below it."""
    return f"/domains/{quote(name, safe='*')}{rest}"


def pages(client: AdminClient, kind: str, filters: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
    """All `domains` or `certificates` that the filters leave, page by page."""
    query = {"limit": str(_PAGE)} | {name: value for name, value in filters.items() if value}
    while True:
        page = client.call("GET", f"/{kind}?{urlencode(query)}").json()
        yield from page[kind]
        if not page.get("next_cursor"):
            return
        query["cursor"] = page["next_cursor"]


def note(fact: Mapping[str, Any] | None) -> str | None:
    """What is to be said of a certificate beside how it does, in a line."""
    if fact is None:
        return None
    said: str | None = fact["step"] or fact["last_error"]
    return said


def fact_lines(fact: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    """All that is known of a certificate and has something to say, by what it is."""
    if fact["not_after"] is not None:
        yield "issuer", fact["issuer"] or f"({fact['source']})"
        yield "names", " ".join(fact["names"])
        yield "key", fact["key_type"] or "-"
        yield "fingerprint", fact["fingerprint"] or "-"
        yield "ends", f"{moment(fact['not_after'])}, {ends(fact, now)}"
    for name, field in (("renewal", "renew_at"), ("failed", "failed_at"), ("next try", "next_try")):
        if fact[field] is not None:
            yield name, f"{moment(fact[field])}, {until(fact[field], now)}"
    if fact["step"]:
        yield "now", fact["step"] + (f" ({fact['challenge']})" if fact["challenge"] else "")
    if fact["last_error"] and not is_advised(fact):
        yield "error", f"{fact['last_error']} ({fact['attempts']} failures in a row)"
    for advice in fact["advice"]:
        yield advice_word(fact), advice


def columns(lines: Iterator[tuple[str, str]]) -> Iterator[str]:
    """Pairs of a name and a text, the texts below each other."""
    found = list(lines)
    width = max((len(name) for name, _text in found), default=0)
    return (f"{name.ljust(width)}  {text}" for name, text in found)


def _lines(view: Mapping[str, Any], now: datetime) -> Iterator[str]:
    return columns(_pairs(view, now))


def _pairs(view: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    yield "name", view["name"]
    yield "serves", view["serves"] or "(routes of its own)"
    yield "certificate", view["certificate"]
    yield "https", view["https"]
    yield "status", view["status"]
    if view["fact"] is not None:
        yield from fact_lines(view["fact"], now)
    for record in view["records"]:
        yield "record", f"{record['name']} {record['type']} {record['value']} ({record['reason']})"
