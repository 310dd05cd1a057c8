"""The grammar of `zexio certs`."""

from __future__ import annotations

import pytest

from node.cli.parser import build


@pytest.mark.parametrize(
    "arguments",
    [["revoke", "a.example", "--reason", "boredom"], ["export"], ["import"], ["renew", "a.example", "--wait", "x"]],
)
def test_what_is_missing_or_makes_no_sense_is_refused(arguments: list[str]) -> None:
    """Before anything is sent."""
    with pytest.raises(SystemExit) as caught:
        build().parse_args(["certs", *arguments])
    assert caught.value.code == 2


def test_every_action_names_its_function() -> None:
    """Python has a word for import already."""
    assert build().parse_args(["certs", "import", "-"]).command == "node.cli.certs:bring"
    assert build().parse_args(["certs", "trust"]).command == "node.cli.certs:trust"
    assert build().parse_args(["certs", "revoke", "a.example"]).reason == "unspecified"
