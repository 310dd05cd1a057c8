"""Frames that are wrong, out of place or too many: case 168, and what RFC 9113 asks of every frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from tests.support.frame_visitor import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    NO_ERROR,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    FrameVisitor,
    frame,
    request_fields,
    reset_frame,
    settings_frame,
    window_frame,
)

Say = Callable[[FrameVisitor], bytes]


class FrameCase(msgspec.Struct, frozen=True, kw_only=True):
    """What a visitor says behind its preface, and the codes with which the connection, or else stream 1, may end.

    With neither, everything goes on.
    """

    name: str
    say: Say
    goaway: tuple[int, ...] = ()
    reset: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"case_168_{self.name}"


def _get(visitor: FrameVisitor, stream_id: int = 1) -> bytes:
    return visitor.head(stream_id, request_fields())


def _post(visitor: FrameVisitor, stream_id: int = 1) -> bytes:
    """A request that waits for its body."""
    return visitor.head(stream_id, request_fields(method=b"POST"), END_HEADERS)


def _fatal(name: str, raw: bytes | Say, *codes: int) -> FrameCase:
    """These frames end the connection."""
    say = raw if callable(raw) else lambda _: raw
    return FrameCase(name=name, say=say, goaway=codes or (PROTOCOL_ERROR,))


def _behind(begin: Say, raw: bytes) -> Say:
    """These frames behind a beginning."""
    return lambda visitor: begin(visitor) + raw


def _stream(name: str, raw: bytes, *codes: int) -> FrameCase:
    """These frames behind the head of a request end its stream; section 5.4.2 lets a server take more than that."""
    return FrameCase(name=name, say=_behind(_post, raw), goaway=codes, reset=codes)


def _fine(name: str, say: Say) -> FrameCase:
    """These frames do no harm."""
    return FrameCase(name=name, say=say)


def _block(visitor: FrameVisitor) -> bytes:
    return visitor.encode(request_fields())


_WHERE: Final = (
    _fatal("data_for_no_stream", frame(DATA, 0, 0, b"a")),
    _fatal("headers_for_no_stream", lambda visitor: frame(HEADERS, END_HEADERS | END_STREAM, 0, _block(visitor))),
    _fatal("priority_for_no_stream", frame(PRIORITY, 0, 0, bytes(5))),
    _fatal("reset_of_no_stream", reset_frame(0)),
    _fatal("continuation_for_no_stream", frame(CONTINUATION, END_HEADERS, 0, b"")),
    _fatal("settings_for_a_stream", frame(SETTINGS, 0, 1)),
    _fatal("ping_for_a_stream", frame(PING, 0, 1, bytes(8))),
    _fatal("goaway_for_a_stream", frame(GOAWAY, 0, 1, bytes(8))),
    _fatal("data_for_an_idle_stream", frame(DATA, 0, 1, b"a")),
    _fatal("reset_of_an_idle_stream", reset_frame(1)),
    _fatal("window_of_an_idle_stream", window_frame(1, 1)),
    _fatal("continuation_of_nothing", frame(CONTINUATION, END_HEADERS, 1, b"")),
    _fatal("push_promise", lambda visitor: frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + _block(visitor))),
    _fatal("stream_with_an_even_number", lambda visitor: _get(visitor, 2)),
    _fatal(
        "stream_behind_a_higher_one",
        lambda visitor: _post(visitor, 5) + _get(visitor, 3),
        PROTOCOL_ERROR,
        STREAM_CLOSED,
    ),
    _fatal("data_amid_a_block", lambda visitor: frame(HEADERS, 0, 1, _block(visitor)) + frame(DATA, 0, 1, b"a")),
    _fatal("ping_amid_a_block", lambda visitor: frame(HEADERS, 0, 1, _block(visitor)) + frame(PING, 0, 0, bytes(8))),
    _fatal("unknown_frame_amid_a_block", lambda visitor: frame(HEADERS, 0, 1, _block(visitor)) + frame(0xBE, 0, 1)),
    _fatal(
        "block_of_another_stream_amid_a_block",
        lambda visitor: frame(HEADERS, 0, 1, _block(visitor)) + frame(CONTINUATION, END_HEADERS, 3, b""),
    ),
    FrameCase(
        name="data_behind_the_end",
        say=lambda visitor: _post(visitor) + frame(DATA, END_STREAM, 1, b"a") + frame(DATA, 0, 1, b"b"),
        goaway=(STREAM_CLOSED,),
        reset=(STREAM_CLOSED,),
    ),
    FrameCase(
        name="head_behind_the_end",
        say=lambda visitor: _get(visitor) + _get(visitor),
        goaway=(STREAM_CLOSED,),
        reset=(STREAM_CLOSED,),
    ),
    _stream("second_head_without_an_end", frame(HEADERS, END_HEADERS, 1, b"\x10\x01x\x01y"), PROTOCOL_ERROR),
)

_SIZES: Final = (
    _fatal("frame_beyond_the_size_allowed", frame(PING, length=16_385), FRAME_SIZE_ERROR),
    _fatal("head_beyond_the_size_allowed", frame(HEADERS, 5, 1, length=16_385), FRAME_SIZE_ERROR),
    _fatal("frame_of_the_largest_size", frame(0xBE, length=(1 << 24) - 1), FRAME_SIZE_ERROR),
    _fatal("settings_in_fives", frame(SETTINGS, payload=bytes(5)), FRAME_SIZE_ERROR),
    _fatal("acknowledgement_with_content", frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    _fatal("ping_too_short", frame(PING, payload=bytes(7)), FRAME_SIZE_ERROR),
    _fatal("ping_too_long", frame(PING, payload=bytes(9)), FRAME_SIZE_ERROR),
    _fatal("goaway_too_short", frame(GOAWAY, payload=bytes(7)), FRAME_SIZE_ERROR),
    _fatal("reset_too_short", _behind(_post, frame(RST_STREAM, 0, 1, bytes(3))), FRAME_SIZE_ERROR),
    _fatal("window_too_short", frame(WINDOW_UPDATE, payload=bytes(3)), FRAME_SIZE_ERROR),
    _stream("priority_too_short", frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE_ERROR),
    _fatal("head_too_short_for_its_priority", frame(HEADERS, 0x25, 1, bytes(4)), FRAME_SIZE_ERROR, PROTOCOL_ERROR),
    _fatal("data_all_padding", _behind(_post, frame(DATA, PADDED, 1, b"\x05abcd"))),
    _fatal("data_without_its_padding", _behind(_post, frame(DATA, PADDED, 1, b"")), FRAME_SIZE_ERROR, PROTOCOL_ERROR),
    _fatal("head_all_padding", frame(HEADERS, PADDED | END_HEADERS, 1, b"\x05abcd")),
)

_VALUES: Final = (
    _fatal("push_beyond_one", settings_frame([(ENABLE_PUSH, 2)])),
    _fatal("window_setting_beyond_measure", settings_frame([(INITIAL_WINDOW_SIZE, 1 << 31)]), FLOW_CONTROL_ERROR),
    _fatal("frame_size_setting_too_small", settings_frame([(MAX_FRAME_SIZE, 16_383)])),
    _fatal("frame_size_setting_too_large", settings_frame([(MAX_FRAME_SIZE, 1 << 24)])),
    _fatal("window_grows_by_nothing", window_frame(0, 0)),
    _fatal("window_grows_too_large", window_frame(0, (1 << 31) - 1), FLOW_CONTROL_ERROR),
    _stream("window_of_a_stream_grows_by_nothing", window_frame(1, 0), PROTOCOL_ERROR),
    _stream("window_of_a_stream_grows_too_large", window_frame(1, (1 << 31) - 1), FLOW_CONTROL_ERROR),
    _fatal(
        "new_setting_makes_a_window_too_large",
        _behind(_post, window_frame(1, (1 << 31) - 65_536) + settings_frame([(INITIAL_WINDOW_SIZE, 65_536 * 2)])),
        FLOW_CONTROL_ERROR,
    ),
    _fatal("index_of_nothing", frame(HEADERS, 5, 1, b"\x80"), COMPRESSION_ERROR),
    _fatal("index_beyond_the_table", frame(HEADERS, 5, 1, b"\xff\x80\x01"), COMPRESSION_ERROR),
    _fatal("table_beyond_the_size_allowed", frame(HEADERS, 5, 1, b"\x3f\xe2\x1f\x82"), COMPRESSION_ERROR),
    _fatal("table_size_behind_a_field", frame(HEADERS, 5, 1, b"\x82\x20"), COMPRESSION_ERROR),
    _fatal("integer_without_end", frame(HEADERS, 5, 1, b"\xff" * 20), COMPRESSION_ERROR),
    _fatal("string_beyond_the_block", frame(HEADERS, 5, 1, b"\x00\x7f\x70abc"), COMPRESSION_ERROR),
    _fatal("huffman_padded_with_zeros", frame(HEADERS, 5, 1, b"\x82\x84\x86\x04\x81\x00"), COMPRESSION_ERROR),
    _fatal(
        "huffman_padded_with_an_octet", frame(HEADERS, 5, 1, b"\x82\x84\x86\x04\x82\x1f\xff\xff"), COMPRESSION_ERROR
    ),
    _fatal(
        "huffman_with_the_end_inside", frame(HEADERS, 5, 1, b"\x82\x84\x86\x04\x84\xff\xff\xff\xff"), COMPRESSION_ERROR
    ),
)

_HARMLESS: Final = (
    _fine("unknown_frame", lambda _: frame(0xBE, 0xFF, 0, b"what") + frame(0xBE, 0xFF, 7, b"what")),
    _fine("unknown_setting", lambda _: settings_frame([(0xBEEF, 1)])),
    _fine("unknown_flags", lambda visitor: frame(HEADERS, 0xD7, visitor.next_id(), _block(visitor))),
    _fine("reserved_bit", lambda _: frame(PING, 0, 1 << 31, bytes(8))),
    _fine("unasked_acknowledgements", lambda _: frame(SETTINGS, ACK) + frame(PING, ACK, 0, bytes(8))),
    _fine("priority_of_an_idle_stream", lambda _: frame(PRIORITY, 0, 99, bytes(4) + b"\x10")),
    _fine("priority_on_itself", lambda _: frame(PRIORITY, 0, 7, b"\0\0\0\x07\x10")),
    _fine("settings_twice", lambda _: settings_frame([(INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 65_535)])),
    _fine("no_table", lambda _: settings_frame([(1, 0)])),
    _fine("block_in_pieces", lambda visitor: _in_pieces(visitor.next_id(), _block(visitor))),
    _fine("block_with_an_empty_head", lambda visitor: _in_pieces(visitor.next_id(), b"", _block(visitor))),
    _fine("window_of_a_stream_that_is_over", lambda visitor: _over(visitor, window_frame(1, 1))),
    _fine("reset_of_a_stream_that_is_over", lambda visitor: _over(visitor, reset_frame(1))),
)


def _in_pieces(stream_id: int, *pieces: bytes) -> bytes:
    """A block of one octet per frame, or of these pieces."""
    first, *rest = pieces if len(pieces) > 1 else [bytes([octet]) for octet in pieces[0]]
    flags = [0] * (len(rest) - 1) + [END_HEADERS]
    more = [frame(CONTINUATION, flag, stream_id, piece) for flag, piece in zip(flags, rest, strict=True)]
    return frame(HEADERS, END_STREAM, stream_id, first) + b"".join(more)


def _over(visitor: FrameVisitor, raw: bytes) -> bytes:
    """Frames for a stream that both sides have ended or will."""
    stream_id = visitor.next_id()
    assert stream_id == 1
    return _post(visitor) + reset_frame(1, CANCEL) + raw


FRAMES: Final = (*_WHERE, *_SIZES, *_VALUES, *_HARMLESS)


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """Frames that a visitor repeats for ever: `begin` once, then `again` with the number of the round.

    It must be stopped before `rounds`, with one of the codes in `goaway`; None: without a word.
    """

    name: str
    again: Callable[[FrameVisitor, int], bytes]
    begin: Say = lambda _: b""
    goaway: tuple[int | None, ...] = (ENHANCE_YOUR_CALM,)
    rounds: int = 5000

    def __str__(self) -> str:
        return f"case_168_{self.name}"


def _numbered(again: Say) -> Callable[[FrameVisitor, int], bytes]:
    return lambda visitor, _: again(visitor)


def _rapid_reset(visitor: FrameVisitor) -> bytes:
    stream_id = visitor.next_id()
    return _get(visitor, stream_id) + reset_frame(stream_id)


def _made_to_reset(*provoke: Callable[[int], bytes]) -> Callable[[FrameVisitor, int], bytes]:
    """CVE-2025-8671: the server is made to reset streams itself, so that no reset of the visitor can be counted."""

    def again(visitor: FrameVisitor, number: int) -> bytes:
        stream_id = visitor.next_id()
        return _post(visitor, stream_id) + provoke[number % len(provoke)](stream_id)

    return again


def _malformed(visitor: FrameVisitor) -> bytes:
    return visitor.head(visitor.next_id(), [*request_fields(), (b"connection", b"close")])


def _refused(visitor: FrameVisitor) -> bytes:
    """Streams beyond the number that is allowed."""
    return _post(visitor, visitor.next_id())


FLOODS: Final = (
    Flood(name="rapid_reset", again=_numbered(_rapid_reset)),
    Flood(name="made_to_reset_by_window_of_nothing", again=_made_to_reset(lambda one: window_frame(one, 0))),
    Flood(name="made_to_reset_by_window_too_large", again=_made_to_reset(lambda one: window_frame(one, (1 << 31) - 1))),
    Flood(
        name="made_to_reset_by_data_behind_the_end",
        again=_made_to_reset(lambda one: frame(DATA, END_STREAM, one, b"a") + frame(DATA, 0, one, b"b")),
        goaway=(ENHANCE_YOUR_CALM, STREAM_CLOSED),
    ),
    Flood(
        name="made_to_reset_by_a_second_head",
        again=_made_to_reset(lambda one: frame(HEADERS, END_HEADERS, one, b"\x88")),
    ),
    Flood(name="malformed_heads", again=_numbered(_malformed)),
    Flood(name="streams_beyond_the_number", again=_numbered(_refused)),
    Flood(name="pings", again=_numbered(lambda _: frame(PING, payload=bytes(8)))),
    Flood(name="acknowledged_pings", again=_numbered(lambda _: frame(PING, ACK, 0, bytes(8)))),
    Flood(name="settings", again=_numbered(lambda _: settings_frame([(INITIAL_WINDOW_SIZE, 65_535)]))),
    Flood(name="empty_settings", again=_numbered(lambda _: settings_frame())),
    Flood(name="acknowledgements", again=_numbered(lambda _: frame(SETTINGS, ACK))),
    Flood(name="windows", again=_numbered(lambda _: window_frame(0, 1))),
    Flood(name="windows_of_a_stream", begin=_post, again=_numbered(lambda _: window_frame(1, 1))),
    Flood(name="priorities", again=_numbered(lambda _: frame(PRIORITY, 0, 3, bytes(4) + b"\x10"))),
    Flood(name="unknown_frames", again=_numbered(lambda _: frame(0xBE))),
    Flood(
        name="goodbyes",
        again=_numbered(lambda _: frame(GOAWAY, payload=bytes(8))),
        goaway=(None, NO_ERROR, ENHANCE_YOUR_CALM),
    ),
    Flood(name="empty_data", begin=_post, again=_numbered(lambda _: frame(DATA, 0, 1))),
    Flood(name="padded_empty_data", begin=_post, again=_numbered(lambda _: frame(DATA, PADDED, 1, b"\x01\0"))),
    Flood(
        name="continuations",
        begin=lambda visitor: frame(HEADERS, END_STREAM, 1, _block(visitor)),
        again=_numbered(lambda _: frame(CONTINUATION, 0, 1, b"\x10\x01x\x01y")),
        rounds=100,
    ),
    Flood(
        name="empty_continuations",
        begin=lambda visitor: frame(HEADERS, END_STREAM, 1, _block(visitor)),
        again=_numbered(lambda _: frame(CONTINUATION, 0, 1)),
        rounds=100,
    ),
    Flood(
        name="large_continuations",
        begin=lambda visitor: frame(HEADERS, END_STREAM, 1, _block(visitor)),
        again=_numbered(lambda _: frame(CONTINUATION, 0, 1, b"\x10\x01x\x7f\x81\x7f" + bytes(16_000))),
        rounds=100,
    ),
)
