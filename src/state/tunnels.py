"""Tunnels as they are wanted: who provides them, with which credentials, and what they make reachable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from state.hosts import fold_host, fold_route_host
from state.kinds import Reference
from state.rules import Fold, Length, Range

TunnelProvider = Literal["cloudflare", "cloudflare-quick", "pangolin", "ssh", "frp", "command"]

# A name is a folder's as well, and stands in URLs.
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_OPTION: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Keys come in lines. Everything else below a space has no place in what is written to files of other programs.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

MAX_TOKEN: Final = 64 * 1024
MAX_OPTIONS: Final = 32
MAX_OPTION: Final = 8 * 1024


def fold_tunnel_name(name: str) -> str:
    """The name of a tunnel in its one spelling; raises ValueError with the reason."""
    folded = name.lower()
    if not _NAME.fullmatch(folded):
        raise ValueError("must be 1 to 63 letters, digits and inner `-` or `_`")
    return folded


def fold_public_host(text: str) -> str:
    """The host that visitors of a tunnel use; raises ValueError with the reason."""
    return fold_host(text.removesuffix("."))


def check_option_name(name: str) -> str:
    """`name` if it can name an option of a provider; raises ValueError with the reason."""
    if not _OPTION.fullmatch(name):
        raise ValueError("must be lower-case letters, digits and `_`, with a letter first")
    return name


def check_printable(text: str) -> str:
    """`text` if it has no control characters but ends of lines and tabs; raises ValueError, which does not show it."""
    if _UNPRINTABLE.search(text):
        raise ValueError("has control characters")
    return text


class TunnelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One tunnel by its name, and whether it is to run.

    `token` is the one secret of the provider (a token, a private key, a password) and `options` is what else it needs,
    by names that the provider knows; both are kept sealed, and `token` is never shown. `local_port` is where the
    tunnel's requests arrive: None is the plain listener of the mesh. Requests for `hostname`, or for the name that the
    provider gives the tunnel, are answered as the host `serves` is. `restarts` counts how often an operator asked for a
    new start.
    """

    name: Annotated[str, Fold(fold_tunnel_name)]
    provider: TunnelProvider
    token: Annotated[str, Length(0, MAX_TOKEN), Fold(check_printable)] = ""
    local_port: Annotated[int, Range(1, 65535)] | None = None
    options: Annotated[
        Mapping[Annotated[str, Fold(check_option_name)], Annotated[str, Length(0, MAX_OPTION), Fold(check_printable)]],
        Length(0, MAX_OPTIONS),
    ] = msgspec.field(default_factory=dict)
    hostname: Annotated[str, Fold(fold_public_host)] | None = None
    serves: Annotated[str, Fold(fold_route_host)] | None = None
    enabled: bool = True
    restarts: int = 0
    created_at: datetime
    revision: int = 0

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"TunnelSpec({self.name!r}, {self.provider!r})"

    @property
    def key(self) -> str:
        """The name."""
        return self.name

    @property
    def references(self) -> tuple[Reference, ...]:
        """None."""
        return ()
