"""The two sides of an exchange: a request on a connection that carries several goes where there is room."""

from __future__ import annotations

from typing import Any, cast

from mesh.sides import stream_of


class _Session:
    """Room for one stream or for none."""

    def __init__(self, *, has_room: bool) -> None:
        self._has_room = has_room

    def open_stream(self) -> object | None:
        """Itself, as the stream."""
        return self if self._has_room else None

    def retire(self) -> None:
        """Nothing to close."""


def test_the_first_session_with_room_is_taken() -> None:
    """And none, when there is none."""
    free = _Session(has_room=True)
    sessions: list[Any] = [_Session(has_room=False), free]
    assert stream_of(sessions) is cast("object", free)
    assert stream_of(sessions[:1]) is None
