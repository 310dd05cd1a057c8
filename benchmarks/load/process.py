"""Programs under test: started pinned to a core, ended with all their descendants whatever happens."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 3.0
LOWEST_PORT = 10_240


class StartError(Exception):
    """A program did not become ready."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What to start: `port` is where it answers (`tls_port` over TLS), `files` are written to its folder first."""

    name: str
    argv: tuple[str, ...]
    port: int
    tls_port: int = 0
    env: dict[str, str] = {}
    files: dict[str, str] = {}


class Running(msgspec.Struct, frozen=True):
    """A started program."""

    program: Program
    pid: int
    directory: Path

    @property
    def name(self) -> str:
        """The name of the program."""
        return self.program.name

    @property
    def port(self) -> int:
        """The loopback port where it answers."""
        return self.program.port

    @property
    def tls_port(self) -> int:
        """The loopback port where it answers over TLS, 0 without one."""
        return self.program.tls_port

    def tree(self) -> list[psutil.Process]:
        """The process and all its descendants."""
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        """The processes that serve: those below the first one, or the first one when it is alone."""
        root, *below = self.tree()
        return [each for each in below if "resource_tracker" not in " ".join(each.cmdline())] or [root]


def free_port() -> int:
    """A loopback port that nobody listens on now, and that no connection takes meanwhile.

    The kernel gives connections ports of a range of their own, so one below it stays free.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(LOWEST_PORT, max(first, LOWEST_PORT + 10_000))
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def running(program: Program, directory: Path, cores: tuple[int, ...]) -> Iterator[Running]:
    """Run `program` in `directory`, bound to `cores`; raises StartError when its port does not open.

    The program gets a session of its own, so that an interrupt of the benchmark reaches it through us only.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in program.files.items():
        (directory / name).write_text(text)
    with (directory / "output.log").open("wb") as output:
        child = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), *program.argv],
            cwd=directory,
            env={**os.environ, **program.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for_port(program, child, directory)
        yield Running(program, child.pid, directory)
    finally:
        _stop(child)


def _wait_for_port(program: Program, child: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and child.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", program.port), timeout=1.0):
            return
        time.sleep(0.02)
    tail = (directory / "output.log").read_text(errors="replace")[-2000:]
    raise StartError(f"{program.name} did not open port {program.port}: {tail}")


def _stop(child: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_WITHIN_S)
        # psutil compares the start time before it sends a signal, so a number that was given away again is safe.
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
