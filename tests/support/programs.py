"""Programs of others as clients of the proxy: run to their end, with what they said."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from typing import Final

PATIENCE_S: Final = 20.0


class ProgramFailed(Exception):
    """The program ended with an error; the text is what it said."""


async def run(*arguments: str, stdin: bytes = b"") -> bytes:
    """What a program writes to stdout and stderr; raises ProgramFailed when it does not succeed, TimeoutError."""
    # A file, because a program may end before it has read everything, which uvloop's pipes do not forgive.
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=given,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"},
        )
    try:
        async with asyncio.timeout(PATIENCE_S):
            said, _ = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise ProgramFailed(f"{arguments[0]} ended with {process.returncode}: {said.decode(errors='replace')}")
    return said
