"""Heads from bytes, read once: what has been seen before costs a look-up.

What a line or a section says depends on nothing but its bytes, so a worker keeps what it read by these bytes, up to a
bound, and forgets all of it at once when the bound is reached, which costs nothing on the path of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
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
    are_plain,
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
# As much of a section as tells senders apart and does not vary: names of hosts and of software, a date.
_REQUEST_PREFIX: Final = 96
_RESPONSE_PREFIX: Final = 48
# The same of whole heads, and how many of them are kept at hand.
_REQUEST_BEGINNING: Final = 96
_RESPONSE_BEGINNING: Final = 64
_MAX_KNOWN: Final = 512
_MAX_KNOWN_RESPONSES: Final = 64

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
        if self.has_met(key):
            self._remember(key, value)
        return value

    def has_met(self, key: bytes) -> bool:
        """Whether the key, or one of the same hash, came before; from now on it has."""
        mark = hash(key)
        if mark in self._met:
            return True
        if len(self._met) >= self._most_met:
            self._met.clear()
        self._met.add(mark)
        return False

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


class KnownRequest:
    """A head without a body that was seen before."""

    __slots__ = ("fields", "head", "line")

    def __init__(self, head: bytes, line: RequestLine, fields: RequestFields) -> None:
        """`line` and `fields` are what `head` says."""
        self.head = head
        self.line = line
        self.fields = fields


class KnownResponse:
    """The head of a final response that was seen before, with its empty line."""

    __slots__ = ("fields", "head", "status")

    def __init__(self, head: bytes, status: StatusLine, fields: ResponseFields) -> None:
        """`status` and `fields` are what `head` says."""
        self.head = head
        self.status = status
        self.fields = fields


class Shape:
    """What sections have in common that differ in the values of a few lines: all other lines, and the names of these.

    A section of a known shape is compared in long runs, and has the same fields in the same order as the first one had,
    so that only the values that differ are left to judge.
    """

    __slots__ = ("_last", "_names", "_passing", "_policies", "_read", "_runs")

    def __init__(self, lines: list[bytes], varying: Collection[bytes], policy: Callable[[bytes], Policy]) -> None:
        """From the `lines` of a section that was judged; `policy` decides by a line."""
        # Each run ends with the name of a line that varies, and beside it is what passes of it, what is read, and the
        # length of that name and the policy for the line; the last run ends the section.
        self._runs: list[bytes] = []
        self._passing: list[bytes] = []
        self._read: list[list[bytes]] = []
        self._names: list[int] = []
        self._policies: list[Policy] = []
        begin = 0
        for index, line in enumerate(lines):
            if line in varying:
                name, colon, _value = line.partition(b":")
                self._add(lines[begin:index], name + colon, policy)
                self._names.append(len(name) + 1)
                self._policies.append(policy(line))
                begin = index + 1
        self._add(lines[begin:], b"\r\n", policy)
        self._last = self._runs.pop()

    def _add(self, lines: list[bytes], ending: bytes, policy: Callable[[bytes], Policy]) -> None:
        self._runs.append(b"".join([line + b"\r\n" for line in lines]) + ending)
        self._passing.append(b"\r\n".join([line for line in lines if policy(line) in (_PASS, _NOTE)]))
        self._read.append([line for line in lines if policy(line) is _READ])

    def sort(self, block: bytes) -> tuple[list[bytes], list[bytes]] | None:
        """The lines of `block` that pass, whole runs as one, and those that are read.

        None for a section of another shape, and for one with a value that has to be looked at more closely.
        """
        passing: list[bytes] = []
        read: list[bytes] = []
        varying: list[bytes] = []
        begin = 0
        for index, run in enumerate(self._runs):
            value = begin + len(run)
            if block[begin:value] != run:
                return None
            end = block.find(b"\r\n", value)
            line = block[value - self._names[index] : end]
            varying.append(line)
            begin = end + 2
            if self._passing[index]:
                passing.append(self._passing[index])
            read += self._read[index]
            policy = self._policies[index]
            if policy is _READ:
                read.append(line)
            elif policy is not _DROP:
                passing.append(line)
        if block[begin:] != self._last or not are_plain(varying):
            return None
        if self._passing[-1]:
            passing.append(self._passing[-1])
        read += self._read[-1]
        return passing, read


class Lines:
    """Sorts the lines of sections by their policy; a line that was judged once is not judged again."""

    __slots__ = ("_judge", "_max_fields", "_others", "_passing", "_policies", "_policy", "_prefix", "_shapes")

    def __init__(
        self,
        judge: Callable[[list[bytes]], None],
        policy: Callable[[bytes], Policy],
        max_fields: int,
        prefix: int,
        most: int = _MAX_MEMORY,
    ) -> None:
        """`judge` raises Failure for malformed lines, `policy` decides by a lower-case name.

        Shapes are known by the first `prefix` bytes. At most `most` bytes are remembered of each kind of line.
        """
        self._judge = judge
        self._policy = policy
        self._max_fields = max_fields
        # Lines that are known: those that simply pass, and the policies of all others.
        self._passing: Memory[None] = Memory(most)
        self._others: Memory[Policy] = Memory(most)
        self._policies: Memory[Policy] = Memory()
        self._prefix = prefix
        # A shape is several times as large as what it is known by.
        self._shapes: Memory[Shape] = Memory(most // 8)

    def sort(self, block: bytes) -> tuple[list[bytes], list[bytes]]:
        """The lines of `block` that pass, and those that are read; raises Failure.

        Several lines that pass may come as one, with the line ends between them.
        """
        shape = self._shapes.get(block[: self._prefix])
        if shape is not None:
            known = shape.sort(block)
            if known is not None:
                return known
        lines = block.split(b"\r\n")
        del lines[-2:]
        if len(lines) > self._max_fields:
            raise Failure(HEAD_TOO_LARGE, "There are too many header fields.")
        passing = self._passing
        others = [line for line in lines if line not in passing]
        if not others:
            return lines, []
        read, dropped, new = self._sort_others(others)
        if 0 < len(new) <= len(lines) // 2:
            self._learn_shape(block, lines, new)
        # Lines of one name must keep their order (RFC 9110 section 5.3), so those that pass stay where they are.
        for line in read:
            lines.remove(line)
        for line in dropped:
            lines.remove(line)
        return lines, read

    def _sort_others(self, lines: list[bytes]) -> tuple[list[bytes], list[bytes], dict[bytes, Policy]]:
        """The lines among `lines` that are read, that are dropped, and that are new; raises Failure."""
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
        return read, dropped, new

    def _learn(self, lines: dict[bytes, Policy]) -> None:
        for line, policy in lines.items():
            if len(line) <= _MAX_LINE:
                if policy is _PASS:
                    self._passing.keep(line, None)
                else:
                    self._others.keep(line, policy)

    def _learn_shape(self, block: bytes, lines: list[bytes], varying: Collection[bytes]) -> None:
        prefix = block[: self._prefix]
        if len(block) <= _MAX_KEY and self._shapes.has_met(prefix):
            self._shapes.keep(prefix, Shape(lines, varying, self._policy_of))

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

    __slots__ = ("_controls", "_known", "_lines", "_max_target", "_request_lines", "_sections")

    def __init__(self, max_fields: int, max_target: int) -> None:
        """A request may have `max_fields` field lines and a target of `max_target` bytes."""
        self._max_target = max_target
        self._lines = Lines(judge_request_lines, request_policy, max_fields, _REQUEST_PREFIX)
        self._request_lines: Memory[RequestLine] = Memory()
        # By how they begin, the last ones that came again: to compare a head takes a tenth of the time of hashing it.
        self._known: dict[bytes, KnownRequest] = {}
        # By minor version of HTTP/1, and 2 for HTTP/2.
        self._sections: tuple[Memory[RequestFields], ...] = (Memory(), Memory(), Memory())
        self._controls: tuple[Memory[RequestControl], ...] = (Memory(), Memory(), Memory())

    def known(self, head: bytes) -> KnownRequest | None:
        """What `head` says if it is exactly one head without a body whose parts were seen before."""
        beginning = head[:_REQUEST_BEGINNING]
        known = self._known.get(beginning)
        if known is not None and known.head == head:
            return known
        line_end = head.find(b"\r\n")
        line = self._request_lines.get(head[:line_end])
        if line is None:
            return None
        fields = self._sections[line.minor].get(head[line_end + 2 :])
        if fields is None or fields.has_body:
            return None
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        known = self._known[beginning] = KnownRequest(head, line, fields)
        return known

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

    __slots__ = ("_controls", "_known", "_lines", "_sections", "_statuses")

    def __init__(self) -> None:
        """Nothing has been seen."""
        self._lines = Lines(
            judge_response_lines, response_policy, _MAX_RESPONSE_FIELDS, _RESPONSE_PREFIX, _MAX_RESPONSE_MEMORY
        )
        self._statuses: Memory[StatusLine] = Memory()
        # By how they begin, the last of those that were remembered.
        self._known: dict[bytes, KnownResponse] = {}
        bounds = _MAX_RESPONSE_MEMORY, _MAX_RESPONSES_MET
        self._sections: tuple[Memory[ResponseFields], ...] = (Memory(*bounds), Memory(*bounds), Memory(*bounds))
        self._controls: tuple[Memory[ResponseControl], ...] = (Memory(*bounds), Memory(*bounds), Memory(*bounds))

    def known(self, data: bytes) -> KnownResponse | None:
        """The head that `data` begins with, if it is one that `remember` was told of."""
        known = self._known.get(data[:_RESPONSE_BEGINNING])
        return known if known is not None and data[: len(known.head)] == known.head else None

    def remember(self, head: bytes, status: StatusLine, fields: ResponseFields) -> None:
        """Take note of a head, with its empty line, whose section came before."""
        if fields.is_known and len(head) > _RESPONSE_BEGINNING:
            if len(self._known) >= _MAX_KNOWN_RESPONSES:
                self._known.clear()
            self._known[head[:_RESPONSE_BEGINNING]] = KnownResponse(head, status, fields)

    def status(self, line: bytes) -> StatusLine:
        """The status line, without its line end; raises Failure."""
        return self._statuses.get(line) or self._statuses.keep(line, parse_status_line(line))

    def fields(self, block: bytes, minor: int) -> ResponseFields:
        """The section of an HTTP/1.`minor` response (2: of one in HTTP/2), with its empty line; raises Failure."""
        sections = self._sections[minor]
        fields = sections.get(block)
        if fields is not None:
            fields.is_known = True
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
