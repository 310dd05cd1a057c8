"""A command of the operator's that changes TXT records: for every DNS service that has a program or a script."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

from certs.errors import IssueError

_LIMIT_S: Final = 60.0
_MAX_SHOWN: Final = 500
_MAX_KEPT: Final = 4096
_LAST_WORDS_S: Final = 1.0
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")


class Command:
    """Runs `argv... set|remove <name> <value>`, without a shell, once for each change.

    The command finds nothing in its environment but PATH, and nothing on its standard input. It succeeds by exit
    status 0; what it says is shown when it does not. What it leaves running is killed. `remove` of what
    is not there has to succeed, as has `set` of what is.
    """

    def __init__(self, argv: Sequence[str], *, limit_s: float = _LIMIT_S) -> None:
        """After `limit_s` a run and every process that it started are killed."""
        self._argv = tuple(argv)
        self._limit_s = limit_s

    async def set(self, name: str, value: str) -> None:
        """Have the command make the record. Raises IssueError."""
        await self._run("set", name, value)

    async def remove(self, name: str, value: str) -> None:
        """Have the command remove the record. Raises IssueError."""
        await self._run("remove", name, value)

    async def _run(self, *arguments: str) -> None:
        said = bytearray()
        async with _pipe(said) as (output, write_end):
            try:
                process = await _start((*self._argv, *arguments), write_end)
            except (OSError, ValueError) as error:
                raise IssueError("solver", f"the DNS command {self._argv[0]} could not be started: {error}") from None
            write_end.close()
            try:
                async with asyncio.timeout(self._limit_s):
                    status = await process.wait()
            except TimeoutError:
                raise self._failed(f"did not end in {self._limit_s:g} s", said) from None
            finally:
                await _kill(process)
                await output.end()
        if status != 0:
            raise self._failed(f"ended with status {status}", said)

    def _failed(self, outcome: str, said: bytearray) -> IssueError:
        text = " ".join(_UNPRINTABLE.sub(" ", said.decode(errors="replace")).split())
        shown = f"…{text[-_MAX_SHOWN:]}" if len(text) > _MAX_SHOWN else text
        return IssueError("solver", f"the DNS command {self._argv[0]} {outcome}" + (f": {shown}" if shown else ""))


class _Output(asyncio.Protocol):
    """What the command says, read on all the while, or it could not go on; the end of it is kept."""

    def __init__(self, said: bytearray) -> None:
        self._said = said
        self._ended = asyncio.Event()

    async def end(self) -> None:
        """Wait for what is still in the pipe, but not for a process that has left the group and keeps it open."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._ended.wait()

    def data_received(self, data: bytes) -> None:
        self._said += data
        del self._said[:-_MAX_KEPT]

    def eof_received(self) -> None:
        self._ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


async def _start(argv: Sequence[str], write_end: BinaryIO) -> asyncio.subprocess.Process:
    starting = asyncio.get_running_loop().create_task(
        # A group of its own, so that what it starts can be ended with it.
        asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_end,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,
        ),
        name="start the DNS command",
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # The command may be under way before the loop tells of it; cut short, the loop would end no more than that.
        with contextlib.suppress(OSError, ValueError):
            await _kill(await starting)
        raise


@asynccontextmanager
async def _pipe(said: bytearray) -> AsyncIterator[tuple[_Output, BinaryIO]]:
    """Where the output comes out, and where it goes in.

    The pipe is ours and not the process's, since a process that was left behind could keep that open for ever.
    """
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb", 0) as writer:
        output = _Output(said)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: output, os.fdopen(read_end, "rb", 0))
        try:
            yield output, writer
        finally:
            transport.close()


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the command, and whatever of its group it left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await process.wait()
