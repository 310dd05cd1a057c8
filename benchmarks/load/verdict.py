"""Rows that say pass or fail: what is counted must hold, how fast it went is only shown."""

from __future__ import annotations

import msgspec

from benchmarks.load.caller import Called
from benchmarks.load.row import Row


def judged(scenario: str, subject: str, variant: str, values: dict[str, float], *, holds: bool) -> Row:
    """A row with its verdict."""
    return Row(scenario=scenario, subject=subject, variant=variant, values=values, verdict="pass" if holds else "fail")


def met(row: Row, called: Called) -> Row:
    """The row with what visitors met: it fails with any of them, and says why."""
    values = {
        "requests": called.wanted,
        "p50_ms": called.p50_ms,
        "p99_ms": called.p99_ms,
        "max_ms": called.max_ms,
        "failed": called.failed,
    }
    fine = row.verdict == "pass" and called.answered > 0 and not called.failed
    reasons = ", ".join(f"{count} {reason}" for reason, count in called.reasons.items())
    return msgspec.structs.replace(
        row, values={**row.values, **values}, verdict="pass" if fine else "fail", note=reasons
    )
