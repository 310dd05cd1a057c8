"""Which answers are compressed and how, that they can be read again, and that a slow stream is not held back."""

from __future__ import annotations

import sys
import zlib

import brotli  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.compression import Chooser, edited, encoder, varied
from mesh.policies import Compression, Encoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODINGS: tuple[Encoding, ...] = ("zstd", "br", "gzip")
ALL = b"gzip, deflate, br, zstd"
HTML = b"Server: a\r\nContent-Type: text/html; charset=utf-8\r\n"


def _chosen(
    accept: bytes = ALL,
    *,
    lines: bytes = HTML,
    length: int | None = None,
    status: int = 200,
    method: bytes = b"GET",
    compression: Compression = Compression(),  # noqa: B008  it is frozen
) -> Encoding | None:
    return Chooser(compression).choose(accept, lines, length, status, method)


class Reader:
    """Decompresses piece by piece, as a browser does."""

    def __init__(self, encoding: Encoding) -> None:
        self._gzip = zlib.decompressobj(wbits=31)
        self._brotli = brotli.Decompressor()
        self._zstd = zstd.ZstdDecompressor()
        self._encoding = encoding

    def read(self, data: bytes) -> bytes:
        """What can be read of the body so far, behind what was read before."""
        if self._encoding == "gzip":
            return self._gzip.decompress(data)
        return bytes(self._brotli.process(data)) if self._encoding == "br" else self._zstd.decompress(data)

    @property
    def is_complete(self) -> bool:
        """Whether the end of the body was seen."""
        if self._encoding == "gzip":
            return self._gzip.eof
        return bool(self._brotli.is_finished()) if self._encoding == "br" else self._zstd.eof


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        (b"", None),
        (b"gzip", "gzip"),
        (b"GZIP", "gzip"),
        (b"x-gzip", "gzip"),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"gzip,br", "br"),
        (b"deflate", None),
        (b"identity", None),
        (b"*", "zstd"),
        (b"*;q=0", None),
        (b"*;q=0, gzip", "gzip"),
        (b"zstd;q=0, *", "br"),
        (b"zstd;q=0,br;q=0,*;q=0.5", "gzip"),
        (b"gzip;q=1.0, br;q=0.9, zstd;q=0.8", "gzip"),
        (b"gzip;q=0.5, br; q=0.5 ", "br"),
        (b"gzip;q=0.001", "gzip"),
        (b"gzip;q=0.000", None),
        (b"gzip;q=0", None),
        (b"gzip;q=0.5, identity", None),
        (b"gzip, identity", "gzip"),
        (b"gzip;q=0.5, identity;q=0.5", "gzip"),
        (b"identity;q=0", None),
        (b"gzip;q=2", None),
        (b"gzip;q=-1", None),
        (b"gzip;q=", None),
        (b"gzip;q=nan", None),
        (b"gzip;q=1e0", None),
        (b"gzip;q=0.0001", None),
        (b"gzip;level=9;q=0", None),
        (b"gzip;level=9", "gzip"),
        (b",,;;=,gzip", "gzip"),
        (b"not gzip", None),
    ],
)
def test_the_coding_that_the_visitor_wants_most_is_taken(accept: bytes, encoding: Encoding | None) -> None:
    """And of those wanted alike, the first of the route's."""
    assert _chosen(accept) == encoding


def test_the_route_says_which_codings_there_are() -> None:
    """In its order, whatever the order of the visitor."""
    assert _chosen(b"zstd, br, gzip", compression=Compression(encodings=("gzip", "br"))) == "gzip"
    assert _chosen(b"zstd", compression=Compression(encodings=("gzip", "br"))) is None


@pytest.mark.parametrize(
    ("lines", "is_compressed"),
    [
        (HTML, True),
        (b"content-type:TEXT/CSS\r\n", True),
        (b"Content-Type: application/json\r\nCache-Control: public, max-age=60\r\n", True),
        (b"Content-Type: image/svg+xml\r\n", True),
        (b"Content-Type: application/jsonp\r\n", False),
        (b"Content-Type: image/png\r\n", False),
        (b"Content-Type: textual\r\n", False),
        (b"Content-Type:\r\n", False),
        (b"X-Content-Type: text/html\r\n", False),
        (b"", False),
        (HTML + b"Content-Encoding: gzip\r\n", False),
        (b"CONTENT-ENCODING: br\r\n" + HTML, False),
        (HTML + b"Cache-Control: public, No-Transform\r\n", False),
        (HTML + b"Cache-Control: public\r\nCache-Control: no-transform\r\n", False),
        (HTML + b"Content-Range: bytes 0-99/200\r\n", False),
        (b"Content-Type: text/event-stream\r\n", False),
        (b"Content-Type: Text/Event-Stream;charset=utf-8\r\n", False),
        (b"Content-Type: application/grpc\r\n", False),
        (b"Content-Type: application/grpc-web+proto\r\n", False),
        (b"Content-Type: multipart/x-mixed-replace;boundary=a\r\n", False),
    ],
)
def test_only_answers_of_some_types_are_compressed(lines: bytes, is_compressed: bool) -> None:
    """Never those that are already, that are parts, that must not be changed, or that are streams of events."""
    assert (_chosen(lines=lines) is not None) == is_compressed


@pytest.mark.parametrize("stream", [b"text/event-stream", b"application/grpc+proto", b"multipart/x-mixed-replace"])
def test_streams_of_events_are_not_compressed_for_any_route(stream: bytes) -> None:
    """Not even where all types are."""
    everything = Compression(types=("*",))
    assert _chosen(lines=b"Content-Type: %b\r\n" % stream, compression=everything) is None
    assert _chosen(lines=b"Content-Type: a/b\r\n", compression=everything) == "zstd"


@pytest.mark.parametrize(
    ("length", "status", "method", "is_compressed"),
    [
        (1024, 200, b"GET", True),
        (1023, 200, b"GET", False),
        (0, 200, b"GET", False),
        (None, 200, b"GET", True),
        (None, 200, b"HEAD", False),
        (None, 200, b"POST", True),
        (None, 404, b"GET", True),
        (None, 500, b"GET", True),
        (None, 103, b"GET", False),
        (None, 204, b"GET", False),
        (None, 205, b"GET", False),
        (None, 206, b"GET", False),
        (None, 304, b"GET", False),
    ],
)
def test_only_bodies_worth_it_are_compressed(
    length: int | None, status: int, method: bytes, is_compressed: bool
) -> None:
    """Whole ones that are long enough, or may be."""
    assert (_chosen(length=length, status=status, method=method) is not None) == is_compressed


def test_an_empty_body_is_never_compressed() -> None:
    """Its frame alone would be longer."""
    assert _chosen(length=0, compression=Compression(min_bytes=0)) is None
    assert _chosen(length=1, compression=Compression(min_bytes=0)) == "zstd"


def test_what_would_be_compressed_for_others_is_told_from_what_would_not() -> None:
    """So that caches can be told."""
    chooser = Chooser(Compression())
    assert chooser.is_worth(HTML, None, 200)
    assert not chooser.is_worth(b"Content-Type: image/png\r\n", None, 200)
    assert not chooser.is_worth(HTML, 10, 200)


def test_answers_are_remembered_one_by_one() -> None:
    """Whatever comes between, and however many values there are."""
    chooser = Chooser(Compression())
    png = b"Content-Type: image/png\r\n"
    chosen = [chooser.choose(ALL, lines, None, 200, b"GET") for lines in (HTML, HTML, png, HTML)]
    assert chosen == ["zstd", "zstd", None, "zstd"]
    for number in range(1000):
        assert chooser.choose(b"gzip, a%d" % number, HTML, None, 200, b"GET") == "gzip"
    assert chooser.choose(b"gzip," + b"a" * 1000, HTML, None, 200, b"GET") == "gzip"
    assert len(chooser._accepted) <= 256


@given(st.sampled_from(ENCODINGS), st.booleans(), st.lists(st.binary(max_size=3000)))
def test_what_is_compressed_can_be_read_again(encoding: Encoding, is_live: bool, pieces: list[bytes]) -> None:
    """By the libraries that browsers use, to the end."""
    body, reader = encoder(encoding, is_live=is_live), Reader(encoding)
    read = b"".join([reader.read(body.compress(piece)) for piece in pieces])
    assert not reader.is_complete
    read += reader.read(body.finish())
    assert read == b"".join(pieces)
    assert reader.is_complete


@given(st.sampled_from(ENCODINGS), st.lists(st.binary(max_size=3000)))
def test_a_live_body_is_never_held_back(encoding: Encoding, pieces: list[bytes]) -> None:
    """Every piece can be read when it has come."""
    body, reader = encoder(encoding), Reader(encoding)
    for piece in pieces:
        assert reader.read(body.compress(piece)) == piece


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_body_of_known_length_is_compressed_as_one(encoding: Encoding) -> None:
    """In small pieces it comes out as short as in one."""
    text = b"".join(b'{"id": %d, "name": "%d"},' % (number, number * 7919) for number in range(4000))
    sizes = []
    for size in (len(text), 500):
        body = encoder(encoding, is_live=False)
        pieces = [body.compress(text[at : at + size]) for at in range(0, len(text), size)]
        sizes.append(len(b"".join((*pieces, body.finish()))))
    assert sizes[1] < sizes[0] * 1.02 < len(text) / 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_empty_piece_writes_nothing(encoding: Encoding) -> None:
    """A chunk of no length would end the body."""
    assert encoder(encoding).compress(b"") == b""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_window_is_one_that_browsers_accept(encoding: Encoding) -> None:
    """RFC 9659: at most 8 MiB, for bodies of any length."""
    body = encoder(encoding, is_live=False)
    block = bytes(range(256)) * 256
    whole = b"".join([*(body.compress(block) for _ in range(200)), body.finish()])
    if encoding == "zstd":
        limit: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
        assert zstd.decompress(whole, options=limit) == block * 200
    else:
        assert Reader(encoding).read(whole) == block * 200


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"", b"Vary: Accept-Encoding\r\nContent-Encoding: gzip\r\n"),
        (
            b'A: 1\r\nContent-Length: 5\r\nACCEPT-RANGES: bytes\r\nDigest: a\r\nContent-MD5: b\r\nETag: "x"\r\n',
            b'A: 1\r\nETag: W/"x"\r\nVary: Accept-Encoding\r\nContent-Encoding: gzip\r\n',
        ),
        (b'etag:"x"\r\n', b'etag: W/"x"\r\nVary: Accept-Encoding\r\nContent-Encoding: gzip\r\n'),
        (b'ETag: W/"x"\r\n', b'ETag: W/"x"\r\nVary: Accept-Encoding\r\nContent-Encoding: gzip\r\n'),
        (b"ETag: nonsense\r\n", b"ETag: nonsense\r\nVary: Accept-Encoding\r\nContent-Encoding: gzip\r\n"),
        (b"Repr-Digest: a\r\nContent-Digest: b\r\nVary: *\r\n", b"Vary: *\r\nContent-Encoding: gzip\r\n"),
    ],
)
def test_the_fields_of_a_compressed_answer(lines: bytes, expected: bytes) -> None:
    """Nothing is left in them that was true of the target's octets only."""
    assert edited(lines, "gzip") == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"A: 1\r\n", b"A: 1\r\nVary: Accept-Encoding\r\n"),
        (b"Vary: Origin\r\nA: 1\r\n", b"Vary: Origin, Accept-Encoding\r\nA: 1\r\n"),
        (b"VARY:a\r\nvary: b\r\n", b"VARY:a\r\nvary: b, Accept-Encoding\r\n"),
        (b"vary: origin , ACCEPT-ENCODING\r\n", b"vary: origin , ACCEPT-ENCODING\r\n"),
        (b"Vary: Accept-Encoding\r\nVary: Origin\r\n", b"Vary: Accept-Encoding\r\nVary: Origin\r\n"),
        (b"Vary: *\r\n", b"Vary: *\r\n"),
        (b"Vary:\r\n", b"Vary:\r\nVary: Accept-Encoding\r\n"),
        (b"X-Vary: Accept-Encoding\r\n", b"X-Vary: Accept-Encoding\r\nVary: Accept-Encoding\r\n"),
    ],
)
def test_caches_are_told_that_the_coding_was_asked_for(lines: bytes, expected: bytes) -> None:
    """Once, beside what else the answer depends on."""
    assert varied(lines) == expected
