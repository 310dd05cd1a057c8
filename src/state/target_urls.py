"""The syntax of target URLs: scheme, host and port or a socket path, and nothing that belongs to a request."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from state.hosts import fold_host

DEFAULT_PORTS: Final = MappingProxyType({"http": 80, "https": 443, "h2c": 80, "h2": 443})
MAX_SOCKET_PATH: Final = 107  # sun_path of unix(7), less the final NUL

_URL: Final = re.compile(r"(?P<scheme>[a-z0-9]+)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_SOCKET_PATH: Final = re.compile(r"/[^\x00-\x20\x7f]+")


def fold_target_url(text: str) -> str:
    """The one spelling of a target: `scheme://host:port` with the port written out, or `unix:/path`.

    Raises ValueError with the reason when `text` is no target.
    """
    if text.startswith("unix:"):
        return _fold_socket(text.removeprefix("unix:"))
    match = _URL.fullmatch(text)
    if match is None or match["scheme"] not in DEFAULT_PORTS:
        raise ValueError("must begin with http://, https://, h2c://, h2:// or unix:/")
    if match["rest"]:
        raise ValueError("has a path or a query: a target is a host and a port")
    if "@" in match["authority"]:
        raise ValueError("has a user name or a password")
    return f"{match['scheme']}://{_fold_authority(match['authority'], DEFAULT_PORTS[match['scheme']])}"


def _fold_authority(authority: str, default_port: int) -> str:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError("has no valid host and port")
    try:
        host = fold_host(match["host"])
    except ValueError as reason:
        raise ValueError(f"has a host that {reason}") from None
    port = int(match["port"] or default_port)
    if not 1 <= port <= 65535:
        raise ValueError("has a port outside 1 to 65535")
    return f"{host}:{port}"


def _fold_socket(path: str) -> str:
    if not _SOCKET_PATH.fullmatch(path):
        raise ValueError("names a socket by no absolute path")
    if len(path.encode()) > MAX_SOCKET_PATH:
        raise ValueError(f"names a socket by a path longer than {MAX_SOCKET_PATH} bytes")
    return f"unix:{path}"
