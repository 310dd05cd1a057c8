"""What the parts of an issuance ask of one another."""

from __future__ import annotations

from typing import Protocol

import msgspec

from certs.settings import ChallengeType
from state.holdings import Bundle


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One challenge to answer: `name` is the identifier without `*.`, `account` the account's URL."""

    name: str
    is_wildcard: bool = False
    type: ChallengeType
    token: str
    key_authorization: str
    account: str = ""


class Solver(Protocol):
    """Answers the challenges of one type."""

    async def present(self, task: Task) -> None:
        """Return once an authority can see the answer. Raises certs.errors.IssueError of the kind `solver`."""
        ...

    async def withdraw(self, task: Task) -> None:
        """Take the answer away again; quiet when there is none."""
        ...


class Stage(Protocol):
    """What visitors and authorities are shown. Each call returns once it is so at every worker, of other nodes too."""

    async def show_token(self, token: str, answer: str | None) -> None:
        """Answer HTTP-01 for a token, or no more with None."""
        ...

    async def show_validation(self, name: str, bundle: Bundle | None) -> None:
        """Answer TLS-ALPN-01 for a name, or no more with None."""
        ...
