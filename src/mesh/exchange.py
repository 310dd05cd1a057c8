"""One request's life: route, choose, connect, relay, settle, with one exit for failure and one decision to retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.admission import ALLOWED_METHODS, PLAIN_METHODS, check_access, check_limits, find_route, is_for_the_proxy
from mesh.errors import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    NO_TARGET,
    REQUEST_TIMEOUT,
    RESPONSE_INCOMPLETE,
    RESPONSE_TIMEOUT,
    TARGET_CLOSED,
    UPGRADE_FAILED,
    VISITOR_GONE,
    Failure,
)
from mesh.forward import compose, passing_trailers
from mesh.ports import AccessRecord
from mesh.relay import Tunnel
from mesh.wire import LAST_CHUNK, chunk, members

if TYPE_CHECKING:
    import asyncio

    from mesh.core import Core
    from mesh.downstream import Downstream
    from mesh.forward import RequestFields, ResponseFields
    from mesh.targets import Edits, LiveRoute, TargetState
    from mesh.upstream import Upstream
    from mesh.wire import RequestLine, StatusLine

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_MAX_INTERIM_RESPONSES: Final = 32
_HOLD_S: Final = 0.5
_DIAL_MARGIN_S: Final = 1.0


class Exchange:
    """One request and its response, between a visitor's connection and a target's.

    The exchange keeps the route it found, so that no change of routes touches it. The two connections call it with what
    they read; it calls them with what to write. It ends exactly once, in `_settle`.
    """

    __slots__ = (
        "_access_lines",
        "_address",
        "_began",
        "_chunk_response",
        "_core",
        "_fields",
        "_held",
        "_interim_responses",
        "_line",
        "_live",
        "_org_id",
        "_pending",
        "_received",
        "_request_id",
        "_sent",
        "_target",
        "_tried",
        "_tries_left",
        "_upstream",
        "_visitor",
        "failure",
        "is_delimited",
        "is_request_complete",
        "is_response_begun",
        "is_settled",
        "keeps_visitor",
        "status",
    )

    def __init__(self, core: Core, visitor: Downstream, line: RequestLine, fields: RequestFields) -> None:
        """A request whose head has been read; nothing happens before `begin`."""
        self._core = core
        self._visitor = visitor
        self._line = line
        self._fields = fields
        self._began = core.stopwatch()
        self._live: LiveRoute[Upstream] | None = None
        self._target: TargetState[Upstream] | None = None
        self._upstream: Upstream | None = None
        self._tried: tuple[object, ...] = ()
        self._tries_left = 0
        # Pieces of the body that wait for a connection to the target.
        self._pending: list[bytes] = []
        self._held: asyncio.TimerHandle | None = None
        self._access_lines = b""
        self._address = ""
        self._request_id = b""
        self._org_id = ""
        self._received = 0
        self._sent = 0
        self._interim_responses = 0
        self._chunk_response = False
        # Whether the visitor can tell by the response itself where it ends.
        self.is_delimited = True
        self.failure: Failure | None = None
        self.is_request_complete = True
        self.is_response_begun = False
        self.is_settled = False
        self.keeps_visitor = fields.keep_alive
        self.status = 0

    # Stops 4 to 6: route, choose, connect.

    def begin(self, *, hold: bool = False) -> None:
        """Find the route, check access, and send the head to a target; any refusal becomes the answer.

        With `hold` the target is left alone until `unhold`, or for a moment at most: the visitor may be waiting for the
        answer before the body.
        """
        core, line, fields = self._core, self._line, self._fields
        try:
            if line.method not in PLAIN_METHODS and is_for_the_proxy(line, fields):
                self._answer(204, b"HTTP/1.1 204 No Content\r\nAllow: %b\r\n" % ALLOWED_METHODS.encode(), b"")
                return
            live = self._live = find_route(core, line, fields)
            if not live.is_open or fields.authorization is not None:
                check_limits(live, self._visitor.peer, line, fields)
                self._access_lines, self._org_id = check_access(core, live, fields)
            self._request_id = fields.request_id or core.next_request_id()
            self._tries_left = live.route.retries
            if hold:
                self._held = core.call_later(_HOLD_S, self.unhold)
            else:
                self._connect(live)
        except Failure as failure:
            self.fail(failure)

    def unhold(self) -> None:
        """Send what was held."""
        held, self._held = self._held, None
        if held is None or self._live is None:
            return
        held.cancel()
        try:
            self._connect(self._live)
        except Failure as failure:
            self.fail(failure)

    def _connect(self, live: LiveRoute[Upstream], *, fresh: bool = False) -> None:
        core = self._core
        target = live.only or live.choose(core.now, self._visitor.peer.address, core.draw(), self._tried)
        if target is None or target in self._tried:
            raise Failure(NO_TARGET)
        self._target = target
        self._address = target.address
        target.in_flight += 1
        target.requests += 1
        upstream = None if fresh else target.pool.take()
        if upstream is None:
            self._visitor.wait(self._patience())
            core.dial(target, self, live.route.timeouts.connect_s)
        else:
            self.connected(upstream)

    def _head(self, live: LiveRoute[Upstream], target: TargetState[Upstream]) -> bytes:
        fields, route = self._fields, live.route
        host = (fields.host_value or fields.host) if route.preserve_host else target.host_value
        lines = compose(fields, self._visitor.peer, host)
        own_lines = b"%bX-Request-Id: %b\r\n" % (self._access_lines, self._request_id)
        if live.request_edits is not None:
            lines, own_lines = live.request_edits.apply(lines + own_lines), b""
        method, path, _minor, _authority = self._line
        if fields.max_forwards is not None:
            # RFC 9110 section 7.6.2: the field counts hops for OPTIONS and TRACE, and means nothing elsewhere.
            lines += b"Max-Forwards: %d\r\n" % (fields.max_forwards - (method == b"OPTIONS"))
        if live.stripped:
            path = path[live.stripped :]
            path = path if path[:1] == b"/" else b"/" + path
        return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, path, lines, own_lines)

    def connected(self, upstream: Upstream) -> None:
        """A connection to the chosen target is there: send what waits."""
        live, target = self._live, self._target
        if live is None or target is None:
            upstream.release(is_reusable=True)
            return
        self._upstream = upstream
        upstream.begin(self, is_head=self._line.method == b"HEAD")
        upstream.write(self._head(live, target))
        if self._pending:
            # Body bytes cannot be sent twice, so from here on there is no other try.
            self._tries_left = 0
            pending, self._pending = self._pending, []
            # Before the writes: they may find the target slow, and then the visitor has to wait again.
            self._visitor.resume_reading()
            for data in pending:
                upstream.write(data)
        self._visitor.wait(live.route.timeouts.response_s if self.is_request_complete else self._patience())

    def connect_failed(self, failure: Failure) -> None:
        """No connection to the chosen target: try another, or give up."""
        if self._target is not None:
            self._target.failed(self._core.now)
            self._tried = (*self._tried, self._target)
        self._retry_or_fail(failure)

    # Stop 7: relay, visitor to target.

    def request_data(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self.is_settled:
            return
        self._received += len(data)
        live = self._live
        if live is not None and live.route.max_body_bytes is not None and self._received > live.route.max_body_bytes:
            self.fail(Failure(BODY_TOO_LARGE))
            return
        self._to_target(chunk(data) if self._fields.framing.chunked else data)
        self._visitor.wait(self._patience())

    def request_end(self, trailers: list[bytes] | None) -> None:
        """The request has been read completely."""
        if self.is_settled:
            return
        self.is_request_complete = True
        if self._fields.framing.chunked:
            lines = passing_trailers(trailers) if trailers else b""
            self._to_target(b"0\r\n%b\r\n" % lines if lines else LAST_CHUNK)
        self._visitor.wait(self._patience())

    def _to_target(self, data: bytes) -> None:
        if self._upstream is None:
            self._pending.append(data)
            self._visitor.pause_reading()
        else:
            self._tries_left = 0
            self._upstream.write(data)

    def _patience(self) -> float:
        """For how many seconds nothing may move at this point."""
        live = self._live
        if live is None:
            return self._core.settings.body_idle_s
        timeouts = live.route.timeouts
        if self._upstream is None and self._target is not None:
            # The dial ends by itself in time; until then no other deadline may.
            return timeouts.connect_s + _DIAL_MARGIN_S
        if not self.is_request_complete:
            return min(self._core.settings.body_idle_s, timeouts.idle_s)
        return timeouts.idle_s if self.is_response_begun else timeouts.response_s

    # Stop 7: relay, target to visitor.

    def interim(self, status: StatusLine, fields: ResponseFields) -> None:
        """A 1xx response other than 101; raises Failure when there are too many (RFC 9110 section 15.2)."""
        self._interim_responses += 1
        if self._interim_responses > _MAX_INTERIM_RESPONSES:
            raise Failure(RESPONSE_INCOMPLETE, "The target sends interim responses without end.")
        if self._line.minor == 1:
            self._visitor.write(b"%b\r\n%b\r\n" % (status.line, fields.passing))

    def response(self, status: StatusLine, fields: ResponseFields, body: bytes) -> None:
        """The head of the final response, with the bytes of the body that came with it."""
        self.is_response_begun = True
        self.status = status.status
        target, live = self._target, self._live
        if target is not None and target.failures:
            target.succeeded()
        edits = live.response_edits if live is not None else None
        connection_line = self._connection_line()
        if fields.ready_for is status and edits is None and not connection_line:
            head = fields.ready
        else:
            head = self._response_head(status, fields, edits, connection_line)
        self._sent += len(body)
        self._visitor.write(head + (chunk(body) if self._chunk_response else body))

    def _response_head(
        self, status: StatusLine, fields: ResponseFields, edits: Edits | None, connection_line: bytes
    ) -> bytes:
        framing = self._response_framing(status, fields)
        # The framing may have decided that the connection has to end.
        connection_line = connection_line if self.keeps_visitor else b"Connection: close\r\n"
        lines = fields.passing if fields.has_date else b"%bDate: %b\r\n" % (fields.passing, self._core.date())
        if edits is not None:
            lines = edits.apply(lines)
        head = b"%b\r\n%b%b%b\r\n" % (status.line, lines, framing, connection_line)
        if fields.framing.length is not None and fields.has_date and edits is None and not connection_line:
            fields.ready, fields.ready_for = head, status
        return head

    def _response_framing(self, status: StatusLine, fields: ResponseFields) -> bytes:
        framing = fields.framing
        if framing.length is not None:
            return b"" if status.status == 204 else fields.length_line
        if self._line.method == b"HEAD" or status.status in (204, 304):
            return b""
        if self._line.minor == 0:
            self.keeps_visitor = False
            self.is_delimited = False
            return b""
        self._chunk_response = True
        return b"Transfer-Encoding: chunked\r\n"

    def _connection_line(self) -> bytes:
        if not self.is_request_complete or self._core.is_draining:
            self.keeps_visitor = False
        if not self.keeps_visitor:
            return b"Connection: close\r\n"
        return b"" if self._line.minor else b"Connection: keep-alive\r\n"

    def response_goes_on(self) -> None:
        """More of the body is to come."""
        self._visitor.wait(self._patience())

    def response_data(self, data: bytes) -> None:
        """A piece of the response's body."""
        self._sent += len(data)
        self._visitor.write(chunk(data) if self._chunk_response else data)
        self._visitor.wait(self._patience())

    def response_end(self, trailers: list[bytes] | None, *, is_reusable: bool) -> None:
        """The response has been read completely."""
        if self._chunk_response:
            lines = passing_trailers(trailers) if trailers else b""
            self._visitor.write(b"0\r\n%b\r\n" % lines if lines else LAST_CHUNK)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.release(is_reusable=is_reusable and self.is_request_complete)
        self._settle()
        self._visitor.exchange_done(keep=self.keeps_visitor and self.is_request_complete)

    def switch(self, status: StatusLine, fields: ResponseFields, surplus: bytes) -> None:
        """101: from here on both connections carry bytes of another protocol (RFC 9110 section 7.8)."""
        upstream = self._upstream
        asked = members(self._fields.upgrade)
        if upstream is None or not self.is_request_complete or fields.upgrade.lower() not in asked:
            raise Failure(UPGRADE_FAILED)
        self.is_response_begun = True
        self.status = 101
        self.keeps_visitor = False
        head = b"%b\r\n%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (status.line, fields.passing, fields.upgrade)
        self._visitor.write(head + surplus)
        self._sent += len(surplus)
        tunnel = Tunnel(self, self._visitor, upstream, self._core.settings.tunnel_idle_s)
        upstream.switch(tunnel)
        self._visitor.switch(tunnel)

    def tunnel_closed(self, received: int, sent: int) -> None:
        """Both directions of a tunnel have ended."""
        if self.is_settled:
            return
        self._received += received
        self._sent += sent
        self._upstream = None
        self._settle()

    # Back-pressure: whoever cannot write makes the other side stop reading.

    def visitor_is_slow(self) -> None:
        """The visitor does not take what was written to it."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def visitor_caught_up(self) -> None:
        """The visitor has taken most of what was written to it."""
        if self._upstream is not None:
            self._upstream.resume_reading()
        self._visitor.wait(self._patience())

    def target_is_slow(self) -> None:
        """The target does not take what was written to it."""
        self._visitor.pause_reading()

    def target_caught_up(self) -> None:
        """The target has taken most of what was written to it."""
        self._visitor.resume_reading()
        self._visitor.wait(self._patience())

    # The exits: every failure ends here, and every exchange settles once.

    def target_lost(self, error: Exception | None) -> None:
        """The target's connection closed before the response was complete."""
        was_reused = self._upstream is not None and self._upstream.is_reused
        self._upstream = None
        if self.is_response_begun:
            self.fail(Failure(RESPONSE_INCOMPLETE))
            return
        failure = Failure(TARGET_CLOSED, "The target reset the connection." if error else None)
        if self._target is not None and not was_reused:
            self._target.failed(self._core.now)
        self._retry_or_fail(failure, was_reused=was_reused)

    def _retry_or_fail(self, failure: Failure, *, was_reused: bool = False) -> None:
        # RFC 9110 section 9.2.2: what may have reached the target is sent again only when it is idempotent; a reused
        # connection may have been closed by the target before it saw the request (RFC 9112 section 9.5).
        is_fresh = was_reused and self._line.method in _IDEMPOTENT
        may_retry = failure.retry == "always" or (failure.retry == "fresh" and is_fresh)
        live = self._live
        if live is None or not may_retry or self._tries_left == 0 or self.is_settled:
            self.fail(failure)
            return
        self._tries_left -= 1
        self._count_out()
        try:
            self._connect(live, fresh=True)
        except Failure:
            # The first failure says more than "no target left".
            self.fail(failure)

    def expired(self) -> None:
        """Nothing moved for as long as the current stop allows."""
        if self.is_response_begun:
            self.fail(Failure(RESPONSE_INCOMPLETE, "The answer stalled."))
        elif not self.is_request_complete:
            self.fail(Failure(REQUEST_TIMEOUT))
        else:
            self.fail(Failure(RESPONSE_TIMEOUT))

    def visitor_lost(self) -> None:
        """The visitor's connection closed before the response was complete."""
        if not self.is_settled:
            self.failure = Failure(VISITOR_GONE)
            self.status = self.status or VISITOR_GONE.status
            self._drop_upstream()
            self._settle()

    def fail(self, failure: Failure) -> None:
        """Answer with `failure`, or cut the connection when the answer has begun."""
        if self.is_settled:
            return
        self.failure = failure
        self._drop_upstream()
        if self.is_response_begun:
            self._settle()
            self._visitor.cut(reset=not self.is_delimited)
            return
        self._answer_failure(failure)

    def _answer_failure(self, failure: Failure) -> None:
        request_id = self._request_id or self._fields.request_id or self._core.next_request_id()
        self._request_id = request_id
        head, body = self._core.failure_answer(failure, self._fields.value(b"accept"), request_id)
        self._answer(failure.status, head, body)

    def _answer(self, status: int, head: bytes, body: bytes) -> None:
        self.status = status
        self.is_response_begun = True
        has_body = self._fields.framing.chunked or bool(self._fields.framing.length)
        self.is_request_complete = self.is_request_complete or not has_body
        if status == BAD_REQUEST.status or self._line.method == b"CONNECT":
            # Whatever follows on the connection was meant for something else.
            self.keeps_visitor = False
        head = b"%b%b\r\n" % (head, self._connection_line())
        body = b"" if self._line.method == b"HEAD" else body
        self._sent += len(body)
        self._visitor.write(head + body)
        self._settle()
        self._visitor.exchange_done(keep=self.keeps_visitor)

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def _settle(self) -> None:
        """Stop 8: count out, leave one record."""
        self.is_settled = True
        if self._held is not None:
            self._held.cancel()
        self._pending.clear()
        self._count_out()
        core, counters = self._core, self._core.counters
        if self._received:
            counters.received += self._received
        counters.sent += self._sent
        counters.statuses[self.status // 100] += 1
        if self.failure is not None:
            counters.failed(self.failure)
        if core.observer is not None:
            core.observer.record(self._record())

    def _count_out(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            target.in_flight -= 1

    def _record(self) -> AccessRecord:
        core, line, fields, live, failure = self._core, self._line, self._fields, self._live, self.failure
        duration_s = core.stopwatch() - self._began
        referer, user_agent = fields.logged
        return AccessRecord(
            began_at=round(core.wall_time() - duration_s, 6),
            duration_s=round(duration_s, 6),
            peer=self._visitor.peer.address.decode("ascii"),
            method=line.method.decode("ascii"),
            host=fields.host.decode("ascii"),
            target=line.target.decode("ascii"),
            version="HTTP/1.1" if line.minor else "HTTP/1.0",
            status=self.status,
            received=self._received,
            sent=self._sent,
            request_id=self._request_id.decode("ascii"),
            route=live.route.host if live is not None else "",
            upstream=self._address,
            org_id=self._org_id,
            cause=failure.cause if failure is not None else "",
            detail=failure.said if failure is not None else "",
            referer=referer,
            user_agent=user_agent,
        )
