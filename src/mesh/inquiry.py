"""Forward auth: a service is shown each request, without its body, and says whether it may pass."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from mesh.edits import folded, without
from mesh.errors import (
    BAD_RESPONSE,
    RESPONSE_INCOMPLETE,
    RESPONSE_TIMEOUT,
    TARGET_CLOSED,
    UPGRADE_FAILED,
    Failure,
)
from mesh.forward import compose
from mesh.routes import Route
from mesh.wire import UNFRAMED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mesh.core import Core
    from mesh.forward import Peer, RequestFields, ResponseFields
    from mesh.policies import ForwardAuth
    from mesh.sides import TargetSide
    from mesh.targets import TargetState
    from mesh.wire import RequestLine, StatusLine

_MAX_BODY: Final = 64 * 1024
_MAX_INTERIM_RESPONSES: Final = 8
# How a service is dialled: by no route's certificates and announcements.
_SERVICE: Final = Route(host="", targets=())
# What speaks of a body that is not sent, of this connection, or of a page that the service does not have: the answer to
# a conditional request could be 304 and say nothing about access.
_NOT_SHOWN: Final = frozenset(
    {
        *(b"connection", b"content-length", b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"range"),
    }
)
_DATE: Final = frozenset({b"date"})


class Answer(NamedTuple):
    """What the service says; `lines` are field lines, CRLF each, without those of framing and without Date."""

    status: int
    lines: bytes
    body: bytes

    @property
    def lets_pass(self) -> bool:
        """Whether the request may go on."""
        return 200 <= self.status < 300

    def copied(self, names: Iterable[str]) -> bytes:
        """The lines of these names, for the target. The request's own have to go even where there are none here."""
        wanted = {folded(name.encode("latin-1")) for name in names}
        lines = self.lines.split(b"\r\n")
        return b"".join(line + b"\r\n" for line in lines if folded(line.partition(b":")[0]) in wanted)


async def inquire(core: Core, line: RequestLine, fields: RequestFields, peer: Peer, wanted: ForwardAuth) -> Answer:
    """Show a request to the service that `wanted` names, and wait for what it says.

    Raises Failure when there is no answer within the time: without one, nobody passes. When cancelled, the connection
    to the service is closed.
    """
    url = urlsplit(wanted.url)
    inquiry = Inquiry(core, core.service(f"{url.scheme}://{url.netloc}"), wanted.timeout_s)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        async with asyncio.timeout(wanted.timeout_s):
            return await inquiry.ask(path.encode("latin-1"), question(line, fields, peer, url.netloc.encode("latin-1")))
    except TimeoutError:
        raise _about(wanted, Failure(RESPONSE_TIMEOUT, "The authentication service did not answer in time.")) from None
    except Failure as failure:
        raise _about(wanted, failure) from None
    finally:
        inquiry.drop()


def question(line: RequestLine, fields: RequestFields, peer: Peer, host: bytes) -> bytes:
    """The field lines, CRLF each, that show a request to the service at `host`.

    They are what a target would be told, with the visitor's Authorization, and with the method and the target of the
    request in X-Forwarded-Method and X-Forwarded-Uri, which no visitor can send.
    """
    lines = without(compose(fields, peer, host), _NOT_SHOWN)
    if fields.authorization is not None and b"authorization" not in fields.nominated:
        lines += b"Authorization: %b\r\n" % fields.authorization
    return b"%bX-Forwarded-Method: %b\r\nX-Forwarded-Uri: %b\r\n" % (lines, line.method, line.target)


class _Shown:
    """The fields of a question, as far as a connection asks about them: there is no body."""

    __slots__ = ()
    framing: Final = UNFRAMED


class Inquiry:
    """One question and its answer, on a connection to the service; to the connection it is an exchange."""

    __slots__ = (
        "_answered",
        "_body",
        "_core",
        "_head",
        "_interim_responses",
        "_path",
        "_question",
        "_service",
        "_timeout_s",
        "_upstream",
        "fields",
        "is_settled",
    )

    # To the dialer: nobody stands behind the question but the proxy itself.
    address = b""
    is_second_try = False
    is_secure = False

    def __init__(self, core: Core, service: TargetState[TargetSide], timeout_s: float) -> None:
        """A question for `service`, which is dialled for `timeout_s` seconds at most."""
        self._core = core
        self._service = service
        self._timeout_s = timeout_s
        self._answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._upstream: TargetSide | None = None
        self._path = b""
        self._question = b""
        self._head: tuple[StatusLine, ResponseFields] | None = None
        self._body = b""
        self._interim_responses = 0
        self.fields = _Shown()
        self.is_settled = False

    def endpoints(self) -> tuple[object, object]:
        """None: no visitor's connection is behind the question."""
        return None, None

    async def ask(self, path: bytes, lines: bytes) -> Answer:
        """Send GET `path` with these field lines; raises Failure."""
        self._path, self._question = path, lines
        upstream = self._service.pool.take()
        if upstream is None:
            self._dial()
        else:
            self.connected(upstream)
        return await self._answered

    def drop(self) -> None:
        """Nobody waits any more."""
        self.is_settled = True
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def _dial(self) -> None:
        self._core.dial(self._service, self, _SERVICE, self._timeout_s)

    # What the dialer calls.

    def connected(self, upstream: TargetSide) -> None:
        """A connection to the service is there."""
        self._upstream = upstream
        upstream.begin(self, b"GET", self._path, self._question)
        upstream.finish(b"")

    def connect_failed(self, failure: Failure) -> None:
        """The service cannot be reached."""
        self.fail(failure)

    # What the connection calls (`mesh.sides.Answered`).

    def interim(self, status: StatusLine, fields: ResponseFields) -> None:
        """Nothing that concerns the visitor; raises Failure when there are too many."""
        self._interim_responses += 1
        if self._interim_responses > _MAX_INTERIM_RESPONSES:
            raise Failure(RESPONSE_INCOMPLETE, "The target sends interim responses without end.")

    def response(self, status: StatusLine, fields: ResponseFields, body: bytes) -> None:
        """The head of the answer, with the first bytes of its body."""
        self._head = status, fields
        self.response_data(body)

    def response_goes_on(self) -> None:
        """More of the body is to come."""

    def response_data(self, data: bytes) -> None:
        """A piece of the answer's body, which the visitor may get to see."""
        if len(self._body) + len(data) > _MAX_BODY:
            self.fail(Failure(BAD_RESPONSE, "The answer of the authentication service is too large."))
        else:
            self._body += data

    def response_end(self, trailers: list[bytes] | None, *, is_reusable: bool) -> None:
        """The answer is complete."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.release(is_reusable=is_reusable)
        if self._head is not None and not self.is_settled:
            self.is_settled = True
            status, fields = self._head
            if not self._answered.done():
                self._answered.set_result(Answer(status.status, without(fields.passing, _DATE), self._body))

    def switch(self, status: StatusLine, fields: ResponseFields, surplus: bytes) -> None:
        """Nobody asked for another protocol."""
        self.fail(Failure(UPGRADE_FAILED))

    def target_lost(self, error: Exception | None) -> None:
        """The connection closed before the answer was complete; one that was kept may have been too old."""
        upstream, self._upstream = self._upstream, None
        if self.is_settled:
            return
        if self._head is None and upstream is not None and upstream.is_reused:
            self._dial()
        else:
            self.fail(Failure(TARGET_CLOSED if self._head is None else RESPONSE_INCOMPLETE))

    def target_is_slow(self) -> None:
        """There is nothing to hold back: all of the question has been written."""

    def target_caught_up(self) -> None:
        """See `target_is_slow`."""

    def fail(self, failure: Failure) -> None:
        """There is no answer, or it makes no sense."""
        self.drop()
        if not self._answered.done():
            self._answered.set_exception(failure)


def _about(wanted: ForwardAuth, failure: Failure) -> Failure:
    # For the log only: what stands behind the proxy is not the visitor's business.
    failure.add_note(f"asked {wanted.url} whether the request may pass")
    return failure
