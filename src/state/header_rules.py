"""What may be said about header fields: nothing that changes how a message is framed or who a request is from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_VALUE: Final = 4096

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")  # RFC 9110 section 5.6.2
_VALUE: Final = re.compile(r"(?![ \t])[\t\x20-\x7e]*(?<![ \t])")  # RFC 9110 section 5.5, without obs-text

# Framing (RFC 9112 section 6), hop-by-hop (RFC 9110 section 7.6.1), and the name that chose the route.
_RESERVED: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_IDENTITY_PREFIX: Final = "x-zexio-"


def check_token(text: str) -> str:
    """`text` if it can name a field, a cookie or a method; raises ValueError with the reason."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("is no field name")
    return text


def check_edited(name: str) -> str:
    """`name` if a route may set, add or remove the field; raises ValueError with the reason."""
    check_token(name)
    # Many servers read `_` and `.` as `-`, so X_Zexio_Org would arrive as X-Zexio-Org.
    alias = re.sub("[_.]", "-", name.lower())
    if alias in _RESERVED or alias.startswith(_IDENTITY_PREFIX):
        raise ValueError("is set by the mesh alone")
    return name


def check_value(value: str) -> str:
    """`value` if a line can carry it; raises ValueError with the reason."""
    if not _VALUE.fullmatch(value):
        raise ValueError("has a value with a control character, a character outside ASCII, or a space at an end")
    if len(value) > MAX_VALUE:
        raise ValueError(f"has a value longer than {MAX_VALUE} characters")
    return value


def check_named_once(names: Any) -> Any:  # noqa: ANN401 - a list of names, or a mapping by names
    """`names` if no two differ by case alone; raises ValueError with the reason."""
    if twice := _twice(names):
        raise ValueError(f"names {twice} twice")
    return names


def _twice(names: Iterable[str] | Mapping[str, object]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            return name
        seen.add(name.lower())
    return None
