"""`zexio domains add`: a domain, and what becomes of it until HTTPS answers."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from node.cli.client import AdminClient, NodeError, connect
from node.cli.domains import path
from node.cli.errors import CommandError
from node.cli.handshake import prove
from node.cli.progress import Story, is_hopeless, news, why_not

if TYPE_CHECKING:
    from argparse import Namespace

INTERRUPTED: Final = 130

_TRIES: Final = 3
_NO_TARGET: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
# So often the records of a name that waits for them are looked up, so that a change of them is not waited for.
_PULSE_S: Final = 5.0


def add(options: Namespace) -> int:
    """Add a domain, or change what the options say of one, and watch it; 0 when HTTPS answers in time."""
    client = connect(options)
    with client.reading():
        view = _put(client, options)
    story = Story(as_json=options.json)
    with client.reading():
        _introduce(story, view)
    if options.no_wait or view["certificate"] == "off":
        return 0
    try:
        with client.reading():
            _watch(client, story, options)
    except KeyboardInterrupt:
        print(f"\n{_remark(options.name)}", file=sys.stderr)
        return INTERRUPTED
    except CommandError as error:
        raise CommandError(f"{error}\n{_remark(options.name)}") from None
    return 0


def _put(client: AdminClient, options: Namespace) -> dict[str, Any]:
    """The domain as it is wanted; what the options do not name stays as it is."""
    if options.project is not None:
        client.call("POST", f"/projects/{quote(options.project, safe='')}/domains", {"domain": options.name})
    said = {"serves": options.to, "https": options.https, "certificate": options.certificate}
    told = {name: value for name, value in said.items() if value is not None}
    tries = _TRIES
    while True:
        known = _known(client, options)
        if known and all(known[name] == value for name, value in told.items()):
            return known
        guard = {"If-Match": f'"{known["revision"]}"'} if known else {"If-None-Match": "*"}
        tries -= 1
        try:
            view: dict[str, Any] = client.call("PUT", path(options.name), {**known, **told}, guard).json()
        except NodeError as error:
            if error.status != HTTPStatus.PRECONDITION_FAILED or not tries:
                raise
        else:
            return view


def _known(client: AdminClient, options: Namespace) -> dict[str, Any]:
    """The domain as it is; nothing when there is none."""
    try:
        found: dict[str, Any] = client.call("GET", path(options.name)).json()
    except NodeError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return {}
    return found


def _introduce(story: Story, view: dict[str, Any]) -> None:
    answers = f"answers as {view['serves']} does" if view["serves"] else "answers by routes of its own"
    story.say(f"{view['name']} {answers}", {"domain": view})
    if view["status"] != "active":
        for record in view["records"]:
            story.hint(f"it needs: {record['name']} {record['type']} {record['value']}")


def _watch(client: AdminClient, story: Story, options: Namespace) -> None:
    """Return when HTTPS answers; raises CommandError with the reason when it does not in time."""
    deadline = time.monotonic() + options.wait
    fact: dict[str, Any] | None = None
    for view in news(client, path(options.name, "/events"), deadline, _PULSE_S):
        if view is None:
            _look_up(client, options.name, fact)
            continue
        fact = view["fact"]
        if fact is None:
            continue
        story.tell(fact)
        if fact["status"] == "active":
            _visit(client, story, view)
            return
        if is_hopeless(fact, deadline - time.monotonic(), datetime.now(UTC)):
            break
    raise CommandError(why_not(options.name, fact))


def _look_up(client: AdminClient, name: str, fact: dict[str, Any] | None) -> None:
    if fact is not None and fact["advice"]:
        # The node goes on at once when nothing stands in the way any more; what does is told by the events.
        with suppress(CommandError):
            client.call("GET", path(name, "/check"))


def _visit(client: AdminClient, story: Story, view: dict[str, Any]) -> None:
    listeners = view["tls_listen"]
    if listeners is None:
        return
    if not listeners:
        raise CommandError("there is a certificate, but the node listens nowhere for TLS: set mesh.tls_listen")
    visit = prove(listeners, client.host, view["name"], view["fact"]["fingerprint"])
    story.say(f"HTTPS answers at {visit.address} with {visit.status}", {"https": visit._asdict()})
    story.hint(f"issued by {visit.issuer}" + ("" if visit.is_trusted else ", whom this machine does not trust"))
    if visit.status in _NO_TARGET:
        story.hint("the certificate works; what is behind it does not")
    if visit.status == HTTPStatus.NOT_FOUND and view["serves"] is None:
        story.hint(f"to do: zexio routes set {view['name']} TARGET, or zexio domains add {view['name']} --to HOST")


def _remark(name: str) -> str:
    return f"the domain stays, and the node goes on; look again: zexio domains show '{name}'"
