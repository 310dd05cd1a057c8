"""A node that only writes: submits route changes and prints each answered revision, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from state.secrets import Secrets
from state.store import Store
from tests.state.samples import OPERATOR, put


async def submit(directory: Path, changes: int) -> None:
    """Change routes, some new and some known, and say so after each answer."""
    secrets = Secrets.load_or_create(directory / "node.key")
    async with await Store.open(f"sqlite:///{directory}/zexio.db", secrets) as store:
        for number in range(changes):
            change = put(f"h{number % 300}.example", org_id=f"org{number % 7}", retries=number // 300)
            desired = await store.submit(change, actor=OPERATOR)
            # One write per line: whoever reads a whole line reads an answer that was given.
            sys.stdout.write(f"{desired.revision}\n")
            sys.stdout.flush()


asyncio.run(submit(Path(sys.argv[1]), int(sys.argv[2])))
