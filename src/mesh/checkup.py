"""One health check of one target: what is asked, over which protocol, and what is wrong with the answer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mesh import hpack
from mesh.errors import Failure
from mesh.frames import ConnectionFault
from mesh.h2 import Connection
from mesh.h2_stream import Limits, Stream
from mesh.targets import Place
from mesh.wire import END_OF_HEAD, ChunkedBody, parse_status_line, response_framing

if TYPE_CHECKING:
    from mesh.h2_heads import RequestHead, ResponseHead
    from mesh.health import Probe
    from mesh.wire import StatusLine

_MAX_HEAD: Final = 64 * 1024
_MAX_BODY: Final = 64 * 1024
_MAX_INTERIM: Final = 32
_USER_AGENT: Final = b"zexio-health"
# A connection on behalf of nobody: the target must not take the checker for a visitor (PROXY protocol, section 2).
_PREAMBLES: Final[Mapping[str, bytes]] = {
    "v1": b"PROXY UNKNOWN\r\n",
    "v2": b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
}


async def failure_of(probe: Probe, tls: ssl.SSLContext | None = None) -> str:
    """Run a check once: nothing when it passed, else why it did not.

    It passed with an answer in time that has a wanted status and, where one is wanted, the text within its first
    64 KiB. `tls` is what a TLS target is spoken to with; for an `h2` target it has to offer that by ALPN.
    """
    health = probe.health
    try:
        async with asyncio.timeout(health.timeout_s):
            status, body = await _ask(probe, tls)
    except TimeoutError:
        return f"no answer within {health.timeout_s:g} s"
    except EOFError:
        return "the target closed the connection without an answer"
    except (OSError, ValueError, asyncio.LimitOverrunError, Failure, ConnectionFault) as error:
        return str(error) or type(error).__name__
    if not any(low <= status <= high for low, high in health.statuses):
        return f"status {status}"
    return "" if health.body.encode() in body else "the answer does not say what it should"


async def _ask(probe: Probe, tls: ssl.SSLContext | None) -> tuple[int, bytes]:
    place = Place.read(probe.address)
    reader, writer = await _connect(probe, place, tls if place.has_tls else None)
    try:
        return await (_over_http2 if place.has_http2 else _over_http1)(probe, reader, writer)
    finally:
        writer.transport.abort()


async def _connect(
    probe: Probe, place: Place, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    preamble = _PREAMBLES.get(probe.proxy_protocol, b"")
    name = (probe.tls.server_name or place.host) if tls is not None else None
    if place.scheme == "unix":
        reader, writer = await asyncio.open_unix_connection(place.path, limit=_MAX_HEAD)
    elif preamble or tls is None:
        reader, writer = await asyncio.open_connection(place.host, place.port, limit=_MAX_HEAD)
    else:
        reader, writer = await asyncio.open_connection(
            place.host, place.port, ssl=tls, server_hostname=name, limit=_MAX_HEAD
        )
    try:
        writer.write(preamble)
        if preamble and tls is not None:
            await writer.start_tls(tls, server_hostname=name)
        if place.has_http2 and tls is not None:
            _check_alpn(writer)
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


def _check_alpn(writer: asyncio.StreamWriter) -> None:
    session: ssl.SSLObject = writer.get_extra_info("ssl_object")
    if session.selected_alpn_protocol() != "h2":
        raise ConnectionError("the target does not offer HTTP/2")


async def _over_http1(probe: Probe, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
    head = f"GET {probe.health.path} HTTP/1.1\r\nHost: {probe.host}\r\n".encode("ascii")
    writer.write(b"%bUser-Agent: %b\r\nAccept: */*\r\nConnection: close\r\n\r\n" % (head, _USER_AGENT))
    line, fields = await _final_head(reader)
    if not probe.health.body:
        return line.status, b""
    framing = response_framing(fields, line.minor)
    most = _MAX_BODY if framing.length is None else min(_MAX_BODY, framing.length)
    chunks = ChunkedBody() if framing.chunked else None
    return line.status, await _body(probe.health.body.encode(), most, chunks, reader)


async def _final_head(reader: asyncio.StreamReader) -> tuple[StatusLine, dict[bytes, bytes]]:
    for _ in range(_MAX_INTERIM):
        lines = (await reader.readuntil(END_OF_HEAD)).removesuffix(END_OF_HEAD).split(b"\r\n")
        line = parse_status_line(lines[0])
        if line.status >= 200 or line.status == 101:
            pairs = (each.partition(b":") for each in lines[1:])
            return line, {name.lower(): value.strip(b" \t") for name, _, value in pairs}
    raise ValueError("interim responses without end")


async def _body(wanted: bytes, most: int, chunks: ChunkedBody | None, reader: asyncio.StreamReader) -> bytes:
    """The body up to what is wanted, or to `most` bytes, or to its end."""
    body = b""
    while len(body) < most and wanted not in body:
        data = await reader.read(_MAX_BODY)
        body += b"".join(chunks.feed(data)) if chunks is not None else data
        if not data or (chunks is not None and chunks.trailers is not None):
            break
    return body[:most]


async def _over_http2(probe: Probe, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
    scheme = b"https" if writer.get_extra_info("ssl_object") is not None else b"http"
    fields = (
        (b":method", b"GET"),
        (b":scheme", scheme),
        (b":authority", probe.host.encode("ascii")),
        (b":path", probe.health.path.encode("ascii")),
        (b"user-agent", _USER_AGENT),
    )
    answer = _Answer(probe.health.body.encode())
    connection = Connection(answer, is_server=False, limits=Limits(streams=1, window=_MAX_BODY))
    connection.start()
    connection.open(answer, b"".join(hpack.encode(*field) for field in fields), ends=True)
    while not answer.is_complete:
        writer.write(connection.take())
        data = await reader.read(_MAX_BODY)
        if not data:
            raise EOFError
        connection.receive(data, 0.0)
        if answer.fault is not None and not answer.is_complete:
            raise answer.fault
    return answer.status, answer.body[:_MAX_BODY]


class _Answer(Stream):
    """The one stream of a connection, and who has the connection."""

    __slots__ = ("_wanted", "body", "fault", "is_complete", "status")

    def __init__(self, wanted: bytes) -> None:
        """`wanted` is the text to look for, if any."""
        super().__init__(0)
        self._wanted = wanted
        self.status = 0
        self.body = b""
        self.is_complete = False
        self.fault: Exception | None = None

    def on_response(self, head: ResponseHead) -> None:
        self.status = head.status
        self.is_complete = head.status >= 200 and (not self._wanted or self.is_remote_done)

    def on_data(self, data: bytes) -> None:
        self.body += data
        self.is_complete = self._wanted in self.body or len(self.body) >= _MAX_BODY

    def on_end(self, trailers: list[bytes] | None) -> None:
        self.is_complete = True

    def on_reset(self, code: int) -> None:
        self.fault = self.fault or ConnectionFault(code, f"the target reset the stream with error {code}")

    def on_request(self, head: RequestHead) -> None:
        """Nobody asks us."""

    def on_slow(self) -> None:
        """The request is short."""

    def on_writable(self) -> None:
        """The request is short."""

    # What the connection tells its owner.

    def make_stream(self, stream_id: int) -> Stream:
        raise NotImplementedError

    def on_output(self) -> None:
        """It is taken in time."""

    def on_idle(self) -> None:
        """The answer is there."""

    def on_goaway(self, code: int) -> None:
        """The answer may come still."""

    def on_fault(self, fault: ConnectionFault) -> None:
        self.fault = fault
