"""The state machine of HTTP/2: what a peer may do is done, what it may not ends a stream or the connection."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import frames
from mesh.h2_stream import Limits
from mesh.hpack import encode, encode_lines
from tests.support.h2_wire import GET, POST, End, Frame, Recorder, data, frame, opened, resets

OK = encode(b":status", b"200")
RESPONSE = OK + encode_lines(b"content-length: 5\r\n")
REQUEST = b"".join(encode(name.encode(), value.encode()) for name, value in GET)
SMALL = Limits(streams=3, window=1000, connection_window=70_000, head=1000, glitches=20, owed=5)


# The beginning.


def test_the_server_says_what_may_be_done() -> None:
    """Streams, windows and the size of heads are bounded from the first frame on."""
    end = End(limits=Limits(connect_protocol=True))
    assert end.preface.startswith(b"\x00\x00\x18\x04\x00\x00\x00\x00\x00")
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    peer.initiate_connection()
    peer.receive_data(end.preface)
    settings = peer.remote_settings
    assert settings.max_concurrent_streams == 100
    assert settings.initial_window_size == 256 * 1024
    assert settings.max_header_list_size == 32 * 1024
    assert settings.enable_connect_protocol == 1
    assert peer.outbound_flow_control_window == 1024 * 1024


def test_settings_are_acknowledged() -> None:
    """RFC 9113 section 6.5.3."""
    end = End()
    said = end.hear(frames.PREFACE + frames.settings_frame({}))
    assert said == [Frame(frames.SETTINGS, frames.ACK, 0, b"")]
    assert end.machine.is_begun
    assert not End().machine.is_begun


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP/1"),
        pytest.param(frames.PREFACE[:-1] + b"x", id="almost"),
        pytest.param(frames.PREFACE + frames.ping_frame(b"12345678"), id="another frame first"),
        pytest.param(frames.PREFACE + frames.SETTINGS_ACK, id="acknowledgement first"),
    ],
)
def test_a_connection_begins_with_the_preface(first: bytes) -> None:
    """RFC 9113 section 3.4."""
    end = End()
    end.hear(first)
    assert end.fault == frames.PROTOCOL_ERROR


def test_nothing_is_read_behind_a_fault() -> None:
    """One goodbye, with the last stream that was taken."""
    end = End.begun()
    said = end.hear(end.request(1, "POST", flags=4) + data(0) + end.request(3))
    assert [(one.kind, one.payload[:8]) for one in said] == [(frames.GOAWAY, b"\x00\x00\x00\x01\x00\x00\x00\x01")]
    assert end.calls[1:] == [("reset", 1, frames.CANCEL), ("fault", frames.PROTOCOL_ERROR)]
    assert end.hear(end.request(5)) == []


# Requests and responses.


def test_a_request_is_answered() -> None:
    """Head and body leave as one piece, and the stream is gone."""
    end = End.begun()
    end.answer = (RESPONSE, b"hello")
    said = end.hear(end.request(1))
    assert [(one.kind, one.flags) for one in said] == [(frames.HEADERS, 4), (frames.DATA, 1)]
    assert end.fields(said) == [(b":status", b"200"), (b"content-length", b"5")]
    assert end.calls == [("request", 1, b"GET", b"/", True), ("idle",)]
    assert not end.machine.streams


def test_many_requests_in_one_piece_are_answered_in_one_piece() -> None:
    """And the head that comes again is the same object."""
    end = End.begun()
    end.answer = (RESPONSE, b"hello")
    said = end.hear(b"".join(end.request(number) for number in range(1, 21, 2)))
    assert [one.stream_id for one in said if one.kind == frames.HEADERS] == list(range(1, 21, 2))


def test_heads_that_come_again_are_remembered_until_the_table_changes() -> None:
    """The same bytes may mean something else afterwards."""
    end = End.begun()
    opened(end, 1)
    first, second = opened(end, 3), opened(end, 5)
    assert first.request is second.request
    end.hear(end.request(7, "POST", ("x-new", "1"), flags=4))
    third = opened(end, 9)
    assert third.request is not first.request
    assert third.request
    assert first.request
    assert third.request.lines == first.request.lines


def test_what_is_remembered_is_bounded() -> None:
    """Short blocks may stand for long lines."""
    end = End.begun()
    end.hear(frame(frames.HEADERS, 5, 1, REQUEST + b"\x40\x01a\x7f\xa1\x1d" + b"v" * 3872))
    for number in range(1, 60):
        end.hear(frame(frames.HEADERS, 5, 1 + 2 * number, REQUEST + b"\xbe" * (1 + number % 6)))
        end.machine.reset(end.stream(1 + 2 * number), frames.NO_ERROR)
    assert len(end.machine._requests) <= 6
    assert end.machine._remembered <= 32 * 1024


def test_an_index_means_what_the_table_holds_now() -> None:
    """The same block before and after a change of the table."""
    end = End.begun()
    block = frame(frames.HEADERS, 5, 1, b"\x82\x87\x84\x41\x01a\x40\x01x\x011")
    end.hear(block)
    again = b"\x82\x87\x84\xbf\xbe"
    end.hear(frame(frames.HEADERS, 5, 3, again))
    end.hear(frame(frames.HEADERS, 5, 5, again))
    end.hear(frame(frames.HEADERS, 5, 7, b"\x82\x87\x84\xbf\x40\x01x\x012"))
    end.hear(frame(frames.HEADERS, 5, 9, b"\x82\x87\x84\xc0\xbe"))
    lines = [
        stream.request.lines
        for stream in end.machine.streams.values()
        if isinstance(stream, Recorder) and stream.request
    ]
    assert lines == [b"host: a\r\nx: 1\r\n"] * 3 + [b"host: a\r\nx: 2\r\n"] * 2


def test_a_body_is_handed_on_as_it_comes() -> None:
    """Its end is told once."""
    end = End.begun()
    end.hear(end.request(1, "POST", ("content-length", "6"), flags=4))
    end.hear(data(1, b"abc"))
    end.hear(data(1, b"def", ends=True))
    assert end.calls == [("request", 1, b"POST", b"/", False), ("data", 1, b"abcdef"), ("end", 1, None)]


def test_padding_is_no_content() -> None:
    """Neither of bodies nor of heads."""
    end = End.begun()
    end.hear(frame(frames.HEADERS, 4 | frames.PADDED | frames.HAS_PRIORITY, 1, b"\x02" + bytes(5) + REQUEST + b"\0\0"))
    end.hear(frame(frames.DATA, 1 | frames.PADDED, 1, b"\x03abc\0\0\0"))
    assert end.calls == [("request", 1, b"GET", b"/", False), ("data", 1, b"abc"), ("end", 1, None)]


def test_trailers_end_a_request() -> None:
    """They are lines without pseudo-headers."""
    end = End.begun()
    opened(end)
    end.hear(data(1, b"abc") + end.head(1, ("grpc-status", "0")))
    assert end.calls[1:] == [("data", 1, b"abc"), ("end", 1, [b"grpc-status: 0"])]


def test_a_block_may_come_in_pieces() -> None:
    """RFC 9113 section 6.10."""
    end = End.begun()
    parts = [REQUEST[:3], REQUEST[3:10], REQUEST[10:]]
    end.hear(frame(frames.HEADERS, 1, 1, parts[0]) + frame(frames.CONTINUATION, 0, 1, parts[1]))
    assert end.calls == []
    end.hear(frame(frames.CONTINUATION, 4, 1, parts[2]))
    assert end.calls == [("request", 1, b"GET", b"/", True)]


def test_a_response_may_end_before_the_request() -> None:
    """The rest is not wanted: RST_STREAM with NO_ERROR, and what is on its way is ignored (section 8.1)."""
    end = End.begun()
    stream = opened(end)
    end.machine.respond(stream, RESPONSE, b"hello", ends=True)
    assert resets(end.said()) == [(1, frames.NO_ERROR)]
    assert end.hear(data(1, b"more")) == []
    assert end.fault is None


# Streams that end otherwise.


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param((*GET, ("connection", "close")), id="connection"),
        pytest.param((*GET, ("Upper", "1")), id="upper case"),
        pytest.param(GET[1:], id="no method"),
        pytest.param((*GET, ("content-length", "1")), id="length without body"),
        pytest.param((*GET, ("x", "a\r\nb: c")), id="line end"),
    ],
)
def test_a_malformed_request_is_reset_and_nobody_hears_of_it(fields: tuple[tuple[str, str], ...]) -> None:
    """The connection goes on, and the tables of both ends agree."""
    end = End.begun()
    assert resets(end.hear(end.head(1, *fields))) == [(1, frames.PROTOCOL_ERROR)]
    assert end.calls == []
    end.answer = (RESPONSE, b"hello")
    assert end.fields(end.hear(end.request(3)))[0] == (b":status", b"200")


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        pytest.param([data(1, b"abcd")], frames.PROTOCOL_ERROR, id="too much"),
        pytest.param([data(1, b"ab", ends=True)], frames.PROTOCOL_ERROR, id="too little"),
        pytest.param([data(1, b"", ends=True)], frames.PROTOCOL_ERROR, id="nothing"),
        pytest.param([data(1, b"abc", ends=True), data(1, b"d")], frames.STREAM_CLOSED, id="behind the end"),
        pytest.param([frame(1, 4, 1, encode(b"x", b"1"))], frames.PROTOCOL_ERROR, id="trailers without end"),
        pytest.param([data(1, b"abc"), frame(1, 5, 1, encode(b":path", b"/"))], frames.PROTOCOL_ERROR, id="pseudo"),
        pytest.param([frame(1, 5, 1, encode(b"x", b"1"))], frames.PROTOCOL_ERROR, id="trailers too early"),
        pytest.param([data(1, b"abc", ends=True), frame(1, 5, 1, b"\x82")], frames.STREAM_CLOSED, id="head behind end"),
        pytest.param([frame(8, 0, 1, bytes(4))], frames.PROTOCOL_ERROR, id="window grows by nothing"),
        pytest.param([frames.window_frame(1, 2**31 - 1)], frames.FLOW_CONTROL_ERROR, id="window too large"),
    ],
)
def test_a_fault_on_a_stream_resets_it(pieces: list[bytes], code: int) -> None:
    """Whoever handles the stream hears of it, and the connection goes on."""
    end = End.begun()
    end.hear(end.request(1, "POST", ("content-length", "3"), flags=4))
    said = end.hear(b"".join(pieces))
    assert (1, code) in resets(said)
    assert end.calls[-2:] == [("idle",), ("reset", 1, code)]
    assert end.fault is None


def test_trailers_are_bounded_as_heads_are() -> None:
    """The stream ends, the connection does not."""
    end = End.begun(limits=SMALL)
    opened(end)
    assert resets(end.hear(end.head(1, ("x", "y" * 990)))) == [(1, frames.ENHANCE_YOUR_CALM)]
    assert end.fault is None


def test_the_peer_may_reset_a_stream() -> None:
    """It is gone at once; what comes behind is answered in kind."""
    end = End.begun()
    opened(end)
    assert end.hear(frames.reset_frame(1, frames.CANCEL)) == []
    assert end.calls[1:] == [("idle",), ("reset", 1, frames.CANCEL)]
    assert resets(end.hear(data(1, b"x"))) == [(1, frames.STREAM_CLOSED)]
    assert end.hear(frames.reset_frame(1, frames.CANCEL) + frames.window_frame(1, 5)) == []


def test_a_stream_that_we_reset_is_silent() -> None:
    """Frames for it may be on their way; nothing is sent for it any more."""
    end = End.begun()
    stream = opened(end)
    end.machine.reset(stream, frames.INTERNAL_ERROR)
    end.machine.reset(stream, frames.INTERNAL_ERROR)
    end.machine.respond(stream, RESPONSE, b"hello", ends=True)
    end.machine.send_data(stream, b"x")
    end.machine.finish(stream)
    assert resets(end.said()) == [(1, frames.INTERNAL_ERROR)]
    assert end.hear(data(1, b"x") + end.head(1, ("x", "1")) + frames.window_frame(1, 9)) == []
    assert end.calls[1:] == [("idle",)]


def test_more_streams_than_allowed_are_refused() -> None:
    """Nobody looked at them, so they may be sent again."""
    end = End.begun(limits=SMALL)
    for number in (1, 3, 5):
        opened(end, number)
    assert resets(end.hear(end.request(7))) == [(7, frames.REFUSED_STREAM)]
    end.hear(frames.reset_frame(3, frames.CANCEL))
    opened(end, 9)


def test_a_head_that_is_too_large_is_told_as_one() -> None:
    """Whoever handles it answers 431; it does not become larger in memory than it came."""
    end = End.begun(limits=SMALL)
    end.hear(end.request(1, "GET", ("x", "y" * 900)))
    stream = end.stream(1)
    assert stream.request
    assert stream.request.is_too_large
    assert stream.request.lines == b""


# Frames out of place.


@pytest.mark.parametrize(
    ("piece", "code"),
    [
        pytest.param(data(0, b"x"), frames.PROTOCOL_ERROR, id="DATA on the connection"),
        pytest.param(data(9, b"x"), frames.PROTOCOL_ERROR, id="DATA before the head"),
        pytest.param(frame(1, 5, 0, REQUEST), frames.PROTOCOL_ERROR, id="HEADERS on the connection"),
        pytest.param(frame(1, 5, 2, REQUEST), frames.PROTOCOL_ERROR, id="even stream"),
        pytest.param(frame(1, 5, 1, REQUEST), frames.STREAM_CLOSED, id="stream that has ended"),
        pytest.param(data(1, b"x"), frames.STREAM_CLOSED, id="DATA for a stream that has ended"),
        pytest.param(frame(1, 5, 5, b"\xbf"), frames.COMPRESSION_ERROR, id="unknown index"),
        pytest.param(frame(2, 0, 0, bytes(5)), frames.PROTOCOL_ERROR, id="PRIORITY on the connection"),
        pytest.param(frame(2, 0, 1, bytes(4)), frames.FRAME_SIZE_ERROR, id="short PRIORITY"),
        pytest.param(frame(3, 0, 0, bytes(4)), frames.PROTOCOL_ERROR, id="RST_STREAM on the connection"),
        pytest.param(frame(3, 0, 9, bytes(4)), frames.PROTOCOL_ERROR, id="RST_STREAM of an idle stream"),
        pytest.param(frame(3, 0, 1, bytes(3)), frames.FRAME_SIZE_ERROR, id="short RST_STREAM"),
        pytest.param(frame(4, 0, 1), frames.PROTOCOL_ERROR, id="SETTINGS on a stream"),
        pytest.param(frame(4, 0, 0, bytes(5)), frames.FRAME_SIZE_ERROR, id="SETTINGS of five bytes"),
        pytest.param(frame(4, 1, 0, bytes(6)), frames.FRAME_SIZE_ERROR, id="acknowledgement with content"),
        pytest.param(frames.settings_frame({2: 2}), frames.PROTOCOL_ERROR, id="push of 2"),
        pytest.param(frames.settings_frame({4: 2**31}), frames.FLOW_CONTROL_ERROR, id="huge window"),
        pytest.param(frames.settings_frame({5: 16_383}), frames.PROTOCOL_ERROR, id="small frames"),
        pytest.param(frames.settings_frame({5: 2**24}), frames.PROTOCOL_ERROR, id="huge frames"),
        pytest.param(frames.settings_frame({8: 2}), frames.PROTOCOL_ERROR, id="CONNECT of 2"),
        pytest.param(frame(5, 4, 1, bytes(8)), frames.PROTOCOL_ERROR, id="PUSH_PROMISE"),
        pytest.param(frame(6, 0, 1, bytes(8)), frames.PROTOCOL_ERROR, id="PING on a stream"),
        pytest.param(frame(6, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR, id="short PING"),
        pytest.param(frame(7, 0, 1, bytes(8)), frames.PROTOCOL_ERROR, id="GOAWAY on a stream"),
        pytest.param(frame(7, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR, id="short GOAWAY"),
        pytest.param(frame(8, 0, 0, bytes(4)), frames.PROTOCOL_ERROR, id="window grows by nothing"),
        pytest.param(frame(8, 0, 0, bytes(3)), frames.FRAME_SIZE_ERROR, id="short WINDOW_UPDATE"),
        pytest.param(frame(8, 0, 9, b"\0\0\0\1"), frames.PROTOCOL_ERROR, id="window of an idle stream"),
        pytest.param(frames.window_frame(0, 2**31 - 1), frames.FLOW_CONTROL_ERROR, id="window too large"),
        pytest.param(frame(9, 4, 1, b""), frames.PROTOCOL_ERROR, id="CONTINUATION of nothing"),
        pytest.param(frame(1, 1, 5, b"") + data(5), frames.PROTOCOL_ERROR, id="DATA inside a block"),
        pytest.param(frame(1, 1, 5, b"") + frame(9, 4, 7, b""), frames.PROTOCOL_ERROR, id="block of another stream"),
        pytest.param(frame(1, 1, 5, b"") + frame(99, 0, 0, b""), frames.PROTOCOL_ERROR, id="unknown inside a block"),
        pytest.param(b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", frames.FRAME_SIZE_ERROR, id="large frame"),
        pytest.param(frame(1, 4 | frames.HAS_PRIORITY, 5, bytes(4)), frames.FRAME_SIZE_ERROR, id="short priority"),
        pytest.param(frame(0, frames.PADDED, 1, b"\x05abc"), frames.PROTOCOL_ERROR, id="more padding than content"),
    ],
)
def test_a_frame_out_of_place_ends_the_connection(piece: bytes, code: int) -> None:
    """The code says why, and is the one of the RFC."""
    end = End.begun()
    end.answer = (RESPONSE, b"hello")
    end.hear(end.request(1))
    said = end.hear(piece)
    assert end.fault == code
    assert said[-1].kind == frames.GOAWAY


def test_what_is_unknown_is_ignored() -> None:
    """Frames, flags, settings, and the reserved bit (RFC 9113 sections 4.1 and 5.5)."""
    end = End.begun()
    end.answer = (RESPONSE, b"hello")
    end.hear(frame(77, 0xFF, 0, b"x") + frame(77, 0, 3, b"x") + frames.settings_frame({0xFFFF: 5}))
    end.hear(frame(frames.HEADERS, 5 | 0x40, 1 | 0x80000000, REQUEST))
    end.hear(frame(2, 0, 7, bytes(5)))
    assert end.fault is None
    assert end.calls[0] == ("request", 1, b"GET", b"/", True)


def test_a_ping_is_answered() -> None:
    """With what it brought."""
    end = End.begun()
    assert end.hear(frames.ping_frame(b"12345678")) == [Frame(frames.PING, frames.ACK, 0, b"12345678")]
    assert end.hear(frames.ping_frame(b"12345678", is_ack=True)) == []


# Windows.


def test_bytes_that_were_taken_are_allowed_again() -> None:
    """In large steps, for the stream and for the connection."""
    end = End.begun(limits=SMALL)
    opened(end)
    assert end.hear(data(1, b"x" * 400)) == []
    said = end.hear(data(1, b"x" * 200))
    assert [(one.kind, one.stream_id, one.number) for one in said] == [(frames.WINDOW_UPDATE, 1, 600)]
    for _ in range(57):
        said = end.hear(data(1, b"x" * 600))
    assert [(one.stream_id, one.number) for one in said] == [(1, 600)]
    said = end.hear(data(1, b"x" * 600))
    assert [(one.stream_id, one.number) for one in said] == [(0, 35_400), (1, 600)]


def test_padding_counts_for_the_windows() -> None:
    """RFC 9113 section 6.1."""
    end = End.begun(limits=SMALL)
    stream = opened(end)
    end.hear(frame(frames.DATA, frames.PADDED, 1, b"\x09abc" + bytes(9)))
    assert stream.receive_window == 1000 - 13


def test_a_stream_that_ends_in_the_middle_gives_its_bytes_back() -> None:
    """To the connection, for the others."""
    end = End.begun(limits=SMALL)
    stream = opened(end)
    end.on_data = lambda: end.machine.reset(stream, frames.CANCEL)
    end.hear(data(1, b"x" * 500) + data(1, b"x" * 100))
    assert end.machine._unreturned == 600
    end.machine.hold(stream)
    end.machine.release(stream)
    end.machine.release(stream)
    assert end.machine._unreturned == 600


def test_padding_without_content_is_a_glitch_that_counts() -> None:
    """For the windows, too."""
    end = End.begun(limits=SMALL)
    stream = opened(end)
    end.hear(frame(frames.DATA, frames.PADDED, 1, b"\x09" + bytes(9)) + data(1))
    assert stream.unreturned == 10
    assert end.machine._glitches == 1 + 0.25 * 2


def test_a_stream_that_is_held_gets_no_window() -> None:
    """Until it is released; the connection's window is kept back with it."""
    end = End.begun(limits=SMALL)
    stream = opened(end)
    end.machine.hold(stream)
    assert end.hear(data(1, b"x" * 600) + data(1, b"x" * 400)) == []
    end.machine.release(stream)
    assert [(one.stream_id, one.number) for one in end.said()] == [(1, 1000)]
    end.machine.hold(stream)
    end.hear(data(1, b"x" * 1000))
    said = end.hear(data(1, b"x"))
    assert resets(said) == [(1, frames.FLOW_CONTROL_ERROR)]


def test_what_was_held_is_given_back_with_the_stream() -> None:
    """Or the connection's window would be gone one day."""
    end = End.begun(limits=SMALL)
    for number in range(1, 400, 2):
        end.machine.hold(opened(end, number))
        end.hear(data(number, b"x" * 1000))
        end.machine.reset(end.stream(number), frames.NO_ERROR)
    assert end.fault is None


def test_streams_that_are_held_stop_no_other_one() -> None:
    """They keep back most of the connection's window; what is left of it is given back in time, again and again."""
    end = End.begun(limits=Limits(window=30_000, connection_window=70_000))
    for number in (1, 3):
        end.machine.hold(opened(end, number))
        for _ in range(3):
            assert end.hear(data(number, b"x" * 10_000)) == []
    opened(end, 5)
    for _ in range(20):
        end.hear(data(5, b"x" * 5000))
    assert end.fault is None
    assert end.calls[-1] == ("data", 5, b"x" * 100_000)


def test_more_than_the_connection_allows_is_an_error() -> None:
    """RFC 9113 section 6.9.1."""
    end = End.begun(limits=SMALL._replace(window=60_000, connection_window=65_535))
    for number in (1, 3):
        end.machine.hold(opened(end, number))
    for number in (1, 3):
        for _ in range(4):
            end.hear(data(number, b"x" * 10_000))
    assert end.fault == frames.FLOW_CONTROL_ERROR


# Peers that ask for too much.


def attack(end: End, pieces: list[bytes], now: float = 0.0) -> int | None:
    """The code with which the connection ended."""
    for piece in pieces:
        end.hear(piece, now)
    return end.fault


def test_rapid_resets_end_the_connection() -> None:
    """CVE-2023-44487: streams that are opened and reset cost us work and the peer nothing."""
    end = End.begun()
    pieces = [end.request(n) + frames.reset_frame(n, frames.CANCEL) for n in range(1, 999, 2)]
    assert attack(end, pieces) == frames.ENHANCE_YOUR_CALM
    assert sum(call[0] == "request" for call in end.calls) < 250


def test_resets_that_we_are_made_to_send_end_the_connection() -> None:
    """CVE-2025-8671: the same with errors in place of RST_STREAM."""
    for wrong in (frame(8, 0, 0, bytes(4)), frames.window_frame(0, 2**31 - 1), data(0, b"x")):
        end = End.begun()
        heads = [end.request(number, "POST", ("content-length", "0"), flags=4) for number in range(1, 999, 2)]
        pieces = [head + wrong[:5] + head[5:9] + wrong[9:] for head in heads]
        assert attack(end, pieces) == frames.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(frames.ping_frame(b"12345678"), id="PING"),
        pytest.param(frames.ping_frame(b"12345678", is_ack=True), id="PING answers"),
        pytest.param(frames.settings_frame({}), id="SETTINGS"),
        pytest.param(frames.SETTINGS_ACK, id="acknowledgements"),
        pytest.param(frames.window_frame(0, 1), id="WINDOW_UPDATE"),
        pytest.param(frames.window_frame(1, 1), id="WINDOW_UPDATE of a stream"),
        pytest.param(frame(2, 0, 1, bytes(5)), id="PRIORITY"),
        pytest.param(frame(2, 0, 9999, bytes(5)), id="PRIORITY of idle streams"),
        pytest.param(data(1), id="empty DATA"),
        pytest.param(frame(0, 8, 1, b"\x00"), id="padding"),
        pytest.param(frame(99, 0, 0, b""), id="unknown frames"),
        pytest.param(frame(3, 0, 3, bytes(4)), id="resets of closed streams"),
        pytest.param(frame(7, 0, 0, bytes(8)), id="GOAWAY"),
    ],
)
def test_floods_end_the_connection(piece: bytes) -> None:
    """Frames that ask for nothing useful are free only in proportion to what we send."""
    end = End.begun()
    opened(end, 1)
    end.hear(end.request(3) + frames.reset_frame(3, frames.CANCEL))
    assert attack(end, [piece * 100] * 20) == frames.ENHANCE_YOUR_CALM


def test_a_busy_peer_is_no_attacker() -> None:
    """Window updates and pings in proportion to what it is sent, and a reset among three answers."""
    end = End.begun()
    for number in range(1, 6001, 2):
        end.answer = (RESPONSE, b"hello") if number % 8 != 1 else None
        end.hear(end.request(number) + frames.window_frame(0, 5) + frames.ping_frame(b"12345678"))
        if end.answer is None:
            end.hear(frames.reset_frame(number, frames.CANCEL))
    assert end.fault is None


def test_glitches_are_forgiven_with_time() -> None:
    """A tenth of the budget in every second."""
    end = End.begun()
    for second in range(60):
        for number in range(10):
            stream_id = 1 + 2 * (second * 10 + number)
            end.hear(end.request(stream_id) + frames.reset_frame(stream_id, frames.CANCEL), float(second))
    assert end.fault is None


def test_a_turn_is_bounded() -> None:
    """However much came at once, the others on the loop have their turn; nothing is lost."""
    end = End.begun()
    end.answer = (RESPONSE, b"hello")
    end.machine.receive(b"".join(end.request(number) for number in range(1, 2001, 2)), 0.0)
    assert end.machine.has_more
    assert 50 < len(end.calls) / 2 < 150
    end.hear(b"")
    assert len(end.calls) == 2000
    assert not end.machine.has_more


def test_a_block_without_end_is_bounded() -> None:
    """CVE-2024-27316, by bytes and by frames."""
    end = End.begun()
    begin = frame(frames.HEADERS, 0, 1, REQUEST)
    assert attack(end, [begin] + [frame(9, 0, 1, b"\x00\x01a\x00" * 1000)] * 20) == frames.ENHANCE_YOUR_CALM
    end = End.begun()
    assert attack(end, [begin] + [frame(9, 0, 1, b"")] * 40) == frames.ENHANCE_YOUR_CALM
    end = End.begun()
    assert attack(end, [begin] + [frame(9, 0, 1, b"\x00\x01a\x00")] * 40) == frames.ENHANCE_YOUR_CALM


def test_a_bomb_is_not_unpacked() -> None:
    """A short block of references to a long entry: no list of lines is made of it."""
    end = End.begun()
    entry = b"\x40\x01a\x7f\xa1\x1d" + b"v" * 3872
    end.hear(frame(frames.HEADERS, 5, 1, REQUEST + entry + b"\xbe" * 10_000))
    stream = end.stream(1)
    assert stream.request
    assert stream.request.is_too_large


def test_answers_that_are_not_read_are_bounded() -> None:
    """A peer that asks and does not read is left."""
    end = End.begun(limits=SMALL)
    end.machine.is_write_paused = True
    end.machine.receive(frames.ping_frame(b"12345678") * 5, 0.0)
    assert end.fault is None
    end.machine.receive(frames.ping_frame(b"12345678"), 0.0)
    assert end.fault == frames.ENHANCE_YOUR_CALM


# The end.


def test_a_connection_is_shut_in_two_steps() -> None:
    """First no new streams are wanted, then none are taken; requests on their way are served (section 6.8)."""
    end = End.begun()
    end.machine.begin_shutdown()
    goaway, ping = end.said()
    assert (goaway.kind, goaway.payload[:4]) == (frames.GOAWAY, b"\x7f\xff\xff\xff")
    opened(end, 1)
    (last,) = end.hear(frames.ping_frame(ping.payload, is_ack=True))
    assert (last.kind, last.payload[:4]) == (frames.GOAWAY, b"\x00\x00\x00\x01")
    assert end.machine.is_ending
    assert resets(end.hear(end.request(3))) == [(3, frames.REFUSED_STREAM)]
    end.machine.respond(end.stream(1), RESPONSE, b"hello", ends=True)
    assert end.calls[-1] == ("idle",)


def test_closing_tells_every_stream() -> None:
    """And the peer, with the last words."""
    end = End.begun()
    opened(end, 1)
    end.machine.close(frames.NO_ERROR)
    assert [one.kind for one in end.said()] == [frames.GOAWAY]
    assert end.calls[1:] == [("reset", 1, frames.CANCEL), ("fault", 0)]
    end.machine.close()
    assert end.said() == []


def test_abandoning_says_nothing() -> None:
    """There is nobody left to hear it."""
    end = End.begun()
    stream = opened(end, 1)
    end.machine.abandon()
    end.machine.send_data(stream, b"x")
    assert end.said() == []
    assert end.calls[1:] == [("reset", 1, frames.CANCEL)]


# The other role.


def client() -> tuple[End, Recorder]:
    """Our end as a client, with one request on its way."""
    end = End.begun(is_server=False)
    stream = Recorder(end)
    end.machine.open(stream, REQUEST, ends=True)
    end.said()
    return end, stream


def test_a_response_is_heard() -> None:
    """Interim ones before it, trailers behind it."""
    end, stream = client()
    assert stream.id == 1
    end.hear(end.head(1, (":status", "103"), ("link", "</a>"), flags=4))
    end.hear(end.head(1, (":status", "200"), flags=4) + data(1, b"hello") + end.head(1, ("x", "1")))
    assert end.calls == [
        ("response", 1, 103, b"link: </a>\r\n", False),
        ("response", 1, 200, b"", False),
        ("data", 1, b"hello"),
        ("end", 1, [b"x: 1"]),
        ("idle",),
    ]


def test_a_response_may_be_a_head_alone() -> None:
    """The stream is gone with it."""
    end, _stream = client()
    end.hear(end.head(1, (":status", "204")))
    assert end.calls == [("response", 1, 204, b"", True), ("idle",)]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([data(1, b"x")], id="DATA before the head"),
        pytest.param([frame(1, 4, 1, encode(b":status", b"101"))], id="101"),
        pytest.param([frame(1, 5, 1, encode(b":status", b"103"))], id="interim response that ends"),
        pytest.param([frame(1, 4, 1, OK + encode(b"content-length", b"1")), data(1, b"xy")], id="too much"),
        pytest.param([frame(1, 4, 1, OK + encode(b"content-length", b"1")), data(1, ends=True)], id="too little"),
        pytest.param([frame(1, 5, 1, OK + encode(b"content-length", b"1"))], id="nothing"),
        pytest.param([frame(1, 4, 1, encode(b":status", b"204")), data(1, b"x")], id="204 with content"),
        pytest.param([frame(1, 4, 1, encode(b"server", b"x"))], id="no status"),
        pytest.param([frame(1, 4, 1, OK), frame(1, 4, 1, OK)], id="two heads"),
    ],
)
def test_a_malformed_response_is_reset(pieces: list[bytes]) -> None:
    """The session goes on for the others."""
    end, _stream = client()
    said = end.hear(b"".join(pieces))
    assert resets(said) == [(1, frames.PROTOCOL_ERROR)]
    assert end.calls[-1] == ("reset", 1, frames.PROTOCOL_ERROR)
    assert end.fault is None


def test_a_head_request_has_a_length_and_no_body() -> None:
    """RFC 9110 section 9.3.2."""
    end = End.begun(is_server=False)
    stream = Recorder(end)
    stream.expects_body = False
    end.machine.open(stream, REQUEST, ends=True)
    end.hear(end.head(1, (":status", "200"), ("content-length", "5")))
    assert end.calls[0] == ("response", 1, 200, b"content-length: 5\r\n", True)


def test_goaway_gives_back_what_was_not_looked_at() -> None:
    """Streams above the last one may be sent again; the others go on."""
    end, _stream = client()
    second = Recorder(end)
    end.machine.open(second, REQUEST, ends=True)
    end.hear(frames.goaway_frame(1, frames.NO_ERROR))
    assert end.calls == [("goaway", 0), ("reset", 3, frames.REFUSED_STREAM)]
    end.hear(end.head(1, (":status", "200")))
    assert end.calls[-1] == ("idle",)


def test_a_server_may_say_how_many_streams_it_takes() -> None:
    """And whether it takes CONNECT for other protocols."""
    end = End.begun(is_server=False)
    end.hear(frames.settings_frame({frames.MAX_CONCURRENT_STREAMS: 7, frames.ENABLE_CONNECT_PROTOCOL: 1}))
    assert (end.machine.peer_max_streams, end.machine.peer_allows_connect) == (7, True)


def test_a_server_opens_no_streams() -> None:
    """We said that nothing may be pushed."""
    end, _stream = client()
    end.hear(end.head(2, (":status", "200")))
    assert end.fault == frames.PROTOCOL_ERROR


def test_a_slow_stream_holds_up_no_other_one() -> None:
    """The streams of a session are those of many visitors."""
    end = End.begun(is_server=False, limits=SMALL)
    stream = Recorder(end)
    end.machine.open(stream, REQUEST, ends=True)
    end.machine.hold(stream)
    end.hear(end.head(1, (":status", "200"), flags=4))
    end.hear(data(1, b"x" * 1000))
    assert end.machine._unreturned == 1000
    assert stream.unreturned == 1000


def test_a_large_head_costs_a_target_its_stream() -> None:
    """As the body of such a response would."""
    end = End.begun(is_server=False, limits=SMALL)
    end.machine.open(Recorder(end), REQUEST, ends=True)
    assert resets(end.hear(end.head(1, (":status", "200"), ("x", "y" * 990)))) == [(1, frames.CANCEL)]


def test_nothing_follows_a_response() -> None:
    """While our request still goes on."""
    end = End.begun(is_server=False)
    end.machine.open(Recorder(end), REQUEST, ends=False)
    end.hear(end.head(1, (":status", "200"), ("content-length", "0")))
    assert resets(end.hear(end.head(1, (":status", "200")))) == [(1, frames.STREAM_CLOSED)]


def test_streams_that_end_each_other_are_told_once() -> None:
    """One exchange that fails may take another one with it."""
    end = End.begun(is_server=False)
    first, second = Recorder(end), Recorder(end)
    for stream in (first, second):
        end.machine.open(stream, REQUEST, ends=True)
    end.on_reset = lambda: end.machine.reset(second, frames.CANCEL)
    end.hear(frames.goaway_frame(0, frames.NO_ERROR))
    assert [call for call in end.calls if call[0] == "reset"] == [("reset", 1, frames.REFUSED_STREAM)]


def test_a_client_runs_out_of_numbers() -> None:
    """RFC 9113 section 5.1.1."""
    end, _stream = client()
    assert end.machine.has_numbers
    end.machine._next_id = 2**31 + 1
    assert not end.machine.has_numbers


def test_a_peer_may_be_asked_whether_it_is_there() -> None:
    """As long as there is a connection."""
    end = End()
    end.hear(frames.PREFACE + frames.settings_frame({}))
    end.machine.ping(b"12345678")
    assert end.said() == [Frame(frames.PING, 0, 0, b"12345678")]
    end.machine.close()
    end.said()
    end.machine.ping(b"12345678")
    end.machine.begin_shutdown()
    end.machine.end_shutdown()
    assert end.said() == []


# Any split of the bytes.


SCENE = (
    frames.PREFACE
    + frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 100})
    + frame(frames.HEADERS, 4, 1, b"".join(encode(name.encode(), value.encode()) for name, value in POST))
    + data(1, b"hello")
    + frame(frames.HEADERS, 1, 3, REQUEST[:5])
    + frame(frames.CONTINUATION, 4, 3, REQUEST[5:])
    + frames.ping_frame(b"12345678")
    + data(1, b" world", ends=True)
    + frames.window_frame(0, 7)
    + frames.reset_frame(3, frames.CANCEL)
    + frame(77, 0, 0, b"unknown")
    + data(0)
)


@given(st.lists(st.integers(0, len(SCENE)), max_size=12))
def test_any_split_of_the_bytes_says_the_same(cuts: list[int]) -> None:
    """Calls and answers do not depend on how the network cuts."""
    whole, cut = End(), End()
    expected = whole.hear(SCENE)
    said: list[Frame] = []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(SCENE)], strict=True):
        said += cut.hear(SCENE[begin:end])
    assert cut.calls == whole.calls
    assert said == expected


def test_one_byte_at_a_time_says_the_same() -> None:
    """The worst network."""
    whole, cut = End(), End()
    expected = whole.hear(SCENE)
    said = [one for octet in SCENE for one in cut.hear(bytes((octet,)))]
    assert (cut.calls, said) == (whole.calls, expected)


FRAMES = st.builds(
    frame,
    st.integers(0, 10),
    st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 0x20, 0x2D, 0xFF]),
    st.sampled_from([0, 1, 2, 3, 5, 7]),
    st.binary(max_size=12) | st.sampled_from([REQUEST, OK, bytes(4), bytes(8), b"\0\0\0\1"]),
)


@given(st.lists(FRAMES, max_size=20), st.booleans())
def test_noise_is_refused_in_the_protocols_own_terms(noise: list[bytes], is_server: bool) -> None:
    """Whatever comes, no exception leaves, and every stream that was opened hears of its end."""
    end = End.begun(is_server=is_server)
    if not is_server:
        end.machine.open(Recorder(end), REQUEST, ends=False)
    for one in noise:
        end.hear(one)
    end.machine.close()
    assert not end.machine.streams


# Somebody else's implementation at the other end.


def talk(end: End, peer: h2.connection.H2Connection) -> list[h2.events.Event]:
    """Carry bytes between both until neither has anything to say."""
    events: list[h2.events.Event] = []
    while data := peer.data_to_send():
        end.machine.receive(data, 0.0)
        events += peer.receive_data(end.machine.take())
    return events


def peer_of(end: End) -> h2.connection.H2Connection:
    """The other implementation, past the prefaces."""
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=end.is_server, header_encoding=False))
    peer.initiate_connection()
    peer.receive_data(end.preface)
    talk(end, peer)
    return peer


def test_another_client_is_served() -> None:
    """Requests with and without a body, and responses larger than its windows."""
    end = End()
    peer = peer_of(end)
    body = bytes(range(256)) * 2000
    for number in (1, 3, 5):
        peer.send_headers(number, GET, end_stream=True)
        talk(end, peer)
        end.machine.respond(end.stream(number), OK, body, ends=True)
        received = b""
        ended = False
        pending = end.machine.take()
        while not ended:
            for event in peer.receive_data(pending):
                if isinstance(event, h2.events.DataReceived):
                    received += event.data or b""
                    peer.acknowledge_received_data(event.flow_controlled_length or 0, number)
                ended = ended or isinstance(event, h2.events.StreamEnded)
            end.machine.receive(peer.data_to_send(), 0.0)
            pending = end.machine.take()
        assert received == body


def test_another_client_uploads() -> None:
    """It never runs out of windows, and its trailers arrive."""
    end = End()
    peer = peer_of(end)
    peer.send_headers(1, POST)
    sent = 0
    while sent < 3_000_000:
        size = min(peer.local_flow_control_window(1), 16_384)
        assert size
        peer.send_data(1, b"x" * size)
        sent += size
        talk(end, peer)
    peer.send_headers(1, [("x-sum", "1")], end_stream=True)
    talk(end, peer)
    assert end.calls[-1] == ("end", 1, [b"x-sum: 1"])
    assert sum(len(call[2]) for call in end.calls if call[0] == "data" and isinstance(call[2], bytes)) == sent


def test_another_server_answers() -> None:
    """As a client we are understood, too."""
    end = End(is_server=False)
    peer = peer_of(end)
    stream = Recorder(end)
    end.machine.open(stream, REQUEST, ends=False)
    end.machine.send_data(stream, b"hello", ends=True)
    events = peer.receive_data(end.machine.take())
    assert [type(event).__name__ for event in events] == ["RequestReceived", "DataReceived", "StreamEnded"]
    peer.send_headers(1, [(":status", "200"), ("content-length", "2")])
    peer.send_data(1, b"ok", end_stream=True)
    talk(end, peer)
    assert end.calls[-4:] == [
        ("response", 1, 200, b"content-length: 2\r\n", False),
        ("data", 1, b"ok"),
        ("end", 1, None),
        ("idle",),
    ]
