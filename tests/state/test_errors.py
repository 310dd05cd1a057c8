"""Errors: one class for whoever starts the node."""

from __future__ import annotations

import pytest

from state.errors import SecretError, StateError, StoreError


@pytest.mark.parametrize("error", [StoreError("it is in use"), SecretError("it is another key")])
def test_every_error_is_one_line_of_one_class(error: StateError) -> None:
    """The command line prints it and exits."""
    assert isinstance(error, StateError)
    assert str(error).startswith("it is")
