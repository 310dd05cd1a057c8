"""The operator's command gets its arguments and nothing else, and does not outlive its time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from certs.dns01.command import Command
from certs.errors import IssueError

NAME = "_acme-challenge.shop.example.com"


def script(tmp_path: Path, body: str) -> str:
    """A shell script."""
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\ncd '{tmp_path}' || exit 9\n{body}\n")
    path.chmod(0o700)
    return str(path)


async def test_the_arguments_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To those of the settings, without a shell, and with nothing else of ours."""
    monkeypatch.setenv("ZEXIO_SECRET", "s3cret")
    hook = script(tmp_path, 'echo "$#:$*" >> calls; env > environment; cat > input')
    command = Command([hook, "--zone", "a b; $HOME"])
    await command.set(NAME, "value-1")
    await command.remove(NAME, "value-1")
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"5:--zone a b; $HOME set {NAME} value-1",
        f"5:--zone a b; $HOME remove {NAME} value-1",
    ]
    environment = dict(line.partition("=")[::2] for line in (tmp_path / "environment").read_text().splitlines())
    assert set(environment) <= {"PATH", "PWD", "OLDPWD", "SHLVL", "_"}
    assert environment["PATH"] == os.environ["PATH"]
    assert (tmp_path / "input").read_text() == ""


async def test_what_it_says_is_shown_when_it_fails(tmp_path: Path) -> None:
    """On both of its outputs, in one line."""
    hook = script(tmp_path, "echo one; printf 'two\\033[31m\\n' >&2; exit 3")
    with pytest.raises(IssueError, match=r"hook ended with status 3: one two \[31m$") as caught:
        await Command([hook]).set(NAME, "value")
    assert caught.value.kind == "solver"


async def test_a_talkative_command_is_cut_short(tmp_path: Path) -> None:
    """It is read to the end, and the end is shown."""
    hook = script(tmp_path, "head -c 300000 /dev/zero | tr '\\0' x; echo the end; exit 1")
    with pytest.raises(IssueError) as caught:
        await Command([hook]).set(NAME, "value")
    assert str(caught.value).endswith("xxxthe end")
    assert len(str(caught.value)) < 1000


async def test_a_silent_failure(tmp_path: Path) -> None:
    """Has its status alone."""
    with pytest.raises(IssueError, match=r"ended with status 1$"):
        await Command([script(tmp_path, "exit 1")]).set(NAME, "value")


async def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    """Or cannot be run."""
    with pytest.raises(IssueError, match=r"could not be started: .*No such file"):
        await Command([str(tmp_path / "none")]).set(NAME, "value")


async def test_after_its_time_all_of_it_is_killed(tmp_path: Path) -> None:
    """What it has started as well."""
    os.mkfifo(tmp_path / "alive")
    hook = script(tmp_path, "sleep 600 3> alive & wait")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(IssueError, match=r"did not end in 0.3 s"):
        await Command([hook], limit_s=0.3).set(NAME, "value")
    await has_no_writer(reader)


async def test_a_process_that_is_left_behind_is_killed(tmp_path: Path) -> None:
    """It holds the output, which is not waited for."""
    os.mkfifo(tmp_path / "alive")
    hook = script(tmp_path, "sleep 600 3<> alive &\nexit 0")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    await Command([hook], limit_s=20).set(NAME, "value")
    await has_no_writer(reader)


async def test_a_run_can_be_given_up(tmp_path: Path) -> None:
    """The command ends with it."""
    os.mkfifo(tmp_path / "alive")
    hook = script(tmp_path, "exec 3> alive; echo up >&3; sleep 600")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    running = asyncio.get_running_loop().create_task(Command([hook]).set(NAME, "value"), name="running")
    await is_readable(reader)
    assert os.read(reader, 10) == b"up\n"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await has_no_writer(reader)


async def has_no_writer(reader: int) -> None:
    """Return once no process has the pipe open for writing."""
    try:
        said = os.read(reader, 10)
    except BlockingIOError:
        await is_readable(reader)
        said = os.read(reader, 10)
    os.close(reader)
    assert said == b""


async def is_readable(reader: int) -> None:
    """Return once there is something to read, or nobody left who could write."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(reader, readable.set)
    async with asyncio.timeout(20):
        await readable.wait()
    loop.remove_reader(reader)
