"""The exchanges whose traces are recorded, on their way to the control process, which exports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mesh.ports import AccessRecord

MAX_WAITING: Final = 2048


class Spans:
    """Collects the records of sampled exchanges; each has the ids of its span. Beyond a bound they are only counted."""

    __slots__ = ("_waiting", "dropped")

    def __init__(self) -> None:
        """Nothing yet; `dropped` only grows."""
        self._waiting: list[AccessRecord] = []
        self.dropped = 0

    def record(self, record: AccessRecord) -> None:
        """Keep `record` until it is taken."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(record)
        else:
            self.dropped += 1

    def take(self) -> list[AccessRecord]:
        """The records since the last time."""
        waiting, self._waiting = self._waiting, []
        return waiting
