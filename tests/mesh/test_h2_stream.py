"""Streams and limits before anything has happened."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mesh.h2_heads import RequestHead, ResponseHead
from mesh.h2_stream import Limits, Stream


def test_a_stream_begins_open_at_both_ends() -> None:
    """And with windows that its connection gives it."""
    stream = Stream(5)
    assert (stream.id, stream.send_window, stream.receive_window, stream.left) == (5, 0, 0, -1)
    assert not stream.is_closed
    assert not stream.is_local_done
    assert not stream.is_remote_done


def test_a_stream_needs_somebody_who_listens() -> None:
    """Nothing that happens may get lost in silence."""
    stream = Stream(1)
    calls: tuple[Callable[[], None], ...] = (
        lambda: stream.on_request(RequestHead()),
        lambda: stream.on_response(ResponseHead(200, b"", -1)),
        lambda: stream.on_data(b""),
        lambda: stream.on_end(None),
        lambda: stream.on_reset(0),
        stream.on_slow,
        stream.on_writable,
    )
    for call in calls:
        with pytest.raises(NotImplementedError):
            call()


def test_a_connection_holds_less_than_its_streams_could() -> None:
    """The windows of all streams together are bounded by that of the connection."""
    limits = Limits()
    assert limits.connection_window < limits.streams * limits.window
    assert limits.connection_window >= limits.window
