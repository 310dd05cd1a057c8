"""The grammar of `zexio domains`."""

from __future__ import annotations

import pytest

from node.cli.parser import build


@pytest.mark.parametrize(
    "arguments",
    [
        ["add"],
        ["add", "a.example", "--project", "demo", "--to", "b.example"],
        ["add", "a.example", "--https", "maybe"],
        ["add", "a.example", "--wait", "0"],
        ["ls", "--status", "well"],
        ["show", "\udcff"],
    ],
)
def test_what_is_missing_or_makes_no_sense_is_refused(arguments: list[str]) -> None:
    """Before anything is sent."""
    with pytest.raises(SystemExit) as caught:
        build().parse_args(["domains", *arguments])
    assert caught.value.code == 2


def test_every_action_names_its_function() -> None:
    """In the module that is imported for it."""
    options = build().parse_args(["domains", "add", "a.example", "--project", "demo", "--wait", "90s"])
    assert (options.command, options.project, options.to, options.wait) == (
        "node.cli.domain_add:add",
        "demo",
        None,
        90,
    )
    assert build().parse_args(["domains", "rm", "a.example"]).command == "node.cli.domains:rm"
