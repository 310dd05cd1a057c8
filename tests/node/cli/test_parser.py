"""The grammar of the command line."""

from __future__ import annotations

import importlib
from argparse import ArgumentTypeError

import pytest

from node.cli.parser import DEFAULT_ADMIN, build, duration
from node.version import version

COMMANDS = [
    ["up"],
    ["status"],
    ["routes", "ls"],
    ["routes", "get", "a.example.com"],
    ["routes", "set", "a.example.com", "http://127.0.0.1:1"],
    ["routes", "rm", "a.example.com"],
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


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)])
def test_a_duration(text: str, seconds: int) -> None:
    """A number, with a unit or in seconds."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1y", "h", "1.5h", "٣", "3651d", "9" * 5000])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    """Zero would be a token that is never valid, and a hundred years one that is never renewed."""
    with pytest.raises(ArgumentTypeError):
        duration(text)


@pytest.mark.parametrize(
    "arguments", [["get", "\udcff"], ["rm", "a", "--path-prefix", "\udcff"], ["ls", "-q", "\udcff"]]
)
def test_what_no_url_can_carry_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes of another encoding arrive as characters that cannot be encoded."""
    with pytest.raises(SystemExit):
        build().parse_args(["routes", *arguments])
    assert "is not text in UTF-8" in capsys.readouterr().err


def test_the_admin_api_may_be_named_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """ZEXIO_ADMIN serves for every command of a shell; the flag is stronger."""
    monkeypatch.delenv("ZEXIO_ADMIN", raising=False)
    assert build().parse_args(["status"]).admin == DEFAULT_ADMIN
    monkeypatch.setenv("ZEXIO_ADMIN", "http://node:1")
    assert build().parse_args(["status"]).admin == "http://node:1"
    assert build().parse_args(["status", "--admin", "http://other:1"]).admin == "http://other:1"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else happens."""
    with pytest.raises(SystemExit) as caught:
        build().parse_args(["--version"])
    assert not caught.value.code
    assert capsys.readouterr().out == f"zexio {version()}\n"
