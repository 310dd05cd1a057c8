"""A route that is paused while its only target is restarted: every request is answered, some of them later."""

from __future__ import annotations

import time

from benchmarks.load import background
from benchmarks.load.bench import Bench
from benchmarks.load.caller import Call, Called
from benchmarks.load.nginx import ANSWER
from benchmarks.load.outage import Mortal
from benchmarks.load.row import Row
from benchmarks.load.verdict import judged, met
from benchmarks.load.zexio import Shape

HOST = "paused.bench.test"
HOLD_S = 30.0
RATE = 200.0
BEFORE_S, IN_FLIGHT_S, DOWN_S, AFTER_S = 1.0, 0.2, 1.0, 2.0
# Whoever is held keeps a connection, so there must be one for every request of the pause.
CONNECTIONS = 1_000


def run(bench: Bench) -> list[Row]:
    """Pause, wait for what is in flight, kill, start again, resume."""
    if not bench.installed("zexio"):
        return []
    mortal = Mortal(bench)
    mortal.start()
    try:
        with bench.node(Shape(name="zexio paused", workers=2)) as node:
            node.admin.put_route(HOST, mortal.port)
            seconds = BEFORE_S + IN_FLIGHT_S + DOWN_S + AFTER_S
            order = Call(
                port=node.running.port,
                hosts=(HOST,),
                rate=RATE,
                seconds=seconds,
                answers=(ANSWER.decode(),),
                connections=CONNECTIONS,
            )
            with background.going_on("caller", order) as process:
                time.sleep(BEFORE_S)
                began = time.perf_counter()
                node.admin.pause(HOST, HOLD_S)
                time.sleep(IN_FLIGHT_S)
                mortal.kill()
                time.sleep(DOWN_S)
                mortal.start()
                node.admin.resume(HOST)
                paused = time.perf_counter() - began
                called = background.finish(process, Called)
    finally:
        mortal.stop()
    return [met(judged("pause", "zexio", "restart", {"paused_ms": paused * 1e3}, holds=True), called)]
