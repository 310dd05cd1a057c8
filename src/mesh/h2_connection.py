"""A transport that speaks HTTP/2, in either role: frames in, and one write for all that was collected in a turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh import h2
from mesh.connection import Connection
from mesh.deadlines import TICK_S
from mesh.h2_stream import Limits, Stream
from mesh.native import mypyc_attr

if TYPE_CHECKING:
    from mesh.core import Core
    from mesh.frames import ConnectionFault


@mypyc_attr(allow_interpreted_subclasses=True)
class H2Connection(Connection):
    """What waits to be written leaves at the end of the turn in which it was made.

    `is_turn` says that whoever runs now calls `flush` when it is done.
    """

    __slots__ = ("_is_scheduled", "core", "h2", "is_turn")

    def __init__(self, core: Core, *, is_server: bool, limits: Limits) -> None:
        """A connection that is about to be made."""
        super().__init__()
        self.core = core
        self.h2 = h2.Connection(self, is_server=is_server, limits=limits)
        self.is_turn = False
        self._is_scheduled = False

    # What asyncio calls.

    def data_received(self, data: bytes) -> None:
        """Frames."""
        self.is_turn = True
        try:
            self.h2.receive(data, self.core.now)
            self.on_turn()
        finally:
            self.is_turn = False
        self.flush()
        if self.h2.has_more:
            self.pause_reading()
            self.core.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Read what the last turn left; a peer that does not take what was written waits with that."""
        if self.h2.has_more and not (self.is_closed or self.h2.is_write_paused):
            self.resume_reading()
            self.data_received(b"")

    def pause_writing(self) -> None:
        """The peer does not take what was written; it is not listened to either, or answers would pile up."""
        self.h2.is_write_paused = True
        self.pause_reading()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.is_turn = True
        self.h2.resume_writing()
        self.is_turn = False
        self.flush()
        if self.h2.has_more:
            self._go_on()
        else:
            self.resume_reading()

    # What the state machine calls.

    def make_stream(self, stream_id: int) -> Stream:
        """The stream for a request."""
        raise NotImplementedError

    def on_output(self) -> None:
        """Write at the end of the turn."""
        if not (self.is_turn or self._is_scheduled):
            self._is_scheduled = True
            self.core.call_soon(self.flush)

    def on_idle(self) -> None:
        """The last stream has ended."""
        raise NotImplementedError

    def on_goaway(self, code: int) -> None:
        """The peer opens or takes no new streams."""
        raise NotImplementedError

    def on_fault(self, fault: ConnectionFault) -> None:
        """The connection is over, but for its last words."""
        raise NotImplementedError

    def on_turn(self) -> None:
        """Everything that came in one piece has been read."""

    def on_end(self) -> None:
        """No stream is left on a connection that takes no new ones."""
        raise NotImplementedError

    def look_at(self, deadline: float) -> None:
        """Call `expired` not later than at `deadline`."""
        self.deadline = deadline
        if deadline < self.looked_at * TICK_S or not self.looked_at:
            self.core.deadlines.watch(self)

    def expired(self) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what was collected, and what it makes room for."""
        self._is_scheduled = False
        machine = self.h2
        data = machine.take()
        while data:
            self.write(data)
            if not machine.can_pump:
                break
            self.is_turn = True
            machine.pump()
            self.is_turn = False
            data = machine.take()
        if machine.is_ending and not machine.streams and not self.is_closed:
            self.on_end()
