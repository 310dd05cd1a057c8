"""A node whose disk is full for a while: prints as JSON what was announced, refused and saved."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

from state.errors import StoreError
from state.model import Desired
from state.secrets import Secrets
from state.store import Store
from tests.state.samples import OPERATOR, put


def limit_files(size: int) -> None:
    """Let no file of this process grow beyond `size` bytes; the system refuses as it does when a disk is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def fill(directory: Path) -> None:
    """Submit until the disk is full, then make room and submit once more."""
    secrets = Secrets.load_or_create(directory / "node.key")
    announced = answered = 0
    reason = ""
    async with await Store.open(f"sqlite:///{directory}/zexio.db", secrets) as store:

        async def watch() -> None:
            nonlocal announced
            async for desired in store.desired.changes():
                announced = desired.revision

        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(watch())
            limit_files(200_000)
            while not reason:
                try:
                    answered = (await store.submit(put(f"h{answered}.example"), actor=OPERATOR)).revision
                except StoreError as error:
                    reason = str(error)
            await asyncio.sleep(0)
            announced_when_full = announced
            limit_files(resource.RLIM_INFINITY)
            after = await store.submit(put("after.example"), actor=OPERATOR)
            watcher.cancel()
    result = {"answered": answered, "announced": announced_when_full, "reason": reason, "after": revisions(after)}
    sys.stdout.write(json.dumps(result))


def revisions(desired: Desired) -> list[int]:
    """The revision of every route."""
    return sorted(route.revision for route in desired.routes.values())


asyncio.run(fill(Path(sys.argv[1])))
