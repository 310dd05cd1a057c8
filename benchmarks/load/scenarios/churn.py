"""Fifty route changes a second under load: no request fails, and no WebSocket is cut."""

from __future__ import annotations

import socket
import time

from benchmarks.load import background
from benchmarks.load.bench import OTHER_ANSWER, Bench, Node
from benchmarks.load.caller import Call, Called
from benchmarks.load.frames import FROM_VISITOR, TO_VISITOR, upgrade
from benchmarks.load.heads import ECHO_SITE, SITE
from benchmarks.load.nginx import ANSWER
from benchmarks.load.row import Row
from benchmarks.load.verdict import judged, met
from benchmarks.load.zexio import Admin, Shape

SCENARIO = "changes-under-load"
WORKERS = 2
CHANGES_PER_S = 50.0
# Reaching less than this share of the changes is no proof.
ENOUGH = 0.95
RATE = 1_000.0
MOVING = "moving.bench.test"
SOCKETS = 50


def run(bench: Bench) -> list[Row]:
    """The routes under load move between targets, others come and go; nobody who is connected may notice."""
    if not bench.installed("zexio"):
        return []
    with bench.node(Shape(name="zexio churn", workers=WORKERS)) as node:
        node.admin.put_route(MOVING, bench.origin_port)
        sockets = [_websocket(node.running.port) for _ in range(SOCKETS)]
        order = Call(
            port=node.running.port,
            hosts=(SITE, MOVING),
            rate=RATE,
            seconds=bench.plan.churn_s,
            answers=(ANSWER.decode(), OTHER_ANSWER),
        )
        with background.going_on("caller", order) as process:
            changes, seconds = _change(bench, node)
            called = background.finish(process, Called)
        cut = sum(not _echoes(each) for each in sockets)
    values = {"changes": changes, "changes_s": changes / seconds, "cut": cut}
    holds = cut == 0 and changes / seconds >= ENOUGH * CHANGES_PER_S
    return [met(judged(SCENARIO, "zexio", f"{bench.plan.churn_s:g} s", values, holds=holds), called)]


def _change(bench: Bench, node: Node) -> tuple[int, float]:
    """How many changes were made, in how many seconds."""
    began, number = time.perf_counter(), 0
    while (now := time.perf_counter()) < began + bench.plan.churn_s:
        _one_change(node.admin, number, (bench.origin_port, bench.other_port))
        number += 1
        time.sleep(max(0.0, began + number / CHANGES_PER_S - time.perf_counter()))
    return number, now - began


def _one_change(admin: Admin, number: int, ports: tuple[int, int]) -> None:
    turn, kind = divmod(number, 4)
    if kind == 0:
        admin.put_route(MOVING, ports[turn % 2])
    elif kind == 1:
        admin.put_route(f"guest-{turn}.bench.test", ports[0])
    elif kind == 2:
        admin.put_route(SITE, ports[turn % 2])
    else:
        admin.remove_route(f"guest-{turn}.bench.test")


def _websocket(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10.0)
    connection.sendall(upgrade(ECHO_SITE))
    got = connection.recv(4096)
    if not got.startswith(b"HTTP/1.1 101"):
        raise ConnectionError(f"no WebSocket: {got[:300]!r}")
    return connection


def _echoes(connection: socket.socket) -> bool:
    """Whether a WebSocket still carries a message there and back; closes it."""
    try:
        with connection:
            connection.sendall(FROM_VISITOR)
            return connection.recv(4096) == TO_VISITOR
    except OSError:
        return False
