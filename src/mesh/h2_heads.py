"""The rules for the heads of HTTP/2 messages (RFC 9113 section 8), and their form in HTTP/1."""

from __future__ import annotations

import re
from typing import Any, Final

from mesh.frames import PROTOCOL_ERROR, StreamFault
from mesh.hpack import CAREFUL, MALFORMED, PLAIN, PSEUDO, Field

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_STATUS: Final = re.compile(rb"[1-9][0-9]{2}")
_PSEUDO_OF_REQUESTS: Final = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})


class RequestHead:
    """A request's head. `lines` are its fields as HTTP/1 lines, Host first; `length` is its Content-Length or -1.

    `path` and `scheme` are empty for CONNECT (RFC 9113 section 8.5), unless `protocol` says what it is for (RFC 8441).
    One that is too large has nothing else. `kept` are for whoever makes something of the head, without and with a body.
    """

    __slots__ = (
        "authority",
        "is_too_large",
        "kept",
        "kept_with_body",
        "length",
        "lines",
        "method",
        "path",
        "protocol",
        "scheme",
    )

    def __init__(self) -> None:
        """A head of which nothing is known."""
        self.method = b""
        self.scheme = b""
        self.authority = b""
        self.path = b""
        self.protocol: bytes | None = None
        self.lines = b""
        self.length = -1
        self.is_too_large = False
        self.kept: Any = None
        self.kept_with_body: Any = None


class ResponseHead:
    """A response's head. `lines` are its fields as HTTP/1 lines; `length` is its Content-Length or -1."""

    __slots__ = ("kept", "length", "lines", "status")

    def __init__(self, status: int, lines: bytes, length: int) -> None:
        """See the class; `kept` is for whoever makes something of the head."""
        self.status = status
        self.lines = lines
        self.length = length
        self.kept: Any = None


def read_request(fields: list[Field]) -> RequestHead:
    """Check the fields of a request and put them in their HTTP/1 form; raises StreamFault."""
    pseudo, others = _split(fields)
    if not _PSEUDO_OF_REQUESTS.issuperset(pseudo):
        raise StreamFault(PROTOCOL_ERROR, "A request has a pseudo-header that is unknown.")
    head = RequestHead()
    _read_target(head, pseudo)
    lines = [one[2] for one in others if one[3] == PLAIN]
    authority = pseudo.get(b":authority")
    if len(lines) < len(others):
        host = _read_careful(head, others, lines)
        if authority is None:
            authority = host
        elif host is not None and host.lower() != authority.lower():
            raise StreamFault(PROTOCOL_ERROR, "Host and :authority name different hosts.")
    if authority is not None:
        head.authority = authority
        lines.insert(0, b"host: %b\r\n" % authority)
    head.lines = b"".join(lines)
    return head


def read_response(fields: list[Field]) -> ResponseHead:
    """Check the fields of a response and put them in their HTTP/1 form; raises StreamFault."""
    pseudo, others = _split(fields)
    status = pseudo.get(b":status", b"")
    if len(pseudo) != 1 or not _STATUS.fullmatch(status):
        raise StreamFault(PROTOCOL_ERROR, "A response has exactly one pseudo-header, its status.")
    length = -1
    for name, value, _line, kind in others:
        if kind == CAREFUL and name == b"content-length":
            length = _length(value, length)
    return ResponseHead(int(status), b"".join([one[2] for one in others]), length)


def read_trailers(fields: list[Field]) -> list[bytes]:
    """Check the fields of a trailer section: their lines, without line ends; raises StreamFault (section 8.1)."""
    for one in fields:
        if one[3] == PSEUDO or one[3] == MALFORMED:
            raise StreamFault(PROTOCOL_ERROR, "A trailer section has a malformed field.")
    return [one[2][:-2] for one in fields if one[3] == PLAIN]


def _split(fields: list[Field]) -> tuple[dict[bytes, bytes], list[Field]]:
    """The pseudo-headers, which come first and once each, and the other fields (section 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    count = 0
    for name, value, _line, kind in fields:
        if kind != PSEUDO:
            break
        pseudo[name] = value
        count += 1
    if len(pseudo) != count:
        raise StreamFault(PROTOCOL_ERROR, "A pseudo-header appears twice.")
    others = fields[count:]
    for one in others:
        if one[3] == PSEUDO or one[3] == MALFORMED:
            raise StreamFault(PROTOCOL_ERROR, "A field is malformed, out of place, or about the connection.")
    return pseudo, others


def _read_target(head: RequestHead, pseudo: dict[bytes, bytes]) -> None:
    """Method, scheme and path (section 8.3.1)."""
    head.method = method = pseudo.get(b":method", b"")
    if not _TOKEN.fullmatch(method):
        raise StreamFault(PROTOCOL_ERROR, "A request has no valid method.")
    scheme, path = pseudo.get(b":scheme"), pseudo.get(b":path")
    head.protocol = pseudo.get(b":protocol")
    if head.protocol is not None and (method != b"CONNECT" or not _TOKEN.fullmatch(head.protocol)):
        raise StreamFault(PROTOCOL_ERROR, "Only CONNECT is for another protocol.")
    if method == b"CONNECT" and head.protocol is None:
        if scheme is not None or path is not None or not pseudo.get(b":authority"):
            raise StreamFault(PROTOCOL_ERROR, "CONNECT has an authority, and neither scheme nor path.")
        return
    if scheme is None or path is None:
        raise StreamFault(PROTOCOL_ERROR, "A request has a scheme and a path.")
    if path[:1] != b"/" and not (path == b"*" and method == b"OPTIONS"):
        raise StreamFault(PROTOCOL_ERROR, "A path begins with a slash.")
    head.scheme, head.path = scheme.lower(), path


def _read_careful(head: RequestHead, others: list[Field], lines: list[bytes]) -> bytes | None:
    """Add the lines of the fields that need a look; gives the Host."""
    host: bytes | None = None
    cookies: list[bytes] = []
    for name, value, line, kind in others:
        if kind != CAREFUL:
            continue
        if name == b"cookie":
            cookies.append(value)
        elif name == b"content-length":
            head.length = _length(value, head.length)
            lines.append(line)
        elif name == b"host":
            if host is not None:
                raise StreamFault(PROTOCOL_ERROR, "Host may appear only once.")
            host = value
        elif value.lower() == b"trailers":
            # In HTTP/1 the field is about the connection, and has to be named by Connection (RFC 9110 section 10.1.4).
            lines.append(b"te: trailers\r\nconnection: te\r\n")
        else:
            raise StreamFault(PROTOCOL_ERROR, "TE says nothing but trailers.")
    if cookies:
        # Section 8.2.3: crumbs are one field to everybody but HPACK.
        lines.append(b"cookie: %b\r\n" % b"; ".join(cookies))
    return host


def _length(value: bytes, before: int) -> int:
    if before >= 0 or not _DIGITS.fullmatch(value):
        raise StreamFault(PROTOCOL_ERROR, "Content-Length is malformed or appears twice.")
    return int(value)
