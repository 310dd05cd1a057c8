"""The table of Plane's endpoints, held against the contract."""

from __future__ import annotations

from admin_api.app import STREAMS
from admin_api.switchboard import SWITCHBOARD
from tests.admin_api.served import Served

# contracts/plane.md, rows 1 to 3, 6, 7, 12, 13 and 23; the rest is our own.
CONTRACT = {
    ("GET", "/health"): "public",
    ("GET", "/stats"): "public",
    ("GET", "/stats/stream"): "public",
    ("GET", "/system/logs"): "public",
    ("GET", "/system/logs/stream"): "public",
    ("GET", "/access/stream"): "protected",
    ("POST", "/sync"): "protected",
    ("GET", "/metrics"): "public",
    ("GET", "/openapi.json"): "public",
    ("GET", "/routes"): "protected",
    ("GET", "/routes/{host}"): "protected",
    ("PUT", "/routes/{host}"): "protected",
    ("DELETE", "/routes/{host}"): "protected",
    ("POST", "/routes/{host}/pause"): "protected",
    ("POST", "/routes/{host}/stop"): "protected",
    ("POST", "/routes/{host}/resume"): "protected",
    ("POST", "/routes/{host}/drain"): "protected",
    ("GET", "/routes/{host}/drain"): "protected",
    ("POST", "/routes/{host}/undrain"): "protected",
    ("PUT", "/routes/{host}/split"): "protected",
    ("DELETE", "/routes/{host}/split"): "protected",
    ("GET", "/routes/{host}/stats"): "protected",
    ("POST", "/routes/{host}/inspection"): "protected",
    ("DELETE", "/routes/{host}/inspection"): "protected",
    ("GET", "/domains"): "protected",
    ("GET", "/domains/{name}"): "protected",
    ("PUT", "/domains/{name}"): "protected",
    ("DELETE", "/domains/{name}"): "protected",
    ("GET", "/domains/{name}/check"): "protected",
    ("GET", "/domains/{name}/events"): "protected",
    ("GET", "/certificates"): "protected",
    ("POST", "/certificates"): "protected",
    ("GET", "/certificates/root"): "protected",
    ("GET", "/certificates/{name}"): "protected",
    ("GET", "/certificates/{name}/pem"): "protected",
    ("POST", "/certificates/{name}/pem"): "protected",
    ("DELETE", "/certificates/{name}"): "protected",
    ("GET", "/certificates/{name}/events"): "protected",
    ("POST", "/certificates/{name}/renew"): "protected",
    ("POST", "/certificates/{name}/revoke"): "protected",
    ("POST", "/projects/{id}/domains"): "protected",
    ("DELETE", "/projects/{id}/domains"): "protected",
}


async def test_endpoints_are_those_of_the_contract(served: Served) -> None:
    """No more, no fewer, and protected where the seeds say so."""
    dialect = served.app[SWITCHBOARD].dialects[0]
    assert {(endpoint.method, endpoint.path): endpoint.access for endpoint in dialect.endpoints} == CONTRACT


async def test_plane_takes_the_root_and_lets_pages_in(served: Served) -> None:
    """What no other dialect claims is Plane's, and its contract allows any origin."""
    dialect = served.app[SWITCHBOARD].dialects[0]
    assert (dialect.name, dialect.prefix, dialect.any_origin) == ("plane", "", True)
    assert len(served.app[STREAMS]) == 0
