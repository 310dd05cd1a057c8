"""The access log: records become lines in batches, off the path of requests."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from mesh.ports import AccessRecord

if TYPE_CHECKING:
    from mesh.routes import AccessLog as Mode

FLUSH_S: Final = 0.25
_MAX_WAITING: Final = 50_000
_BARE: Final = re.compile(r"[!#-<>-~]+")
_FIELDS: Final = AccessRecord.__struct_fields__

_encode = msgspec.json.Encoder().encode


def json_line(record: AccessRecord) -> bytes:
    """A record as one line of JSON."""
    return _encode(record) + b"\n"


def logfmt_line(record: AccessRecord) -> bytes:
    """A record as `key=value` pairs in one line; what is empty or 0 is left out."""
    values = ((name, getattr(record, name)) for name in _FIELDS)
    return (" ".join(f"{name}={_bare(value)}" for name, value in values if value) + "\n").encode()


def _bare(value: str | float) -> str:
    if not isinstance(value, str):
        return str(value)
    # Within quotes the escapes are those of JSON, which is what readers of logfmt take apart; all of it is ASCII.
    return value if _BARE.fullmatch(value) else json.dumps(value)


def combined_line(record: AccessRecord) -> bytes:
    """A record in the combined log format; request id, host, target, duration and cause follow it.

    The third column is the user of basic authentication, or the organization of a mesh token.
    """
    at = datetime.fromtimestamp(record.began_at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    fields = (record.request_id, record.host, record.upstream or "-", f"{record.duration_s:.6f}", record.cause or "-")
    request = f"{_safe(record.method)} {_safe(record.target)} {record.version}"
    referer, user_agent = _safe(record.referer) or "-", _safe(record.user_agent) or "-"
    line = (
        f'{record.peer} - {_column(record.user or record.org_id)} [{at}] "{request}" {record.status} {record.sent} '
        f'"{referer}" "{user_agent}" {" ".join(fields)}\n'
    )
    return line.encode()


def _column(text: str) -> str:
    return _safe(text).replace(" ", "\\x20") or "-"


def _safe(text: str) -> str:
    # nginx's escape: a quote or a control character must not end the field or the line.
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(c if c.isprintable() and c not in '"\\' else f"\\x{ord(c):02X}" for c in text)


_LINES: Final[Mapping[str, Callable[[AccessRecord], bytes]]] = MappingProxyType(
    {"json": json_line, "combined": combined_line, "logfmt": logfmt_line}
)


class AccessLog:
    """Collects records and writes them to a file descriptor, one write at a time, in a thread.

    A reader that does not keep up costs records, never requests: beyond a bound they are dropped and counted.
    """

    def __init__(self, mode: Mode, descriptor: int) -> None:
        """`mode` is json, combined or logfmt; the descriptor stays open."""
        self.mode = mode
        self.dropped = 0
        self._line = _LINES[mode]
        self._descriptor = descriptor
        self._waiting: list[bytes] = []
        self._writing = asyncio.Lock()

    def record(self, record: AccessRecord) -> None:
        """Keep `record` for the next flush."""
        if len(self._waiting) >= _MAX_WAITING:
            self.dropped += 1
            return
        # Formatting in a thread would make the loop wait for the interpreter's lock, which costs more than the line.
        self._waiting.append(self._line(record))

    async def run(self) -> None:
        """Flush now and then until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                await asyncio.shield(self.flush())
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write what waits; returns when it is written."""
        async with self._writing:
            lines, self._waiting = self._waiting, []
            if lines:
                self.dropped += await asyncio.to_thread(_write, self._descriptor, lines)


def _write(descriptor: int, lines: list[bytes]) -> int:
    """Write whole lines, as many at a time as a pipe takes at once; gives the number of those that were lost.

    Workers share the descriptor, and only writes of up to PIPE_BUF bytes stay whole in a pipe (pipe(7)).
    """
    begin = 0
    try:
        while begin < len(lines):
            end, size = begin + 1, len(lines[begin])
            while end < len(lines) and size + len(lines[end]) <= select.PIPE_BUF:
                size += len(lines[end])
                end += 1
            _write_all(descriptor, b"".join(lines[begin:end]))
            begin = end
    except OSError:
        return len(lines) - begin
    return 0


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
