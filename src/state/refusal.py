"""`Refused`: why a change was not made, field by field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

RefusalKind = Literal["invalid", "conflict", "missing", "precondition"]


class Problem(msgspec.Struct, frozen=True):
    """One field that is wrong, by its path (`targets[0].url`), and why."""

    field: str
    reason: str


class Refused(Exception):
    """A change that was not made.

    "invalid": a value is wrong; "conflict": it contradicts something that exists; "missing": there is no such thing;
    "precondition": what the caller expected is not so (RFC 9110 section 13.1). All wrong fields are in `problems`.
    """

    def __init__(self, kind: RefusalKind, problems: Iterable[Problem]) -> None:
        """A refusal for at least one problem."""
        self.kind: RefusalKind = kind
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.field} {problem.reason}" for problem in self.problems))

    @property
    def field(self) -> str:
        """The path of the first wrong field."""
        return self.problems[0].field

    @property
    def reason(self) -> str:
        """Why the first field is wrong, to be read after its name."""
        return self.problems[0].reason


def refused(kind: RefusalKind, field: str, reason: str) -> Refused:
    """A refusal for one problem."""
    return Refused(kind, (Problem(field, reason),))
