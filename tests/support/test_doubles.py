"""The faults of the doubles, each of which does what its name says."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.connectors import started, until
from tests.support.doubles import install, serve

MODULE = "tests.support.fake_newt"
ENV = {"PANGOLIN_ENDPOINT": "https://a.example", "NEWT_ID": "site1", "NEWT_SECRET": "s3cr3t-s3cr3t"}


def double(folder: Path, **switches: str | float) -> tuple[list[Path], Path, dict[str, str]]:
    """What starts a double with these switches."""
    path = install(folder / "newt", MODULE, **switches)
    return [path], folder, {**ENV, "HEALTH_FILE": str(folder / "healthy"), "NEWT_ADMIN_ADDR": "127.0.0.1:0"}


def test_switches_are_the_program_s_own(tmp_path: Path) -> None:
    """What is supervised inherits none; an environment that has them does as well."""
    with started(*double(tmp_path, FAKE_EXIT_CODE=7)) as program:
        assert program.ended() == 7
    argv, folder, env = double(tmp_path)
    with started(argv, folder, {**env, "FAKE_EXIT_CODE": "8"}) as program:
        assert program.ended() == 8


def test_one_may_end_by_a_signal(tmp_path: Path) -> None:
    """As those do that have crashed."""
    with started(*double(tmp_path, FAKE_EXIT_CODE=-11)) as program:
        assert program.ended() == -signal.SIGSEGV


def test_one_may_take_no_notice_of_term(tmp_path: Path) -> None:
    """Only KILL ends it."""
    with started(*double(tmp_path, FAKE_IGNORE_TERM=1)) as program:
        program.until_said("Tunnel connection")
        program.process.terminate()
        program.process.send_signal(signal.SIGCONT)
        assert program.process.poll() is None
        program.process.kill()
        assert program.ended() == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["group", "session"])
def test_one_may_have_a_child(tmp_path: Path, kind: str) -> None:
    """Which outlives it."""
    pids = tmp_path / "pids"
    with started(*double(tmp_path, FAKE_CHILD=kind, FAKE_PIDS_FILE=str(pids))) as program:
        program.until_said("Tunnel connection")
        own, child = (int(line) for line in pids.read_text().split())
        assert own == program.process.pid
        assert (os.getsid(child) == own) is (kind == "group")
        program.process.kill()
        program.ended()
        os.kill(child, signal.SIGKILL)


def test_one_may_write_without_end(tmp_path: Path) -> None:
    """And still end when it is asked to."""
    with started(*double(tmp_path, FAKE_FLOOD=10_000)) as program:
        until(lambda: program.said.count(b"\n") > 1000)
        program.term()


def test_one_may_write_what_nobody_wants_to_read(tmp_path: Path) -> None:
    """Long, no text, or secret."""
    switches = {"FAKE_LONG_LINE": 200_000, "FAKE_INVALID_UTF8": 1, "FAKE_PRINT_SECRET": 1}
    with started(*double(tmp_path, **switches)) as program:
        program.until_said("Tunnel connection")
        assert max(map(len, program.said.split(b"\n"))) == 200_000
        assert b"\xff\xfe" in program.said
        assert program.said.count(b"s3cr3t-s3cr3t") == 3


def test_one_may_close_its_output(tmp_path: Path) -> None:
    """And live on without."""
    with started(*double(tmp_path, FAKE_CLOSE_OUTPUT=1, FAKE_PIDS_FILE=str(tmp_path / "pids"))) as program:
        until(lambda: (tmp_path / "pids").exists() and not os.path.lexists(f"/proc/{program.process.pid}/fd/1"))
        assert program.process.poll() is None


def test_one_may_take_memory(tmp_path: Path) -> None:
    """Bit by bit."""
    with started(*double(tmp_path, FAKE_GROW_MB=40)) as program:
        pages = Path(f"/proc/{program.process.pid}/statm")
        until(lambda: int(pages.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") > 40 << 20)


def test_one_may_do_nothing(tmp_path: Path) -> None:
    """It is there, and that is all."""
    with started(*double(tmp_path, FAKE_HANG=1)) as program:
        until(lambda: b"newt" in Path(f"/proc/{program.process.pid}/cmdline").read_bytes())
        assert program.said == b""


def test_one_dies_when_nobody_reads(tmp_path: Path) -> None:
    """At its next line, as Go's programs do."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    argv, _, env = double(tmp_path)
    pid = os.posix_spawn(argv[0], tuple(argv), env, file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)])
    os.close(write_end)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGPIPE


def test_a_port_that_is_taken_is_an_error() -> None:
    """Also for a double."""
    port = serve("127.0.0.1:0", lambda _: (200, "ok"))
    with pytest.raises(OSError, match="in use"):
        serve(f"127.0.0.1:{port}", lambda _: (200, "ok"))
