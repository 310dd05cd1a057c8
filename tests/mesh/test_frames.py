"""Frames as they are written: read back by somebody else's parser."""

from __future__ import annotations

import pytest
from hyperframe import frame as hyperframe

from mesh import frames


def read(data: bytes) -> hyperframe.Frame:
    """One frame, as another implementation understands it."""
    frame, size = hyperframe.Frame.parse_frame_header(memoryview(data[:9]))
    assert len(data) == 9 + size
    frame.parse_body(memoryview(data[9:]))
    return frame


def test_data_has_its_flags_and_its_content() -> None:
    """The end of the stream is on the frame with the last byte."""
    frame = read(frames.data_frame(7, b"hello", frames.END_STREAM))
    assert isinstance(frame, hyperframe.DataFrame)
    assert (frame.stream_id, frame.data, set(frame.flags)) == (7, b"hello", {"END_STREAM"})


def test_a_head_that_fits_is_one_frame() -> None:
    """Nobody has to wait for a CONTINUATION."""
    frame = read(frames.head_frames(3, b"x" * frames.DEFAULT_FRAME_SIZE, 0))
    assert isinstance(frame, hyperframe.HeadersFrame)
    assert set(frame.flags) == {"END_HEADERS"}


@pytest.mark.parametrize("size", [16_385, 32_768, 32_769, 50_000])
def test_a_head_that_does_not_fit_goes_on_in_other_frames(size: int) -> None:
    """The last frame, and no other one, ends the block; the first says whether the stream ends."""
    block = bytes(range(256)) * (size // 256 + 1)
    data = frames.head_frames(3, block[:size], frames.END_STREAM)
    parts = []
    flags = []
    while data:
        length = 9 + int.from_bytes(data[:3])
        one = read(data[:length])
        parts.append(getattr(one, "data", b""))
        flags.append(set(one.flags))
        data = data[length:]
    assert b"".join(parts) == block[:size]
    assert flags[0] == {"END_STREAM"}
    assert flags[-1] == {"END_HEADERS"}
    assert all(not flag for flag in flags[1:-1])


def test_small_frames_are_what_they_say() -> None:
    """Each kind of control frame, read by another implementation."""
    reset = read(frames.reset_frame(5, frames.CANCEL))
    assert isinstance(reset, hyperframe.RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (5, frames.CANCEL)
    window = read(frames.window_frame(0, 12345))
    assert isinstance(window, hyperframe.WindowUpdateFrame)
    assert window.window_increment == 12345
    ping = read(frames.ping_frame(b"12345678", is_ack=True))
    assert isinstance(ping, hyperframe.PingFrame)
    assert (ping.opaque_data, set(ping.flags)) == (b"12345678", {"ACK"})
    goaway = read(frames.goaway_frame(9, frames.PROTOCOL_ERROR, "no"))
    assert isinstance(goaway, hyperframe.GoAwayFrame)
    assert (goaway.last_stream_id, goaway.error_code, goaway.additional_data) == (9, frames.PROTOCOL_ERROR, b"no")
    settings = read(frames.settings_frame({frames.MAX_CONCURRENT_STREAMS: 7}))
    assert isinstance(settings, hyperframe.SettingsFrame)
    assert settings.settings == {frames.MAX_CONCURRENT_STREAMS: 7}
    assert set(read(frames.SETTINGS_ACK).flags) == {"ACK"}


def test_settings_are_read_in_order() -> None:
    """The last of two values for one setting counts, so their order has to stay."""
    payload = bytes.fromhex("000400000001 000400000002")
    assert list(frames.read_settings(payload)) == [(4, 1), (4, 2)]


@pytest.mark.parametrize(
    ("payload", "content"), [(b"\x00abc", b"abc"), (b"\x02abcXX", b"abc"), (b"\x00", b""), (b"\x03XXX", b"")]
)
def test_padding_is_taken_off(payload: bytes, content: bytes) -> None:
    """Padding is behind the content, and may be all there is."""
    assert frames.without_padding(payload) == content


@pytest.mark.parametrize(("payload", "code"), [(b"", 6), (b"\x01", 1), (b"\x04abc", 1), (b"\xff", 1)])
def test_more_padding_than_content_is_an_error(payload: bytes, code: int) -> None:
    """RFC 9113 section 6.1."""
    with pytest.raises(frames.ConnectionFault) as raised:
        frames.without_padding(payload)
    assert raised.value.code == code
