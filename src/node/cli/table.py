"""Plain columns for people and for `awk`: no borders, one row per line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Final

_NARROWEST: Final = 8


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows under their heads, each column as wide as its widest cell; an empty cell is a dash."""
    cells = [list(heads), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def fitted(heads: Sequence[str], rows: Iterable[Sequence[object]], flexible: Sequence[int], room: int | None) -> str:
    """The same within `room` columns, as far as shortening the `flexible` ones, the first of them first, can do that.

    None is any width.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    for column in flexible:
        widths = [max(len(row[each]) for row in (heads, *cells)) for each in range(len(heads))]
        excess = 0 if room is None else sum(widths) + 2 * (len(heads) - 1) - room
        if excess > 0:
            width = max(widths[column] - excess, len(heads[column]), _NARROWEST)
            for row in cells:
                row[column] = _shortened(row[column], width)
    return table(heads, cells)


def terminal_width() -> int | None:
    """How much fits on a line of the terminal, None when it is none: programs want all of it."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def size(number: float) -> str:
    """A number of bytes with a binary unit: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def _cell(value: object) -> str:
    return "-" if value in {None, ""} else str(value)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
