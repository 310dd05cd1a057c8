"""What all providers share: checks of specs, the meaning of ends, and an environment from zero."""

from __future__ import annotations

import os
import signal

import pytest

from tests.tunnels.providers.specs import PLACE, cloudflare_token, spec
from tunnels.providers import cloudflare
from tunnels.providers.base import (
    Ending,
    File,
    Launch,
    Line,
    Told,
    bare,
    check_line,
    check_port,
    check_url,
    ending,
    environment,
    program,
    public_url,
    signal_name,
    split_server,
)

LAUNCH = Launch(
    argv=("/usr/bin/x",),
    env={},
    secrets=("s3cret",),
    read_line=lambda text: Line(text=text),
    exits={255: Ending(reason="refused", is_permanent=True), 1: Ending(reason="general")},
    identity="x:1",
)


@pytest.mark.parametrize(
    ("status", "told", "expected"),
    [
        (255, Told(), Ending(reason="refused", is_permanent=True)),
        (255, Told(reason="noise"), Ending(reason="refused", is_permanent=True)),
        (1, Told(), Ending(reason="general")),
        (1, Told(reason="no DNS"), Ending(reason="no DNS")),
        (1, Told(permanent="bad key", reason="x"), Ending(reason="bad key", is_permanent=True)),
        (7, Told(), Ending(reason="ended with status 7")),
        (0, Told(), Ending(reason="ended by itself")),
        (-signal.SIGPIPE, Told(), Ending(reason="was ended by SIGPIPE")),
        (-signal.SIGKILL, Told(reason="noise"), Ending(reason="was ended by SIGKILL")),
    ],
)
def test_an_end_means_what_was_said_and_then_what_its_status_says(status: int, told: Told, expected: Ending) -> None:
    """A status that is known for good counts more than noise."""
    assert ending(LAUNCH, status, told) == expected


def test_a_signal_has_a_name() -> None:
    """Or a number."""
    assert (signal_name(15), signal_name(99)) == ("SIGTERM", "signal 99")


def test_an_environment_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names as common as PORT have another meaning for the programs of others."""
    for name in ("PORT", "DNS", "DOCKER_SOCKET", "CONFIG_FILE", "TUNNEL_TOKEN", "TUNNEL_URL", "NEWT_ID", "LD_PRELOAD"):
        monkeypatch.setitem(os.environ, name, "hostile")
    env = environment(PLACE, A="b")
    assert set(env) == {"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "A"}
    assert env["HOME"] == env["TMPDIR"] == PLACE.folder
    assert "hostile" not in env.values()


def test_the_first_program_that_is_there_is_taken() -> None:
    """By its absolute path."""
    assert program(("newt", "pangolin"), PLACE) == "/usr/bin/newt"
    with pytest.raises(LookupError):
        program(("pangolin",), PLACE)


def test_what_holds_secrets_does_not_show_them() -> None:
    """In no log and no traceback."""
    assert "s3cret" not in f"{LAUNCH!r}{File(name='key', content=b's3cret')!r}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com", ("example.com", 22)),
        ("Example.COM:2222", ("example.com", 2222)),
        ("192.0.2.1:22", ("192.0.2.1", 22)),
        ("[2001:DB8::1]:22", ("[2001:db8::1]", 22)),
        ("[::1]", ("[::1]", 22)),
    ],
)
def test_a_server_is_a_host_and_a_port(text: str, expected: tuple[str, int]) -> None:
    """In one spelling."""
    assert split_server(text, 22) == expected


@pytest.mark.parametrize(
    "text", ["", "a b", "a:0", "a:65536", "a:b", "-oProxyCommand=x", "::1", "a/b", "user@host", "a:22:33"]
)
def test_what_is_no_server_is_refused(text: str) -> None:
    """Above all what a program would take for an option."""
    with pytest.raises(ValueError, match=r"\S"):
        split_server(text, 22)


def test_a_line_is_printable() -> None:
    """What is written to a file of another program's."""
    assert check_line("a b") == "a b"
    for value in ("", "a\nb", "ä"):
        with pytest.raises(ValueError, match="printable"):
            check_line(value)


def test_brackets_are_for_urls() -> None:
    """Programs take addresses without."""
    assert (bare("[::1]"), bare("a.example")) == ("::1", "a.example")


@pytest.mark.parametrize("value", ["0", "65536", "-1", "a", "01", "1 "])
def test_a_port_is_a_number(value: str) -> None:
    """Within its range."""
    with pytest.raises(ValueError, match="port"):
        check_port(value)


@pytest.mark.parametrize("value", ["example.com", "ftp://a", "https://", "https://a b", "javascript:x"])
def test_a_url_is_one_for_visitors(value: str) -> None:
    """With a scheme that they use."""
    with pytest.raises(ValueError, match="URL"):
        check_url(value)
    assert check_url("https://a.example/x") == "https://a.example/x"


def test_what_visitors_use_is_the_url_or_the_hostname() -> None:
    """Or is not known."""
    assert public_url(spec("ssh", url="http://a.example:8000/")) == "http://a.example:8000"
    assert public_url(spec("ssh", hostname="a.example")) == "https://a.example"
    assert public_url(spec("ssh")) is None


def test_every_problem_is_told_at_once() -> None:
    """The token and each option, by its path."""
    wanted = spec("cloudflare", "", protocol="carrier-pigeon", unknown="x", region="")
    assert [(problem.field, problem.reason[:9]) for problem in cloudflare.PROVIDER.problems(wanted)] == [
        ("token", "is missin"),
        ("options.protocol", "must be o"),
        ("options.unknown", "is no opt"),
    ]
    assert cloudflare.PROVIDER.problems(spec("cloudflare", cloudflare_token())) == ()
