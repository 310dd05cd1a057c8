"""What is sent, and when: windows, queues, and frames that end a stream."""

from __future__ import annotations

import pytest

from mesh import frames
from mesh.h2_stream import Limits
from mesh.hpack import encode, encode_lines
from tests.support.h2_wire import End, data_of, kinds, opened, resets

OK = encode(b":status", b"200")
RESPONSE = OK + encode_lines(b"content-length: 5\r\n")


def test_trailers_follow_a_body() -> None:
    """In a frame of their own, which ends the stream."""
    end = End.begun()
    end.hear(end.request(1))
    stream = end.stream(1)
    end.machine.respond(stream, OK, b"hello", ends=False)
    end.machine.finish(stream, encode_lines(b"grpc-status: 0\r\n"))
    said = end.said()
    assert [(one.kind, one.flags) for one in said] == [(frames.HEADERS, 4), (frames.DATA, 0), (frames.HEADERS, 5)]


def test_a_response_without_length_ends_with_an_empty_frame() -> None:
    """Nothing else could say that it is complete."""
    end = End.begun()
    end.hear(end.request(1))
    stream = end.stream(1)
    end.machine.respond(stream, OK, b"", ends=False)
    end.machine.send_data(stream, b"abc")
    end.machine.finish(stream)
    assert [(one.kind, one.flags, one.payload) for one in end.said()][1:] == [(0, 0, b"abc"), (0, 1, b"")]


def test_a_smaller_table_is_acknowledged_before_the_next_block() -> None:
    """RFC 7541 section 4.2."""
    end = End.begun()
    end.hear(frames.settings_frame({frames.HEADER_TABLE_SIZE: 0}))
    end.decoder.max_allowed_table_size = 0
    end.answer = (RESPONSE, b"hello")
    said = end.hear(end.request(1))
    assert said[0].payload[:1] == b"\x20"
    assert end.fields(said) == [(b":status", b"200"), (b"content-length", b"5")]
    assert end.hear(end.request(3))[0].payload == RESPONSE


def test_what_the_window_does_not_allow_waits() -> None:
    """And goes out, once and in order, as the window grows."""
    end = End.begun()
    end.hear(end.request(1))
    stream = end.stream(1)
    body = bytes(range(256)) * 400
    end.machine.respond(stream, OK, body, ends=True)
    sent = data_of(end.said())
    assert sent == body[:65_535]
    assert end.calls[-1] == ("slow", 1)
    sent += data_of(end.hear(frames.window_frame(1, 10)))
    assert len(sent) == 65_535
    sent += data_of(end.hear(frames.window_frame(0, 100_000)))
    assert len(sent) == 65_545
    said = end.hear(frames.window_frame(1, 100_000))
    assert sent + data_of(said) == body
    assert said[-1].flags == frames.END_STREAM
    assert not end.machine.streams


def test_a_stream_hears_when_it_may_go_on() -> None:
    """After it was told that the peer is slow, and not otherwise."""
    end = End.begun()
    end.hear(end.request(1) + frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 3}))
    stream = end.stream(1)
    end.machine.respond(stream, OK, b"abcdef", ends=False)
    end.machine.send_data(stream, b"ghi")
    end.machine.finish(stream, encode_lines(b"x: 1\r\n"))
    assert data_of(end.said()) == b"abc"
    assert end.calls[1:] == [("slow", 1)]
    said = end.hear(frames.window_frame(1, 100))
    assert data_of(said) == b"defghi"
    assert (said[-1].kind, said[-1].flags) == (frames.HEADERS, 5)
    stream = opened(end, 3)
    end.machine.respond(stream, OK, b"abcdef", ends=False)
    end.hear(frames.window_frame(3, 100))
    assert end.calls[-1] == ("writable", 3)


def test_a_window_may_shrink_below_nothing() -> None:
    """RFC 9113 section 6.9.2."""
    end = End.begun()
    end.hear(end.request(1))
    stream = end.stream(1)
    end.machine.respond(stream, OK, b"x" * 100, ends=False)
    end.hear(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 10}))
    assert stream.send_window == -90
    end.machine.send_data(stream, b"abc", ends=True)
    assert end.said() == []
    assert end.hear(frames.window_frame(1, 90)) == []
    assert data_of(end.hear(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 13}))) == b"abc"


def test_a_new_initial_window_must_not_overflow_an_old_one() -> None:
    """RFC 9113 section 6.9.2."""
    end = End.begun()
    end.hear(end.request(1) + frames.window_frame(1, 2**31 - 1 - 65_535))
    end.hear(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 70_000}))
    assert end.fault == frames.FLOW_CONTROL_ERROR


def test_streams_share_the_window_of_the_connection() -> None:
    """A large response does not keep the others waiting until it is done."""
    end = End.begun()
    end.hear(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 1_000_000}))
    for number in (1, 3, 5):
        end.hear(end.request(number))
    for number in (1, 3, 5):
        end.machine.respond(end.stream(number), OK, b"x" * 100_000, ends=True)
    assert len(data_of(end.said())) == 65_535
    said = end.hear(frames.window_frame(0, 6 * 16_384))
    assert all(len(data_of(said, number)) >= 16_384 for number in (1, 3, 5))


def test_nothing_more_is_queued_while_the_peer_does_not_read() -> None:
    """Bodies wait on their streams, and leave when writing goes on."""
    end = End.begun()
    for number in (1, 3):
        end.hear(end.request(number))
    end.machine.is_write_paused = True
    for number in (1, 3):
        end.machine.respond(end.stream(number), OK, b"hello", ends=True)
    assert kinds(end.said()) == [frames.HEADERS, frames.HEADERS]
    assert not end.machine.can_pump
    end.machine.resume_writing()
    assert kinds(end.said()) == [frames.DATA, frames.DATA]
    assert not end.machine.streams


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 40_000])
def test_a_body_of_any_size_is_whole(size: int) -> None:
    """In frames of the size that every peer takes, the last of which ends the stream."""
    end = End.begun()
    end.hear(end.request(1))
    end.machine.respond(end.stream(1), OK, b"x" * size, ends=True)
    said = end.said()
    assert data_of(said) == b"x" * size
    assert max(len(one.payload) for one in said) <= 16_384
    assert [one.flags & frames.END_STREAM for one in said] == [0] * (len(said) - 1) + [1]
    assert not end.machine.streams


def test_an_empty_body_with_a_window_of_nothing_ends_at_once() -> None:
    """RFC 9113 section 6.9.1: a frame without content needs no window."""
    end = End.begun()
    end.hear(end.request(1) + frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 0}))
    end.machine.respond(end.stream(1), OK, b"", ends=False)
    end.machine.finish(end.stream(1))
    assert kinds(end.said()) == [frames.HEADERS, frames.DATA]


def test_what_waits_is_forgotten_with_its_stream() -> None:
    """Nothing of it is sent when the window grows."""
    end = End.begun()
    end.hear(end.request(1) + end.request(3) + frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 0}))
    for number in (1, 3):
        end.machine.respond(end.stream(number), OK, b"hello", ends=True)
    end.said()
    end.hear(frames.reset_frame(1, frames.CANCEL))
    said = end.hear(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 100}))
    assert data_of(said, 1) == b""
    assert data_of(said, 3) == b"hello"


def test_nothing_follows_the_end() -> None:
    """However often it is said."""
    end = End.begun()
    stream = opened(end)
    stream.is_tunnel = True
    end.machine.respond(stream, RESPONSE, b"hello", ends=True)
    end.said()
    end.machine.send_data(stream, b"x")
    end.machine.send_head(stream, OK)
    end.machine.finish(stream)
    assert end.said() == []
    assert stream.is_local_done
    assert not stream.is_closed


def test_who_takes_nothing_opens_nothing_new() -> None:
    """Until what waits for it has become less."""
    end = End.begun(limits=Limits(queued=1000))
    end.hear(end.request(1) + frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 0}))
    end.machine.respond(end.stream(1), OK, b"x" * 2000, ends=True)
    end.said()
    assert resets(end.hear(end.request(3))) == [(3, frames.REFUSED_STREAM)]
    end.hear(frames.window_frame(1, 1500))
    assert resets(end.hear(end.request(5))) == []
    end.hear(frames.reset_frame(1, frames.CANCEL))
    assert end.machine._queued == 0
