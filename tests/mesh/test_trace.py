"""Trace context: what is valid goes on, what is not is as good as absent, and a span has the right parent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.trace import RANDOM_BYTES, Parent, begin, passing, read_parent, read_state

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = b"00f067aa0ba902b7"
VALID = b"00-%b-%b-01" % (TRACE, SPAN)
RANDOM = bytes(range(1, 25))


def test_a_valid_parent_is_read() -> None:
    """The example of the recommendation."""
    assert read_parent([VALID]) == Parent(TRACE, SPAN, 1)
    assert read_parent([VALID[:-2] + b"00"]) == Parent(TRACE, SPAN, 0)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [VALID, VALID],
        [VALID.upper()],
        [VALID + b"-"],
        [VALID + b"-01"],
        [VALID + b" "],
        [VALID[:-1]],
        [VALID[:-2] + b"0g"],
        [b"ff" + VALID[2:]],
        [b"ff" + VALID[2:] + b"-more"],
        [b"01" + VALID[2:] + b"more"],
        [b"0-" + VALID[3:]],
        [b"00-%b-%b-01" % (b"0" * 32, SPAN)],
        [b"00-%b-%b-01" % (TRACE, b"0" * 16)],
        [b"00-%b-%b-01" % (TRACE[1:], SPAN)],
        [b"00-%b-%b-01" % (TRACE, SPAN + b"0")],
        [VALID.replace(b"-", b"_")],
        [b"%b, %b" % (VALID, VALID)],
        [b"01%b-more, %b" % (VALID[2:], VALID)],
    ],
)
def test_a_malformed_or_repeated_parent_is_as_good_as_absent(values: list[bytes]) -> None:
    """No part of it is used, and its state goes with it."""
    assert read_parent(values) is None
    assert passing(values, [b"a=1"]) == b""
    span = begin(values, [b"a=1"], RANDOM, 1.0)
    assert (span.trace_id, span.parent_id, span.state) == (RANDOM[:16].hex().encode(), b"", b"")


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    """What it adds is passed on by those who only pass on, and left out by those who make a span."""
    later = b"cc" + VALID[2:-2] + b"ff-what-the-future-will-be-like"
    assert read_parent([later]) == Parent(TRACE, SPAN, 3)
    assert read_parent([b"cc" + VALID[2:]]) == Parent(TRACE, SPAN, 1)
    assert passing([later], []) == b"traceparent: %b\r\n" % later
    assert begin([later], [], RANDOM, 1.0).lines.startswith(b"traceparent: 00-%b-" % TRACE)


def test_a_child_has_its_parents_trace_and_an_id_of_its_own() -> None:
    """The target sees our span as its parent."""
    span = begin([VALID], [b"a=1,b=2", b"c=3"], RANDOM, 0.0)
    own = RANDOM[16:].hex().encode()
    assert span == (TRACE, own, SPAN, 1, b"a=1,b=2,c=3")
    assert span.lines == b"traceparent: 00-%b-%b-01\r\ntracestate: a=1,b=2,c=3\r\n" % (TRACE, own)
    assert read_parent([span.lines.split()[1]]) == Parent(TRACE, own, 1)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_parent_decides_whether_a_trace_is_recorded(ratio: float) -> None:
    """A trace with holes in it helps nobody."""
    for flags, is_sampled in ((b"00", False), (b"01", True), (b"fe", False)):
        parent = read_parent([VALID[:-2] + flags])
        assert parent is not None
        assert parent.is_sampled is is_sampled
        assert begin([VALID[:-2] + flags], [], RANDOM, ratio).is_sampled is is_sampled


def test_a_share_of_the_traces_that_begin_here_is_recorded() -> None:
    """By the trace id, as everybody else who samples by it."""
    low, high = b"\xff" * 9 + b"\x3f" + b"\0" * 14, b"\0" * 9 + b"\x40" + b"\0" * 14
    assert begin([], [], low, 0.25).is_sampled
    assert not begin([], [], high, 0.25).is_sampled
    assert begin([], [], b"\xff" * RANDOM_BYTES, 1.0).is_sampled
    assert not begin([], [], b"\0" * 23 + b"\1", 0.0).is_sampled


def test_an_id_is_never_all_zeros() -> None:
    """Whatever the dice say."""
    span = begin([], [], bytes(RANDOM_BYTES), 0.5)
    assert read_parent([span.lines.split()[1]]) is not None


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([], b""),
        ([b""], b""),
        ([b"congo=t61rcWkgMzE"], b"congo=t61rcWkgMzE"),
        ([b"rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"], b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ([b"fw529a3039@dt=FfbbcbBt", b"\ta=1,,b=2 "], b"fw529a3039@dt=FfbbcbBt,a=1,b=2"),
        ([b"a=1,a=2"], b""),
        ([b"a=1", b"a=2"], b""),
        ([b"A=1"], b""),
        ([b"a"], b""),
        ([b"a="], b""),
        ([b"a=1=2"], b""),
        ([b"a =1"], b""),
        ([b"a=\xff"], b""),
        ([b"a=1\r\nb: 2"], b""),
        ([b"a" * 257 + b"=1"], b""),
        ([b"a=" + b"1" * 257], b""),
        ([b",".join(b"k%d=1" % number for number in range(32))], b",".join(b"k%d=1" % n for n in range(32))),
        ([b",".join(b"k%d=1" % number for number in range(33))], b""),
        ([b",".join(b"k%d=%b" % (number, b"v" * 256) for number in range(32))], b""),
    ],
)
def test_state_is_a_list_of_members_or_nothing(values: list[bytes], state: bytes) -> None:
    """A malformed list is left out; the parent stays."""
    assert read_state(values) == state
    expected = b"tracestate: %b\r\n" % state if state else b""
    assert passing([VALID], values) == b"traceparent: %b\r\n%b" % (VALID, expected)


@given(st.lists(st.binary(max_size=80), max_size=3), st.lists(st.binary(max_size=40), max_size=3))
def test_nothing_of_a_visitors_breaks_out_of_its_line(parents: list[bytes], states: list[bytes]) -> None:
    """Whatever is sent, targets get one line of each at most."""
    for lines in (passing(parents, states), begin(parents, states, RANDOM, 1.0).lines):
        assert lines.count(b"\r\n") == lines.count(b"\n") <= 2
