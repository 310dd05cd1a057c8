"""Tunnels as they are wanted: one spelling for names, no control characters, and nothing secret in a log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from state.refusal import Problem
from state.rules import folded
from state.tunnels import TunnelSpec

AT = datetime(2026, 11, 21, tzinfo=UTC)


def spec(**fields: Any) -> TunnelSpec:  # noqa: ANN401
    """A tunnel with these fields."""
    return TunnelSpec(**{"name": "office", "provider": "cloudflare", "created_at": AT, **fields})


def problems_of(wanted: TunnelSpec) -> list[Problem]:
    """What is wrong with it."""
    problems: list[Problem] = []
    folded(wanted, problems)
    return problems


@pytest.mark.parametrize("name", ["a", "cloudflare-quick", "pangolin", "0", "my_tunnel", "a" * 63])
def test_a_name_is_one_that_a_folder_and_a_url_can_have(name: str) -> None:
    """As these are."""
    assert problems_of(spec(name=name)) == []


@pytest.mark.parametrize("name", ["", "-a", "a-", "a/b", "..", ".", "a b", "a.b", "ä", "a" * 64, "a\n", "_a"])
def test_other_names_are_refused(name: str) -> None:
    """Above all those that lead out of the folder of tunnels."""
    assert [problem.field for problem in problems_of(spec(name=name))] == ["name"]


def test_there_is_one_spelling_for_a_tunnel() -> None:
    """Of its name and its hosts."""
    wanted = folded(spec(name="Office", hostname="Shop.Example.COM.", serves="Demo.Zexio.app"), [])
    assert (wanted.name, wanted.hostname, wanted.serves) == ("office", "shop.example.com", "demo.zexio.app")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"token": "a\0b"}, "token"),
        ({"token": "x" * 70_000}, "token"),
        ({"local_port": 0}, "local_port"),
        ({"local_port": 65_536}, "local_port"),
        ({"hostname": "*.example.com"}, "hostname"),
        ({"hostname": "a b"}, "hostname"),
        ({"serves": "a:80"}, "serves"),
        ({"options": {"Server": "a"}}, "options['Server']"),
        ({"options": {"server": "a\x1bb"}}, "options['server']"),
        ({"options": {"server": "x" * 9_000}}, "options['server']"),
        ({"options": {f"o{number}": "" for number in range(33)}}, "options"),
    ],
)
def test_what_is_wrong_is_told_by_its_path(fields: dict[str, Any], path: str) -> None:
    """One problem for each."""
    assert [problem.field for problem in problems_of(spec(**fields))] == [path]


def test_a_key_in_lines_is_a_token() -> None:
    """Private keys and known hosts are written that way."""
    assert problems_of(spec(token="-----BEGIN X-----\r\n\tab\n-----END X-----\n", options={"host_key": "a\nb"})) == []


def test_no_problem_shows_the_token() -> None:
    """It goes into answers and logs."""
    assert all("s3cret" not in str(problem) for problem in problems_of(spec(token="s3cret\0")))


def test_a_spec_in_a_log_shows_no_secret() -> None:
    """Options may hold passwords as well."""
    assert repr(spec(token="s3cret", options={"argv": "s3cret"})) == "TunnelSpec('office', 'cloudflare')"


def test_a_spec_is_what_it_was_after_it_was_stored() -> None:
    """As JSON, in a sealed row."""
    wanted = spec(token="t", options={"protocol": "quic"}, local_port=8080)
    assert msgspec.json.decode(msgspec.json.encode(wanted), type=TunnelSpec) == wanted
    assert (wanted.key, wanted.references) == ("office", ())
