"""Case 174: the ids of requests and traces that a visitor may send; a target gets one of each, or none, and no lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
import pytest

from mesh.routes import MeshSettings
from tests.support.client import ask
from tests.support.frame_visitor import FrameVisitor
from tests.support.mesh_node import route_to, start_mesh
from tests.support.origin import Origin
from tests.support.stage import request, watched

TRACE: Final = b"4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = b"00f067aa0ba902b7"
VALID: Final = b"00-%b-%b-01" % (TRACE, SPAN)
OUR_ID: Final = re.compile(rb"[0-9a-f]{24}")


class IdCase(msgspec.Struct, frozen=True):
    """Values of a field as a visitor sends them, and the one that a target gets; None: another one, or none."""

    name: str
    field: bytes
    values: tuple[bytes, ...]
    passes: bytes | None = None

    def __str__(self) -> str:
        return f"case_174_{self.name}"


CASES: Final = (
    IdCase("request_id", b"x-request-id", (b"abc-123",), b"abc-123"),
    IdCase("request_id_twice", b"x-request-id", (b"one", b"two")),
    IdCase("request_id_twice_the_same", b"x-request-id", (b"one", b"one")),
    IdCase("request_id_as_a_list", b"x-request-id", (b"one, two",)),
    IdCase("request_id_empty", b"x-request-id", (b"",)),
    IdCase("request_id_beyond_measure", b"x-request-id", (b"a" * 5000,)),
    IdCase("request_id_with_a_quote", b"x-request-id", (b'a"b',)),
    IdCase("request_id_with_octets", b"x-request-id", (b"a\xffb",)),
    IdCase("traceparent", b"traceparent", (VALID,), VALID),
    IdCase("traceparent_not_sampled", b"traceparent", (VALID[:-2] + b"00",), VALID[:-2] + b"00"),
    IdCase("traceparent_twice", b"traceparent", (VALID, VALID.replace(b"4bf9", b"aaaa"))),
    IdCase("traceparent_twice_the_same", b"traceparent", (VALID, VALID)),
    IdCase("traceparent_as_a_list", b"traceparent", (VALID + b"," + VALID,)),
    IdCase("traceparent_empty", b"traceparent", (b"",)),
    IdCase("traceparent_in_capitals", b"traceparent", (VALID.upper(),)),
    IdCase("traceparent_of_zeros", b"traceparent", (b"00-%b-%b-01" % (b"0" * 32, SPAN),)),
    IdCase("traceparent_of_no_parent", b"traceparent", (b"00-%b-%b-01" % (TRACE, b"0" * 16),)),
    IdCase("traceparent_of_no_version", b"traceparent", (b"ff" + VALID[2:],)),
    IdCase("traceparent_with_more", b"traceparent", (VALID + b"-what",)),
    IdCase("traceparent_too_short", b"traceparent", (VALID[:-1],)),
    IdCase("traceparent_with_other_dashes", b"traceparent", (VALID.replace(b"-", b"_"),)),
    IdCase("traceparent_with_letters", b"traceparent", (VALID.replace(b"4bf9", b"zzzz"),)),
)


async def seen_values(fields: Sequence[tuple[bytes, bytes]], name: bytes, settings: MeshSettings) -> list[list[bytes]]:
    """The values of a field that the target gets, by either version of HTTP."""
    async with Origin() as origin, await start_mesh(route_to(origin.port), settings=settings) as mesh:
        records = watched(mesh)
        lines = [b"%b: %b" % field for field in fields]
        assert (await ask(mesh.port, request(b"GET / HTTP/1.1", *lines))).status == 200
        async with await FrameVisitor.connect(mesh.port) as visitor:
            assert (await visitor.ask(b"/", *fields)).status == 200
        found = [one.values(name) for one in origin.requests]
        for one, record in zip(origin.requests, records, strict=True):
            assert [record.request_id.encode()] == one.values(b"x-request-id")
        return found


@pytest.mark.parametrize("tracing", [None, 1.0], ids=["without tracing", "with tracing"])
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_identifier(case: IdCase, tracing: float | None) -> None:
    """What is good goes on, what is not is replaced by one of ours; where spans are made, the trace alone goes on."""
    settings = MeshSettings(http2_cleartext=True, tracing=tracing)
    fields = [(case.field, value) for value in case.values]
    for values in await seen_values(fields, case.field, settings):
        if case.field == b"x-request-id":
            (value,) = values
            assert value == case.passes if case.passes else OUR_ID.fullmatch(value)
        elif tracing is None:
            assert values == ([case.passes] if case.passes else [])
        else:
            (value,) = values
            version, trace, span, flags = value.split(b"-")
            assert (version, trace == TRACE) == (b"00", bool(case.passes))
            assert span != SPAN
            assert int(flags, 16) & 1 == (case.passes is None or case.passes.endswith(b"1"))


@pytest.mark.parametrize("state", [b"a=1", b"a=1,b=2", b"congo=t61rcWkgMzE"])
async def test_the_state_of_a_trace_goes_with_its_parent(state: bytes) -> None:
    """And with nothing else: alone it means nothing."""
    settings = MeshSettings(http2_cleartext=True)
    fields = [(b"traceparent", VALID), (b"tracestate", state)]
    assert await seen_values(fields, b"tracestate", settings) == [[state]] * 2
    assert await seen_values(fields[1:], b"tracestate", settings) == [[]] * 2
    assert await seen_values([(b"traceparent", b"x"), fields[1]], b"tracestate", settings) == [[]] * 2
