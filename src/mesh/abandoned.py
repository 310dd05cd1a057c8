"""Responses that nobody waits for any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesh.errors import Failure
    from mesh.forward import ResponseFields
    from mesh.sides import TargetSide
    from mesh.wire import StatusLine


class Abandoned:
    """Takes the response that nobody waits for any more, so that the target may finish what it began."""

    __slots__ = ("_side",)

    is_settled = False

    def __init__(self, side: TargetSide) -> None:
        """Let `side` go when its response is complete."""
        self._side = side

    def interim(self, status: StatusLine, fields: ResponseFields) -> None:
        """Ignored."""

    def response(self, status: StatusLine, fields: ResponseFields, body: bytes) -> None:
        """Ignored."""

    def response_goes_on(self) -> None:
        """Ignored."""

    def response_data(self, data: bytes) -> None:
        """Ignored."""

    def response_end(self, trailers: list[bytes] | None, *, is_reusable: bool) -> None:
        """The target is done."""
        self._side.release(is_reusable=is_reusable)

    def switch(self, status: StatusLine, fields: ResponseFields, surplus: bytes) -> None:
        """Nobody is there to switch."""
        self._side.abort()

    def target_lost(self, error: Exception | None) -> None:
        """Ignored."""

    def target_is_slow(self) -> None:
        """Ignored."""

    def target_caught_up(self) -> None:
        """Ignored."""

    def fail(self, failure: Failure) -> None:
        """Whatever it was, nobody hears of it."""
        self._side.abort()
