"""The closed-loop load generator: wrk, fed with prepared request heads."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from benchmarks.load.heads import NUMBER, SITE

CONNECTIONS = 64

_SCRIPT = """
-- The name in the URL is what TLS is told (SNI); where it leads is said here and not by DNS.
wrk.resolve = function(host, service) wrk.addrs = wrk.lookup("127.0.0.1", service) end
local heads = {{{heads}}}
local count, turn, number = #heads, 0, os.time() % 4096 * 1048576
request = function()
  turn = turn + 1
  if turn > count then turn = 1 end
  local parts = heads[turn]
  if #parts == 1 then return parts[1] end
  number = number + 1
  return table.concat(parts, string.format("%08x", number))
end
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'SUMMARY{{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"bad_status":%d,"broken":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


class Load(msgspec.Struct, frozen=True):
    """What wrk saw; `busy` is the share of its core that it used itself."""

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    bad_status: int
    broken: int
    busy: float = 0.0

    @property
    def per_second(self) -> float:
        """Answered requests per second."""
        return self.requests / self.duration_us * 1e6

    @property
    def failed(self) -> int:
        """Requests that were not answered well."""
        return self.bad_status + self.broken


def write_script(path: Path, heads: Sequence[str]) -> Path:
    """A script that sends the heads in turn; one head goes through the same code, so the generator costs the same."""
    parts = [f"{{{_strings(head.split(NUMBER))}}}" for head in heads]
    path.write_text(_SCRIPT.format(heads=",".join(parts)))
    return path


def _strings(texts: Iterable[str]) -> str:
    # Quoted as in JSON: Lua reads the same escapes, and its long brackets would turn CRLF into LF.
    return ",".join(map(json.dumps, texts))


def run(script: Path, port: int, seconds: int, cores: Iterable[int], *, tls: bool = False) -> Load:
    """Load the port with 64 connections for `seconds`, from one thread bound to `cores`."""
    url = f"{'https' if tls else 'http'}://{SITE}:{port}/"
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url]
    before = _children_s()
    done = subprocess.run(
        ["taskset", "-c", ",".join(map(str, cores)), *argv],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 30,
    )
    used = _children_s() - before
    line = next(line for line in done.stdout.splitlines() if line.startswith("SUMMARY"))
    load = msgspec.json.decode(line.removeprefix("SUMMARY"), type=Load)
    return msgspec.structs.replace(load, busy=used / load.duration_us * 1e6)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
