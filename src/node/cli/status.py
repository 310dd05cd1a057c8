"""`zexio status`: how the node is, on one screen."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from node.cli.client import AdminClient, connect
from node.cli.table import size

if TYPE_CHECKING:
    from argparse import Namespace

_SAMPLE: Final = re.compile(r'(?P<name>\w+)(?:\{\w+="(?P<label>[^"]*)"\})? (?P<value>\S+)')


def status(options: Namespace) -> int:
    """Print how the node is; the exit code is 1 when no worker serves."""
    client = connect(options)
    with client.reading():
        found = _ask(client)
        lines = _lines(found, options.admin)
    print(json.dumps(found, indent=2) if options.json else "\n".join(lines))
    return 0 if any(worker["ready"] for worker in found["workers"]) else 1


def samples(text: str) -> dict[str, dict[str, float]]:
    """The values in the Prometheus text format by metric and label; "" is the label of a metric without one."""
    values: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        found = _SAMPLE.fullmatch(line)
        if found:
            values.setdefault(found["name"], {})[found["label"] or ""] = float(found["value"])
    return values


def _ask(client: AdminClient) -> dict[str, Any]:
    stats = client.call("GET", "/stats").json()
    metrics = samples(client.call("GET", "/metrics").body.decode())

    def count(name: str) -> int:
        return int(metrics.get(name, {}).get("", 0))

    return {
        "version": next(iter(metrics.get("zexio_build_info", {})), ""),
        "compiled": bool(count("zexio_compiled")),
        "revision": count("zexio_desired_revision"),
        "routes": count("zexio_routes"),
        "workers": [
            {
                "index": int(index),
                "ready": bool(ready),
                "restarts": int(metrics["zexio_worker_restarts_total"][index]),
                "revision": int(metrics["zexio_worker_revision"][index]),
            }
            for index, ready in metrics.get("zexio_worker_ready", {}).items()
        ],
        "certificates": {name: int(number) for name, number in metrics.get("zexio_certificates", {}).items()},
        "targets": {"known": count("zexio_targets"), "down": count("zexio_targets_down")},
        "requests": {status: int(number) for status, number in metrics.get("zexio_requests_total", {}).items()},
        "in_flight": count("zexio_requests_in_flight"),
        "connections": count("zexio_connections"),
        "stats": stats,
    }


def _lines(found: dict[str, Any], admin: str) -> list[str]:
    stats, workers, requests, targets = found["stats"], found["workers"], found["requests"], found["targets"]
    ready = sum(worker["ready"] for worker in workers)
    behind = sum(worker["ready"] and worker["revision"] < found["revision"] for worker in workers)
    restarts = sum(worker["restarts"] for worker in workers)
    certificates = ", ".join(f"{number} {name}" for name, number in found["certificates"].items() if number)
    by_status = ", ".join(f"{status} {number}" for status, number in requests.items())
    return [
        f"zexio {found['version']}{' compiled' if found['compiled'] else ''} at {admin}",
        f"routes    {found['routes']} (revision {found['revision']})",
        f"workers   {ready} of {len(workers)} serving, {restarts} restarts" + (f", {behind} behind" if behind else ""),
        f"targets   {targets['known']} known, {targets['down']} down",
        f"certs     {certificates or 'none'}",
        f"requests  {sum(requests.values())}" + (f" ({by_status})" if by_status else ""),
        f"visitors  {found['connections']} connections, {found['in_flight']} requests in flight",
        f"cpu       {stats['cpu_usage']} %",
        f"memory    {size(stats['memory_used'])} of {size(stats['memory_total'])} ({stats['memory_percent']} %)",
        f"disk      {size(stats['disk_used'])} of {size(stats['disk_total'])} ({stats['disk_percent']} %)",
    ]
