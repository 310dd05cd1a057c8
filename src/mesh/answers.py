"""The answers that the proxy makes itself: small HTML or JSON bodies, with Proxy-Status (RFC 9209)."""

from __future__ import annotations

import html
import json
from http import HTTPStatus
from typing import Final

from mesh.errors import Failure
from mesh.forward import VIA, ResponseFields
from mesh.wire import Framing, StatusLine

_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<title>{title}</title><body style='font:16px/1.5 system-ui;margin:15vh auto;max-width:32em;padding:0 1em'>"
    "<h1>{title}</h1><p>{detail}</p><p><small>Request {request_id}</small></p>\n"
)


def failure_answer(
    failure: Failure, accept: bytes, request_id: bytes, page: bytes | None = None
) -> tuple[StatusLine, ResponseFields, bytes]:
    """The status line, the fields and the body that tell a visitor of `failure`; `page` is HTML to use as the body."""
    title = f"{failure.status} {_phrase(failure.status)}"
    content_type, body = _body(failure, accept, title, request_id.decode("ascii"), page)
    lines = [
        f"Content-Type: {content_type}",
        f"Proxy-Status: {VIA.decode('ascii')}; error={failure.cause}; details={_quoted(failure.detail)}",
        "Cache-Control: no-store",
        *(f"{name}: {value}" for name, value in failure.headers),
    ]
    if request_id:
        lines.append(f"X-Request-Id: {request_id.decode('ascii')}")
    return made_answer(failure.status, "".join(f"{line}\r\n" for line in lines).encode("latin-1"), body)


def made_answer(status: int, lines: bytes, body: bytes) -> tuple[StatusLine, ResponseFields, bytes]:
    """An answer of the proxy's own, as if a target had given it; `lines` are field lines with their line ends."""
    line = f"HTTP/1.1 {status} {_phrase(status)}".encode("ascii")
    return StatusLine(1, status, line), ResponseFields(Framing(len(body), chunked=False), lines), body


def _body(failure: Failure, accept: bytes, title: str, request_id: str, html_page: bytes | None) -> tuple[str, bytes]:
    if html_page is not None:
        return "text/html; charset=utf-8", html_page
    if prefers_html(accept):
        page = _PAGE.format(title=html.escape(title), detail=html.escape(failure.detail), request_id=request_id)
        return "text/html; charset=utf-8", page.encode()
    value = {"error": failure.detail, "cause": failure.cause, "status": failure.status, "request_id": request_id}
    return "application/json", json.dumps(value).encode() + b"\n"


def prefers_html(accept: bytes) -> bool:
    """Whether a visitor who sends this Accept would rather read a page than JSON."""
    accept = accept.lower()
    page, data = accept.find(b"text/html"), accept.find(b"json")
    return page >= 0 and (data < 0 or page < data)


def prefers_data(accept: bytes) -> bool:
    """Whether a visitor who sends this Accept asks for JSON, and not for a page first."""
    return b"json" in accept.lower() and not prefers_html(accept)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _quoted(text: str) -> str:
    # RFC 8941 section 3.3.3: a string holds printable ASCII, with quotes and backslashes escaped.
    printable = "".join(character if " " <= character <= "~" else "?" for character in text)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'
