"""A target that is killed and started again under load, one of two: no visitor may notice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from benchmarks.load import background
from benchmarks.load.bench import Bench
from benchmarks.load.caller import Call, Called
from benchmarks.load.heads import SITE
from benchmarks.load.nginx import ANSWER
from benchmarks.load.outage import Mortal
from benchmarks.load.peers import PEERS
from benchmarks.load.row import Row
from benchmarks.load.verdict import judged, met
from benchmarks.load.zexio import Shape

SUBJECTS = ("zexio", "nginx", "haproxy", "caddy")
SCENARIO = "target-killed"
HOST = "killed.bench.test"
RATE = 1_000.0
UP_S, DOWN_S = 1.5, 1.5


def run(bench: Bench) -> list[Row]:
    """GETs at 1,000 a second to two targets, of which one dies again and again with the requests it holds."""
    rows = []
    mortal, lasting = Mortal(bench), Mortal(bench)
    lasting.start()
    try:
        for subject in bench.installed(*SUBJECTS):
            mortal.start()
            with _peer(bench, subject, (lasting.port, mortal.port)) as (port, host):
                called = _load(port, host, mortal, bench.plan.kills)
            row = judged(SCENARIO, subject, f"{bench.plan.kills} times", {"kills": bench.plan.kills}, holds=True)
            rows.append(met(row, called))
            mortal.stop()
    finally:
        mortal.stop()
        lasting.stop()
    return rows


@contextmanager
def _peer(bench: Bench, subject: str, ports: tuple[int, int]) -> Iterator[tuple[int, str]]:
    """The port and the host of a peer that spreads requests over two targets."""
    if subject == "zexio":
        with bench.node(Shape(name="zexio two targets")) as node:
            # A target that was ejected gets its next chance within the time that it is down.
            node.admin.put_route(HOST, *ports, retries=1, ejection={"base_s": 1})
            yield node.running.port, HOST
        return
    front = msgspec.structs.replace(bench.front(), sites={**bench.sites, SITE: ports[0]}, second=ports[1])
    with bench.other(PEERS[subject](front)) as peer:
        yield peer.port, SITE


def _load(port: int, host: str, mortal: Mortal, kills: int) -> Called:
    seconds = kills * (UP_S + DOWN_S) + UP_S
    order = Call(port=port, hosts=(host,), rate=RATE, seconds=seconds, answers=(ANSWER.decode(),))
    with background.going_on("caller", order) as process:
        for _ in range(kills):
            time.sleep(UP_S)
            mortal.kill()
            time.sleep(DOWN_S)
            mortal.start()
        return background.finish(process, Called)
