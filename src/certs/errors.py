"""Why there is no certificate: what an authority, the network or a record said, in a form that decides what is next."""

from __future__ import annotations


class IssueError(Exception):
    """An issuance, renewal or revocation failed.

    `kind` is the last part of the problem type of RFC 8555 section 6.7 (`rateLimited`, `unauthorized`, `caa`, ...), or
    one of ours: `unreachable`, `timeout`, `badAnswer` (what came is not what the protocol says), `solver` (a challenge
    could not be prepared here). The text is one line for the operator and holds no secret.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        identifier: str | None = None,
    ) -> None:
        """`retry_after_s` is what the authority asked for, `identifier` the one name of several that is to blame."""
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.status = status
        self.retry_after_s = retry_after_s
        self.identifier = identifier
