"""What can be wrong with the store or the node key: each is one line that an operator can act on."""

from __future__ import annotations


class StateError(Exception):
    """The state of the node cannot be read or kept."""


class StoreError(StateError):
    """The store cannot be opened, is in use, or did not take a change."""


class SecretError(StateError):
    """A key file cannot be used, or something sealed is not what this key sealed."""


class Stale(StateError):
    """A value was written by someone else in the meantime, or the lease to write it was lost."""
