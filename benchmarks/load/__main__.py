"""Run the load benchmarks from the root of the repository: `python -m benchmarks.load [--quick] [--only NAME]`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks.load import machine, report
from benchmarks.load.bench import QUICK, Bench, Plan
from benchmarks.load.process import StartError
from benchmarks.load.row import Row
from benchmarks.load.scenarios import (
    aborts,
    attackers,
    body,
    certificates,
    change,
    churn,
    h2,
    handshakes,
    idle,
    killed,
    latency,
    pause,
    plain,
    routes,
    soak,
    tenant,
    tls,
    websocket,
    workers,
)

RESULTS = Path("benchmarks/results")
NEEDED = ("wrk", "nginx", "taskset")

SCENARIOS: dict[str, Callable[[Bench], list[Row]]] = {
    "plain": plain.run,
    "tls": tls.run,
    "handshakes": handshakes.run,
    "h2": h2.run,
    "websocket": websocket.run,
    "tenant": tenant.run,
    "routes": routes.run,
    "latency": latency.run,
    "workers": workers.run,
    "idle": idle.run,
    "body": body.run,
    "change": change.run,
    "aborts": aborts.run,
    "changes-under-load": churn.run,
    "certificates": certificates.run,
    "target-killed": killed.run,
    "pause": pause.run,
    "attackers": attackers.run,
}
# Not part of a run unless asked for.
LONG: dict[str, Callable[[Bench], list[Row]]] = {"soak": soak.run}


def main(argv: Sequence[str]) -> int:
    """Measure, print, save; 0, 1 when a proxy does not start, 2 when a program that is needed is missing."""
    options = _parse(argv)
    # Debian keeps servers where only root's PATH leads.
    os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        say(f"Not found: {', '.join(missing)}. The Debian packages are in benchmarks/debian-packages.txt.")
        return 2
    plan = QUICK if options.quick else Plan()
    if options.soak:
        plan, options.only = msgspec.structs.replace(plan, soak_s=options.soak), ["soak"]
    if options.rounds:
        plan = msgspec.structs.replace(plan, rounds=options.rounds)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    plan = msgspec.structs.replace(plan, skip=tuple(options.skip))
    about = machine.describe(" ".join(["python -m benchmarks.load", *argv]))
    try:
        rows = _measure(plan, options.only or list(SCENARIOS))
    except StartError as error:
        say(str(error))
        return 1
    finished = report.Report(machine=about, rows=tuple(rows))
    say(f"\n{report.goals_text(finished.goals)}")
    is_whole = not (options.quick or options.only or options.skip)
    paths = report.save(finished, RESULTS, "latest" if is_whole else "partial")
    say(f"\nSaved {', '.join(map(str, paths))}")
    return 0


def say(line: str) -> None:
    """Print at once, so that a long run can be followed."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="zexio and its peers side by side")
    parser.add_argument("--quick", action="store_true", help="one short round of everything, under a minute")
    parser.add_argument("--only", action="append", choices={**SCENARIOS, **LONG}, help="one scenario; may be repeated")
    parser.add_argument("--skip", action="append", default=[], help="leave a proxy out, caddy for example")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="mixed traffic for so long, and nothing else")
    parser.add_argument("--rounds", type=int, help="how often each peer is measured (3, with --quick 1)")
    return parser.parse_args(argv)


def _measure(plan: Plan, names: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="zexio-bench-") as folder, ExitStack() as stack:
        bench = Bench(plan, Path(folder), stack)
        bench.open()
        for name in names:
            began = time.monotonic()
            found = {**SCENARIOS, **LONG}[name](bench)
            rows += found
            shown = report.text(found) if found else "nothing to measure here"
            say(f"\n{name} ({time.monotonic() - began:.0f} s)\n{shown}")
    return rows


def _leave(number: int, _frame: object) -> None:
    # Once is enough: what follows ends every process that was started, and must not be interrupted.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
