"""The endpoints of Plane in one table (contracts/plane.md, and the native routes)."""

from __future__ import annotations

from admin_api.auth import Authenticator
from admin_api.dialect import Access, Dialect, Endpoint, Handler, Operation
from admin_api.plane import operations
from admin_api.plane.errors import render
from admin_api.plane.inspection import Inspection
from admin_api.plane.routes import Routes
from admin_api.plane.system import System
from admin_api.plane.traffic import Traffic


def plane(
    system: System,
    routes: Routes,
    traffic: Traffic,
    inspection: Inspection,
    authenticators: tuple[Authenticator, ...],
) -> Dialect:
    """The dialect of the root paths."""
    return Dialect(
        name="plane",
        prefix="",
        authenticators=authenticators,
        render=render,
        any_origin=True,
        endpoints=(
            _endpoint("GET /health", "public", system.health, operations.HEALTH),
            _endpoint("GET /stats", "public", system.stats, operations.STATS),
            _endpoint("GET /stats/stream", "public", system.stats_stream, operations.STATS_STREAM),
            _endpoint("GET /system/logs", "public", system.logs, operations.LOGS),
            _endpoint("GET /system/logs/stream", "public", system.logs_stream, operations.LOGS_STREAM),
            _endpoint("GET /access/stream", "protected", system.access_stream, operations.ACCESS_STREAM),
            _endpoint("POST /sync", "protected", system.sync, operations.SYNC),
            _endpoint("GET /metrics", "public", system.metrics, operations.METRICS),
            _endpoint("GET /openapi.json", "public", system.openapi, operations.OPENAPI),
            _endpoint("GET /routes", "protected", routes.list_routes, operations.LIST_ROUTES),
            _endpoint("GET /routes/{host}", "protected", routes.get_route, operations.GET_ROUTE),
            _endpoint("PUT /routes/{host}", "protected", routes.put_route, operations.PUT_ROUTE),
            _endpoint("DELETE /routes/{host}", "protected", routes.delete_route, operations.DELETE_ROUTE),
            *_steering(traffic),
            _endpoint("POST /routes/{host}/inspection", "protected", inspection.begin, operations.INSPECT_ROUTE),
            _endpoint("DELETE /routes/{host}/inspection", "protected", inspection.end, operations.END_INSPECTION),
        ),
    )


def _steering(traffic: Traffic) -> tuple[Endpoint, ...]:
    return (
        _endpoint("POST /routes/{host}/pause", "protected", traffic.pause, operations.PAUSE_ROUTE),
        _endpoint("POST /routes/{host}/stop", "protected", traffic.stop, operations.STOP_ROUTE),
        _endpoint("POST /routes/{host}/resume", "protected", traffic.resume, operations.RESUME_ROUTE),
        _endpoint("POST /routes/{host}/drain", "protected", traffic.drain, operations.DRAIN_TARGET),
        _endpoint("GET /routes/{host}/drain", "protected", traffic.get_drain, operations.GET_DRAIN),
        _endpoint("POST /routes/{host}/undrain", "protected", traffic.undrain, operations.UNDRAIN_TARGET),
        _endpoint("PUT /routes/{host}/split", "protected", traffic.split, operations.SPLIT_ROUTE),
        _endpoint("DELETE /routes/{host}/split", "protected", traffic.unsplit, operations.UNSPLIT_ROUTE),
        _endpoint("GET /routes/{host}/stats", "protected", traffic.stats, operations.ROUTE_STATS),
    )


def _endpoint(line: str, access: Access, handler: Handler, operation: Operation) -> Endpoint:
    method, path = line.split()
    return Endpoint(method=method, path=path, access=access, handler=handler, operation=operation)
