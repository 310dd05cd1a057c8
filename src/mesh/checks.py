"""What a request has to pass before a target hears of it, as far as it can be told at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from mesh import forward
from mesh.cors import CorsRules
from mesh.errors import (
    ADDRESS_REFUSED,
    BODY_TOO_LARGE,
    CERTIFICATE_MISSING,
    HEAD_TOO_LARGE,
    HTTPS_ONLY,
    MISDIRECTED,
    ORIGIN_REFUSED,
    PREFLIGHT_REFUSED,
    RATE_LIMITED,
    STOPPED,
    Failure,
    Reply,
)
from mesh.networks import Door
from mesh.paths import location
from mesh.policies import Limits, RateLimit, Redirect, Traffic
from mesh.ratelimit import Limiter

if TYPE_CHECKING:
    from mesh.core import Core
    from mesh.forward import RequestFields
    from mesh.live import Live
    from mesh.policies import Cors
    from mesh.routes import MeshSettings, Route
    from mesh.sides import Visitor
    from mesh.wire import RequestLine


class Asked(NamedTuple):
    """A request, and what it is judged by."""

    core: Core
    live: Live
    visitor: Visitor
    line: RequestLine
    fields: RequestFields
    # Whether the visitor has shown that their Authorization is worth something.
    is_known: bool = False


# Raises Failure or Reply for a request that goes no further.
Check = Callable[[Asked], None]


def checks_of(route: Route, settings: MeshSettings) -> tuple[Check, ...]:
    """The checks that a route asks for, in the order in which they are made."""
    return tuple(_checks(route, settings))


def _checks(route: Route, settings: MeshSettings) -> Iterator[Check]:
    if route.https == "redirect":
        yield _https(settings.https_port, is_covered=route.redirect_covered)
    if route.client_ca:
        yield show_a_certificate
    if route.allow or route.deny:
        yield _door(Door(route.allow, route.deny))
    if route.rate_limit is not None and route.rate_limit.by != "token":
        yield rate_check(route, route.rate_limit)
    if route.traffic.mode == "stop":
        yield _stopped(route.traffic)
    if route.cors is not None:
        yield _preflight(route.cors)
    if route.redirect is not None:
        yield _redirect(route.redirect)
    yield from _limits(route.limits, settings)


def _limits(limits: Limits, settings: MeshSettings) -> Iterator[Check]:
    if limits.max_head_bytes is not None or limits.max_headers is not None:
        yield _head(limits.max_head_bytes or settings.max_head_bytes, limits.max_headers or settings.max_headers)
    if limits.max_requests_per_connection is not None:
        yield _last_request(limits.max_requests_per_connection)
    if max_body := settings.max_body_bytes if limits.max_body_bytes is None else limits.max_body_bytes:
        yield _body(max_body)


def _https(port: int, *, is_covered: bool) -> Check:
    """Send a visitor whose own connection is plain to the same place by HTTPS."""
    at_port = "" if port == 443 else f":{port}"

    def check(asked: Asked) -> None:
        fields, line = asked.fields, asked.line
        if not forward.is_https(fields, asked.visitor.peer):
            host = fields.host.decode("ascii")
            # The certificate of a wildcard is for one label, its route for any number of them.
            if is_covered and asked.core.certificates.find(host.lower()) is None:
                return
            where = f"https://{host}{at_port}{line.target.decode('ascii')}"
            raise Failure(HTTPS_ONLY, headers=(("Location", where),))

    return check


def show_a_certificate(asked: Asked) -> None:
    """Refuse a connection on which no certificate was asked for, or one for another route."""
    tls = asked.visitor.arrival.tls
    if tls is not None and tls.client_ca != asked.live.route.client_ca:
        # One that was made in the name of another host would get round the certificate that this one asks for.
        raise Failure(MISDIRECTED)
    if tls is None or not tls.client:
        raise Failure(CERTIFICATE_MISSING)


def _door(door: Door) -> Check:
    def check(asked: Asked) -> None:
        address = forward.visitor_address(asked.fields, asked.visitor.peer)
        if not door.lets_in(address.decode("latin-1")):
            raise Failure(ADDRESS_REFUSED)

    return check


def rate_check(route: Route, limit: RateLimit) -> Check:
    """The check of a rate; one by token is for after the token was verified: anybody can invent another."""
    limiter = Limiter(limit, f"{route.host}{route.path_prefix}".encode())
    header = limit.header.lower().encode("latin-1")

    def check(asked: Asked) -> None:
        fields, core = asked.fields, asked.core
        value = fields.value(header) if header else b""
        address = forward.visitor_address(fields, asked.visitor.peer)
        # Anybody can invent tokens, so one that was not verified has no bucket of its own.
        key = limiter.key(address, fields.authorization if asked.is_known else None, value)
        wait_s = core.buckets.take(key, core.time(), limiter.interval_s, limiter.burst)
        if wait_s > 0:
            core.counters.rate_limited += 1
            asked.live.counts.rate_limited += 1
            raise Failure(RATE_LIMITED, headers=(("Retry-After", str(math.ceil(wait_s))),))

    return check


def _stopped(traffic: Traffic) -> Check:
    headers = (("Retry-After", str(traffic.retry_after_s)),) if traffic.retry_after_s else ()

    def check(_asked: Asked) -> None:
        raise Failure(STOPPED, traffic.message or None, headers)

    return check


def _preflight(cors: Cors) -> Check:
    rules = CorsRules(cors)

    def check(asked: Asked) -> None:
        fields, method = asked.fields, asked.line.method
        origin, wanted = fields.value(b"origin"), fields.value(b"access-control-request-method")
        if not rules.is_preflight(method, origin, wanted):
            return
        lines = rules.preflight(origin, wanted, fields.value(b"access-control-request-headers"))
        if lines is None and rules.lets(origin):
            raise Failure(PREFLIGHT_REFUSED)
        if lines is None:
            raise Failure(ORIGIN_REFUSED)
        raise Reply(204, lines, is_dressed=True)

    return check


def _redirect(redirect: Redirect) -> Check:
    def check(asked: Asked) -> None:
        is_https = forward.is_https(asked.fields, asked.visitor.peer)
        where = location(redirect, asked.fields.host, asked.line.target, is_https=is_https)
        raise Reply(redirect.status, f"Location: {where}\r\n".encode("latin-1"))

    return check


def _head(max_bytes: int, max_lines: int) -> Check:
    def check(asked: Asked) -> None:
        if asked.fields.size > max_bytes:
            raise Failure(HEAD_TOO_LARGE)
        if asked.fields.count > max_lines:
            raise Failure(HEAD_TOO_LARGE, "There are too many header fields.")

    return check


def _last_request(most: int) -> Check:
    def check(asked: Asked) -> None:
        if asked.visitor.requests >= most:
            asked.visitor.take_no_more()

    return check


def _body(max_bytes: int) -> Check:
    def check(asked: Asked) -> None:
        length = asked.fields.framing.length
        if length is not None and length > max_bytes:
            raise Failure(BODY_TOO_LARGE)

    return check
