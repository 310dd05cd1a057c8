"""Content codings: which answers are compressed, in which of the codings that the visitor accepts, and how.

Compression over TLS tells whoever sees the lengths of answers how much of what he had put into them repeats a secret in
the same body (BREACH, 2013). It is therefore a wish of a route and not a habit, and it is not for routes whose pages
hold both what a request says and a secret, such as a CSRF token that stays the same.

zstd is used by the interface that Python 3.14 has as `compression.zstd`.
"""

from __future__ import annotations

import re
import sys
import zlib
from typing import TYPE_CHECKING, Final

import brotli  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mesh.policies import Compression, Encoding

# Levels at which a core does some 40, 50 and 150 MB/s. A window of 256 KiB keeps an answer under way below 1.5 MiB of
# memory and costs no more than a hundredth of the ratio; RFC 9659 wants it below 8 MiB.
_GZIP_LEVEL: Final = 5
_GZIP_WINDOW: Final = 16 + 15
_BROTLI_QUALITY: Final = 4
_BROTLI_WINDOW: Final = 18
_ZSTD: Final[Mapping[int, int]] = {
    zstd.CompressionParameter.compression_level: 3,
    zstd.CompressionParameter.window_log: 18,
}

# Without a body, or with a part of one, whose ranges count the octets of the whole (RFC 9110 section 14.4).
_NEVER: Final = frozenset({204, 205, 206, 304})
# Streams whose events have to come one by one in framing of their own; grpc compresses messages itself.
_STREAMS: Final = (b"text/event-stream", b"application/grpc", b"multipart/x-mixed-replace")
_TOLD: Final = re.compile(
    rb"^(cache-control|content-encoding|content-range|content-type):[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE
)
_WEIGHT: Final = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")  # RFC 9110 section 12.4.2
# What is said of the octets as the target sent them.
_OUTDATED: Final = frozenset(
    {b"accept-ranges", b"content-digest", b"content-length", b"content-md5", b"digest", b"repr-digest"}
)
_MAX_REMEMBERED: Final = 256
_MAX_KEY: Final = 512


class Chooser:
    """The compression of one route."""

    __slots__ = ("_accepted", "_encodings", "_is_worth", "_lines", "_min_bytes", "_prefixes", "_types")

    def __init__(self, compression: Compression) -> None:
        """Encodings in the order in which they are preferred, and types, which may end in `*`."""
        self._encodings = compression.encodings
        self._min_bytes = compression.min_bytes
        types = [each.lower().encode("latin-1") for each in compression.types]
        self._types = frozenset(each for each in types if not each.endswith(b"*"))
        self._prefixes = tuple(each[:-1] for each in types if each.endswith(b"*"))
        # Browsers differ in a dozen values of Accept-Encoding.
        self._accepted: dict[bytes, Encoding | None] = {}
        self._lines = b""
        self._is_worth = False

    def choose(
        self, accept_encoding: bytes, lines: bytes, length: int | None, status: int, method: bytes
    ) -> Encoding | None:
        """The coding for an answer with the field lines `lines`, CRLF each, and a body of `length` bytes, if known.

        `accept_encoding` is the value of the request's field, empty for none. None: the body goes out as it is.
        """
        if not accept_encoding or method == b"HEAD" or not self.is_worth(lines, length, status):
            return None
        if accept_encoding in self._accepted:
            return self._accepted[accept_encoding]
        encoding = self._preferred(_weights(accept_encoding))
        if len(accept_encoding) <= _MAX_KEY:
            if len(self._accepted) >= _MAX_REMEMBERED:
                self._accepted.clear()
            self._accepted[accept_encoding] = encoding
        return encoding

    def is_worth(self, lines: bytes, length: int | None, status: int) -> bool:
        """Whether the answer would be compressed for a visitor who accepts that: caches have to know (see `varied`)."""
        if status < 200 or status in _NEVER or (length is not None and (length < self._min_bytes or not length)):
            return False
        if lines != self._lines:
            self._is_worth = self._may_be_compressed(lines)
            self._lines = lines
        return self._is_worth

    def _may_be_compressed(self, lines: bytes) -> bool:
        is_of_type = False
        for name, value in _TOLD.findall(lines):
            match name.lower():
                case b"content-type":
                    is_of_type = self._is_of_type(value)
                case b"cache-control":
                    # RFC 9110 section 7.7: a proxy must not.
                    if b"no-transform" in value.lower():
                        return False
                case _:
                    return False
        return is_of_type

    def _is_of_type(self, content_type: bytes) -> bool:
        media_type = content_type.partition(b";")[0].strip(b" \t").lower()
        if media_type.startswith(_STREAMS):
            return False
        return media_type in self._types or media_type.startswith(self._prefixes)

    def _preferred(self, weights: Mapping[bytes, float]) -> Encoding | None:
        """RFC 9110 section 12.5.3; of codings with the same weight, the first that the route names."""
        others, identity = weights.get(b"*", 0.0), weights.get(b"identity", 0.0)
        best: Encoding | None = None
        best_weight = 0.0
        for encoding in self._encodings:
            weight = weights.get(encoding.encode("ascii"), others)
            if weight > best_weight and weight >= identity:
                best, best_weight = encoding, weight
        return best


class Encoder:
    """Compresses one body. What `compress` and `finish` give is sent on, in this order.

    All of it happens on the loop, so a call should bring no more than one read from the target.
    """

    __slots__ = ("_end", "_flush", "_is_live", "_write")

    def __init__(
        self,
        write: Callable[[bytes], bytes],
        flush: Callable[[], bytes],
        end: Callable[[], bytes],
        *,
        is_live: bool,
    ) -> None:
        """See `encoder`, which makes it."""
        self._write = write
        self._flush = flush
        self._end = end
        self._is_live = is_live

    def compress(self, data: bytes) -> bytes:
        """What a piece of the body comes to; it may be nothing unless the body is live."""
        if not self._is_live:
            return self._write(data)
        return self._write(data) + self._flush() if data else b""

    def finish(self) -> bytes:
        """What is left, when the body is complete."""
        return self._end()


def encoder(encoding: Encoding, *, is_live: bool = True) -> Encoder:
    """An encoder for one body.

    A live body, one whose length nobody knows, may be made as it is sent: each piece is then flushed, so that the
    visitor can read all of what the target has written so far. Pieces as one read brings them when the target is quick
    (16 KiB and more) lose a hundredth of the ratio by this; those of 1400 bytes lose a tenth and take half as long
    again, which is what it costs never to hold back a line of a slow stream. A body of known length exists already and
    is not flushed before its end.
    """
    if encoding == "gzip":
        gzip = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)
        return Encoder(gzip.compress, lambda: gzip.flush(zlib.Z_SYNC_FLUSH), gzip.flush, is_live=is_live)
    if encoding == "br":
        br = brotli.Compressor(quality=_BROTLI_QUALITY, lgwin=_BROTLI_WINDOW)
        return Encoder(br.process, br.flush, br.finish, is_live=is_live)
    zst = zstd.ZstdCompressor(options=_ZSTD)
    return Encoder(zst.compress, lambda: zst.flush(zst.FLUSH_BLOCK), zst.flush, is_live=is_live)


def edited(lines: bytes, encoding: Encoding) -> bytes:
    """The field lines, CRLF each, of an answer that is compressed.

    What was true of the octets before is dropped. The ETag becomes a weak one: the same page in another coding is not
    the same octet for octet (RFC 9110 section 8.8.1). If-None-Match compares weakly and finds it again at the target;
    If-Match does not.
    """
    kept = []
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        key = name.lower()
        if key == b"etag" and value.strip(b" \t").startswith(b'"'):
            kept.append(b"%b: W/%b" % (name, value.strip(b" \t")))
        elif key not in _OUTDATED:
            kept.append(line)
    return varied(b"\r\n".join(kept)) + b"Content-Encoding: %b\r\n" % encoding.encode("ascii")


def varied(lines: bytes) -> bytes:
    """The field lines, CRLF each, of an answer that depends on Accept-Encoding (RFC 9110 section 12.5.5)."""
    split = lines.split(b"\r\n")
    varies = [index for index, line in enumerate(split) if line[:5].lower() == b"vary:"]
    members = {member.strip(b" \t") for index in varies for member in split[index][5:].lower().split(b",")}
    if not members.isdisjoint((b"*", b"accept-encoding")):
        return lines
    if members <= {b""}:
        return lines + b"Vary: Accept-Encoding\r\n"
    split[varies[-1]] += b", Accept-Encoding"
    return b"\r\n".join(split)


def _weights(accept_encoding: bytes) -> dict[bytes, float]:
    """How much each coding is wanted, by its name in lower case; what is malformed is not wanted."""
    weights: dict[bytes, float] = {}
    for member in accept_encoding.lower().split(b","):
        name, *parameters = (part.strip(b" \t") for part in member.split(b";"))
        weight = b"1"
        for parameter in parameters:
            key, _, value = parameter.partition(b"=")
            if key == b"q":
                weight = value
        # RFC 9110 section 8.4.1.3.
        name = b"gzip" if name == b"x-gzip" else name
        weights[name] = float(weight) if _WEIGHT.fullmatch(weight) else 0.0
    return weights
