"""The endpoints of Plane in one table (contracts/plane.md, and the native routes)."""

from __future__ import annotations

import msgspec

from admin_api.auth import Authenticator
from admin_api.dialect import Access, Dialect, Endpoint, Handler, Operation
from admin_api.plane import domain_operations, operations
from admin_api.plane.certificates import Certificates
from admin_api.plane.domains import Domains
from admin_api.plane.errors import render
from admin_api.plane.inspection import Inspection
from admin_api.plane.projects import Projects
from admin_api.plane.routes import Routes
from admin_api.plane.system import System
from admin_api.plane.traffic import Traffic


class Parts(msgspec.Struct, frozen=True):
    """Whoever answers."""

    system: System
    routes: Routes
    traffic: Traffic
    inspection: Inspection
    domains: Domains
    certificates: Certificates
    projects: Projects


def plane(parts: Parts, authenticators: tuple[Authenticator, ...]) -> Dialect:
    """The dialect of the root paths."""
    return Dialect(
        name="plane",
        prefix="",
        authenticators=authenticators,
        render=render,
        any_origin=True,
        endpoints=(
            *_node(parts.system),
            *_routes(parts.routes),
            *_steering(parts.traffic),
            _endpoint("POST /routes/{host}/inspection", "protected", parts.inspection.begin, operations.INSPECT_ROUTE),
            _endpoint("DELETE /routes/{host}/inspection", "protected", parts.inspection.end, operations.END_INSPECTION),
            *_domains(parts.domains),
            *_certificates(parts.certificates),
            *_projects(parts.projects),
        ),
    )


def _node(system: System) -> tuple[Endpoint, ...]:
    return (
        _endpoint("GET /health", "public", system.health, operations.HEALTH),
        _endpoint("GET /stats", "public", system.stats, operations.STATS),
        _endpoint("GET /stats/stream", "public", system.stats_stream, operations.STATS_STREAM),
        _endpoint("GET /system/logs", "public", system.logs, operations.LOGS),
        _endpoint("GET /system/logs/stream", "public", system.logs_stream, operations.LOGS_STREAM),
        _endpoint("GET /access/stream", "protected", system.access_stream, operations.ACCESS_STREAM),
        _endpoint("POST /sync", "protected", system.sync, operations.SYNC),
        _endpoint("GET /metrics", "public", system.metrics, operations.METRICS),
        _endpoint("GET /openapi.json", "public", system.openapi, operations.OPENAPI),
    )


def _routes(routes: Routes) -> tuple[Endpoint, ...]:
    return (
        _endpoint("GET /routes", "protected", routes.list_routes, operations.LIST_ROUTES),
        _endpoint("GET /routes/{host}", "protected", routes.get_route, operations.GET_ROUTE),
        _endpoint("PUT /routes/{host}", "protected", routes.put_route, operations.PUT_ROUTE),
        _endpoint("DELETE /routes/{host}", "protected", routes.delete_route, operations.DELETE_ROUTE),
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


def _domains(domains: Domains) -> tuple[Endpoint, ...]:
    said = domain_operations
    return (
        _endpoint("GET /domains", "protected", domains.list_domains, said.LIST_DOMAINS),
        _endpoint("GET /domains/{name}", "protected", domains.get_domain, said.GET_DOMAIN),
        _endpoint("PUT /domains/{name}", "protected", domains.put_domain, said.PUT_DOMAIN),
        _endpoint("DELETE /domains/{name}", "protected", domains.delete_domain, said.DELETE_DOMAIN),
        _endpoint("GET /domains/{name}/check", "protected", domains.check_domain, said.CHECK_DOMAIN),
        _endpoint("GET /domains/{name}/events", "protected", domains.follow_domain, said.FOLLOW_DOMAIN),
    )


def _certificates(certificates: Certificates) -> tuple[Endpoint, ...]:
    said = domain_operations
    return (
        _endpoint("GET /certificates", "protected", certificates.list_certificates, said.LIST_CERTIFICATES),
        _endpoint("POST /certificates", "protected", certificates.import_pem, said.IMPORT_CERTIFICATE),
        # No domain is called so: a name with a single label has no certificate here.
        _endpoint("GET /certificates/root", "protected", certificates.root_pem, said.ROOT_CERTIFICATE),
        _endpoint("GET /certificates/{name}", "protected", certificates.get_certificate, said.GET_CERTIFICATE),
        _endpoint("DELETE /certificates/{name}", "protected", certificates.remove, said.REMOVE_CERTIFICATE),
        _endpoint("GET /certificates/{name}/pem", "protected", certificates.export_chain, said.EXPORT_CHAIN),
        _endpoint("POST /certificates/{name}/pem", "protected", certificates.export_pem, said.EXPORT_CERTIFICATE),
        _endpoint(
            "GET /certificates/{name}/events", "protected", certificates.follow_certificate, said.FOLLOW_CERTIFICATE
        ),
        _endpoint("POST /certificates/{name}/renew", "protected", certificates.renew, said.RENEW_CERTIFICATE),
        _endpoint("POST /certificates/{name}/revoke", "protected", certificates.revoke, said.REVOKE_CERTIFICATE),
    )


def _projects(projects: Projects) -> tuple[Endpoint, ...]:
    said = domain_operations
    return (
        _endpoint("POST /projects/{id}/domains", "protected", projects.add_domain, said.ADD_PROJECT_DOMAIN),
        _endpoint("DELETE /projects/{id}/domains", "protected", projects.remove_domain, said.REMOVE_PROJECT_DOMAIN),
    )


def _endpoint(line: str, access: Access, handler: Handler, operation: Operation) -> Endpoint:
    method, path = line.split()
    return Endpoint(method=method, path=path, access=access, handler=handler, operation=operation)
