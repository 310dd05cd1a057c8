"""Stop 4 of a request: which route it is for, whether it may pass, and what is told to the target about who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh import forward
from mesh.errors import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    HTTPS_ONLY,
    METHOD_REFUSED,
    UNKNOWN_HOST,
    Failure,
)
from mesh.routes import AmbiguousPath

if TYPE_CHECKING:
    from mesh.core import Core
    from mesh.forward import Peer, RequestFields
    from mesh.targets import LiveRoute
    from mesh.upstream import Upstream
    from mesh.wire import RequestLine

ALLOWED_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# Methods that are forwarded without another look.
PLAIN_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"})


def is_for_the_proxy(line: RequestLine, fields: RequestFields) -> bool:
    """Whether the answer is the proxy's own to give: OPTIONS about the server, or with no hop left (RFC 9110 7.6.2).

    Raises Failure for the methods that an edge refuses: it opens no tunnels and reflects no heads (9.3.6, 9.3.8).
    """
    if line.method in (b"CONNECT", b"TRACE"):
        raise Failure(METHOD_REFUSED, headers=(("Allow", ALLOWED_METHODS),))
    return line.method == b"OPTIONS" and (line.target == b"*" or fields.max_forwards == 0)


def find_route(core: Core, line: RequestLine, fields: RequestFields) -> LiveRoute[Upstream]:
    """The route that a request is for; raises Failure when there is none, or its path has two readings."""
    if line.authority is not None and line.authority != fields.host:
        raise Failure(BAD_REQUEST, "The request target and the Host name different hosts.")
    try:
        live = core.find(fields.host, line.target)
    except AmbiguousPath:
        raise Failure(BAD_REQUEST, "The path can be read in more than one way.") from None
    if live is None:
        raise Failure(UNKNOWN_HOST)
    return live


def check_limits(live: LiveRoute[Upstream], peer: Peer, line: RequestLine, fields: RequestFields) -> None:
    """Raise Failure for a body that is larger than the route accepts, and for a visitor who should come by HTTPS."""
    route, length = live.route, fields.framing.length
    if length and route.max_body_bytes is not None and length > route.max_body_bytes:
        raise Failure(BODY_TOO_LARGE)
    if route.https == "redirect" and not forward.is_https(fields, peer):
        location = f"https://{fields.host.decode('ascii')}{line.target.decode('ascii')}"
        raise Failure(HTTPS_ONLY, headers=(("Location", location),))


def check_access(core: Core, live: LiveRoute[Upstream], fields: RequestFields) -> tuple[bytes, str]:
    """The field lines that access adds for the target, and the verified organization (contracts/plane.md decision 9).

    Raises Failure 401 or 403. A token that Connection names is checked like any other, and goes no further.
    """
    authorization = fields.authorization
    if authorization is None and live.route.access == "public":
        return b"", ""
    verdict = core.verifier.check(authorization, live.route, core.wall)
    lines = verdict.identity
    may_pass = verdict.passthrough or live.route.forward_token
    if authorization is not None and may_pass and b"authorization" not in fields.nominated:
        lines += b"Authorization: %b\r\n" % authorization
    return lines, verdict.claims.org_id if verdict.claims is not None else ""
