"""Slow and greedy visitors: they are cut off at the limits, and the others wait at most twice as long meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.load import background, nginx, pace
from benchmarks.load.attack import Attack, Held, Kind
from benchmarks.load.bench import Bench
from benchmarks.load.heads import SITE
from benchmarks.load.pace import Pace, Paced
from benchmarks.load.row import Row
from benchmarks.load.verdict import judged
from benchmarks.load.zexio import Shape

SUBJECTS = ("zexio", "nginx")
# Each with as many connections as it tries to hold; a flood wants far more than one address may have.
KINDS: tuple[tuple[Kind, int], ...] = (("slow head", 200), ("slow body", 200), ("slow read", 200), ("flood", 3_000))
# The defaults are 10 to 60 seconds, which would only make the benchmark longer.
LIMIT_S = 2
MOST_PER_ADDRESS = 500
SETTINGS = {
    "head_timeout_s": LIMIT_S,
    "body_idle_s": LIMIT_S,
    "idle_timeout_s": LIMIT_S,
    "max_connections_per_address": MOST_PER_ADDRESS,
}
NGINX_SETTINGS = f"""
  client_header_timeout {LIMIT_S}s;
  client_body_timeout {LIMIT_S}s;
  send_timeout {LIMIT_S}s;
  limit_conn_zone $binary_remote_addr zone=address:1m;
  limit_conn address {MOST_PER_ADDRESS};
"""
# What the limits are checked with: a tick, the attacker's own clock, and a busy machine.
GRACE_S = 1.5
# The visitors come when the attack is under way, and leave before it ends.
UNDER_WAY_S = 0.7
VISITORS_PER_S = 1_000.0
MOST_TIMES_P99 = 2.0


def run(bench: Bench) -> list[Row]:
    """In turn without and with an attack, round after round."""
    rows: list[Row] = []
    for subject in bench.installed(*SUBJECTS):
        with _peer(bench, subject) as port:
            rows += _attacked(bench, subject, port)
    return rows


@contextmanager
def _peer(bench: Bench, subject: str) -> Iterator[int]:
    if subject == "zexio":
        with bench.node(Shape(name="zexio attacked", mesh=SETTINGS)) as node:
            yield node.running.port
        return
    with bench.other(nginx.proxy("nginx attacked", bench.front(), settings=NGINX_SETTINGS)) as peer:
        yield peer.port


def _attacked(bench: Bench, subject: str, port: int) -> list[Row]:
    quiet: list[Paced] = []
    meanwhile: dict[Kind, list[tuple[Paced, Held]]] = {kind: [] for kind, _ in KINDS}
    for _ in range(bench.plan.attack_rounds):
        for kind, count in KINDS:
            attack = Attack(kind=kind, port=port, connections=count, seconds=bench.plan.attack_s)
            quiet.append(_visit(attack))
            with background.going_on("attack", attack) as process:
                time.sleep(UNDER_WAY_S)
                meanwhile[kind].append((_visit(attack), background.finish(process, Held)))
    # There is one peace for all attacks: p99 of a few seconds moves too much to judge by a single one.
    peace = median(each.scheduled_p99_ms for each in quiet)
    return [_judge(subject, kind, peace, rounds) for kind, rounds in meanwhile.items()]


def _judge(subject: str, kind: Kind, peace: float, rounds: list[tuple[Paced, Held]]) -> Row:
    p99 = median(seen.scheduled_p99_ms for seen, _ in rounds)
    longest = max(held.longest_s for _, held in rounds)
    failed = sum(seen.wanted - seen.answered for seen, _ in rounds)
    values = {
        "quiet_p99_ms": peace,
        "p99_ms": p99,
        "times_p99": p99 / peace,
        "attackers": sum(held.opened for _, held in rounds),
        "cut_off": sum(held.cut for _, held in rounds),
        "refused": sum(held.refused for _, held in rounds),
        "at_once": max(held.most_at_once for _, held in rounds),
        "longest_s": longest,
        "failed": failed,
    }
    holds = p99 <= MOST_TIMES_P99 * peace and longest <= LIMIT_S + GRACE_S and not failed
    return judged("attackers", subject, kind, values, holds=holds)


def _visit(attack: Attack) -> Paced:
    seconds = attack.seconds - 2 * UNDER_WAY_S
    return pace.finish(pace.start(Pace(port=attack.port, host=SITE, rate=VISITORS_PER_S, seconds=seconds)))
