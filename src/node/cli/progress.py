"""Follows a certificate until there is one, and says what happens when, and what is to be changed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from node.cli.client import AdminClient
from node.cli.errors import CommandError
from node.cli.moments import moment

Fact: TypeAlias = Mapping[str, Any]

_INDENT: Final = " " * 9


class Story:
    """What happened since it began, one line for each thing, with the seconds that had passed."""

    def __init__(self, *, as_json: bool) -> None:
        """As JSON there is an object per line, and no advice twice either."""
        self._as_json = as_json
        self._began = time.monotonic()
        self._last = ""
        self._advised: set[str] = set()

    def say(self, text: str, value: Mapping[str, object]) -> None:
        """Print a line, or in its place a value with the seconds."""
        elapsed = time.monotonic() - self._began
        if self._as_json:
            print(json.dumps({"elapsed_s": round(elapsed, 3), **value}), flush=True)
        else:
            print(f"{elapsed:6.1f} s {text}", flush=True)

    def hint(self, text: str) -> None:
        """Print more about the line before."""
        if not self._as_json:
            print(f"{_INDENT}{text}", flush=True)

    def tell(self, fact: Fact) -> None:
        """Say how a certificate does, if that is something new."""
        line = _line(fact)
        if line != self._last:
            self._last = line
            self.say(line, {"certificate": fact})
        for advice in fact["advice"]:
            if advice not in self._advised:
                self._advised.add(advice)
                self.hint(f"{advice_word(fact)}: {advice}")


def news(client: AdminClient, path: str, deadline: float, pulse_s: float) -> Iterator[Any]:
    """What the stream at `path` says, until the deadline; None when it said nothing for `pulse_s` seconds.

    Raises CommandError when the stream ends before.
    """
    arrived: SimpleQueue[bytes | CommandError] = SimpleQueue()
    # Nothing has to be put in order when the command ends, so nobody waits for it.
    threading.Thread(target=_read, args=(client, path, arrived.put), daemon=True).start()
    while (left := deadline - time.monotonic()) > 0:
        try:
            data = arrived.get(timeout=min(left, pulse_s))
        except Empty:
            yield None
            continue
        if isinstance(data, CommandError):
            raise data
        with client.reading():
            value = json.loads(data)
            is_over = value.get("status") == "removed"
        if is_over:
            raise CommandError(f"{value.get('name')} was removed meanwhile")
        yield value


def is_hopeless(fact: Fact, seconds: float, now: datetime) -> bool:
    """Whether nothing will happen in the next `seconds`, unless the customer can do something."""
    if fact["advice"] or fact["next_try"] is None:
        return False
    return datetime.fromisoformat(fact["next_try"]) - now > timedelta(seconds=seconds)


def is_advised(fact: Fact) -> bool:
    """Whether what went wrong is what the customer is told to change."""
    return fact["last_error"] in fact["advice"]


def advice_word(fact: Fact) -> str:
    """What stands before advice: it is to be followed, or only good to know."""
    return "to do" if is_advised(fact) else "note"


def why_not(name: str, fact: Fact | None) -> str:
    """Why there is no certificate for `name`, or none yet."""
    if fact is None:
        return f"nothing is known of a certificate for {name} yet"
    reason = fact["last_error"] or next(iter(fact["advice"]), None) or fact["step"] or "it waits for its turn"
    again = f"; the next try is at {moment(fact['next_try'])}" if fact["next_try"] else ""
    return f"there is no new certificate for {name} yet: {reason}{again}"


def _line(fact: Fact) -> str:
    if fact["step"]:
        return f"{fact['step']} ({fact['challenge']})" if fact["challenge"] else str(fact["step"])
    again = f"; next try at {moment(fact['next_try'])}" if fact["next_try"] else ""
    if fact["status"] == "active" and fact["attempts"]:
        return f"not renewed: {fact['last_error']}{again}"
    if fact["status"] == "active" and fact["source"] == "imported":
        return f"there is an imported certificate, valid until {moment(fact['not_after'])}"
    if fact["status"] == "active":
        return f"there is a certificate of {fact['issuer'] or fact['source']}, valid until {moment(fact['not_after'])}"
    if fact["status"] == "failing":
        # What is to be done is told beside it.
        return f"{'its records stand in the way' if is_advised(fact) else fact['last_error']}{again}"
    return f"{fact['status']}{again}"


def _read(client: AdminClient, path: str, put: Callable[[bytes | CommandError], None]) -> None:
    try:
        for data in client.events(path):
            put(data)
    except CommandError as error:
        put(error)
    else:
        put(CommandError("the node has ended"))
