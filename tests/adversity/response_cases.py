"""Cases 100 to 140 of the table of adversarial cases: what a broken or hostile target answers, one script each."""

from __future__ import annotations

from typing import Final

from tests.adversity.verdict import Case, Expect, request

BAD_GATEWAY: Final = Expect(status=(502,), upstream="dropped")
# A request that met a connection which broke without a word may be tried once more.
BROKE_OFF: Final = Expect(status=(502,), reached=(1, 2), upstream="dropped")
CUT: Final = Expect(ended=("truncated",), visitor="closed")
CUT_BEFORE_THE_HEAD: Final = Expect(status=(0,), visitor="closed")
ONLY_HELLO: Final = Expect(text=b"hello", upstream="dropped")


def _answer(
    number: int, script: str, *accepts: Expect, also: tuple[Expect, ...] = (), scored: bool = True, method: str = "GET"
) -> Case:
    """A request for this script of the origin."""
    raw = request(b"%b /-/%b HTTP/1.1" % (method.encode(), script.encode()))
    return Case(number=number, name=script, raw=raw, accepts=accepts, also=also, scored=scored, asks=(method,))


RESPONSE_CASES: Final = (
    _answer(100, "close0", BROKE_OFF),
    _answer(101, "rst", BROKE_OFF),
    _answer(102, "garbage", BAD_GATEWAY),
    _answer(103, "http09", BAD_GATEWAY),
    _answer(104, "halfhead", BROKE_OFF),
    _answer(105, "shortbody", CUT),
    _answer(106, "longbody", ONLY_HELLO),
    _answer(107, "twores", ONLY_HELLO),
    _answer(108, "dupcl", BAD_GATEWAY),
    _answer(109, "samecl", BAD_GATEWAY, Expect(text=b"hello"), scored=False),
    _answer(110, "clte", BAD_GATEWAY, also=(Expect(text=b"hello", ended=("chunked",)),)),
    _answer(111, "badchunk", BAD_GATEWAY, CUT, also=(CUT_BEFORE_THE_HEAD,)),
    _answer(112, "truncchunk", CUT, also=(BROKE_OFF,)),
    # RFC 9112 section 6.3: an unknown last coding is delimited by the close, at best.
    _answer(113, "badte", BAD_GATEWAY, also=(Expect(text=b"5\r\nhello\r\n0\r\n\r\n"),)),
    _answer(
        114, "204body", Expect(status=(204,), untold=(b"content-length", b"transfer-encoding"), upstream="dropped")
    ),
    _answer(115, "304body", Expect(status=(304,), upstream="dropped")),
    _answer(116, "101unasked", BAD_GATEWAY),
    _answer(117, "100s", Expect(interim=(100, 103), text=b"hello", upstream="reused")),
    _answer(118, "1xxflood", Expect(status=(502,), visitor="either"), scored=False),
    _answer(119, "ctl", BAD_GATEWAY, also=(Expect(untold=(b"\x00",)),)),
    _answer(120, "barelf", BAD_GATEWAY, scored=False),
    _answer(121, "obsfold", BAD_GATEWAY, also=(Expect(untold=(b"\r\n b",)),)),
    _answer(122, "barecr", BAD_GATEWAY, also=(Expect(untold=(b"a\rb",)),)),
    _answer(123, "spacecolon", BAD_GATEWAY, also=(Expect(text=b"hello", untold=(b"content-length :",)),)),
    _answer(124, "bighdr", BAD_GATEWAY),
    _answer(125, "status999", BAD_GATEWAY, Expect(status=(999,), text=b"hello"), scored=False),
    _answer(126, "status99", BAD_GATEWAY),
    _answer(
        127,
        "hop",
        Expect(text=b"hello", untold=(b"x-hop", b"for the proxy only", b"timeout=5", b"proxy-connection", b"h2c")),
    ),
    # Either the lines are dropped, or the answer is cut before its end; llhttp knows no third way.
    _answer(128, "trailers", Expect(text=b"hello", untold=(b"99",)), CUT, also=(BAD_GATEWAY,)),
    _answer(129, "neglen", BAD_GATEWAY),
    _answer(130, "hexlen", BAD_GATEWAY),
    _answer(131, "nolen", Expect(text=b"hello", ended=("chunked",)), also=(Expect(text=b"hello", visitor="closed"),)),
    Case(
        number=140,
        name="early_413_while_uploading",
        raw=request(b"POST /-/early413 HTTP/1.1", b"Content-Length: 2097152", body=b"a" * 2097152),
        accepts=(Expect(status=(413,), visitor="either", reached=(0, 1), completed=(0,)),),
    ),
)
