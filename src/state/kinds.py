"""The kinds of values that are wanted."""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum
from typing import TypeAlias


class Kind(StrEnum):
    """One member per kind; the rest of a kind is its line in state.model.KINDS, its map in Desired and a migration."""

    ORGANIZATION = "organization"
    ROUTE = "route"
    DOMAIN = "domain"

    @property
    def collection(self) -> str:
        """The name of the kind's map in Desired and of its table in the store."""
        return f"{self.value}s"


# One value among all: its kind and its key.
Reference: TypeAlias = tuple[Kind, Hashable]
