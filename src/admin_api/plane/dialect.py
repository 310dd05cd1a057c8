"""The endpoints of Plane in one table (contracts/plane.md, and the native routes)."""

from __future__ import annotations

from admin_api.auth import Authenticator
from admin_api.dialect import Access, Dialect, Endpoint, Handler, Operation
from admin_api.plane import operations
from admin_api.plane.errors import render
from admin_api.plane.routes import Routes
from admin_api.plane.system import System


def plane(system: System, routes: Routes, authenticators: tuple[Authenticator, ...]) -> Dialect:
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
            _endpoint("POST /sync", "protected", system.sync, operations.SYNC),
            _endpoint("GET /metrics", "public", system.metrics, operations.METRICS),
            _endpoint("GET /openapi.json", "public", system.openapi, operations.OPENAPI),
            _endpoint("GET /routes", "protected", routes.list_routes, operations.LIST_ROUTES),
            _endpoint("GET /routes/{host}", "protected", routes.get_route, operations.GET_ROUTE),
            _endpoint("PUT /routes/{host}", "protected", routes.put_route, operations.PUT_ROUTE),
            _endpoint("DELETE /routes/{host}", "protected", routes.delete_route, operations.DELETE_ROUTE),
        ),
    )


def _endpoint(line: str, access: Access, handler: Handler, operation: Operation) -> Endpoint:
    method, path = line.split()
    return Endpoint(method=method, path=path, access=access, handler=handler, operation=operation)
