"""spawn: a task that is kept, named, and let go of when it is done."""

from __future__ import annotations

import asyncio
from typing import Any

from state.tasks import spawn


async def test_a_task_is_owned_until_it_is_done() -> None:
    """Nothing else refers to it, so without an owner it could be collected half way."""
    owner: set[asyncio.Task[Any]] = set()
    go = asyncio.Event()
    task = spawn(owner, go.wait(), "a wait")
    assert (task.get_name(), owner) == ("a wait", {task})
    go.set()
    assert await task
    await asyncio.sleep(0)
    assert owner == set()
