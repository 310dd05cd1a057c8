"""What all grammars share: kinds of value, and errors of one line."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from node.cli.grammar import DEFAULT_ADMIN, Parser, add_client_options, add_host, claim, duration, unicode_text


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)])
def test_a_duration(text: str, seconds: int) -> None:
    """A number, with a unit or in seconds."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1y", "h", "1.5h", "٣", "3651d", "9" * 5000])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    """Zero would be a token that is never valid, and a hundred years one that is never renewed."""
    with pytest.raises(ArgumentTypeError):
        duration(text)


@pytest.mark.parametrize("text", ["", "a b", "é", "a" * 257])
def test_what_no_claim_can_be_is_refused(text: str) -> None:
    """Every route would refuse the token."""
    with pytest.raises(ArgumentTypeError):
        claim(text)


def test_what_no_url_can_carry_is_refused() -> None:
    """Bytes of another encoding arrive as characters that cannot be encoded."""
    assert unicode_text("bücher") == "bücher"
    with pytest.raises(ArgumentTypeError):
        unicode_text("\udcff")


def test_common_options_have_defaults() -> None:
    """Most commands are given none of them."""
    parser = Parser(prog="zexio x")
    add_host(parser)
    add_client_options(parser)
    options = parser.parse_args(["a.example", "--admin", DEFAULT_ADMIN])
    assert (options.host, options.path_prefix, options.json, options.signature_secret_file) == (
        "a.example",
        "/",
        False,
        None,
    )


def test_what_is_wrong_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With where to read more."""
    with pytest.raises(SystemExit) as caught:
        Parser(prog="zexio x").parse_args(["--nonsense"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "zexio x: unrecognized arguments: --nonsense (see zexio x --help)\n"
