"""The HTTP/2 load generator: h2load from nghttp2, over TLS."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.load import grpc
from benchmarks.load.heads import GRPC_SITE, NUMBER, SITE, head

CONNECTIONS, STREAMS = 8, 16
VARIED = 64
# More than one connection asks for in any run.
UNIQUE = 50_000
# What h2load sets itself, what HTTP/2 does not have, and what is the same as a pseudo-header.
_NOT_SENT = frozenset({"host", "connection"})

_RATE = re.compile(r"finished in ([\d.]+)(s|ms|us), ([\d.]+) req/s")
_COUNTS = re.compile(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")


class Load(msgspec.Struct, frozen=True):
    """What h2load saw; `busy` is the share of its core that it used itself."""

    requests: int
    per_second: float
    failed: int
    busy: float


class Kind(msgspec.Struct, frozen=True):
    """One kind of request: the site, and the arguments that make it."""

    host: str
    arguments: tuple[str, ...]
    paths: tuple[str, ...]


def is_installed() -> bool:
    """Whether h2load can be found."""
    return shutil.which("h2load") is not None


def gets(*, unique: bool = False) -> Kind:
    """GETs with the fields of a browser and 64 paths in turn, or with paths and answers of which none comes twice.

    Every connection has the same unique paths, though.
    """
    lines = head(0).split("\r\n")[1:-2]
    fields = [line for line in lines if line.partition(":")[0].lower() not in _NOT_SENT]
    if not unique:
        return Kind(SITE, _as_arguments(fields), tuple(head(index).split()[1] for index in range(VARIED)))
    path = head(0, unique=True).split()[1]
    return Kind(SITE, _as_arguments(fields), tuple(path.replace(NUMBER, f"{number:08x}") for number in range(UNIQUE)))


def calls(folder: Path) -> Kind:
    """POSTs as gRPC makes them: a small message, `te: trailers`, and trailers in the answer."""
    message = folder / "message"
    message.write_bytes(b"\0\0\0\0\x20" + b"m" * 32)
    fields = ("content-type: application/grpc", "te: trailers")
    return Kind(GRPC_SITE, ("-d", str(message), *_as_arguments(fields)), (grpc.PATH,))


def run(kind: Kind, port: int, seconds: int, core: int, folder: Path) -> Load:
    """Load the port with 8 connections of 16 streams for `seconds`, from one thread bound to `core`."""
    urls = folder / "urls"
    urls.write_text("".join(f"https://{kind.host}{path}\n" for path in kind.paths))
    argv = ["h2load", f"-c{CONNECTIONS}", f"-m{STREAMS}", f"-D{seconds}", "-i", str(urls), *kind.arguments]
    before = _children_s()
    done = subprocess.run(
        ["taskset", "-c", str(core), *argv, f"--connect-to=127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 30,
    )
    return parse(done.stdout, (_children_s() - before) / seconds)


def parse(output: str, busy: float) -> Load:
    """What h2load printed; raises ValueError when that is something else."""
    rate, counts = _RATE.search(output), _COUNTS.search(output)
    if not rate or not counts:
        raise ValueError(f"h2load printed {output[-500:]!r}")
    _, succeeded, failed, errored, timeout = map(int, counts.groups())
    return Load(requests=succeeded, per_second=float(rate[3]), failed=failed + errored + timeout, busy=busy)


def _as_arguments(fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for field in fields for part in ("-H", field))


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
