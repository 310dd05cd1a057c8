"""`zexio routes pause`, `stop`, `resume`, `drain`, `undrain`, `split`, `unsplit` and `stats`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from node.cli.client import AdminClient, Answer, connect
from node.cli.routes import path, target
from node.cli.table import size, table

if TYPE_CHECKING:
    from argparse import Namespace

# Shorter than what a proxy in front of the API lets an answer take.
_WAIT_S: Final = 20.0


def pause(options: Namespace) -> None:
    """Hold new requests."""
    _steer(options, "POST", "/pause", {} if options.hold is None else {"hold_s": options.hold})


def stop(options: Namespace) -> None:
    """Answer new requests with 503."""
    _steer(options, "POST", "/stop", {"message": options.message, "retry_after_s": options.retry_after})


def resume(options: Namespace) -> None:
    """Serve again."""
    _steer(options, "POST", "/resume", None)


def undrain(options: Namespace) -> None:
    """Give a target new requests again."""
    _steer(options, "POST", "/undrain", {"target": options.target})


def split(options: Namespace) -> None:
    """Send some requests to other targets."""
    by = "share" if options.share is not None else "header" if options.header else "cookie"
    _steer(
        options,
        "PUT",
        "/split",
        {
            "targets": [target(text) for text in options.targets],
            "by": by,
            "share": options.share or 0.0,
            "name": options.header or options.cookie or "",
            "values": options.value,
        },
    )


def unsplit(options: Namespace) -> None:
    """Send all requests to the route's own targets."""
    _steer(options, "DELETE", "/split", None)


def drain(options: Namespace) -> int:
    """Give a target no new requests, and wait for it to be empty; the exit code is 1 when that takes too long."""
    client = connect(options)
    end = time.monotonic() + options.wait
    with client.reading():
        state = client.call("POST", path(options, "/drain"), {"target": options.target}).json()["target"]
        while not state["empty"] and (left := end - time.monotonic()) > 0:
            state = _look(client, options, min(left, _WAIT_S))
        said = "is empty" if state["empty"] else f"is draining, {state['in_flight']} requests in flight"
        shown = json.dumps(state) if options.json else f"{state['target']} {said}"
    print(shown)
    return 1 if options.wait and not state["empty"] else 0


def stats(options: Namespace) -> None:
    """Print what the workers saw of a route."""
    client = connect(options)
    with client.reading():
        found = client.call("GET", path(options, "/stats")).json()
        shown = json.dumps(found, indent=2) if options.json else _figures(found)
    print(shown)


def _look(client: AdminClient, options: Namespace, wait_s: float) -> dict[str, Any]:
    query = {"target": options.target, "wait_s": f"{wait_s:.3f}"}
    state: dict[str, Any] = client.call("GET", path(options, "/drain", query), wait_s=wait_s).json()
    return state


def _steer(options: Namespace, method: str, rest: str, body: dict[str, Any] | None) -> None:
    client = connect(options)
    _show(client, client.call(method, path(options, rest), body), as_json=options.json)


def _show(client: AdminClient, answer: Answer, *, as_json: bool) -> None:
    with client.reading():
        route = answer.json()
        shown = json.dumps(route, indent=2) if as_json else _line(route)
    print(shown)


def _line(route: dict[str, Any]) -> str:
    """What becomes of requests for the route from now on."""
    traffic, name = route["traffic"], route["host"] + route["path_prefix"].rstrip("/")
    said = {
        "serve": "is served",
        "pause": f"is paused, each request held for up to {traffic['hold_s']:g} s",
        "stop": "is stopped, answered with 503",
    }[traffic["mode"]]
    targets = [*route["targets"], *(traffic["split"]["targets"] if traffic["split"] else ())]
    draining = dict.fromkeys(each["url"] for each in targets if each["draining"])
    return "; ".join(
        [
            f"{name} {said}",
            *([f"split {_split(traffic['split'])}"] if traffic["split"] else []),
            *([f"draining {' '.join(draining)}"] if draining else []),
        ]
    )


def _split(found: dict[str, Any]) -> str:
    urls = " ".join(each["url"] for each in found["targets"])
    if found["by"] == "share":
        return f"{found['share']:.0%} to {urls}"
    values = f" = {' or '.join(found['values'])}" if found["values"] else ""
    return f"{found['by']} {found['name']}{values} to {urls}"


def _figures(found: dict[str, Any]) -> str:
    statuses = ", ".join(f"{status} {number}" for status, number in found["statuses"].items())
    lines = [
        f"requests    {found['requests']}" + (f" ({statuses})" if statuses else ""),
        f"in flight   {found['in_flight']}",
        f"retries     {found['retries']}, rate limited {found['rate_limited']}",
        f"bytes       {size(found['bytes_received'])} received, {size(found['bytes_sent'])} sent",
        f"latency     {_times(found['latency_s'])}",
        f"first byte  {_times(found['first_byte_s'])}",
    ]
    heads = ("TARGET", "REQUESTS", "IN FLIGHT", "FAILURES", "STATE")
    rows = [
        (each["address"], each["requests"], each["in_flight"], each["failures"], _state(each))
        for each in found["targets"]
    ]
    if rows:
        lines += ["", "Each target, its figures for all routes that use the address, its state for this one:"]
        lines.append(table(heads, rows))
    return "\n".join(lines)


def _times(found: dict[str, float | None]) -> str:
    known = [f"{name} {value * 1000:.1f} ms" for name, value in found.items() if value is not None]
    return ", ".join(known) or "-"


def _state(found: dict[str, Any]) -> str:
    states = [name for name in ("draining", "ejected") if found[name]]
    # Ejected ones are not healthy either; down says that a health check found it so.
    return ", ".join(states) or ("up" if found["healthy"] else "down")
