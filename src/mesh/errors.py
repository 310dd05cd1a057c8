"""Why a request failed: who is at fault, what the visitor is told, and whether another target may be tried."""

from __future__ import annotations

from typing import Final, Literal

Source = Literal["visitor", "proxy", "target"]
Retry = Literal["never", "fresh", "always"]


class Failure(Exception):
    """The one way a request fails.

    `source` is the party at fault, `status` the answer, `cause` the Proxy-Status error type (RFC 9209 section 2.3),
    `detail` one sentence for the visitor and the access log, `retry` what may be done about it: "never", "always"
    (nothing was sent), or "fresh" (only if a reused connection broke before it answered). `headers` are added to the
    answer.
    """

    __slots__ = ("cause", "detail", "headers", "retry", "source", "status")

    def __init__(self, kind: Kind, detail: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """A failure of one of the kinds below, optionally with a more exact sentence."""
        self.source: Source = kind.source
        self.status = kind.status
        self.cause = kind.cause
        self.retry: Retry = kind.retry
        self.detail = detail or kind.detail
        self.headers = headers
        super().__init__(self.detail)

    @property
    def said(self) -> str:
        """What the log is told: the sentence for the visitor, and the notes that are not for the visitor."""
        return "; ".join((self.detail, *getattr(self, "__notes__", ())))


class Kind:
    """A row of the table below."""

    __slots__ = ("cause", "detail", "retry", "source", "status")

    def __init__(self, source: Source, status: int, cause: str, detail: str, retry: Retry = "never") -> None:
        """See `Failure` for the meaning of each column."""
        self.source: Source = source
        self.status = status
        self.cause = cause
        self.detail = detail
        self.retry: Retry = retry


class NotProcessed(Exception):
    """The target says of a request that it has not looked at it: it may be sent again (RFC 9113 section 8.7)."""


class Reply(Exception):
    """An answer that the proxy gives by itself and that is no failure: to a preflight, or in another's words."""

    __slots__ = ("body", "is_dressed", "lines", "status")

    def __init__(self, status: int, lines: bytes, body: bytes = b"", *, is_dressed: bool = False) -> None:
        """`lines` are field lines with their line ends, without framing and Date.

        One that `is_dressed` has all that the route adds to answers already.
        """
        super().__init__(status)
        self.status = status
        self.lines = lines
        self.body = body
        self.is_dressed = is_dressed


HTTPS_ONLY: Final = Kind("proxy", 308, "http_request_denied", "This host is served over HTTPS.")
BAD_REQUEST: Final = Kind("visitor", 400, "http_request_error", "The request is malformed.")
TOKEN_MISSING: Final = Kind("visitor", 401, "http_request_denied", "This route needs a mesh token.")
TOKEN_INVALID: Final = Kind("visitor", 401, "http_request_denied", "The mesh token is not valid.")
WRONG_TENANT: Final = Kind("visitor", 403, "http_request_denied", "The mesh token belongs to another organization.")
ADDRESS_REFUSED: Final = Kind("visitor", 403, "http_request_denied", "This address may not use this route.")
ORIGIN_REFUSED: Final = Kind("visitor", 403, "http_request_denied", "Pages of this origin may not use this route.")
PREFLIGHT_REFUSED: Final = Kind(
    "visitor", 403, "http_request_denied", "This route does not allow that method, or one of those fields, to pages."
)
CERTIFICATE_MISSING: Final = Kind(
    "visitor", 403, "tls_certificate_error", "This route needs a connection with a client certificate."
)
PASSWORD_WRONG: Final = Kind("visitor", 401, "http_request_denied", "This route needs a name and a password.")
UNKNOWN_HOST: Final = Kind("visitor", 404, "destination_not_found", "No route matches this host and path.")
METHOD_REFUSED: Final = Kind("visitor", 405, "http_request_denied", "This method is not forwarded.")
REQUEST_TIMEOUT: Final = Kind("visitor", 408, "http_request_error", "The request did not arrive in time.")
BODY_TOO_LARGE: Final = Kind("visitor", 413, "http_request_denied", "The body is larger than this route accepts.")
TARGET_TOO_LONG: Final = Kind("visitor", 414, "http_request_error", "The request target is too long.")
EXPECTATION_FAILED: Final = Kind("visitor", 417, "http_request_error", "Only the expectation 100-continue is known.")
MISDIRECTED: Final = Kind("visitor", 421, "http_request_error", "This connection is not for that host.")
RATE_LIMITED: Final = Kind("visitor", 429, "http_request_denied", "There have been too many requests.")
HEAD_TOO_LARGE: Final = Kind("visitor", 431, "http_request_error", "The request head is too large.")
VISITOR_GONE: Final = Kind("visitor", 499, "connection_terminated", "The visitor closed the connection.")
NOT_IMPLEMENTED: Final = Kind("visitor", 501, "http_request_error", "This transfer coding is not implemented.")
VERSION_REFUSED: Final = Kind("visitor", 505, "http_request_error", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
CONNECT_REFUSED: Final = Kind("target", 502, "connection_refused", "The target refused the connection.", "always")
NAME_NOT_FOUND: Final = Kind("target", 502, "dns_error", "The target's name is not found.", "always")
CERTIFICATE_REFUSED: Final = Kind(
    "target", 502, "tls_certificate_error", "The target's certificate is not trusted.", "always"
)
TLS_FAILED: Final = Kind("target", 502, "tls_protocol_error", "TLS with the target failed.", "always")
CONNECT_FAILED: Final = Kind("target", 502, "destination_ip_unroutable", "The target cannot be reached.", "always")
TARGET_CLOSED: Final = Kind(
    "target", 502, "connection_terminated", "The target closed the connection without an answer.", "fresh"
)
NOT_PROCESSED: Final = Kind(
    "target", 502, "connection_terminated", "The target takes no more requests on its connections.", "always"
)
BAD_RESPONSE: Final = Kind("target", 502, "http_protocol_error", "The target's answer is malformed.")
RESPONSE_TOO_LARGE: Final = Kind(
    "target", 502, "http_response_header_section_size", "The head of the target's answer is too large."
)
RESPONSE_INCOMPLETE: Final = Kind("target", 502, "http_response_incomplete", "The target's answer broke off.")
UPGRADE_FAILED: Final = Kind("target", 502, "http_upgrade_failed", "The target switched protocols unasked.")
NO_TARGET: Final = Kind("proxy", 503, "destination_unavailable", "No target is available for this route.")
STOPPED: Final = Kind("proxy", 503, "destination_unavailable", "This site is down for maintenance.")
HELD_TOO_LONG: Final = Kind("proxy", 503, "destination_unavailable", "This site is paused, and did not go on in time.")
OVERLOADED: Final = Kind("proxy", 503, "connection_limit_reached", "Every target is busy.")
TOOK_TOO_LONG: Final = Kind("proxy", 504, "http_response_timeout", "The request took longer than it may in all.")
ERROR_REPLACED: Final = Kind("target", 502, "http_response_incomplete", "The target answered with an error.")
CONNECT_TIMEOUT: Final = Kind(
    "target", 504, "connection_timeout", "The target did not accept the connection in time.", "always"
)
RESPONSE_TIMEOUT: Final = Kind("target", 504, "http_response_timeout", "The target did not answer in time.")
