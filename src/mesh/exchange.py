"""One request's life: route, choose, connect, relay, settle, with one exit for failure and one decision to retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh import trace
from mesh.admission import ALLOWED_METHODS, PLAIN_METHODS, Pass, admit, find_route, is_for_the_proxy
from mesh.answers import made_answer
from mesh.edits import without
from mesh.errors import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    NO_TARGET,
    NOT_PROCESSED,
    OVERLOADED,
    REQUEST_TIMEOUT,
    RESPONSE_INCOMPLETE,
    RESPONSE_TIMEOUT,
    TARGET_CLOSED,
    TOOK_TOO_LONG,
    UPGRADE_FAILED,
    VISITOR_GONE,
    Failure,
    NotProcessed,
    Reply,
)
from mesh.forward import compose, is_https, passing_trailers, visitor_address
from mesh.ports import AccessRecord
from mesh.relay import Tunnel
from mesh.sides import Answered, stream_of
from mesh.targets import Saturated
from mesh.wire import members

if TYPE_CHECKING:
    import asyncio

    from mesh.core import Core
    from mesh.counts import RouteCounts
    from mesh.dressing import Dress
    from mesh.forward import RequestFields, ResponseFields
    from mesh.live import Live
    from mesh.sides import TargetSide, Visitor
    from mesh.targets import Queue, TargetState
    from mesh.trace import Span
    from mesh.wire import RequestLine, StatusLine

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_MAX_INTERIM_RESPONSES: Final = 32
_MAX_REPLACED: Final = 64 * 1024
_MAX_REFUSALS: Final = 4
# Not Final: tests shorten it, and compiled code contains the values of those that are.
_HOLD_S = 0.5
_DIAL_MARGIN_S: Final = 1.0
_VERSIONS: Final = ("HTTP/1.0", "HTTP/1.1", "HTTP/2.0")


def _wake(target: TargetState[TargetSide]) -> None:
    """Give the place that has become free to whoever waits longest, and is still there."""
    while target.awaited and (waiter := target.next_waiter()) is not None:
        if waiter.resume():
            return


class Exchange(Answered):
    """One request and its response, between a visitor's connection and a target's.

    The exchange keeps the route it found, so that no change of routes touches it. The two connections call it with what
    they read; it calls them with what to write. It ends exactly once, in `_settle`.
    """

    __slots__ = (
        "_began",
        "_connect_s",
        "_dress",
        "_ending",
        "_first_byte_s",
        "_held",
        "_interim_responses",
        "_is_target_slow",
        "_live",
        "_pending",
        "_queue",
        "_queued_until",
        "_received",
        "_refusals",
        "_retries",
        "_sent",
        "_span",
        "_target",
        "_timer",
        "_tried",
        "_tries_left",
        "_upstream",
        "_upstream_address",
        "_visitor",
        "_waiting",
        "core",
        "failure",
        "fields",
        "is_request_complete",
        "is_response_begun",
        "is_settled",
        "line",
        "pass_",
        "request_id",
        "status",
    )

    def __init__(self, core: Core, visitor: Visitor, line: RequestLine, fields: RequestFields) -> None:
        """A request whose head has been read; nothing happens before `begin`."""
        self.core = core
        self._visitor = visitor
        self.line = line
        self.fields = fields
        self._began = core.stopwatch()
        self._connect_s = 0.0
        self._first_byte_s = 0.0
        self._live: Live | None = None
        self._target: TargetState[TargetSide] | None = None
        self._upstream: TargetSide | None = None
        self._upstream_address = ""
        self._tried: tuple[object, ...] = ()
        self._tries_left = 0
        self._retries = 0
        self._refusals = 0
        # Pieces of the body that wait for a connection to the target.
        self._pending: list[bytes] | None = None
        self._ending: bytes | None = None
        # What the exchange waits for before it connects: the first line of a chunked body, a check, a free target.
        self._held: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._queue: Queue | None = None
        self._queued_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # What the checks of the route added, or None before and without them.
        self.pass_: Pass | None = None
        self._span: Span | None = None
        # What becomes of the response on its way, if anything.
        self._dress: Dress | None = None
        self.request_id = b""
        self._received = 0
        self._sent = 0
        self._interim_responses = 0
        self._is_target_slow = False
        self.failure: Failure | None = None
        self.is_request_complete = True
        self.is_response_begun = False
        self.is_settled = False
        self.status = 0

    # Stops 4 to 6: route, choose, connect.

    def begin(self, *, hold: bool = False) -> None:
        """Find the route, check access, and send the head to a target; any refusal becomes the answer.

        With `hold` the target is left alone until `unhold`, or for a moment at most: the visitor may be waiting for the
        answer before the body.
        """
        core, line, fields = self.core, self.line, self.fields
        if core.tracing is not None:
            self._span = self._begin_span(core.tracing)
        try:
            if line.method not in PLAIN_METHODS and is_for_the_proxy(line, fields):
                self._reply(Reply(204, b"Allow: %b\r\n" % ALLOWED_METHODS.encode()))
                return
            live = self._live = find_route(core, line, fields, self._visitor.arrival)
            rules = live.rules
            self.request_id = fields.request_id or core.next_request_id()
            self._tries_left = rules.retries
            if rules.total_s:
                self._timer = core.call_later(rules.total_s, self._took_too_long)
            if hold:
                self._held = core.call_later(_HOLD_S, self.unhold)
            if not rules.is_open or fields.authorization is not None:
                checks = admit(core, self, self._visitor, live)
                if checks is not None:
                    self._visitor.wait(rules.checks_s)
                    self._waiting = core.spawn(self._pass(checks), "checks")
                    return
            if not hold:
                self._connect(live)
        except (Failure, Reply) as outcome:
            self._end_early(outcome)

    def _begin_span(self, ratio: float) -> Span:
        said = self.fields.trace
        parents, states = (said.parents, said.states) if said is not None else ((), ())
        return trace.begin(parents, states, self.core.random_bytes(trace.RANDOM_BYTES), ratio)

    async def _pass(self, checks: Pass) -> None:
        """Wait for the checks that take time, and go on."""
        try:
            await checks.wait(self.core, self, self._visitor)
        except (Failure, Reply) as outcome:
            self._waiting = None
            self._end_early(outcome)
            return
        self._waiting = None
        if self._held is None:
            self.resume()

    def _end_early(self, outcome: Failure | Reply) -> None:
        if isinstance(outcome, Failure):
            self.fail(outcome)
        elif not self.is_settled:
            self._reply(outcome)

    def unhold(self) -> None:
        """Send what was held."""
        held, self._held = self._held, None
        if held is None or self._live is None:
            return
        held.cancel()
        if self._waiting is None:
            self.resume()

    def resume(self) -> bool:
        """Connect, now that what was waited for is there; False when that is not wanted any more, or did not do."""
        self._queue = None
        if self.is_settled or self._live is None:
            return False
        try:
            self._connect(self._live)
        except Failure as failure:
            self.fail(failure)
            return False
        return True

    def reroute(self, live: Live) -> None:
        """Go on with another route than the one that was found at first."""
        self._live = live
        self._tries_left = live.route.retries

    def _connect(self, live: Live, *, fresh: bool = False) -> None:
        core = self.core
        target = live.only
        if target is None:
            try:
                target = live.choose(core.now, self, self._tried)
            except Saturated as full:
                if not full.queue.wait(self):
                    raise Failure(OVERLOADED) from None
                self._queue = full.queue
                if not self._queued_until:
                    self._queued_until = core.now + live.route.circuit.pending_s
                self._visitor.wait(self._patience())
                return
        if target is None or target in self._tried:
            raise Failure(NO_TARGET)
        self._target = target
        self._upstream_address = target.address
        target.in_flight += 1
        target.requests += 1
        upstream = None if fresh else target.pool.take()
        if upstream is None and target.sessions:
            upstream = stream_of(target.sessions)
        if upstream is None:
            self._visitor.wait(self._patience())
            core.dial(target, self, live.route, live.rules.connect_s)
        else:
            self.connected(upstream)

    @property
    def is_second_try(self) -> bool:
        """Whether a connection was lost, or not to be had, before."""
        return self._retries > 0

    # What balancing asks about the request (`mesh.targets.Asks`).

    @property
    def address(self) -> bytes:
        """The visitor's address, as far as the proxies in between may be believed."""
        return visitor_address(self.fields, self._visitor.peer)

    @property
    def is_secure(self) -> bool:
        """Whether the visitor's own connection is secure, as far as the peers in between may be believed."""
        return is_https(self.fields, self._visitor.peer)

    def endpoints(self) -> tuple[object, object]:
        """The names of the visitor's socket and of ours, as `socket` gives them."""
        return self._visitor.endpoints()

    def draw(self) -> float:
        """A random number from 0 to 1."""
        return self.core.draw()

    def field(self, name: bytes) -> bytes:
        """The value of a field that goes on to the target, by its lower-case name."""
        return self.fields.value(name)

    def cookie(self, name: bytes) -> bytes:
        """The value of a cookie (RFC 6265 section 5.4)."""
        for pair in self.fields.value(b"cookie").split(b";"):
            key, _, value = pair.strip(b" \t").partition(b"=")
            if key == name:
                return value
        return b""

    def _lines(self, live: Live, target: TargetState[TargetSide]) -> bytes:
        fields, rules, passed = self.fields, live.rules, self.pass_
        host = (fields.host_value or fields.host) if rules.preserves_host else target.host_value
        lines = compose(fields, self._visitor.peer, host)
        own = b"X-Request-Id: %b\r\n" % self.request_id
        if self._span is not None:
            own += self._span.lines
        elif fields.trace is not None:
            own += fields.trace.lines
        if passed is not None:
            own = passed.lines + own
            if passed.replaced:
                lines = passed.replaced.apply(lines)
        tls = self._visitor.arrival.tls
        if tls is not None and tls.client:
            # RFC 9440 section 2.2: one that a visitor sent was dropped with the reserved fields.
            own += b"Client-Cert: %b\r\n" % tls.client
        if fields.max_forwards is not None:
            # RFC 9110 section 7.6.2: the field counts hops for OPTIONS and TRACE, and means nothing elsewhere.
            own += b"Max-Forwards: %d\r\n" % (fields.max_forwards - (self.line.method == b"OPTIONS"))
        return rules.request_edits.apply(lines + own) if rules.request_edits is not None else lines + own

    def connected(self, upstream: TargetSide) -> None:
        """A connection to the chosen target is there: send what waits."""
        live, target = self._live, self._target
        if live is None or target is None:
            upstream.release(is_reusable=True)
            return
        self._upstream = upstream
        self._connect_s = 0.0 if upstream.is_reused else self.core.stopwatch() - self._began
        path = self.line.target
        if live.rules.rewrite is not None:
            path = live.rules.rewrite.apply(path)
        upstream.begin(self, self.line.method, path, self._lines(live, target))
        if self._pending:
            # Body bytes cannot be sent twice, so from here on there is no other try.
            self._tries_left = 0
            pending, self._pending = self._pending, None
            # Before the writes: they may find the target slow, and then the visitor has to wait again.
            self._visitor.resume_reading()
            for data in pending:
                upstream.send(data)
        if self._ending is not None:
            upstream.finish(self._ending)
        self._visitor.wait(live.rules.response_s if self.is_request_complete else self._patience())

    def connect_failed(self, failure: Failure) -> None:
        """No connection to the chosen target: try another, or give up."""
        self._blame_target()
        self._tried = (*self._tried, self._target)
        self._retry_or_fail(failure)

    def _blame_target(self) -> None:
        target, live = self._target, self._live
        if target is not None and live is not None and target.failed(self.core.now, live.route.ejection):
            self.core.counters.ejections += 1

    # Stop 7: relay, visitor to target.

    def request_data(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self.is_settled:
            return
        self._received += len(data)
        rules = self._live.rules if self._live is not None else self.core.rules
        if rules.max_body_bytes and self._received > rules.max_body_bytes:
            self.fail(Failure(BODY_TOO_LARGE))
            return
        self._to_target(data)
        if rules.min_bytes_per_s:
            # Every byte buys time at the least rate that is accepted, so that a drip does not last for ever.
            self._visitor.stretch(len(data) / rules.min_bytes_per_s, self._patience())
        else:
            self._visitor.wait(self._patience())

    def request_end(self, trailers: list[bytes] | None) -> None:
        """The request has been read completely."""
        if self.is_settled:
            return
        self.is_request_complete = True
        # Kept for another try, which may come as long as no data was sent.
        self._ending = passing_trailers(trailers) if trailers else b""
        if self._ending and self._live is not None:
            self._ending = without(self._ending, self._live.rules.owned_fields)
        if self._upstream is not None:
            self._upstream.finish(self._ending)
        self._visitor.wait(self._patience())

    def _to_target(self, data: bytes) -> None:
        if self._upstream is None:
            if self._pending is None:
                self._pending = []
            self._pending.append(data)
            self._visitor.pause_reading()
        else:
            self._tries_left = 0
            self._upstream.send(data)

    def _patience(self) -> float:
        """For how many seconds nothing may move at this point."""
        live = self._live
        if live is None:
            return self.core.settings.body_idle_s
        rules = live.rules
        if self._waiting is not None:
            return rules.checks_s
        if self._queue is not None:
            return max(0.0, self._queued_until - self.core.now)
        if self._upstream is None and self._target is not None:
            # The dial ends by itself in time; until then no other deadline may.
            return rules.connect_s + _DIAL_MARGIN_S
        if not self.is_request_complete:
            return rules.body_idle_s
        return rules.idle_s if self.is_response_begun else rules.response_s

    # Stop 7: relay, target to visitor.

    def interim(self, status: StatusLine, fields: ResponseFields) -> None:
        """A 1xx response other than 101; raises Failure when there are too many (RFC 9110 section 15.2)."""
        self._interim_responses += 1
        if self._interim_responses > _MAX_INTERIM_RESPONSES:
            raise Failure(RESPONSE_INCOMPLETE, "The target sends interim responses without end.")
        if self.line.minor:
            self._visitor.interim(status, fields)

    def response(self, status: StatusLine, fields: ResponseFields, body: bytes) -> None:
        """The head of the final response, with the bytes of the body that came with it."""
        self._first_byte_s = self.core.stopwatch() - self._began
        target, live = self._target, self._live
        if target is not None and live is not None:
            if target.failures or live.rules.is_judged_by_status:
                self._judge(target, live, status.status)
            dressing = live.rules.dressing
            if dressing is not None:
                dress = self._dress = dressing.of(self, live, target, status.status, fields)
                if dress.failure is not None:
                    # The visitor gets a page of the route's own: when the target has said its piece, if that is short.
                    length = fields.framing.length
                    if length is None or length > _MAX_REPLACED:
                        raise dress.failure
                    return
                fields, body = dress.fields, dress.body(body)
        self.is_response_begun = True
        self.status = status.status
        self._sent += len(body)
        self._visitor.respond(status, fields, body)

    def _judge(self, target: TargetState[TargetSide], live: Live, status: int) -> None:
        if target.answered(status, self.core.now, live.route.ejection):
            self.core.counters.ejections += 1

    def response_goes_on(self) -> None:
        """More of the body is to come."""
        self._visitor.wait(self._patience())

    def response_data(self, data: bytes) -> None:
        """A piece of the response's body."""
        dress = self._dress
        if dress is not None:
            data = dress.body(data)
            if not data:
                self._visitor.wait(self._patience())
                return
        self._sent += len(data)
        self._visitor.send(data)
        self._visitor.wait(self._patience())

    def response_end(self, trailers: list[bytes] | None, *, is_reusable: bool) -> None:
        """The response has been read completely."""
        dress = self._dress
        if dress is not None and dress.failure is None and (data := dress.end()):
            self._sent += len(data)
            self._visitor.send(data)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.release(is_reusable=is_reusable and self.is_request_complete)
        if dress is not None and dress.failure is not None:
            self.fail(dress.failure)
            return
        self._settle()
        self._visitor.finish(passing_trailers(trailers) if trailers else b"")

    def switch(self, status: StatusLine, fields: ResponseFields, surplus: bytes) -> None:
        """101: from here on both connections carry bytes of another protocol (RFC 9110 section 7.8)."""
        upstream = self._upstream
        asked = members(self.fields.upgrade)
        if upstream is None or not self.is_request_complete or fields.upgrade.lower() not in asked:
            raise Failure(UPGRADE_FAILED)
        if self._timer is not None:
            # What was agreed on from here on has no end that could be waited for.
            self._timer.cancel()
        self.is_response_begun = True
        self.status = 101
        self._sent += len(surplus)
        tunnel = Tunnel(self, self._visitor, upstream, self.core.settings.tunnel_idle_s)
        upstream.switch(tunnel)
        self._visitor.switch(status, fields, tunnel, surplus)

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
        if self._live is not None:
            # One who does not read has the same time as one who does not send.
            self._visitor.wait(self._live.rules.body_idle_s)

    def visitor_caught_up(self) -> None:
        """The visitor has taken most of what was written to it."""
        if self._upstream is not None:
            self._upstream.resume_reading()
        self._visitor.wait(self._patience())

    def target_is_slow(self) -> None:
        """The target does not take what was written to it."""
        self._is_target_slow = True
        self._visitor.pause_reading()

    def target_caught_up(self) -> None:
        """The target has taken most of what was written to it."""
        self._is_target_slow = False
        self._visitor.resume_reading()
        self._visitor.wait(self._patience())

    # The exits: every failure ends here, and every exchange settles once.

    def target_lost(self, error: Exception | None) -> None:
        """The target's connection closed before the response was complete."""
        upstream, self._upstream = self._upstream, None
        was_reused = upstream is not None and upstream.is_reused
        if self.is_response_begun:
            self.fail(Failure(RESPONSE_INCOMPLETE))
            return
        if isinstance(error, NotProcessed):
            self._go_elsewhere()
            return
        failure = Failure(TARGET_CLOSED, "The target reset the connection." if error else None)
        if not was_reused:
            self._blame_target()
        if self._live is not None and self._live.only is None:
            # It may have closed the connection because nobody had used it, or because it is no more.
            self._tried = (*self._tried, self._target)
        self._retry_or_fail(failure, was_reused=was_reused)

    def _go_elsewhere(self) -> None:
        """Send a request that the target did not look at on a new connection: nobody failed, so it is no second try."""
        live = self._live
        self._refusals += 1
        if live is None or self._refusals > _MAX_REFUSALS or self._received:
            self.fail(Failure(NOT_PROCESSED))
            return
        self._count_out()
        self.resume()

    def _retry_or_fail(self, failure: Failure, *, was_reused: bool = False) -> None:
        # RFC 9110 section 9.2.2: what may have reached the target is sent again only when it is idempotent; a reused
        # connection may have been closed by the target before it saw the request (RFC 9112 section 9.5). Where it was a
        # new one, the same target would do the same again: another one is asked, if there is any.
        live = self._live
        has_others = live is not None and live.only is None
        is_fresh = (was_reused or has_others) and self.line.method in _IDEMPOTENT
        may_retry = failure.retry == "always" or (failure.retry == "fresh" and is_fresh)
        if live is None or not may_retry or self._tries_left == 0 or self.is_settled:
            self.fail(failure)
            return
        if not live.budget.allows(self.core.now):
            self.fail(failure)
            return
        self._tries_left -= 1
        self._retries += 1
        self.core.counters.retries += 1
        live.counts.retries += 1
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
        elif self._is_target_slow:
            self._blame_target()
            self.fail(Failure(RESPONSE_TIMEOUT, "The target does not take the request."))
        elif not self.is_request_complete:
            self.fail(Failure(REQUEST_TIMEOUT))
        elif self._target is None:
            self.fail(Failure(OVERLOADED))
        else:
            self.fail(Failure(RESPONSE_TIMEOUT))

    def _took_too_long(self) -> None:
        self.fail(Failure(TOOK_TOO_LONG))

    def visitor_lost(self) -> None:
        """The visitor's connection closed before the response was complete."""
        if self.is_settled:
            return
        self.failure = Failure(VISITOR_GONE)
        self.status = self.status or VISITOR_GONE.status
        upstream, live = self._upstream, self._live
        if upstream is not None and live is not None and live.route.finish_abandoned and self.is_request_complete:
            self._upstream = None
            upstream.abandon(self.core.now + live.rules.response_s)
        self._drop_upstream()
        self._settle()

    def fail(self, failure: Failure) -> None:
        """Answer with `failure`, or cut the connection when the answer has begun."""
        if self.is_settled:
            return
        # Its traceback holds the frames that hold this exchange: a circle, which only a rare full collection would end.
        self.failure = failure.with_traceback(None)
        self._drop_upstream()
        if self.is_response_begun:
            self._settle()
            self._visitor.cut()
            return
        rules = self._live.rules if self._live is not None else self.core.rules
        self.request_id = self.request_id or self.fields.request_id or self.core.next_request_id()
        if failure.status == BAD_REQUEST.status:
            self._visitor.distrust()
        self._answer(*rules.failure_answer(failure, self.fields.value(b"accept"), self.request_id))

    def _reply(self, reply: Reply) -> None:
        self._answer(*made_answer(reply.status, reply.lines, reply.body), is_dressed=reply.is_dressed)

    def _answer(self, status: StatusLine, fields: ResponseFields, body: bytes, *, is_dressed: bool = False) -> None:
        live = self._live
        if live is not None and live.rules.dressing is not None and not is_dressed:
            fields = live.rules.dressing.of_own(self, fields)
        self.status = status.status
        self.is_response_begun = True
        has_body = self.fields.framing.chunked or bool(self.fields.framing.length)
        self.is_request_complete = self.is_request_complete or not has_body
        if self.line.method == b"CONNECT":
            self._visitor.distrust()
        body = b"" if self.line.method == b"HEAD" else body
        self._sent += len(body)
        self._visitor.respond(status, fields, body)
        self._settle()
        self._visitor.finish(b"")

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def _settle(self) -> None:
        """Stop 8: count out, leave one record."""
        self.is_settled = True
        self._stop_waiting()
        self._pending = None
        if self._dress is not None:
            self._dress.close()
        self._count_out()
        core, counters = self.core, self.core.counters
        if self._received:
            counters.received += self._received
        counters.sent += self._sent
        counters.statuses[self.status // 100] += 1
        if self.failure is not None:
            counters.failed(self.failure)
        duration_s = core.stopwatch() - self._began
        counts: RouteCounts = self._live.counts if self._live is not None else core.ledger.other
        counts.settled(self.status, self._received, self._sent, duration_s, self._first_byte_s)
        observer, spans = core.observer, core.spans if self._span is not None and self._span.is_sampled else None
        if observer is None and spans is None:
            return
        record = self._record(duration_s)
        if observer is not None:
            observer.record(record)
        if spans is not None:
            spans.record(record)

    def _stop_waiting(self) -> None:
        if self._held is not None:
            self._held.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting is not None:
            self._waiting.cancel()
        if self._queue is not None:
            self._queue.forget(self)

    def _count_out(self) -> None:
        target, self._target = self._target, None
        if target is None:
            return
        target.in_flight -= 1
        if target.awaited:
            self.core.call_soon(_wake, target)

    def _record(self, duration_s: float) -> AccessRecord:
        core, line, fields, live, failure = self.core, self.line, self.fields, self._live, self.failure
        passed, tls, span = self.pass_, self._visitor.arrival.tls, self._span
        referer, user_agent = fields.logged
        said = None if fields.trace is None or span is not None else trace.read_parent(fields.trace.parents)
        trace_id, parent_id = (b"", b"") if said is None else (said.trace_id, said.span_id)
        if span is not None:
            trace_id, parent_id = span.trace_id, span.parent_id
        return AccessRecord(
            began_at=round(core.wall_time() - duration_s, 6),
            duration_s=round(duration_s, 6),
            connect_s=round(self._connect_s, 6),
            first_byte_s=round(self._first_byte_s, 6),
            peer=self._visitor.peer.address.decode("ascii"),
            method=line.method.decode("ascii"),
            scheme="http" if tls is None else "https",
            host=fields.host.decode("ascii"),
            target=line.target.decode("ascii"),
            version=_VERSIONS[line.minor],
            tls="" if tls is None else tls.version,
            status=self.status,
            received=self._received,
            sent=self._sent,
            retries=self._retries,
            request_id=self.request_id.decode("ascii"),
            route=live.route.host if live is not None else "",
            path_prefix=live.route.path_prefix if live is not None else "",
            upstream=self._upstream_address,
            org_id=passed.org_id if passed is not None else "",
            user=passed.user if passed is not None else "",
            trace_id=trace_id.decode("ascii"),
            span_id=span.span_id.decode("ascii") if span is not None else "",
            parent_id=parent_id.decode("ascii"),
            cause=failure.cause if failure is not None else "",
            detail=failure.said if failure is not None else "",
            referer=referer,
            user_agent=user_agent,
        )
