"""What processes use: CPU time, memory and file descriptors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from benchmarks.load.process import Running

PEAK_EVERY_S = 0.02


class Cpu(msgspec.Struct, frozen=True):
    """Seconds of CPU time in user and in system mode."""

    user_s: float = 0.0
    system_s: float = 0.0

    @property
    def total_s(self) -> float:
        """Both together."""
        return self.user_s + self.system_s

    def __add__(self, other: Cpu) -> Cpu:
        """The sum by mode."""
        return Cpu(self.user_s + other.user_s, self.system_s + other.system_s)

    def __sub__(self, other: Cpu) -> Cpu:
        """The difference by mode."""
        return Cpu(self.user_s - other.user_s, self.system_s - other.system_s)


def cpu(processes: Iterable[psutil.Process]) -> Cpu:
    """The CPU time of the processes so far, with that of their children that have ended (/proc/PID/stat)."""
    total = Cpu()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += Cpu(times.user + times.children_user, times.system + times.children_system)
    return total


def exact_cpu_s(processes: Iterable[psutil.Process]) -> float:
    """The CPU time of the processes so far in seconds, to the nanosecond: for what is too little for ticks of 10 ms.

    Children are not in it.
    """
    # How Linux makes the clock of a process from its id (CPUCLOCK_SCHED); what clock_getcpuclockid(3) gives.
    return sum(time.clock_gettime((~process.pid << 3) | 2) for process in processes)


class Spent:
    """What a peer spent during a block; 0 until the block has ended."""

    __slots__ = ("all", "workers")

    def __init__(self) -> None:
        """Nothing yet."""
        self.all = self.workers = Cpu()

    def per(self, count: int) -> dict[str, float]:
        """The time of all processes, in microseconds for each of `count`."""
        each = 1e6 / count if count else 0.0
        return {
            "cpu_us": self.all.total_s * each,
            "user_us": self.all.user_s * each,
            "system_us": self.all.system_s * each,
            "worker_cpu_us": self.workers.total_s * each,
        }


@contextmanager
def spending(peer: Running) -> Iterator[Spent]:
    """Count the CPU time of all processes of a peer for as long as the block runs."""
    spent, before, workers_before = Spent(), cpu(peer.tree()), cpu(peer.workers())
    yield spent
    spent.all, spent.workers = cpu(peer.tree()) - before, cpu(peer.workers()) - workers_before


def rss_bytes(processes: Iterable[psutil.Process]) -> int:
    """The resident memory of the processes, exact to the page (smaps_rollup; statm lags by some pages a core)."""
    total = 0
    for process in processes:
        with suppress(OSError):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:")) * 1024
    return total


def open_files(processes: Iterable[psutil.Process]) -> int:
    """How many descriptors the processes hold."""
    return sum(process.num_fds() for process in processes)


class Peak:
    """The largest resident memory seen."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.value = 0


@contextmanager
def peak_rss(processes: list[psutil.Process]) -> Iterator[Peak]:
    """Sample the memory of the processes every 20 ms as long as the block runs."""
    peak, done = Peak(), threading.Event()

    def sample() -> None:
        while not done.wait(PEAK_EVERY_S):
            with suppress(psutil.NoSuchProcess):
                peak.value = max(peak.value, sum(each.memory_info().rss for each in processes))

    thread = threading.Thread(target=sample, name="peak-rss")
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
