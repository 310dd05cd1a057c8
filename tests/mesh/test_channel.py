"""Messages cross the channel whole, in order and as they were, and its end is the end of the messages."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.channel import (
    Applied,
    CertificateRefused,
    CertificateWanted,
    Channel,
    Complaint,
    Down,
    Drain,
    FinishedSpans,
    Records,
    RouteReports,
    TargetHealth,
    TargetReport,
    ToControl,
    ToWorker,
    UnknownKid,
    Watch,
    WorkerReport,
    encode,
)
from mesh.ledger import RouteReport
from mesh.policies import Target
from mesh.routes import Certificate, Challenges, Delta, Route, RouteKey, Snapshot
from tests.support.records import TRACE, record

REPORT = WorkerReport(
    index=1,
    pid=2,
    revision=3,
    accepted=4,
    refused=5,
    requests=6,
    dials=7,
    received=8,
    sent=9,
    statuses=(0, 0, 6),
    causes={"connection_refused": 1},
    connections=10,
    in_flight=11,
    dropped_records=12,
    targets=(TargetReport("http://a", 1, 2, 3),),
)
BIG = Snapshot(
    revision=1, routes=tuple(Route(host=f"h{number}", targets=(Target("http://a"),)) for number in range(20_000))
)


@contextlib.asynccontextmanager
async def _pair() -> AsyncIterator[tuple[Channel[ToControl], Channel[ToWorker], socket.socket]]:
    """Both ends, and the socket below the first one."""
    ours, theirs = socket.socketpair()
    control: Channel[ToControl] = Channel(ours, ToControl)
    worker: Channel[ToWorker] = Channel(theirs, ToWorker)
    await control.open()
    await worker.open()
    try:
        yield control, worker, ours
    finally:
        control.close()
        worker.close()
        await asyncio.sleep(0)


async def test_messages_arrive_in_order_and_as_they_were() -> None:
    """To the worker: what it has to know."""
    health = TargetHealth((Down(RouteKey("h2", "/x"), ("http://a", "unix:/b")),))
    certificate = Certificate(fingerprint="f", names=("a.example.com",), chain=b"chain", key=b"key")
    challenges = Challenges(tokens=(("token", "authorization"),), validations=(certificate,))
    delta = Delta(revision=2, removed=(RouteKey("h1"),), put_certificates=(certificate,), challenges=challenges)
    refused = CertificateRefused("a.example.com", 0.5)
    sent: list[ToWorker] = [BIG, health, delta, refused, Watch(), Watch(None), Watch(("a",)), Drain(1.5)]
    async with _pair() as (control, worker, _):
        for message in sent:
            control.send(encode(message))
        messages = worker.messages()
        assert [await anext(messages) for _ in sent] == sent


async def test_the_worker_answers_on_the_same_channel() -> None:
    """To the control process: what is in force, and what was counted."""
    served = RouteReport(route=RouteKey("a"), statuses=(0, 0, 1), durations={7: 1}, durations_sum_s=0.5)
    others = RouteReport(route=None, statuses=(0, 0, 0, 0, 1))
    records = (record(), record(trace_id=TRACE))
    sent: list[ToControl] = [
        *(Applied(1), REPORT, RouteReports((served, others)), Records(records, 3), FinishedSpans(records)),
        *(UnknownKid("k"), CertificateWanted("a.example.com", "192.0.2.1"), Complaint("line\nline")),
    ]
    async with _pair() as (control, worker, _):
        for message in sent:
            worker.send(encode(message))
        messages = control.messages()
        assert [await anext(messages) for _ in sent] == sent


async def test_the_other_end_closes() -> None:
    """There are no more messages, and that is no error."""
    async with _pair() as (control, worker, _):
        control.send(encode(Drain(0.0)))
        control.close()
        assert [message async for message in worker.messages()] == [Drain(0.0)]


async def test_a_message_that_breaks_off_is_none() -> None:
    """Half a frame is never taken for a message."""
    async with _pair() as (control, worker, _):
        control.send(encode(Drain(0.0))[:-1])
        control.close()
        assert [message async for message in worker.messages()] == []


async def test_sending_on_a_closed_channel_does_nothing() -> None:
    """A worker may be gone when something changes."""
    async with _pair() as (control, _, _sock):
        control.close()
        control.send(encode(Drain(0.0)))


async def test_a_frame_that_cannot_be_ours_is_refused() -> None:
    """A size that no snapshot has."""
    async with _pair() as (control, worker, _):
        control.send(b"\xff\xff\xff\xff")
        with pytest.raises(ValueError, match="a frame of 4294967295 bytes"):
            await anext(worker.messages())


@given(st.lists(st.integers(0, 2**40), max_size=20))
async def test_any_number_of_revisions_comes_through(revisions: list[int]) -> None:
    """Nothing is lost, doubled or swapped."""
    async with _pair() as (control, worker, _):
        for revision in revisions:
            worker.send(encode(Applied(revision)))
        worker.close()
        assert [message async for message in control.messages()] == [Applied(revision) for revision in revisions]


async def test_a_channel_whose_other_end_does_not_read_is_behind() -> None:
    """What can be left out is left out then."""
    async with _pair() as (control, _, _sock):
        assert not control.is_behind
        for _ in range(3):
            control.send(encode(BIG))
        control.send(bytes(8 << 20))
        assert control.is_behind
