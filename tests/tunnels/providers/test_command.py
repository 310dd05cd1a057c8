"""A program of the operator's own: its arguments, its environment, and the patterns that judge it."""

from __future__ import annotations

import json

import pytest

from tests.tunnels.providers.specs import FOLDER, PLACE, files_of, spec
from tunnels.providers.base import NOTHING, LogProbe, PageProbe
from tunnels.providers.catalogue import check, plan, programs
from tunnels.providers.command import Patterns, check_pattern, read_line, read_page

TOKEN = "t0ken-t0ken"
ARGV = json.dumps(["bore", "local", "{local_port}", "--secret-file", "{token_file}", "--to", "{hostname}", "{other}"])
SPEC = spec("command", TOKEN, hostname="bore.example", argv=ARGV, ready_pattern="listening at (.*)", grace_s="3")
LAUNCH = plan(SPEC, PLACE)


def test_arguments_are_filled_in_without_a_shell() -> None:
    """What is not known stays as it is."""
    assert LAUNCH.argv == (
        *("/usr/bin/bore", "local", "8080", "--secret-file", f"{FOLDER}/token", "--to", "bore.example", "{other}"),
    )
    assert files_of(LAUNCH) == {"token": TOKEN}
    assert LAUNCH.grace_s == 3
    assert check(SPEC) == ()


def test_an_absolute_path_is_a_program() -> None:
    """A relative one is not: relative to what?"""
    wanted = spec("command", argv='["/opt/x", "a"]')
    assert programs(wanted) == ("/opt/x",)
    assert plan(wanted, PLACE).argv == ("/opt/x", "a")
    assert [problem.field for problem in check(spec("command", argv='["./x"]'))] == ["options.argv"]
    assert programs(spec("command", argv="x")) == ()


def test_variables_are_added_to_an_environment_from_zero() -> None:
    """And the token, under the name that the program knows."""
    wanted = spec("command", TOKEN, argv='["bore"]', env='{"PORT": "{local_port}"}', token_env="BORE_SECRET")
    env = plan(wanted, PLACE).env
    assert (env["PORT"], env["BORE_SECRET"], env["HOME"]) == ("8080", TOKEN, FOLDER)


@pytest.mark.parametrize(
    ("token", "options", "field"),
    [
        ("", {}, "options.argv"),
        ("", {"argv": "bore local"}, "options.argv"),
        ("", {"argv": "[]"}, "options.argv"),
        ("", {"argv": '[""]'}, "options.argv"),
        ("", {"argv": "[1]"}, "options.argv"),
        ("", {"argv": '["a", "b\\u0000"]'}, "options.argv"),
        ("", {"argv": '["a"]', "env": '{"LD_PRELOAD": "/x"}'}, "options.env"),
        ("", {"argv": '["a"]', "env": '{"A-B": "x"}'}, "options.env"),
        ("", {"argv": '["a"]', "env": '{"A": 1}'}, "options.env"),
        ("", {"argv": '["a"]', "env": '{"A": "\\u0000"}'}, "options.env"),
        ("", {"argv": '["a"]', "token_env": "PATH"}, "options.token_env"),
        ("", {"argv": '["a"]', "token_env": "TOKEN"}, "token"),
        ("", {"argv": '["a"]', "ready_pattern": "("}, "options.ready_pattern"),
        ("", {"argv": '["a"]', "ready_pattern": "x" * 501}, "options.ready_pattern"),
        ("", {"argv": '["a"]', "ready_url": "localhost"}, "options.ready_url"),
        ("", {"argv": '["a"]', "grace_s": "301"}, "options.grace_s"),
        ("short", {"argv": '["a"]'}, "token"),
        (TOKEN, {"argv": f'["a", "--token={TOKEN}"]'}, "options"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_started(token: str, options: dict[str, str], field: str) -> None:
    """By its field, and without the token."""
    problems = check(spec("command", token, **options))
    assert [problem.field for problem in problems] == [field]
    assert TOKEN not in str(problems)


def test_a_pattern_and_a_page_both_have_to_say_that_it_is_connected() -> None:
    """With neither, it is while it runs."""
    assert LAUNCH.edge == (LogProbe(),)
    wanted = spec("command", argv='["bore"]', ready_url="http://127.0.0.1:{metrics_port}/up", ready_pattern="x")
    assert check(wanted) == ()
    first, second = plan(wanted, PLACE).edge
    assert first == LogProbe()
    assert isinstance(second, PageProbe)
    assert second.url == "http://127.0.0.1:20241/up"
    assert plan(spec("command", argv='["bore"]'), PLACE).edge == ()


def test_patterns_judge_lines() -> None:
    """The one for errors first."""
    patterns = Patterns(
        ready=check_pattern("listening"),
        lost=check_pattern("not listening"),
        fail=check_pattern("denied"),
        url=check_pattern(r"at (https://\S+)"),
    )
    assert read_line(patterns, "now listening").told.edge is True
    assert read_line(patterns, "not listening").told.edge is False
    assert read_line(patterns, "access denied, listening").told.permanent == "access denied, listening"
    assert read_line(patterns, "at https://a.example x").told.url == "https://a.example"
    assert read_line(patterns, "else").told == NOTHING
    assert (
        read_line(Patterns(url=check_pattern("https://[^ ]+")), "x https://b.example").told.url == "https://b.example"
    )


@pytest.mark.parametrize(("status", "edge"), [(200, True), (204, True), (302, False), (404, False), (503, False)])
def test_a_page_is_good_when_it_answers_with_success(status: int, edge: bool) -> None:
    """Whatever its body says."""
    assert read_page(status, b"OK").edge is edge
