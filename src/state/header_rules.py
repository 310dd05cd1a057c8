"""What header edits may say: nothing that changes how a message is framed or who a request is from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from state.refusal import Problem

MAX_EDITS: Final = 64
MAX_VALUE: Final = 4096

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
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


def header_problems(field: str, edits: Mapping[str, str]) -> Iterator[Problem]:
    """All that is wrong with `edits`, which stand at the path `field`."""
    if len(edits) > MAX_EDITS:
        yield Problem(field, f"has more than {MAX_EDITS} fields")
    seen: set[str] = set()
    for name, value in edits.items():
        reason = _name_reason(name, seen) or _value_reason(value)
        if reason:
            yield Problem(f"{field}[{name!r}]", reason)
        seen.add(name.lower())


def _name_reason(name: str, seen: set[str]) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "is no field name"
    if name.lower() in seen:
        return "is named twice"
    # Many servers read `_` and `.` as `-`, so X_Zexio_Org would arrive as X-Zexio-Org.
    alias = re.sub("[_.]", "-", name.lower())
    if alias in _RESERVED or alias.startswith(_IDENTITY_PREFIX):
        return "is set by the mesh alone"
    return None


def _value_reason(value: str) -> str | None:
    if not _VALUE.fullmatch(value):
        return "has a value with a control character, a character outside ASCII, or a space at an end"
    if len(value) > MAX_VALUE:
        return f"has a value longer than {MAX_VALUE} characters"
    return None
