"""A tunnel without an account: the name is learnt from the program, and told before there is a connection."""

from __future__ import annotations

import pytest

from tests.tunnels.providers.specs import PLACE, files_of, spec
from tunnels.providers.base import NOTHING, PageProbe, Told
from tunnels.providers.catalogue import check, plan
from tunnels.providers.cloudflare_quick import read_line, read_name

LAUNCH = plan(spec("cloudflare-quick"), PLACE)


def test_there_is_no_token() -> None:
    """One that is given would be ignored, which nobody expects."""
    assert check(spec("cloudflare-quick")) == ()
    assert [problem.field for problem in check(spec("cloudflare-quick", "t"))] == ["token"]
    assert "token" not in files_of(LAUNCH)
    assert LAUNCH.secrets == ()


def test_it_is_told_where_to_send_requests() -> None:
    """And nothing runs that has a name already."""
    assert LAUNCH.argv[-2:] == ("--url", "http://127.0.0.1:8080")
    assert "run" not in LAUNCH.argv
    assert "TUNNEL_TOKEN_FILE" not in LAUNCH.env


def test_the_name_is_there_before_the_connection() -> None:
    """So it is asked for beside the page that decides, and visited before it is shown."""
    assert [probe.url for probe in LAUNCH.edge if isinstance(probe, PageProbe)] == ["http://127.0.0.1:20241/ready"]
    assert LAUNCH.pages[0].url == "http://127.0.0.1:20241/quicktunnel"
    assert LAUNCH.visit_s > 0
    assert LAUNCH.url is None


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, b'{"hostname":"a-b-c.trycloudflare.com"}', Told(url="https://a-b-c.trycloudflare.com", routing="yes")),
        (200, b'{"hostname":""}', NOTHING),
        (200, b'{"hostname":"a b"}', NOTHING),
        (200, b'{"hostname":"evil.example/x"}', NOTHING),
        (200, b"{}", NOTHING),
        (200, b"nothing", NOTHING),
        (404, b'{"hostname":"a.trycloudflare.com"}', NOTHING),
    ],
)
def test_the_name_is_read_from_its_page(status: int, body: bytes, told: Told) -> None:
    """If it is one."""
    assert read_name(status, body) == told


def test_the_name_is_read_from_its_box() -> None:
    """And not taken for that of the service which makes names up."""
    line = read_line('{"level":"info","message":"|  https://a-b-c.trycloudflare.com                      |"}')
    assert line.told.url == "https://a-b-c.trycloudflare.com"
    assert read_line('{"level":"info","message":"POST https://api.trycloudflare.com/tunnel"}').told.url is None


def test_every_start_is_another_tunnel() -> None:
    """Two of them are no duplicates."""
    assert LAUNCH.identity == "cloudflare-quick:office"
