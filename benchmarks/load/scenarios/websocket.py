"""WebSocket messages through every proxy, there and back: how many a CPU second carries."""

from __future__ import annotations

from benchmarks.load import background
from benchmarks.load.bench import Bench
from benchmarks.load.chat import Heard, Talk
from benchmarks.load.heads import ECHO_SITE
from benchmarks.load.measure import spending
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "nginx", "haproxy", "caddy")
IN_FLIGHT = (1, 16)


def run(bench: Bench) -> list[Row]:
    """64 connections with one message in flight on each, and with sixteen."""
    subjects = bench.installed(*SUBJECTS)
    for subject in subjects:
        bench.peer(subject)
    samples = [
        Sample(subject, f"{in_flight} in flight", index, _talk(bench, bench.peer(subject), in_flight))
        for index in range(bench.plan.rounds)
        for in_flight in IN_FLIGHT
        for subject in subjects
    ]
    ordered = sorted(samples, key=lambda each: int(each.variant.split()[0]))
    return fold("websocket", ordered, "messages_cpu_s", "nginx")


def _talk(bench: Bench, peer: Running, in_flight: int) -> dict[str, float]:
    order = Talk(port=peer.port, host=ECHO_SITE, seconds=bench.plan.messages_s, in_flight=in_flight)
    with spending(peer) as spent:
        heard = background.finish(background.start("chat", order), Heard)
    # Through the proxy goes the message and its echo.
    carried = spent.per(2 * heard.messages)
    return {
        "messages_s": 2 * heard.per_second,
        "messages_cpu_s": 2 * heard.messages / max(spent.all.total_s, 0.01),
        "message_us": carried["cpu_us"],
        "user_us": carried["user_us"],
        "system_us": carried["system_us"],
        "load_busy": heard.busy,
        "failed": heard.lost,
    }
