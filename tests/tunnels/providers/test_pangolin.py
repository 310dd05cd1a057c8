"""newt 1.15.0 as it was read: tokens in their forms, variables, its pages, its lines."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest

from tests.tunnels.providers.specs import FOLDER, PLACE, spec
from tunnels.providers.base import NOTHING, FileProbe, Told, ending
from tunnels.providers.catalogue import check, plan
from tunnels.providers.pangolin import Site, identity, read_line, read_metrics, site

SECRET = "s3cr3ts3cr3ts3cr3t"
TOKEN = f"https://site1:{SECRET}@pangolin.example.com"
SITE = Site(endpoint="https://pangolin.example.com", id="site1", secret=SECRET)
LAUNCH = plan(spec("pangolin", TOKEN), PLACE)


def packed(**parts: str) -> str:
    """A token in base64."""
    return base64.b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        TOKEN,
        f" {TOKEN}/\n",
        f"https://site1:{SECRET}@Pangolin.Example.com:443",
        packed(endpoint="https://pangolin.example.com", id="site1", secret=SECRET),
        packed(endpoint="https://pangolin.example.com", id="site1", secret=SECRET).rstrip("="),
        f"newt --id site1 --secret {SECRET} --endpoint https://pangolin.example.com",
        f"newt --id=site1 --secret='{SECRET}' --endpoint=https://pangolin.example.com/",
        f"pangolin up site --id site1 \\\n  --secret {SECRET} \\\n  --endpoint https://pangolin.example.com",
    ],
)
def test_a_token_has_three_forms(token: str) -> None:
    """All of which are one text."""
    assert site(token) == SITE


@pytest.mark.parametrize(
    "token",
    [
        "hunter2hunter2",
        "https://pangolin.example.com",
        f"https://site1:{SECRET}@",
        f"ftp://site1:{SECRET}@host",
        f"{TOKEN}/path",
        f"{TOKEN}?x=1",
        "https://site1:short@host",
        f"https://site1:{SECRET}@ho st",
        "newt --id site1 --endpoint https://host",
        f"newt --id site1 --secret {SECRET}",
        f"newt --id 'site1 --secret {SECRET} --endpoint https://host",
        packed(endpoint="https://host", id="site1"),
        base64.b64encode(b"[]").decode(),
        "ö",
    ],
)
def test_a_wrong_token_is_told_before_anything_is_started(token: str) -> None:
    """The program would try it for ever; no reason shows the secret."""
    (problem,) = check(spec("pangolin", token))
    assert problem.field == "token"
    assert SECRET not in problem.reason
    assert "hunter2" not in problem.reason


def test_a_secret_may_have_any_sign() -> None:
    """Quoted as URLs quote."""
    assert site("https://site1:p%40ss%3Aw%2Frd1@host").secret == "p@ss:w/rd1"


def test_a_site_does_not_show_its_secret() -> None:
    """Its server and its id it does."""
    assert repr(SITE) == "Site('https://pangolin.example.com', 'site1')"
    assert identity(spec("pangolin", TOKEN)) == LAUNCH.identity == "pangolin:site1@https://pangolin.example.com"


def test_the_secret_is_in_the_environment_and_nowhere_else() -> None:
    """Which only the same user can read; under both names."""
    assert LAUNCH.argv == ("/usr/bin/newt",)
    assert {name for name, value in LAUNCH.env.items() if SECRET in value} == {"NEWT_SECRET", "SITE_SECRET"}
    assert LAUNCH.env["PANGOLIN_ENDPOINT"] == SITE.endpoint
    assert LAUNCH.env["NEWT_ID"] == LAUNCH.env["SITE_ID"] == "site1"
    assert LAUNCH.secrets == (SECRET,)


def test_the_traps_of_its_environment_are_closed() -> None:
    """No update of its own program, no SSH, no file that others read, no port that every one takes."""
    assert LAUNCH.env["NEWT_SYSTEM_SUBSTRATE"] == "CONTAINER"
    assert LAUNCH.env["DISABLE_SSH"] == LAUNCH.env["DISABLE_CLIENTS"] == "true"
    assert LAUNCH.env["CONFIG_FILE"] == f"{FOLDER}/config.json"
    assert LAUNCH.env["NEWT_ADMIN_ADDR"] == "127.0.0.1:20241"
    assert LAUNCH.env["LOG_LEVEL"] == "INFO"
    assert not {"PORT", "DNS", "MTU", "INTERFACE", "DOCKER_SOCKET", "BLUEPRINT_FILE"} & set(LAUNCH.env)


def test_options_are_variables() -> None:
    """Those that are known."""
    wanted = spec("pangolin", TOKEN, mtu="1280", skip_tls_verify="true", disable_clients="false")
    assert check(wanted) == ()
    launch = plan(wanted, PLACE)
    assert (launch.env["MTU"], launch.env["SKIP_TLS_VERIFY"], launch.env["DISABLE_CLIENTS"]) == (
        "1280",
        "true",
        "false",
    )
    wanted = spec("pangolin", TOKEN, mtu="99", skip_tls_verify="maybe")
    assert [problem.field for problem in check(wanted)] == ["options.mtu", "options.skip_tls_verify"]


def test_the_pangolin_command_will_do() -> None:
    """Where there is no newt."""
    place = msgspec.structs.replace(PLACE, programs={"pangolin": "/opt/pangolin"})
    assert plan(spec("pangolin", TOKEN), place).argv == ("/opt/pangolin", "up", "site")


def test_connected_is_what_its_health_file_says() -> None:
    """It is there after the first ping, and gone when pings fail."""
    assert LAUNCH.edge == (FileProbe(path=f"{FOLDER}/healthy"),)
    assert LAUNCH.env["HEALTH_FILE"] == f"{FOLDER}/healthy"


REFUSED = b'newt_connection_errors_total{error_type="auth_failed",transport="auth"} 1\n'
OFF = b'newt_websocket_connected{site_id="a"} 0\nnewt_site_online{site_id="a"} 0\n'
ON = b'newt_websocket_connected{site_id="a"} 1\nnewt_site_online{site_id="a"} 1\n'


def test_refused_credentials_are_permanent() -> None:
    """It never ends because of them."""
    told = read_metrics(200, REFUSED + OFF)
    assert told.edge is False
    assert told.permanent is not None
    assert read_metrics(200, REFUSED + ON).permanent is None
    assert read_metrics(200, b'newt_connection_errors_total{error_type="dial_timeout"} 9\n' + OFF).permanent is None


def test_a_site_that_is_off_is_a_veto() -> None:
    """The file has been seen to stay."""
    assert read_metrics(200, OFF).edge is False
    assert read_metrics(200, ON).edge is None
    assert read_metrics(200, b"newt_websocket_connected 0\nnewt_site_online 1\n").edge is None


def test_the_latency_is_the_mean_of_its_pings() -> None:
    """In milliseconds."""
    page = ON + b"newt_tunnel_latency_seconds_sum 0.5\nnewt_tunnel_latency_seconds_count 10\n"
    assert read_metrics(200, page).latency_ms == 50


def test_where_requests_go_is_not_known() -> None:
    """The targets are kept at the server, and it does not say."""
    assert read_metrics(200, ON).routing == "unknown"
    assert read_metrics(404, ON) == NOTHING


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        ("INFO: 2026/07/18 10:00:00 Websocket connected", "info", "Websocket connected"),
        ("WARN: 2026/07/18 10:00:00 Ping attempt 2 failed", "warning", "Ping attempt 2 failed"),
        ("DEBUG: 2026/07/18 10:00:00 x", "debug", "x"),
        ("FATAL: 2026/07/18 10:00:00 x", "error", "x"),
        ("INFO: x", "info", "x"),
        ("panic: runtime error", "info", "panic: runtime error"),
    ],
)
def test_a_line_has_a_level_and_a_text(text: str, level: str, said: str) -> None:
    """On stdout, and no JSON."""
    line = read_line(text)
    assert (line.level, line.text) == (level, said)


def test_a_line_may_say_that_the_credentials_are_refused() -> None:
    """From the third try on, at this level."""
    said = "ERROR: 2026/07/18 10:00:00 Failed to connect: failed to get token: failed with status code: 401, body: x"
    assert read_line(said).told.permanent is not None
    said = "ERROR: 2026/07/18 10:00:00 Failed to connect: failed to get token: dial tcp: no such host. Retrying in 3s"
    assert read_line(said).told == Told(reason=said[27:])


def test_an_end_is_not_for_good() -> None:
    """It ends with 1 when its configuration is wrong, and with 0 when it is asked to."""
    assert not ending(LAUNCH, 1).is_permanent
    assert not ending(LAUNCH, 0).is_permanent
