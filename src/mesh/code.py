"""Whether the hot modules run as Python or were compiled from it (`make compile`)."""

from __future__ import annotations

from types import FunctionType

from mesh.wire import chunk


def is_compiled() -> bool:
    """Whether what serves requests is machine code."""
    return not isinstance(chunk, FunctionType)
