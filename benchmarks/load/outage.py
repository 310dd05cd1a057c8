"""A target that goes away in the middle of its work, and comes back on the same port."""

from __future__ import annotations

from contextlib import ExitStack

import psutil

from benchmarks.load.bench import Bench, own_program
from benchmarks.load.process import free_port, running

TAKES_S = 0.005


class Mortal:
    """The target, on the load core."""

    def __init__(self, bench: Bench) -> None:
        """Not started yet."""
        self.port = free_port()
        self._bench = bench
        self._stack = ExitStack()
        self._pid = 0

    def start(self) -> None:
        """Start it, for the first time or again; returns when it answers."""
        program = own_program("target", self.port, str(TAKES_S))
        place = running(program, self._bench.folder("target"), (self._bench.load_core,))
        self._pid = self._stack.enter_context(place).pid

    def kill(self) -> None:
        """Kill it, with whatever it was asked and has not answered."""
        psutil.Process(self._pid).kill()
        self.stop()

    def stop(self) -> None:
        """End it, if it runs."""
        self._stack.close()
