"""Which code runs is what was asked for: COMPILED is set by `make test COMPILED=1`."""

from __future__ import annotations

import os

from mesh.code import is_compiled


def test_the_code_is_the_one_that_was_asked_for() -> None:
    """A run of the tests must not be fooled by what lies on the path."""
    assert is_compiled() is bool(os.environ.get("COMPILED"))
