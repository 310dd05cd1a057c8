"""A route in use: its counts go with it, and what is under way on an old form of it still counts somewhere."""

from __future__ import annotations

import msgspec

from mesh.core import Core
from mesh.routes import Delta, Snapshot
from tests.support.mesh_node import HOST, route_to


async def test_a_route_that_is_replaced_keeps_its_counts() -> None:
    """The successor counts on where the one before stopped."""
    route = route_to(1)
    core = Core(Snapshot(revision=1, routes=(route,)))
    live = core.find(HOST.encode(), b"/")
    assert live is not None
    live.counts.settled(200, 0, 5, 0.1, 0.1)
    core.apply(Delta(revision=2, put=(msgspec.structs.replace(route, retries=3),)))
    successor = core.find(HOST.encode(), b"/")
    assert successor is not None
    assert successor is not live
    assert successor.rules is not live.rules
    successor.counts.settled(200, 0, 5, 0.1, 0.1)
    live.counts.settled(404, 0, 5, 0.1, 0.1)
    reports = {report.route: report.statuses for report in core.ledger.take()}
    assert reports[route.key][2] == 2
    assert reports[None][4] == 1
    await core.close()
