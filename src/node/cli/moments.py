"""Times of certificates, as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

# Renewed at two thirds of its life, a certificate with less than this left was not renewed in time.
_SOON_SHARE: Final = 1 / 6

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))


def moment(text: str) -> str:
    """A time of the API to the minute: `2027-02-19 16:45 UTC`."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def span(length: timedelta) -> str:
    """How long something is, in its largest unit, rounded down: `61 d`, `5 h`, `12 min`, `40 s`."""
    seconds = max(0, int(length.total_seconds()))
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def until(text: str | None, now: datetime) -> str | None:
    """How far away a time of the API is: `in 61 d`, `12 min ago`; None when it is not known."""
    if text is None:
        return None
    away = datetime.fromisoformat(text) - now
    return f"in {span(away)}" if away > timedelta() else f"{span(-away)} ago"


def ends(fact: Mapping[str, Any], now: datetime) -> str | None:
    """How long a certificate is valid, loud when that is not long any more; None when there is no certificate."""
    if fact["not_after"] is None:
        return None
    end = datetime.fromisoformat(fact["not_after"])
    if end <= now:
        return f"EXPIRED {span(now - end)} ago"
    left = f"in {span(end - now)}"
    return f"SOON, {left}" if _is_soon(fact, end, now) else left


def _is_soon(fact: Mapping[str, Any], end: datetime, now: datetime) -> bool:
    if fact["not_before"] is None:
        return False
    return end - now < (end - datetime.fromisoformat(fact["not_before"])) * _SOON_SHARE
