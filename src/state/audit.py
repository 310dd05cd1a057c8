"""What is remembered of a change: who, when, what, and which fields, but never a value, so never a secret."""

from __future__ import annotations

from datetime import datetime

import msgspec

from state.change import Actor
from state.history import Touch
from state.model import Desired, Entity


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change that was made: `change` is its tag (`put_route`), `subject` what it was about, `summary` one line."""

    revision: int
    at: datetime
    actor: Actor
    change: str
    subject: str
    summary: str


def summarize(before: Desired, after: Desired) -> str:
    """What happened to each value touched between two revisions: `changed route a.example/: targets, retries`."""
    return "; ".join(_line(touch, before, after) for touch in after.history.after(before.revision))


def _line(touch: Touch, before: Desired, after: Desired) -> str:
    old, new = before.get(touch.kind, touch.key), after.get(touch.kind, touch.key)
    name = f"{touch.kind} {touch.key}"
    if old is None:
        return f"created {name}"
    if new is None:
        return f"removed {name}"
    return f"changed {name}: {', '.join(_changed_fields(old, new))}"


def _changed_fields(old: Entity, new: Entity) -> list[str]:
    fields = [field for field in new.__struct_fields__ if field != "revision"]
    return [field for field in fields if getattr(old, field) != getattr(new, field)]
