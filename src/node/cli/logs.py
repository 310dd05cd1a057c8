"""`zexio logs`: what the node says about itself, and with `-f` who comes and what becomes of it, as it happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from node.cli.client import AdminClient, connect
from node.cli.errors import CommandError

if TYPE_CHECKING:
    from argparse import Namespace

_SLOWEST_SHOWN_MS: Final = 10_000


def logs(options: Namespace) -> None:
    """Print the newest lines of the node's log; with `follow` go on with new ones and with every exchange.

    With a host only exchanges are printed: those for this host, or of the routes that have it.
    """
    if options.host and not options.follow:
        raise CommandError("logs: --host names whose exchanges to show as they come, and needs -f", 2)
    client = connect(options)
    write = _as_json if options.json else _as_text
    if not options.follow:
        with client.reading():
            for entry in client.call("GET", f"/system/logs?{urlencode({'limit': options.lines})}").json():
                write(entry)
        return
    exchanges = f"/access/stream?{urlencode({'host': options.host})}" if options.host else "/access/stream"
    own = [] if options.host else [f"/system/logs/stream?{urlencode({'limit': options.lines})}"]
    for entry in _together(client, [*own, exchanges]):
        with client.reading():
            write(entry)


def entry_line(entry: dict[str, Any]) -> str:
    """A line of the node's log, or an exchange, for people."""
    if "message" in entry:
        return f"{entry['timestamp']} {entry['level']:<5} {_printable(entry['message'])}"
    if "dropped" in entry:
        return f"({entry['dropped']} more were left out)"
    place = f"{entry['scheme']}://{entry['host']}{entry['target']}" if entry["host"] else "-"
    line = (
        f"{entry['status']} {entry['method'] or '-'} {place} "
        f"{_duration(entry['duration_s'])} {entry['sent']} B {entry['peer']} -> {entry['upstream'] or '-'}"
    )
    return _printable(f"{line}: {entry['cause']}, {entry['detail']}" if entry["cause"] else line)


def _duration(seconds: float) -> str:
    milliseconds = seconds * 1000
    return f"{seconds:.1f} s" if milliseconds >= _SLOWEST_SHOWN_MS else f"{milliseconds:.1f} ms"


def _printable(text: str) -> str:
    # What visitors send must not move the cursor of whoever watches.
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _as_text(entry: dict[str, Any]) -> None:
    print(entry_line(entry), flush=True)


def _as_json(entry: dict[str, Any]) -> None:
    print(json.dumps(entry), flush=True)


def _together(client: AdminClient, paths: list[str]) -> Iterator[dict[str, Any]]:
    """The entries of several streams as they come; raises CommandError when one of them ends."""
    arrived: SimpleQueue[bytes | CommandError] = SimpleQueue()
    for path in paths:
        # Nothing has to be put in order when the command is interrupted, so nobody waits for these.
        threading.Thread(target=_read, args=(client, path, arrived.put), daemon=True).start()
    while True:
        data = arrived.get()
        if isinstance(data, CommandError):
            raise data
        with client.reading():
            entry = json.loads(data)
        yield entry


def _read(client: AdminClient, path: str, put: Callable[[bytes | CommandError], None]) -> None:
    try:
        for data in client.events(path):
            put(data)
    except CommandError as error:
        put(error)
    else:
        put(CommandError("the node has ended"))
