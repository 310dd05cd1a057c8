"""Stop 4 of a request: which route it is for, whether it may pass, and what is told to the target about who asks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from mesh.challenges import Challenged
from mesh.checks import Asked, checks_of
from mesh.credentials import Credentials, challenge
from mesh.edits import Edits
from mesh.errors import (
    BAD_REQUEST,
    HELD_TOO_LONG,
    METHOD_REFUSED,
    MISDIRECTED,
    PASSWORD_WRONG,
    UNKNOWN_HOST,
    Failure,
    Reply,
)
from mesh.inquiry import inquire
from mesh.policies import HeaderEdits
from mesh.table import AmbiguousPath

if TYPE_CHECKING:
    from mesh.arrival import Arrival
    from mesh.core import Core
    from mesh.exchange import Exchange
    from mesh.forward import RequestFields
    from mesh.live import Live
    from mesh.policies import ForwardAuth
    from mesh.sides import Visitor
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


def find_route(core: Core, line: RequestLine, fields: RequestFields, arrival: Arrival) -> Live:
    """The route that a request is for; raises Failure when there is none, or its path has two readings.

    Raises Reply when it is an authority who asks, for what it gave us to show.
    """
    host, tls = fields.host, arrival.tls
    if line.authority is not None:
        if line.authority != host:
            raise Failure(BAD_REQUEST, "The request target and the Host name different hosts.")
        if line.is_https != (tls is not None):
            raise Failure(MISDIRECTED)
    if tls is not None and host not in tls.names and tls.server_name.encode() != host and not tls.covers(host):
        # RFC 9110 section 15.5.20: a tenant's connection is not a way to another one behind the same address. One who
        # asked for this very host and put up with the default certificate is where they wanted to be.
        raise Failure(MISDIRECTED)
    try:
        live = core.find(host, line.target)
    except AmbiguousPath:
        raise Failure(BAD_REQUEST, "The path can be read in more than one way.") from None
    except Challenged as asked:
        raise asked.answer(line.method) from None
    if live is None:
        raise Failure(UNKNOWN_HOST)
    return live


class Pass:
    """What the checks of a route add to a request: lines for the target, and who the visitor is.

    `replaced` takes the fields out of the request that an authentication service has set anew.
    """

    __slots__ = ("_live", "lines", "org_id", "replaced", "user")

    def __init__(self, live: Live) -> None:
        """Nothing has been found out yet."""
        self._live = live
        self.lines = b""
        self.org_id = ""
        self.user = ""
        self.replaced: Edits | None = None

    @property
    def is_known(self) -> bool:
        """Whether a token or a password was verified."""
        return bool(self.org_id or self.user)

    async def wait(self, core: Core, exchange: Exchange, visitor: Visitor) -> None:
        """Pass the checks that take time; the exchange may have another route by then. Raises Failure or Reply."""
        live = self._live
        if live.route.traffic.mode == "pause":
            live = await _until_resumed(core, exchange, visitor, live)
            self._begin_anew(core, exchange, visitor, live)
        rules = live.rules
        if rules.credentials is not None:
            self.user = await _user(core, exchange, live)
        if live.route.forward_auth is not None:
            await self._inquire(core, exchange, visitor, live.route.forward_auth)
        if rules.last_check is not None:
            rules.last_check(Asked(core, live, visitor, exchange.line, exchange.fields, self.is_known))

    def _begin_anew(self, core: Core, exchange: Exchange, visitor: Visitor, live: Live) -> None:
        """Make the checks of the route that a request goes on with: it may be another one than it was held by."""
        is_counted = live.route.key == self._live.route.key
        self._live = live
        exchange.reroute(live)
        # Where the key is the same, the request has had its place in the rate already.
        route = msgspec.structs.replace(live.route, rate_limit=None) if is_counted else live.route
        asked = Asked(core, live, visitor, exchange.line, exchange.fields)
        for check in checks_of(route, core.settings):
            check(asked)
        self._look(core, exchange, live)

    def _look(self, core: Core, exchange: Exchange, live: Live) -> None:
        """Check the mesh token, as far as the route asks for one."""
        fields = exchange.fields
        self.lines, self.org_id = b"", ""
        is_ours = live.rules.credentials is not None
        # A name and a password are no token: where a token is wanted, they do not stand in for it.
        if live.route.access == "tenant" or (fields.authorization is not None and not is_ours):
            self.lines, self.org_id = check_access(core, live, fields)

    async def _inquire(self, core: Core, exchange: Exchange, visitor: Visitor, wanted: ForwardAuth) -> None:
        answer = await inquire(core, exchange.line, exchange.fields, visitor.peer, wanted)
        if not answer.lets_pass:
            raise Reply(answer.status, answer.lines, answer.body)
        self.replaced = Edits(HeaderEdits(remove=wanted.copy_headers))
        self.lines = self.replaced.apply(self.lines) + answer.copied(wanted.copy_headers)


def admit(core: Core, exchange: Exchange, visitor: Visitor, live: Live) -> Pass | None:
    """Make the checks of a route; gives what is left to wait for, if anything. Raises Failure or Reply."""
    rules = live.rules
    if rules.checks:
        asked = Asked(core, live, visitor, exchange.line, exchange.fields)
        for check in rules.checks:
            check(asked)
    passed = exchange.pass_ = Pass(live)
    passed._look(core, exchange, live)  # noqa: SLF001  the two are one thing
    if rules.takes_time:
        return passed
    if rules.last_check is not None:
        rules.last_check(Asked(core, live, visitor, exchange.line, exchange.fields, passed.is_known))
    return None


def check_access(core: Core, live: Live, fields: RequestFields) -> tuple[bytes, str]:
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


async def _until_resumed(core: Core, exchange: Exchange, visitor: Visitor, live: Live) -> Live:
    """Hold a request while its route is paused; gives the route as it is then."""
    try:
        async with asyncio.timeout(live.route.traffic.hold_s):
            while live.route.traffic.mode == "pause":
                await core.when_changed(live)
                if core.is_draining:
                    # Nothing can resume the route here any more.
                    raise Failure(HELD_TOO_LONG, headers=(("Retry-After", "5"),))
                live = find_route(core, exchange.line, exchange.fields, visitor.arrival)
    except TimeoutError:
        raise Failure(HELD_TOO_LONG, headers=(("Retry-After", "5"),)) from None
    return live


async def _checked(core: Core, credentials: Credentials, authorization: bytes) -> str:
    """Ask about a name and a password, a few at a time; a visitor who leaves does not make room for another one."""
    await core.hashing.acquire()
    # Whoever waited here for another with the same password need not ask again.
    user = credentials.known(authorization, core.now)
    if user is not None:
        core.hashing.release()
        return user
    hashed = asyncio.get_running_loop().run_in_executor(None, credentials.check, authorization)
    hashed.add_done_callback(lambda _hashed: core.hashing.release())
    user = await asyncio.shield(hashed)
    credentials.remember(authorization, user, core.now)
    return user


async def _user(core: Core, exchange: Exchange, live: Live) -> str:
    """The user whose name and password the visitor gave."""
    credentials, authorization = live.rules.credentials, exchange.fields.authorization
    user = None
    if credentials is not None and authorization is not None:
        user = credentials.known(authorization, core.now)
        if user is None:
            user = await _checked(core, credentials, authorization)
    if not user:
        realm = live.route.basic_auth.realm if live.route.basic_auth is not None else ""
        raise Failure(PASSWORD_WRONG, headers=(("WWW-Authenticate", challenge(realm)),))
    return user
