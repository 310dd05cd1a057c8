"""The grammar of the command line."""

from __future__ import annotations

import importlib

import pytest

from node.cli.parser import build
from node.version import version

COMMANDS = [
    ["up"],
    ["status"],
    ["routes", "ls"],
    ["routes", "get", "a.example.com"],
    ["routes", "set", "a.example.com", "http://127.0.0.1:1"],
    ["routes", "put", "a.example.com", "--file", "-"],
    ["routes", "rm", "a.example.com"],
    ["routes", "pause", "a.example.com"],
    ["routes", "stop", "a.example.com"],
    ["routes", "resume", "a.example.com"],
    ["routes", "drain", "a.example.com", "http://127.0.0.1:1"],
    ["routes", "undrain", "a.example.com", "http://127.0.0.1:1"],
    ["routes", "split", "a.example.com", "http://127.0.0.1:1", "--share", "0.1"],
    ["routes", "unsplit", "a.example.com"],
    ["routes", "stats", "a.example.com"],
    ["logs", "-f"],
    ["tokens", "issue", "--org", "org_a"],
    ["demo"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_command_exists(arguments: list[str]) -> None:
    """The name that the parser gives can be imported and called."""
    module, _colon, function = build().parse_args(arguments).command.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("arguments", [[], ["routes"], ["tokens"], ["nonsense"], ["up", "--nonsense"]])
def test_what_is_not_a_command_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With one line that points at the help."""
    with pytest.raises(SystemExit) as caught:
        build().parse_args(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("--help)\n")


def test_the_admin_api_may_be_named_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """ZEXIO_ADMIN serves for every command of a shell; the flag is stronger."""
    monkeypatch.delenv("ZEXIO_ADMIN", raising=False)
    assert build().parse_args(["status"]).admin == "http://127.0.0.1:8081"
    monkeypatch.setenv("ZEXIO_ADMIN", "http://node:1")
    assert build().parse_args(["status"]).admin == "http://node:1"
    assert build().parse_args(["status", "--admin", "http://other:1"]).admin == "http://other:1"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else happens."""
    with pytest.raises(SystemExit) as caught:
        build().parse_args(["--version"])
    assert not caught.value.code
    assert capsys.readouterr().out == f"zexio {version()}\n"
