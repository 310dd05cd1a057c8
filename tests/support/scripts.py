"""What the misbehaving origin sends for each path below `/-/`: one script per defect of a target."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

import msgspec

After = Literal["keep", "close", "reset", "linger", "echo"]


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of an answer and what becomes of the connection.

    `early` answers at the head, before the body is read. `after`: go on with the next request, close, reset, close the
    sending side and read on (`linger`), or send back what comes (`echo`).
    """

    sends: bytes = b""
    after: After = "keep"
    early: bool = False


def _ok(*fields: bytes, body: bytes = b"hello", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, b"".join(field + b"\r\n" for field in fields), body)


_LENGTH: Final = b"Content-Length: 5"
_CHUNKED: Final = b"Transfer-Encoding: chunked"
_HELLO_CHUNKED: Final = b"5\r\nhello\r\n0\r\n\r\n"
_POISON: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned"
_SWITCH: Final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

SCRIPTS: Final = MappingProxyType(
    {
        "close0": Script(after="close"),
        "rst": Script(after="reset"),
        "garbage": Script(sends=b"\x16\x03\x01 no HTTP at all \xff\xfe\r\n\r\n", after="close"),
        "http09": Script(sends=b"<html>hello</html>\n", after="close"),
        "halfhead": Script(sends=b"HTTP/1.1 200 OK\r\nContent-Le", after="close"),
        "shortbody": Script(sends=_ok(b"Content-Length: 100"), after="close"),
        "longbody": Script(sends=_ok(_LENGTH, body=b"hello and much more than that")),
        "twores": Script(sends=_ok(_LENGTH) + _POISON),
        "dupcl": Script(sends=_ok(_LENGTH, b"Content-Length: 6")),
        "samecl": Script(sends=_ok(_LENGTH, _LENGTH)),
        "clte": Script(sends=_ok(_LENGTH, _CHUNKED, body=_HELLO_CHUNKED)),
        "badchunk": Script(sends=_ok(_CHUNKED, body=b"zz\r\nhello\r\n0\r\n\r\n")),
        "latebadchunk": Script(sends=_ok(_CHUNKED, body=b"5\r\nhello\r\nzz\r\nhello\r\n0\r\n\r\n")),
        "truncchunk": Script(sends=_ok(_CHUNKED, body=b"5\r\nhello\r\n"), after="close"),
        "rstchunk": Script(sends=_ok(_CHUNKED, body=b"5\r\nhello\r\n"), after="reset"),
        "badte": Script(sends=_ok(b"Transfer-Encoding: xchunked", body=_HELLO_CHUNKED), after="close"),
        "204body": Script(sends=_ok(_LENGTH, status=b"204 No Content")),
        "304body": Script(sends=_ok(b'ETag: "1"', status=b"304 Not Modified")),
        "101unasked": Script(sends=_SWITCH, after="echo"),
        "101h2c": Script(sends=_SWITCH.replace(b"websocket", b"h2c"), after="echo"),
        "websocket": Script(sends=_SWITCH, after="echo"),
        "100s": Script(
            sends=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + _ok(_LENGTH)
        ),
        "1xxflood": Script(sends=b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000 + _ok(_LENGTH)),
        "ctl": Script(sends=_ok(_LENGTH, b"X-Control: a\x00b")),
        "ctl01": Script(sends=_ok(_LENGTH, b"X-Control: a\x01b")),
        "barelf": Script(sends=b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
        "obsfold": Script(sends=_ok(_LENGTH, b"X-Folded: a\r\n b")),
        "barecr": Script(sends=_ok(_LENGTH, b"X-Return: a\rb")),
        "spacecolon": Script(sends=_ok(b"Content-Length : 5")),
        "bighdr": Script(sends=_ok(_LENGTH, b"X-Big: " + b"a" * 256 * 1024)),
        "manyhdrs": Script(sends=_ok(_LENGTH, *(b"X-%d: a" % number for number in range(5000)))),
        "status999": Script(sends=_ok(_LENGTH, status=b"999 Beyond")),
        "status99": Script(sends=_ok(_LENGTH, status=b"99 Short")),
        "hop": Script(
            sends=_ok(
                _LENGTH,
                b"Connection: X-Hop",
                b"X-Hop: for the proxy only",
                b"Keep-Alive: timeout=5",
                b"Proxy-Connection: keep-alive",
                b"Upgrade: h2c",
            )
        ),
        "nominates": Script(
            sends=_ok(_LENGTH, b"Connection: Content-Length, X-Hop", b"X-Hop: for the proxy only", b"X-Kept: yes")
        ),
        "trailers": Script(
            sends=_ok(_CHUNKED, b"Trailer: X-Sum", body=b"5\r\nhello\r\n0\r\nX-Sum: 7\r\nContent-Length: 99\r\n\r\n")
        ),
        "tetrailers": Script(
            sends=_ok(_CHUNKED, body=b"5\r\nhello\r\n0\r\nX-Sum: 7\r\nTransfer-Encoding: gzip\r\n\r\n")
        ),
        "authtrailers": Script(
            sends=_ok(
                _CHUNKED,
                body=b"5\r\nhello\r\n0\r\nX-Sum: 7\r\nSet-Cookie: session=stolen\r\nX-Zexio-Org: stolen\r\n\r\n",
            )
        ),
        "neglen": Script(sends=_ok(b"Content-Length: -5")),
        "hexlen": Script(sends=_ok(b"Content-Length: 0x5")),
        "nolen": Script(sends=_ok(), after="close"),
        "early413": Script(
            sends=_ok(_LENGTH, b"Connection: close", status=b"413 Content Too Large"), after="linger", early=True
        ),
        "headbody": Script(sends=_ok(_LENGTH)),
    }
)
