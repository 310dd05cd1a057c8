"""The channel between the control process and a worker: one socket pair, length-prefixed MessagePack, both ways."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Final, Generic, TypeVar

import msgspec

from mesh.ledger import RouteReport
from mesh.ports import AccessRecord
from mesh.routes import Delta, RouteKey, Snapshot

# A snapshot of a million routes stays below this; anything above is not ours.
_MAX_FRAME: Final = 1 << 30
_MAX_WAITING_BYTES: Final = 4 << 20
_PREFIX: Final = 4


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """To the worker: take nothing new, finish within so many seconds, and end."""

    deadline_s: float


class Down(msgspec.Struct, frozen=True):
    """The targets of a route that its health check found down."""

    route: RouteKey
    addresses: tuple[str, ...]


class TargetHealth(msgspec.Struct, frozen=True, tag="health"):
    """To the worker: every target that is down now; all others are up."""

    down: tuple[Down, ...]


class CertificateRefused(msgspec.Struct, frozen=True, tag="certificate_refused"):
    """To the worker: no certificate comes for a name, and none is to be asked for within so many seconds."""

    name: str
    retry_after_s: float


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """To the worker: send the records of exchanges for these hosts from now on; None: for all of them."""

    hosts: tuple[str, ...] | None = ()


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """From the worker: this revision is in force; the first one also says that the worker serves."""

    revision: int


class TargetReport(msgspec.Struct, frozen=True):
    """What a worker saw of one target, which it gives no requests for `ejected_s` more seconds; 0 when it does."""

    address: str
    in_flight: int
    failures: int
    requests: int
    ejected_s: float = 0.0


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """What a worker counted since it started; the counts only grow, except `connections` and `in_flight`."""

    index: int
    pid: int
    revision: int
    accepted: int
    refused: int
    requests: int
    dials: int
    received: int
    sent: int
    statuses: tuple[int, ...]
    causes: dict[str, int]
    connections: int
    in_flight: int
    handshakes: int = 0
    handshake_failures: int = 0
    h2_connections: int = 0
    h2_streams: int = 0
    retries: int = 0
    ejections: int = 0
    rate_limited: int = 0
    compressed_in: int = 0
    compressed_out: int = 0
    dropped_records: int = 0
    dropped_spans: int = 0
    targets: tuple[TargetReport, ...] = ()


class RouteReports(msgspec.Struct, frozen=True, tag="routes"):
    """From the worker: what came of the requests of these routes since it last said so."""

    routes: tuple[RouteReport, ...]


class Records(msgspec.Struct, frozen=True, tag="records"):
    """From the worker: exchanges that somebody watches, and how many more there were."""

    records: tuple[AccessRecord, ...]
    dropped: int = 0


class FinishedSpans(msgspec.Struct, frozen=True, tag="spans"):
    """From the worker: exchanges whose traces are recorded."""

    records: tuple[AccessRecord, ...]


class UnknownKid(msgspec.Struct, frozen=True, tag="unknown_kid"):
    """From the worker: a mesh token named a key that the worker does not have."""

    kid: str


class CertificateWanted(msgspec.Struct, frozen=True, tag="certificate_wanted"):
    """From the worker: visitors wait for a certificate of this name, the first of them from this address."""

    name: str
    address: str


class Complaint(msgspec.Struct, frozen=True, tag="complaint"):
    """From the worker: something went wrong that no request answers for."""

    message: str


ToWorker = Snapshot | Delta | TargetHealth | CertificateRefused | Watch | Drain
ToControl = Applied | WorkerReport | RouteReports | Records | FinishedSpans | UnknownKid | CertificateWanted | Complaint

M = TypeVar("M")


class Channel(Generic[M]):
    """One end of the pair; receives messages of the type `M`."""

    def __init__(self, end: socket.socket, receives: object) -> None:
        """`receives` is the union of the messages that come in."""
        self._socket = end
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(receives)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self) -> None:
        """Take the socket into the running loop."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._socket, limit=1 << 20)

    def send(self, frame: bytes) -> None:
        """Queue an encoded frame, see `encode`; frames arrive in the order in which they were queued."""
        if not self._writer.is_closing():
            self._writer.write(frame)

    @property
    def is_behind(self) -> bool:
        """Whether the other end does not read; what can be left out should be."""
        return self._writer.transport.get_write_buffer_size() > _MAX_WAITING_BYTES

    async def messages(self) -> AsyncIterator[M]:
        """Every message until the other end is gone."""
        while True:
            try:
                size = int.from_bytes(await self._reader.readexactly(_PREFIX))
                if size > _MAX_FRAME:
                    raise ValueError(f"a frame of {size} bytes on the channel")
                payload = await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield self._decoder.decode(payload)

    def close(self) -> None:
        """Close this end."""
        self._writer.close()


def encode(message: ToWorker | ToControl) -> bytes:
    """A message as a frame; encode once what goes to many."""
    payload = msgspec.msgpack.encode(message)
    return len(payload).to_bytes(_PREFIX) + payload
