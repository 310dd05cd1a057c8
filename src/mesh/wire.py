"""HTTP/1.1 as bytes: start lines, field lines, framing and chunks, with the checks that a proxy owes its targets.

RFC 9112 sections 2.2 to 7, RFC 9110 sections 5 and 7.2. Every refusal is a `Failure`. Whatever llhttp refuses is
refused here as well, which the tests of `mesh.heads` hold.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from mesh.errors import (
    BAD_REQUEST,
    BAD_RESPONSE,
    HEAD_TOO_LARGE,
    NOT_IMPLEMENTED,
    TARGET_TOO_LONG,
    VERSION_REFUSED,
    Failure,
    Kind,
)

END_OF_HEAD: Final = b"\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

_TOKEN_OCTETS: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FIELD_OCTETS: Final = bytes((0x09, *range(0x20, 0x7F), *range(0x80, 0x100)))
_PLAIN_OCTETS: Final = bytes((*range(0x20, 0x7F), *range(0x80, 0x100)))
_TARGET_OCTETS: Final = bytes((0x21, 0x22, *range(0x24, 0x7F)))

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ORIGIN_FORM: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*")
_AUTHORITY_FORM: Final = re.compile(rb"[A-Za-z0-9_.:\[\]-]+:[0-9]{1,5}")
_ABSOLUTE_FORM: Final = re.compile(rb"(https?)://([^/?#]+)([/?][\x21\x22\x24-\x7e]*)?", re.IGNORECASE)
_VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])")
_HOST: Final = re.compile(
    rb"((?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)\.?(?::[0-9]{0,5})?"
)
_IPV6_HOST: Final = re.compile(rb"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{0,5})?")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_CHUNK_LINE_BEGUN: Final = re.compile(rb"[0-9A-Fa-f]{1,15}(?:[ \t]*|[ \t]*;[\t\x20-\x7e\x80-\xff]*)\r?")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_TRANSFER_CODINGS: Final = frozenset({b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"})

_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})

_MAX_HOST: Final = 255 + len(b".:65535")
_MAX_LEADING_EMPTY_LINES: Final = 4
_MAX_CHUNK_LINE: Final = 1024
_MAX_CHUNK_EXTENSIONS: Final = 16 * 1024
_MAX_TRAILERS: Final = 8 * 1024
_MAX_TRAILER_FIELDS: Final = 64


class RequestLine:
    """The checked request line; `minor` is that of HTTP/1, and 2 for HTTP/2.

    `target` is in origin-form or `*`; `authority` and `is_https` say what stood in front when it came in absolute-form.
    """

    __slots__ = ("authority", "is_https", "method", "minor", "target")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        minor: int,
        authority: bytes | None,
        is_https: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Its parts; no named tuple, whose fields compiled code would look up by their names."""
        self.method = method
        self.target = target
        self.minor = minor
        self.authority = authority
        self.is_https = is_https


class StatusLine:
    """The checked status line; `line` is what goes to the visitor, without line end."""

    __slots__ = ("line", "minor", "status")

    def __init__(self, minor: int, status: int, line: bytes) -> None:
        """Its parts."""
        self.minor = minor
        self.status = status
        self.line = line


class Framing(NamedTuple):
    """How a body is delimited: by `length`, by chunks, or (both unset) there is none, or the connection ends it."""

    length: int | None
    chunked: bool


CHUNKED: Final = Framing(None, chunked=True)
UNFRAMED: Final = Framing(None, chunked=False)


def start_of_head(data: bytes | bytearray) -> int:
    """The offset of the request line behind empty lines (RFC 9112 section 2.2); raises Failure when they do not end."""
    offset = 0
    while data[offset : offset + 2] == b"\r\n":
        offset += 2
    if offset > 2 * _MAX_LEADING_EMPTY_LINES:
        raise Failure(BAD_REQUEST, "Too many empty lines before the request.")
    return offset


def check_partial_head(data: bytes | bytearray, max_target: int, max_head: int) -> None:
    """Refuse what can no longer become a request head, so that nonsense is answered at once and not at the deadline."""
    if has_bare_lf(data):
        raise Failure(BAD_REQUEST, "Lines end in CR LF.")
    if data and data[0] != 0x0D and not _TOKEN.match(data):
        raise Failure(BAD_REQUEST, "A request begins with a method.")
    if b"\n" not in data and len(data) > max_target + 64:
        raise Failure(TARGET_TOO_LONG)
    if len(data) > max_head:
        raise Failure(HEAD_TOO_LARGE)


def has_bare_lf(data: bytes | bytearray) -> bool:
    """Whether a line ends in LF alone; such a head would never be seen to end."""
    return data.count(b"\n") != data.count(b"\r\n")


def parse_request_line(line: bytes, max_target: int) -> RequestLine:
    """Check `METHOD target HTTP/1.x` (RFC 9112 section 3); raises Failure 400, 414, 421 or 505."""
    method, _, rest = line.partition(b" ")
    # What nearly every request has, in few steps; all else is looked at part by part.
    if method in _METHODS and rest[:1] == b"/" and rest[-9:] == b" HTTP/1.1":
        target = rest[:-9]
        if len(target) <= max_target and not target.translate(None, _TARGET_OCTETS):
            return RequestLine(method, target, 1, None)
    return _uncommon_request_line(line, max_target)


def _uncommon_request_line(line: bytes, max_target: int) -> RequestLine:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise Failure(BAD_REQUEST, "A request line has three parts.")
    method, target, version = parts
    minor = 1 if version == b"HTTP/1.1" else _minor_version(version)
    if method not in _METHODS and not _TOKEN.fullmatch(method):
        raise Failure(BAD_REQUEST, "The method is not a token.")
    if len(target) > max_target:
        raise Failure(TARGET_TOO_LONG)
    if _ORIGIN_FORM.fullmatch(target) or (target == b"*" and method == b"OPTIONS"):
        return RequestLine(method, target, minor, None)
    if method == b"CONNECT" and _AUTHORITY_FORM.fullmatch(target):
        return RequestLine(method, target, minor, None)
    return _absolute_form(method, target, minor)


def _minor_version(version: bytes) -> int:
    match = _VERSION.fullmatch(version)
    if match is None:
        raise Failure(BAD_REQUEST, "The protocol version is malformed.")
    if match[1] != b"1":
        raise Failure(VERSION_REFUSED)
    # RFC 9110 section 2.5: a higher minor version is treated as the highest one known.
    return 0 if match[2] == b"0" else 1


def _absolute_form(method: bytes, target: bytes, minor: int) -> RequestLine:
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise Failure(BAD_REQUEST, "The request target is malformed.")
    # RFC 9112 section 3.2.4: OPTIONS for a whole server goes on in asterisk-form.
    path = match[3] or (b"*" if method == b"OPTIONS" else b"/")
    return RequestLine(
        method, b"/" + path if path[:1] == b"?" else path, minor, fold_host(match[2]), match[1].lower() == b"https"
    )


def judge_request_lines(lines: list[bytes]) -> None:
    """Raise Failure 400 unless each line is `name:value`: a token, and a value without control characters."""
    if not _are_field_lines(lines):
        raise Failure(BAD_REQUEST, "A header field is malformed.")


def judge_response_lines(lines: list[bytes]) -> None:
    """Raise Failure 502 unless each line is `name:value`: a token, and a value without control characters."""
    if not _are_field_lines(lines):
        raise Failure(BAD_RESPONSE, "A header field of the target's answer is malformed.")


def _are_field_lines(lines: list[bytes]) -> bool:
    """RFC 9112 section 5: a token, a colon, and octets that are neither control characters nor ends of lines."""
    # One pass in C over all octets: whatever is left when the good ones are deleted is bad.
    octets = b"".join(lines)
    if octets.translate(None, _FIELD_OCTETS):
        return False
    for line in lines:
        name, colon, _value = line.partition(b":")
        if not (name and colon) or name.translate(None, _TOKEN_OCTETS):
            return False
    return b"\t" not in octets or not any(_is_odd_coding(line) for line in lines)


def are_plain(lines: list[bytes]) -> bool:
    """Whether there is no control character in `lines`, not even a tab."""
    return not b"".join(lines).translate(None, _PLAIN_OCTETS)


def _is_odd_coding(line: bytes) -> bool:
    # Allowed by RFC 9110 section 5.5, but there are parsers to whom a coding with a tab behind it is another one.
    return line.endswith(b"\t") and line.partition(b":")[0].lower() == b"transfer-encoding"


def members(value: bytes | None) -> list[bytes]:
    """The members of a list field, in lower case (RFC 9110 section 5.6.1)."""
    if value is None:
        return []
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]


def parse_status_line(line: bytes) -> StatusLine:
    """Check `HTTP/1.x status reason` (RFC 9112 section 4); raises Failure 502."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise Failure(BAD_RESPONSE, "The target's answer has no valid status line.")
    minor, status, reason = match.groups()
    return StatusLine(int(minor), int(status), b"HTTP/1.1 %b %b" % (status, reason or b""))


def request_framing(fields: Mapping[bytes, bytes], minor: int) -> Framing:
    """How the body of a request is delimited (RFC 9112 section 6.3); raises Failure 400 or 501.

    `fields` maps lower-case names to values, those of repeated fields joined by commas.
    """
    if b"transfer-encoding" in fields:
        if minor == 0:
            raise Failure(BAD_REQUEST, "HTTP/1.0 has no transfer codings.")
        value = fields[b"transfer-encoding"].lower()
        codings = members(value)
        if codings[-1:] == [b"chunked"] and len(codings) > 1 and _TRANSFER_CODINGS.issuperset(codings[:-1]):
            raise Failure(NOT_IMPLEMENTED)
        # Not even an empty member beside it: the next reader may see another coding there.
        if value != b"chunked" or b"content-length" in fields:
            raise Failure(BAD_REQUEST, "The framing of the body is ambiguous.")
        return CHUNKED
    return _content_length(fields, BAD_REQUEST)


def response_framing(fields: Mapping[bytes, bytes], minor: int) -> Framing:
    """How the body of a response is delimited (RFC 9112 section 6.3); raises Failure 502."""
    if b"transfer-encoding" in fields:
        if minor == 0 or fields[b"transfer-encoding"].lower() != b"chunked" or b"content-length" in fields:
            raise Failure(BAD_RESPONSE, "The framing of the target's answer is ambiguous.")
        return CHUNKED
    return _content_length(fields, BAD_RESPONSE)


def _content_length(fields: Mapping[bytes, bytes], kind: Kind) -> Framing:
    value = fields.get(b"content-length")
    if value is None:
        return UNFRAMED
    if not _DIGITS.fullmatch(value):
        raise Failure(kind, "The Content-Length is malformed.")
    return Framing(int(value), chunked=False)


def fold_host(value: bytes) -> bytes:
    """A Host value without port and trailing dot, in lower case (RFC 9110 section 7.2); raises Failure 400."""
    match = _HOST.fullmatch(value)
    if match is not None and len(value) <= _MAX_HOST:
        return match[1].lower()
    match = _IPV6_HOST.fullmatch(value)
    if match is None:
        raise Failure(BAD_REQUEST, "The Host is malformed.")
    try:
        # RFC 5952: an address has many spellings and one canonical one, under which routes are kept.
        return b"[%b]" % ipaddress.IPv6Address(match[1].decode("ascii")).compressed.encode("ascii")
    except ValueError:
        raise Failure(BAD_REQUEST, "The Host is not an IPv6 address.") from None


def chunk(data: bytes) -> bytes:
    """`data` as one chunk; empty data would end the body, so it gives nothing."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class ChunkedBody:
    """Decodes a chunked body piece by piece (RFC 9112 section 7.1).

    Stricter than the grammar of old: a line ends in CR LF, never in LF alone; sizes are bare hexadecimal digits; the
    extensions and the trailer section are bounded. `is_begun` says that the first size line was valid. `trailers` is
    set when the body is complete, `surplus` then holds the bytes that follow it.
    """

    __slots__ = ("_extensions", "_left", "_line", "is_begun", "surplus", "trailers")

    def __init__(self) -> None:
        """A body of which nothing has been read."""
        self.trailers: list[bytes] | None = None
        self.surplus = b""
        self.is_begun = False
        self._line = b""
        # Bytes of the current chunk and its CR LF that are still to come; 0 between chunks, -1 in the trailers.
        self._left = 0
        self._extensions = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The data in these bytes, as pieces; raises ValueError when they are malformed."""
        pieces: list[bytes] = []
        if self._line:
            data, self._line = self._line + data, b""
        offset = 0
        while self._left >= 0 and offset < len(data):
            if self._left:
                offset = self._take_data(data, offset, pieces)
                continue
            end = data.find(b"\r\n", offset)
            if end < 0 or end - offset > _MAX_CHUNK_LINE:
                self._keep_partial_line(data[offset:])
                return pieces
            self._open_chunk(data[offset:end])
            offset = end + 2
        if self._left < 0:
            self._take_trailers(data[offset:])
        return pieces

    def _take_data(self, data: bytes, offset: int, pieces: list[bytes]) -> int:
        size = self._left - 2
        if size > 0:
            piece = data[offset : offset + size]
            pieces.append(piece)
            self._left -= len(piece)
            return offset + len(piece)
        ending = data[offset : offset + self._left]
        if ending != b"\r\n"[2 - self._left :][: len(ending)]:
            raise ValueError("A chunk is longer than its size.")
        self._left -= len(ending)
        return offset + len(ending)

    def _open_chunk(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise ValueError("A chunk size is malformed.")
        self._extensions += len(line) - len(match[1])
        if self._extensions > _MAX_CHUNK_EXTENSIONS:
            raise ValueError("The chunk extensions are too long.")
        self.is_begun = True
        size = int(match[1], 16)
        self._left = size + 2 if size else -1

    def _keep_partial_line(self, line: bytes) -> None:
        if len(line) > _MAX_CHUNK_LINE + len(b"\r"):
            raise ValueError("A chunk size line is too long.")
        if line and not _CHUNK_LINE_BEGUN.fullmatch(line):
            raise ValueError("A chunk size is malformed.")
        self._line = line

    def _take_trailers(self, data: bytes) -> None:
        if data[:2] == b"\r\n":
            self.trailers, self.surplus = [], data[2:]
            return
        end = data.find(END_OF_HEAD)
        if max(end, len(data) if end < 0 else 0) > _MAX_TRAILERS:
            raise ValueError("The trailer section is too long.")
        if end < 0:
            self._line = data
            return
        lines = data[:end].split(b"\r\n")
        if len(lines) > _MAX_TRAILER_FIELDS:
            raise ValueError("There are too many trailer fields.")
        try:
            judge_request_lines(lines)
        except Failure as failure:
            raise ValueError(failure.detail) from None
        self.trailers = lines
        self.surplus = data[end + 4 :]
