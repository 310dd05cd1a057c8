"""Generators and visitors of our own, each a process of its own on the core of the caller, with a report in JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

PATIENCE_S = 120.0

T = TypeVar("T")


def start(module: str, order: msgspec.Struct) -> subprocess.Popen[str]:
    """Run `benchmarks.load.MODULE` with its order as JSON."""
    argv = [sys.executable, "-m", f"benchmarks.load.{module}", msgspec.json.encode(order).decode()]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())})


def finish(process: subprocess.Popen[str], report: type[T], patience_s: float = PATIENCE_S) -> T:
    """Wait for the process and read its report; raises OSError when it failed."""
    try:
        output, _ = process.communicate(timeout=patience_s)
    finally:
        process.kill()
    if process.returncode:
        raise OSError(f"{process.args!r} failed with {process.returncode}")
    return msgspec.json.decode(output, type=report)


@contextmanager
def going_on(module: str, order: msgspec.Struct) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the block, whatever happens in it."""
    process = start(module, order)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def order_of(argument: str, kind: type[T]) -> T:
    """The order that a process was started with."""
    return msgspec.json.decode(argument, type=kind)


def hand_in(report: msgspec.Struct) -> None:
    """Print the report of this process."""
    sys.stdout.write(msgspec.json.encode(report).decode())
