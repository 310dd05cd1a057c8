"""The access log: records become lines in batches, off the path of requests."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from mesh.routes import AccessLog as Mode

if TYPE_CHECKING:
    from mesh.ports import AccessRecord

FLUSH_S: Final = 0.25
_MAX_WAITING: Final = 50_000

_encode = msgspec.json.Encoder().encode


def json_line(record: AccessRecord) -> bytes:
    """A record as one line of JSON."""
    return _encode(record) + b"\n"


def combined_line(record: AccessRecord) -> bytes:
    """A record in the combined log format; request id, host, target, duration and cause follow it."""
    at = datetime.fromtimestamp(record.began_at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    fields = (record.request_id, record.host, record.upstream or "-", f"{record.duration_s:.6f}", record.cause or "-")
    request = f"{_safe(record.method)} {_safe(record.target)} {record.version}"
    referer, user_agent = _safe(record.referer) or "-", _safe(record.user_agent) or "-"
    line = (
        f'{record.peer} - {record.org_id or "-"} [{at}] "{request}" {record.status} {record.sent} '
        f'"{referer}" "{user_agent}" {" ".join(fields)}\n'
    )
    return line.encode()


def _safe(text: str) -> str:
    # nginx's escape: a quote or a control character must not end the field or the line.
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(c if c.isprintable() and c not in '"\\' else f"\\x{ord(c):02X}" for c in text)


class AccessLog:
    """Collects records and writes them to a file descriptor, one write at a time, in a thread.

    A reader that does not keep up costs records, never requests: beyond a bound they are dropped and counted.
    """

    def __init__(self, mode: Mode, descriptor: int) -> None:
        """`mode` is json or combined; the descriptor stays open."""
        self.mode = mode
        self.dropped = 0
        self._line = combined_line if mode == "combined" else json_line
        self._descriptor = descriptor
        self._waiting: list[AccessRecord] = []

    def record(self, record: AccessRecord) -> None:
        """Keep `record` for the next flush."""
        if len(self._waiting) >= _MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(record)

    async def run(self) -> None:
        """Flush now and then until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                if self._waiting:
                    await asyncio.to_thread(self.flush)
        finally:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        records, self._waiting = self._waiting, []
        data = memoryview(b"".join(map(self._line, records)))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self.dropped += len(records)
