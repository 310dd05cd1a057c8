"""What was touched of late, so that whoever is a little behind looks at that alone."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import msgspec

from state.kinds import Kind

HISTORY_LIMIT: Final = 4096


class Touch(msgspec.Struct, frozen=True):
    """One value that was put or removed, and the revision that did it."""

    revision: int
    kind: Kind
    key: Hashable


class History(msgspec.Struct, frozen=True):
    """The newest touches, oldest first; complete for the revisions after `start`."""

    start: int = 0
    touches: tuple[Touch, ...] = ()

    def after(self, revision: int) -> tuple[Touch, ...]:
        """The touches after `revision` that are remembered; the work is that of those alone."""
        first = len(self.touches)
        while first and self.touches[first - 1].revision > revision:
            first -= 1
        return self.touches[first:]

    def with_touch(self, touch: Touch) -> History:
        """This and one touch more, without the oldest when there are too many."""
        if len(self.touches) < HISTORY_LIMIT:
            return History(self.start, (*self.touches, touch))
        return History(self.touches[0].revision, (*self.touches[1:], touch))
