"""The target with frames of its own against the visitor with frames of its own."""

from __future__ import annotations

from tests.support.frame_target import FrameTarget, playing
from tests.support.frame_visitor import MAX_CONCURRENT_STREAMS, PING, FrameVisitor, frame, request_fields
from tests.support.stage import Stage


async def test_it_answers_what_it_is_asked() -> None:
    """With the path that it was asked for; what else comes is noted, and its settings arrive."""

    async def play(target: FrameTarget) -> None:
        while True:
            stream_id, fields = await target.request()
            count = sum(one.kind == PING for one in target.frames)
            await target.send(target.answer(stream_id, fields[b":path"], (b"x-pings", b"%d" % count)))

    async with (
        Stage(playing(play, [(MAX_CONCURRENT_STREAMS, 7)])) as stage,
        await FrameVisitor.connect(stage.port) as visitor,
    ):
        for number in range(3):
            stream_id = visitor.next_id()
            await visitor.send(frame(PING, payload=bytes(8)), visitor.head(stream_id, request_fields(b"/%d" % number)))
            reply = await visitor.reply(stream_id)
            assert (reply.status, reply.body) == (200, b"/%d" % number)
            assert reply.values(b"x-pings") == [b"%d" % (number + 1)]
        assert visitor.settings == {MAX_CONCURRENT_STREAMS: 7}
