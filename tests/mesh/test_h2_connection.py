"""One write for all that was made in a turn, and what waits while the peer does not read."""

from __future__ import annotations

import asyncio

import pytest

from mesh import frames, h2_stream
from mesh.h2_connection import H2Connection
from mesh.h2_stream import Limits
from mesh.hpack import encode
from tests.support.h2_wire import GET, read_frames
from tests.support.mesh_node import MeshUnderTest, start_mesh

REQUEST = b"".join(encode(name.encode(), value.encode()) for name, value in GET)
HELLO = frames.PREFACE + frames.settings_frame({})


class Transport(asyncio.Transport):
    """What is written, piece by piece, and whether it is read."""

    def __init__(self) -> None:
        """Nothing is written."""
        super().__init__()
        self.pieces: list[bytes] = []
        self.calls: list[str] = []

    def write(self, data: object) -> None:
        """Keep it."""
        assert isinstance(data, bytes)
        self.pieces.append(data)

    def is_closing(self) -> bool:
        """Never."""
        return False

    def pause_reading(self) -> None:
        """Note it."""
        self.calls.append("pause")

    def resume_reading(self) -> None:
        """Note it."""
        self.calls.append("resume")


class Answering(h2_stream.Stream):
    """Answers when the test says so."""

    def __init__(self, connection: Server, stream_id: int) -> None:
        """One of the streams of `connection`."""
        super().__init__(stream_id)
        self.connection = connection

    def on_request(self, head: object) -> None:
        """Wait."""
        self.connection.waiting.append(self)

    def on_slow(self) -> None:
        """Nothing to do."""

    def on_reset(self, code: int) -> None:
        """Nothing to do."""

    def answer(self, body: bytes = b"hello") -> None:
        """With this body."""
        self.connection.h2.respond(self, encode(b":status", b"200"), body, ends=True)


class Server(H2Connection):
    """A server of nothing."""

    def __init__(self, mesh: MeshUnderTest) -> None:
        """In the loop of `mesh`."""
        super().__init__(mesh.core, is_server=True, limits=Limits())
        self.waiting: list[Answering] = []
        self.ended = 0
        self.transport = Transport()
        self.connection_made(self.transport)
        self.data_received(HELLO + frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 1 << 20}))
        self.transport.pieces.clear()

    def make_stream(self, stream_id: int) -> Answering:
        """One that waits."""
        return Answering(self, stream_id)

    def on_idle(self) -> None:
        """Nothing to do."""

    def on_goaway(self, code: int) -> None:
        """Nothing to do."""

    def on_fault(self, fault: frames.ConnectionFault) -> None:
        """Nothing to do."""

    def on_end(self) -> None:
        """Note it."""
        self.ended += 1

    def expired(self) -> None:
        """Nothing to do."""

    def ask(self, *stream_ids: int) -> None:
        """Requests in one piece."""
        self.data_received(b"".join(frames.head_frames(number, REQUEST, 1) for number in stream_ids))


@pytest.mark.parametrize("count", [1, 3])
async def test_what_is_made_in_a_turn_is_written_once(count: int) -> None:
    """However many streams it belongs to, and at the end of the turn."""
    async with await start_mesh() as mesh:
        server = Server(mesh)
        server.ask(*range(1, 2 * count, 2))
        for stream in server.waiting:
            stream.answer()
        assert server.transport.pieces == []
        await asyncio.sleep(0)
        (piece,) = server.transport.pieces
        assert len(read_frames(piece)) == 2 * count


async def test_answers_to_what_came_are_written_with_it() -> None:
    """A turn that reads is one that writes."""
    async with await start_mesh() as mesh:
        server = Server(mesh)
        server.data_received(frames.ping_frame(b"12345678") + frames.ping_frame(b"87654321"))
        assert len(server.transport.pieces) == 1


async def test_a_peer_that_does_not_read_is_not_listened_to() -> None:
    """Bodies wait until it reads again, then go on."""
    async with await start_mesh() as mesh:
        server = Server(mesh)
        server.ask(1, 3)
        server.pause_writing()
        assert server.transport.calls == ["pause"]
        for stream in server.waiting:
            stream.answer()
        await asyncio.sleep(0)
        (piece,) = server.transport.pieces
        assert [one.kind for one in read_frames(piece)] == [frames.HEADERS] * 2
        server.resume_writing()
        assert server.transport.calls == ["pause", "resume"]
        assert [one.payload for one in read_frames(server.transport.pieces[1])] == [b"hello"] * 2


async def test_large_bodies_leave_in_bounded_pieces() -> None:
    """So that the transport can say when it has enough."""
    async with await start_mesh() as mesh:
        server = Server(mesh)
        server.ask(1, 3, 5)
        for stream in server.waiting:
            stream.answer(b"x" * 600_000)
        await asyncio.sleep(0)
        server.transport.pieces.clear()
        server.data_received(frames.window_frame(0, 1 << 24))
        assert len(server.transport.pieces) > 3
        assert max(map(len, server.transport.pieces)) < 300_000
        assert sum(map(len, server.transport.pieces)) > 3 * 600_000 - 65_535


async def test_the_end_is_told_when_the_last_stream_has_ended() -> None:
    """Of a connection that takes no new ones."""
    async with await start_mesh() as mesh:
        server = Server(mesh)
        server.ask(1)
        server.h2.end_shutdown()
        server.flush()
        assert server.ended == 0
        server.waiting[0].answer()
        server.flush()
        assert server.ended == 1


async def test_a_long_turn_is_interrupted() -> None:
    """For the others on the loop; meanwhile nothing more is read."""
    async with await start_mesh() as mesh:
        server = Server(mesh)
        server.data_received(b"".join(frames.head_frames(number, REQUEST, 1) for number in range(1, 199, 2)))
        for stream in server.waiting:
            stream.answer()
        server.data_received(
            frames.ping_frame(b"12345678") * 100
            + b"".join(frames.head_frames(number, REQUEST, 1) for number in range(201, 399, 2))
        )
        assert server.transport.calls == ["pause"]
        await asyncio.sleep(0)
        assert server.transport.calls == ["pause", "resume"]
        assert len(server.waiting) == 198
