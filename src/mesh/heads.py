"""Heads from bytes, read once: what has been seen before costs a look-up.

What a line or a section says depends on nothing but its bytes, so a worker keeps what it read by these bytes, up to a
bound, and forgets all of it at once when the bound is reached, which costs nothing on the path of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from mesh.errors import BAD_REQUEST, BAD_RESPONSE, HEAD_TOO_LARGE, Failure, Kind
from mesh.forward import (
    SINGLETONS,
    Policy,
    RequestControl,
    RequestFields,
    ResponseControl,
    ResponseFields,
    request_policy,
    response_policy,
)
from mesh.wire import (
    RequestLine,
    StatusLine,
    judge_request_lines,
    judge_response_lines,
    parse_request_line,
    parse_status_line,
)

_MAX_KEY: Final = 2048
_MAX_LINE: Final = 256
_MAX_MET: Final = 4096
_MAX_MEMORY: Final = 2 * 1024 * 1024
# Most responses have a Date, and are new every second: a large memory of them would only grow old.
_MAX_RESPONSES_MET: Final = 1024
_MAX_RESPONSE_MEMORY: Final = 128 * 1024
_MAX_RESPONSE_FIELDS: Final = 256

_PASS: Final = Policy.PASS
_NOTE: Final = Policy.NOTE
_READ: Final = Policy.READ
_DROP: Final = Policy.DROP

T = TypeVar("T")


class Memory(dict[bytes, T]):
    """What was read from bytes, by these bytes, up to a bound in bytes: strangers decide what comes in.

    Only what comes a second time is remembered; of the first time there is a hash. Most heads that differ from all
    before never come again, and keeping them would cost more than reading them.
    """

    __slots__ = ("_met", "_most", "_most_met", "_size")

    def __init__(self, most: int = _MAX_MEMORY, most_met: int = _MAX_MET) -> None:
        """Remember nothing yet, and never more than `most` bytes, and the hashes of `most_met` keys."""
        super().__init__()
        self._met: set[int] = set()
        self._most = most
        self._most_met = most_met
        self._size = 0

    def keep(self, key: bytes, value: T) -> T:
        """Remember `value`, unless its key is new or long; gives it back."""
        mark = hash(key)
        if mark in self._met:
            self._remember(key, value)
            return value
        if len(self._met) >= self._most_met:
            self._met.clear()
        self._met.add(mark)
        return value

    def _remember(self, key: bytes, value: T) -> None:
        if len(key) > _MAX_KEY:
            return
        # The key, its copies in what is composed of it, and the objects around them, roughly.
        cost = 4 * len(key) + 200
        self._size += cost
        if self._size > self._most:
            self.clear()
            self._size = cost
        self[key] = value


class Lines:
    """Sorts the lines of sections by their policy; a line that was judged once is not judged again."""

    __slots__ = ("_judge", "_max_fields", "_others", "_passing", "_policies", "_policy")

    def __init__(
        self,
        judge: Callable[[list[bytes]], None],
        policy: Callable[[bytes], Policy],
        max_fields: int,
        most: int = _MAX_MEMORY,
    ) -> None:
        """`judge` raises Failure for malformed lines, `policy` decides by a lower-case name.

        At most `most` bytes are remembered of each kind of line.
        """
        self._judge = judge
        self._policy = policy
        self._max_fields = max_fields
        # Lines that are known: those that simply pass, and the policies of all others.
        self._passing: Memory[None] = Memory(most)
        self._others: Memory[Policy] = Memory(most)
        self._policies: Memory[Policy] = Memory()

    def sort(self, block: bytes) -> tuple[list[bytes], list[bytes]]:
        """The lines of `block` that pass, and those that are read; raises Failure."""
        lines = block.split(b"\r\n")
        del lines[-2:]
        if len(lines) > self._max_fields:
            raise Failure(HEAD_TOO_LARGE, "There are too many header fields.")
        known = self._passing
        others = [line for line in lines if line not in known]
        if not others:
            return lines, []
        read, dropped = self._sort_others(others)
        # Lines of one name must keep their order (RFC 9110 section 5.3), so those that pass stay where they are.
        for line in read:
            lines.remove(line)
        for line in dropped:
            lines.remove(line)
        return lines, read

    def _sort_others(self, lines: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        """The lines among `lines` that are read, and those that are dropped; raises Failure."""
        read: list[bytes] = []
        dropped: list[bytes] = []
        noted: list[bytes] = []
        new: dict[bytes, Policy] = {}
        known = self._others
        for line in lines:
            policy = known.get(line)
            if policy is None:
                policy = new[line] = self._policy_of(line)
            if policy is _READ:
                read.append(line)
            elif policy is _DROP:
                dropped.append(line)
            elif policy is _NOTE:
                noted.append(line)
        if new:
            self._judge(list(new))
            self._learn(new)
        if len(noted) > 1:
            values(noted, BAD_REQUEST)
        return read, dropped

    def _learn(self, lines: dict[bytes, Policy]) -> None:
        for line, policy in lines.items():
            if len(line) <= _MAX_LINE:
                if policy is _PASS:
                    self._passing.keep(line, None)
                else:
                    self._others.keep(line, policy)

    def _policy_of(self, line: bytes) -> Policy:
        name = line.partition(b":")[0]
        return self._policies.get(name) or self._policies.keep(name, self._policy(name.lower()))


def values(lines: Iterable[bytes], kind: Kind) -> dict[bytes, bytes]:
    """Field values by lower-case name; repeated fields are joined (RFC 9110 section 5.3).

    Raises Failure, of `kind`, for the repetition of a field that may appear only once.
    """
    read: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        key, value = name.lower(), value.strip(b" \t")
        if key not in read:
            read[key] = value
        elif key in SINGLETONS:
            raise Failure(kind, f"{key.decode('ascii').title()} may appear only once.")
        else:
            read[key] = b"%b, %b" % (read[key], value)
    return read


class RequestHeads:
    """Reads the heads of requests."""

    __slots__ = ("_controls", "_lines", "_max_target", "_request_lines", "_sections")

    def __init__(self, max_fields: int, max_target: int) -> None:
        """A request may have `max_fields` field lines and a target of `max_target` bytes."""
        self._max_target = max_target
        self._lines = Lines(judge_request_lines, request_policy, max_fields)
        self._request_lines: Memory[RequestLine] = Memory()
        # By minor version of HTTP/1, and 2 for HTTP/2.
        self._sections: tuple[Memory[RequestFields], ...] = (Memory(), Memory(), Memory())
        self._controls: tuple[Memory[RequestControl], ...] = (Memory(), Memory(), Memory())

    def known(self, head: bytes) -> tuple[RequestLine, RequestFields] | None:
        """What `head` says if it is exactly one head without a body whose parts were seen before."""
        line_end = head.find(b"\r\n")
        line = self._request_lines.get(head[:line_end])
        if line is None:
            return None
        fields = self._sections[line.minor].get(head[line_end + 2 :])
        return None if fields is None or fields.has_body else (line, fields)

    def line(self, line: bytes) -> RequestLine:
        """The request line, without its line end; raises Failure."""
        return self._request_lines.get(line) or self._request_lines.keep(
            line, parse_request_line(line, self._max_target)
        )

    def fields(self, block: bytes, minor: int) -> RequestFields:
        """The section of an HTTP/1.`minor` request (2: of one in HTTP/2), with its empty line; raises Failure."""
        sections = self._sections[minor]
        fields = sections.get(block)
        if fields is not None:
            return fields
        passing, read = self._lines.sort(block)
        return sections.keep(block, RequestFields(block, self._control(read, minor), passing))

    def _control(self, read: list[bytes], minor: int) -> RequestControl:
        controls = self._controls[minor]
        key = b"\n".join(read)
        return controls.get(key) or controls.keep(key, RequestControl(values(read, BAD_REQUEST), minor))


class ResponseHeads:
    """Reads the heads of responses."""

    __slots__ = ("_controls", "_lines", "_sections", "_statuses")

    def __init__(self) -> None:
        """Nothing has been seen."""
        self._lines = Lines(judge_response_lines, response_policy, _MAX_RESPONSE_FIELDS, _MAX_RESPONSE_MEMORY)
        self._statuses: Memory[StatusLine] = Memory()
        bounds = _MAX_RESPONSE_MEMORY, _MAX_RESPONSES_MET
        self._sections: tuple[Memory[ResponseFields], ...] = (Memory(*bounds), Memory(*bounds), Memory(*bounds))
        self._controls: tuple[Memory[ResponseControl], ...] = (Memory(*bounds), Memory(*bounds), Memory(*bounds))

    def status(self, line: bytes) -> StatusLine:
        """The status line, without its line end; raises Failure."""
        return self._statuses.get(line) or self._statuses.keep(line, parse_status_line(line))

    def fields(self, block: bytes, minor: int) -> ResponseFields:
        """The section of an HTTP/1.`minor` response (2: of one in HTTP/2), with its empty line; raises Failure."""
        sections = self._sections[minor]
        fields = sections.get(block)
        if fields is not None:
            return fields
        try:
            passing, read = self._lines.sort(block)
        except Failure as failure:
            raise Failure(BAD_RESPONSE, failure.detail) from None
        return sections.keep(block, ResponseFields.read(self._control(read, minor), passing))

    def _control(self, read: list[bytes], minor: int) -> ResponseControl:
        controls = self._controls[minor]
        key = b"\n".join(read)
        return controls.get(key) or controls.keep(key, ResponseControl(values(read, BAD_RESPONSE), minor))
