"""What a route changes in the fields of messages: some are removed, some set, some added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mesh.policies import HeaderEdits

# Many targets read `_` and `.` as `-` (CGI does): X_User would arrive as another X-User beside the one that was set.
_FOLD: Final = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_.", b"abcdefghijklmnopqrstuvwxyz--")
_MAX_REMEMBERED: Final = 4096


def folded(name: bytes) -> bytes:
    """A field name as the most careless reader sees it: in lower case, `_` and `.` read as `-`."""
    return name.translate(_FOLD)


def without(lines: bytes, names: frozenset[bytes]) -> bytes:
    """Field lines, CRLF each, without those whose folded name is one of `names`."""
    kept = [line for line in lines.split(b"\r\n") if line.split(b":", 1)[0].translate(_FOLD) not in names]
    return b"\r\n".join(kept)


class Edits:
    """Fields that are removed, set in place of any of the same name, and added, in this order.

    One that is set to nothing is only removed.
    `names` are the folded names of the fields that go, `lines` what comes behind those that stay.
    """

    __slots__ = ("_edited", "_seen", "lines", "names")

    def __init__(self, edits: HeaderEdits) -> None:
        """Names and values are of latin-1 without line ends, as the API lets them in."""
        gone = (*edits.remove, *(name for name, _value in edits.set))
        self.names = frozenset(folded(name.encode("latin-1")) for name in gone)
        self.lines = _written(edits.set) + _written(edits.add)
        self._seen = b""
        self._edited = self.lines

    def apply(self, lines: bytes) -> bytes:
        """Field lines, CRLF each, as they are after the edits.

        The last result is kept: a target whose answers differ in nothing but their bodies costs one comparison.
        """
        if lines == self._seen:
            return self._edited
        edited = (without(lines, self.names) if self.names else lines) + self.lines
        if len(lines) <= _MAX_REMEMBERED:
            self._seen, self._edited = lines, edited
        return edited


def edits_of(edits: HeaderEdits) -> Edits | None:
    """The edits of a route, or None when it has none."""
    return Edits(edits) if edits.remove or edits.set or edits.add else None


def _written(fields: Iterable[tuple[str, str]]) -> bytes:
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return b"".join(b"%b: %b\r\n" % pair for pair in pairs if pair[1])
