"""`spawn`: the package's one way to start a task, with an owner that keeps it and a name."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def spawn(owner: set[asyncio.Task[Any]], work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start `work` as a task that stays in `owner` until it is done."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    owner.add(task)
    task.add_done_callback(owner.discard)
    return task
