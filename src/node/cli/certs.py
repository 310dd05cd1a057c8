"""`zexio certs`: list, show, renew, revoke, import and export certificates, and print the root to trust."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from node.cli.client import AdminClient, connect
from node.cli.domains import columns, fact_lines, note, pages
from node.cli.errors import CommandError
from node.cli.moments import ends, moment, until
from node.cli.progress import Story, is_hopeless, news, why_not
from node.cli.table import fitted, terminal_width
from state.private_files import create_private

if TYPE_CHECKING:
    from argparse import Namespace

INTERRUPTED: Final = 130

_PULSE_S: Final = 10.0
_TRUST: Final = """\
Put it into a file, zexio-root.crt for example, and have it trusted:
  Debian, Ubuntu  cp zexio-root.crt /usr/local/share/ca-certificates/ && update-ca-certificates
  Fedora, RHEL    cp zexio-root.crt /etc/pki/ca-trust/source/anchors/ && update-ca-trust
  Arch            trust anchor --store zexio-root.crt
  macOS           security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain zexio-root.crt
  Windows         certutil -addstore -f ROOT zexio-root.crt
  Firefox         Settings, Privacy & Security, View Certificates, Authorities, Import
  one curl        curl --cacert zexio-root.crt https://...
It can sign for internal names only: its name constraints allow no others."""


def ls(options: Namespace) -> None:
    """Print every certificate, and every name that wants one, in the order of the names."""
    client = connect(options)
    now = datetime.now(UTC)
    heads = ("NAME", "STATUS", "ISSUER", "ENDS", "RENEWAL", "NOTE")
    with client.reading():
        facts = list(pages(client, "certificates", {"q": options.query, "status": options.status}))
        rows = [_row(fact, now) for fact in facts]
    print(json.dumps(facts, indent=2) if options.json else fitted(heads, rows, (5, 2, 0), terminal_width()))


def show(options: Namespace) -> None:
    """Print all that is known of a certificate, and its chain."""
    client = connect(options)
    with client.reading():
        detail = client.call("GET", _path(options.name)).json()
        shown = json.dumps(detail, indent=2) if options.json else "\n".join(columns(_pairs(detail, datetime.now(UTC))))
    print(shown)


def renew(options: Namespace) -> int:
    """Obtain a new certificate now, and watch; 0 when there is one in time."""
    client = connect(options)
    story = Story(as_json=options.json)
    with client.reading():
        before = _fact(client, options.name)
        fact = client.call("POST", _path(options.name, "/renew")).json()
        story.say(f"a new certificate for {options.name} is wanted", {"certificate": fact})
    if options.no_wait:
        return 0
    try:
        with client.reading():
            _watch(client, story, options, before)
    except KeyboardInterrupt:
        print(f"\nthe node goes on; look again: zexio certs show '{options.name}'", file=sys.stderr)
        return INTERRUPTED
    return 0


def revoke(options: Namespace) -> None:
    """Have the issuer revoke a certificate."""
    client = connect(options)
    with client.reading():
        detail = client.call("POST", _path(options.name, "/revoke"), {"reason": options.reason}).json()
        name = detail["name"]
    print(json.dumps(detail, indent=2) if options.json else f"the certificate for {name} is revoked")


def bring(options: Namespace) -> None:
    """Serve a certificate that was obtained elsewhere."""
    pem = _text(options.file) + ("" if options.key is None else f"\n{_text(str(options.key))}")
    client = connect(options)
    with client.reading():
        detail = client.call("POST", "/certificates", {"pem": pem}).json()
        said = f"{detail['name']} has the certificate"
        if detail["not_after"] is not None:
            said += f" for {' '.join(detail['names'])}, valid until {moment(detail['not_after'])}"
    print(json.dumps(detail, indent=2) if options.json else said)


def rm(options: Namespace) -> None:
    """Serve an imported certificate no more."""
    connect(options).call("DELETE", _path(options.name))
    if options.json:
        print(json.dumps({"removed": options.name}))


def export(options: Namespace) -> None:
    """Print a certificate with its chain, or write it to a file."""
    client, path = connect(options), _path(options.name, "/pem")
    wish = {"name": options.name, "with_key": True}
    pem = (client.call("POST", path, wish) if options.with_key else client.call("GET", path)).body
    if options.out is not None:
        _write(options.out, pem)
    elif options.json:
        print(json.dumps({"pem": pem.decode()}))
    else:
        print(pem.decode(), end="")


def trust(options: Namespace) -> None:
    """Print the root of the internal authority; where systems want it goes to standard error."""
    pem = connect(options).call("GET", "/certificates/root").body.decode()
    if options.json:
        print(json.dumps({"pem": pem}))
        return
    print(pem, end="")
    print(_TRUST, file=sys.stderr)


def _watch(client: AdminClient, story: Story, options: Namespace, before: Mapping[str, Any]) -> None:
    """Return when there is another certificate than before; raises CommandError with the reason otherwise."""
    deadline = time.monotonic() + options.wait
    fact = before
    for seen in news(client, _path(options.name, "/events"), deadline, _PULSE_S):
        if seen is None:
            continue
        # What the renewal changes is reported a moment after it was asked for.
        if seen == {name: before[name] for name in seen}:
            continue
        fact = seen
        story.tell(fact)
        if fact["status"] == "active" and fact["fingerprint"] != before["fingerprint"]:
            return
        if is_hopeless(fact, deadline - time.monotonic(), datetime.now(UTC)):
            break
    raise CommandError(why_not(options.name, fact))


def _fact(client: AdminClient, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.call("GET", _path(name)).json()
    return found


def _path(name: str, rest: str = "") -> str:
    return f"/certificates/{quote(name, safe='*')}{rest}"


def _row(fact: Mapping[str, Any], now: datetime) -> tuple[object, ...]:
    renewal = until(fact["renew_at"] if fact["next_try"] is None else fact["next_try"], now)
    # Without a certificate nobody has issued it yet.
    issuer = fact["issuer"] or (fact["source"] if fact["not_after"] else None)
    return fact["name"], fact["status"], issuer, ends(fact, now), renewal, note(fact)


def _pairs(detail: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    yield "name", detail["name"]
    yield "status", detail["status"]
    yield from fact_lines(detail, now)
    yield "orders", f"{detail['orders']} in the last seven days"
    for link in detail["chain"]:
        yield "chain", f"{link['subject'] or '(no subject)'}, by {link['issuer']}, until {moment(link['not_after'])}"


def _text(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="ascii")
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}", 2) from None
    except ValueError:
        raise CommandError(f"{name} is not PEM, which is text", 2) from None


def _write(path: Path, pem: bytes) -> None:
    try:
        is_new = create_private(path, pem)
    except OSError as error:
        raise CommandError(f"--out: {path}: {error.strerror}") from None
    if not is_new:
        raise CommandError(f"--out: {path} exists already")
