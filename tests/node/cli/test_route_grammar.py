"""The grammar of `zexio routes`."""

from __future__ import annotations

import pytest

from node.cli.parser import build


@pytest.mark.parametrize(
    "arguments", [["get", "\udcff"], ["rm", "a", "--path-prefix", "\udcff"], ["ls", "-q", "\udcff"]]
)
def test_what_no_url_can_carry_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes of another encoding arrive as characters that cannot be encoded."""
    with pytest.raises(SystemExit):
        build().parse_args(["routes", *arguments])
    assert "is not text in UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["put", "a.example"],
        ["drain", "a.example"],
        ["split", "a.example", "http://b:1"],
        ["split", "a.example", "--share", "0.5"],
        ["split", "a.example", "http://b:1", "--share", "0.5", "--cookie", "beta"],
        ["split", "a.example", "http://b:1", "--share", "half"],
        ["pause", "a.example", "--hold", "0"],
    ],
)
def test_what_is_missing_or_makes_no_sense_is_refused(arguments: list[str]) -> None:
    """Before anything is sent."""
    with pytest.raises(SystemExit) as caught:
        build().parse_args(["routes", *arguments])
    assert caught.value.code == 2


def test_every_action_names_its_function() -> None:
    """In the module that is imported for it."""
    options = build().parse_args(["routes", "split", "a.example", "http://b:1,3", "--cookie", "beta", "--value", "x"])
    assert (options.command, options.targets, options.value) == ("node.cli.traffic:split", ["http://b:1,3"], ["x"])
