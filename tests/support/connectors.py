"""Connector programs on their own, without a supervisor: started, asked for their pages, read and ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 10.0


class Connector:
    """A program that was started; its output goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        """As it runs."""
        self.process = process
        self._output = output

    @property
    def said(self) -> bytes:
        """What it has said until now, on both outputs."""
        return self._output.read_bytes()

    def until_said(self, words: str) -> None:
        """Wait until it says it."""
        until(lambda: words.encode() in self.said)

    def ended(self) -> int:
        """Wait for its end; its status."""
        return self.process.wait(PATIENCE_S)

    def term(self) -> int:
        """Ask it to end; its status."""
        self.process.terminate()
        return self.ended()


@contextmanager
def started(argv: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Connector]:
    """Run a program in a session of its own, all of which is killed in the end."""
    path = folder / "output"
    with path.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.defpath, "HOME": str(folder), **(env or {})},
            start_new_session=True,
        )
    try:
        yield Connector(process, path)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def status_of(port: int, path: str) -> int:
    """The status of a page; 0 where nobody answers."""
    try:
        return get(port, path)[0]
    except OSError:
        return 0


def free_port() -> int:
    """One that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so; raises AssertionError when patience ends."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)
