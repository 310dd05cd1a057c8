"""Which trace a request belongs to (W3C Trace Context): visitors are read strictly, targets told who came before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

RANDOM_BYTES: Final = 24

# What later versions add has no comma here: two fields that were joined into one value would be taken for one.
_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[^,]*)?")
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_SAMPLED: Final = 0x01
# Level 2 section 3.2.2.5: whether the trace id is random has to be passed on; all other flags have to be zero.
_KNOWN_FLAGS: Final = 0x03
_RANDOM_ID: Final = 0x02

_MEMBER: Final = re.compile(
    rb"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MAX_MEMBERS: Final = 32
_MAX_STATE_BYTES: Final = 8192


class Parent(NamedTuple):
    """The span that a visitor says it is: its trace and its own id in hexadecimal, and whether they are recorded."""

    trace_id: bytes
    span_id: bytes
    flags: int

    @property
    def is_sampled(self) -> bool:
        """Whether the visitor's side records the trace."""
        return bool(self.flags & _SAMPLED)


class Span(NamedTuple):
    """One exchange as a span; ids in hexadecimal, `parent_id` is empty where the trace begins here."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    flags: int
    state: bytes = b""

    @property
    def is_sampled(self) -> bool:
        """Whether the span is to be recorded."""
        return bool(self.flags & _SAMPLED)

    @property
    def lines(self) -> bytes:
        """The field lines that tell the target."""
        line = b"traceparent: 00-%b-%b-%02x\r\n" % (self.trace_id, self.span_id, self.flags)
        return b"%btracestate: %b\r\n" % (line, self.state) if self.state else line


def read_parent(values: Sequence[bytes]) -> Parent | None:
    """What the values of `traceparent` say, or None when they say nothing that can be relied on.

    Two of them contradict each other, and no part of a malformed one is used (sections 3.2.2 and 4.3).
    """
    found = _PARENT.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    # Later versions may only add to the end; 255 is no version (section 3.2.2.1).
    is_known = rest is None if version == b"00" else version != b"ff"
    if not is_known or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Parent(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS)


def read_state(values: Sequence[bytes]) -> bytes:
    """The value of `tracestate` for the target; empty when it is malformed, which says nothing about `traceparent`."""
    members = [member for value in values for each in value.split(b",") if (member := each.strip(b" \t"))]
    if len(members) > _MAX_MEMBERS or sum(map(len, members)) > _MAX_STATE_BYTES:
        return b""
    keys = {found[1] for found in map(_MEMBER.fullmatch, members) if found is not None}
    # Section 3.3.1.3: a key is given once; anything malformed makes the whole list unusable.
    return b",".join(members) if len(keys) == len(members) else b""


def begin(parents: Sequence[bytes], states: Sequence[bytes], random: bytes, ratio: float) -> Span:
    """The span of an exchange whose request has these values of `traceparent` and `tracestate`.

    It is recorded when the visitor's is; where the trace begins here, a share of `ratio` (0 to 1) is. `random` are
    RANDOM_BYTES random bytes.
    """
    span_id = (random[16:] if any(random[16:]) else b"\1" * 8).hex().encode()
    parent = read_parent(parents)
    if parent is not None:
        return Span(parent.trace_id, span_id, parent.span_id, parent.flags, read_state(states))
    trace_id = random[:16] if any(random[:16]) else b"\1" * 16
    # The rightmost 56 bits decide, as they do for whoever else samples by the trace id (Level 2 section 3.2.2.5).
    # Between whole numbers: compiled code would round the left side to a float first.
    is_sampled = int.from_bytes(trace_id[9:]) < int(ratio * 2**56)
    return Span(trace_id.hex().encode(), span_id, b"", _RANDOM_ID | (_SAMPLED if is_sampled else 0))


def passing(parents: Sequence[bytes], states: Sequence[bytes]) -> bytes:
    """The field lines that go on when this node records no traces: what is valid unchanged, and nothing else.

    Without a trace to belong to, its state means nothing (section 3.3).
    """
    if read_parent(parents) is None:
        return b""
    state = read_state(states)
    line = b"traceparent: %b\r\n" % parents[0]
    return b"%btracestate: %b\r\n" % (line, state) if state else line
