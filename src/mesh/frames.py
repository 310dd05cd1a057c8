"""HTTP/2 frames as bytes: their types, flags, settings and error codes, and how each one is written (RFC 9113)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE: Final = 9

# Section 6. Plain numbers: an enum look-up would cost more than reading the frame.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

# Section 6.5.2, and RFC 8441 section 3.
HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8

# Section 7.
NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
SETTINGS_TIMEOUT: Final = 4
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11
INADEQUATE_SECURITY: Final = 12
HTTP_1_1_REQUIRED: Final = 13

MAX_STREAM_ID: Final = 0x7FFFFFFF
MAX_WINDOW: Final = 0x7FFFFFFF
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME_SIZE: Final = 16_384
LARGEST_FRAME_SIZE: Final = 0xFFFFFF

SETTINGS_ACK: Final = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"

_HEADER: Final = struct.Struct(">BHBBI")
_WITH_NUMBER: Final = struct.Struct(">BHBBII")
_GOAWAY_HEAD: Final = struct.Struct(">BHBBIII")
_SETTING: Final = struct.Struct(">HI")

# The header of a frame: the high byte of its length, the low bytes, type, flags, stream (with the reserved bit).
pack_header: Final = _HEADER.pack
unpack_header: Final = _HEADER.unpack_from
_pack_with_number: Final = _WITH_NUMBER.pack


class ConnectionFault(Exception):
    """What ends a whole connection: an error `code` of section 7, and a sentence for the log and the peer."""

    def __init__(self, code: int, detail: str) -> None:
        """See the class."""
        super().__init__(detail)
        self.code = code
        self.detail = detail


class StreamFault(Exception):
    """What ends one stream, or a request before it became one."""

    def __init__(self, code: int, detail: str) -> None:
        """See the class."""
        super().__init__(detail)
        self.code = code
        self.detail = detail


def data_frame(stream_id: int, data: bytes, flags: int) -> bytes:
    """DATA, not larger than the peer accepts."""
    size = len(data)
    return pack_header(size >> 16, size & 0xFFFF, DATA, flags, stream_id) + data


def head_frames(stream_id: int, block: bytes, flags: int) -> bytes:
    """A header block as HEADERS, with CONTINUATION where one frame does not hold it; `flags` are 0 or END_STREAM."""
    size = len(block)
    if size <= DEFAULT_FRAME_SIZE:
        return pack_header(0, size, HEADERS, flags | END_HEADERS, stream_id) + block
    frames = [pack_header(0, DEFAULT_FRAME_SIZE, HEADERS, flags, stream_id), block[:DEFAULT_FRAME_SIZE]]
    for begin in range(DEFAULT_FRAME_SIZE, size, DEFAULT_FRAME_SIZE):
        part = block[begin : begin + DEFAULT_FRAME_SIZE]
        is_last = begin + DEFAULT_FRAME_SIZE >= size
        frames += (pack_header(0, len(part), CONTINUATION, END_HEADERS if is_last else 0, stream_id), part)
    return b"".join(frames)


def reset_frame(stream_id: int, code: int) -> bytes:
    """RST_STREAM."""
    return _pack_with_number(0, 4, RST_STREAM, 0, stream_id, code)


def window_frame(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE; for the connection when `stream_id` is 0."""
    return _pack_with_number(0, 4, WINDOW_UPDATE, 0, stream_id, increment)


def ping_frame(payload: bytes, *, is_ack: bool = False) -> bytes:
    """PING; `payload` has eight bytes."""
    return pack_header(0, 8, PING, ACK if is_ack else 0, 0) + payload


def goaway_frame(last_stream_id: int, code: int, detail: str = "") -> bytes:
    """GOAWAY, with a sentence for whoever debugs the peer."""
    text = detail.encode("latin-1", "replace")
    return _GOAWAY_HEAD.pack(0, 8 + len(text), GOAWAY, 0, 0, last_stream_id, code) + text


def settings_frame(settings: Mapping[int, int]) -> bytes:
    """SETTINGS."""
    payload = b"".join(_SETTING.pack(*setting) for setting in settings.items())
    return pack_header(0, len(payload), SETTINGS, 0, 0) + payload


def read_settings(payload: bytes) -> Iterable[tuple[int, int]]:
    """The settings in a payload, whose length the caller has checked."""
    return _SETTING.iter_unpack(payload)


def without_padding(payload: bytes) -> bytes:
    """The content of a padded payload (section 6.1); raises ConnectionFault."""
    if not payload:
        raise ConnectionFault(FRAME_SIZE_ERROR, "A padded frame says how much padding it has.")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "A frame has more padding than content.")
    return payload[1 : len(payload) - padding]
