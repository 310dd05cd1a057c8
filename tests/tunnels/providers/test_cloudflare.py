"""cloudflared 2026.8.2 as it was measured: tokens, arguments, pages, lines and ends."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.tunnels.providers.specs import (
    CLOUDFLARE_SECRET,
    FOLDER,
    PLACE,
    TUNNEL_ID,
    cloudflare_token,
    files_of,
    spec,
)
from tunnels.providers.base import NOTHING, Ending, PageProbe, Told, ending
from tunnels.providers.catalogue import check, plan
from tunnels.providers.cloudflare import (
    credentials,
    identity,
    read_config,
    read_latency,
    read_line,
    read_ready,
)

TOKEN = cloudflare_token()
LAUNCH = plan(spec("cloudflare", TOKEN, hostname="shop.example.com", protocol="http2"), PLACE)


def config(*rules: dict[str, Any], version: int = 3) -> bytes:
    """The page of the rules that are in force."""
    return json.dumps({"version": version, "config": {"ingress": rules, "warp-routing": {}}}).encode()


def test_a_token_shows_the_tunnel_and_keeps_its_secret() -> None:
    """It is base64 of JSON."""
    held = credentials(TOKEN)
    assert (held.tunnel, held.secret) == (TUNNEL_ID, CLOUDFLARE_SECRET)
    assert CLOUDFLARE_SECRET not in repr(held)


@pytest.mark.parametrize(
    "text",
    [
        f"sudo cloudflared service install {TOKEN}",
        f"cloudflared tunnel run --token {TOKEN}",
        f"cloudflared tunnel run --token={TOKEN}",
        f"  {TOKEN}\n",
    ],
)
def test_the_copied_command_is_a_token(text: str) -> None:
    """It is what the dashboard offers to be copied."""
    wanted = spec("cloudflare", text)
    assert check(wanted) == ()
    assert files_of(plan(wanted, PLACE))["token"] == TOKEN


@pytest.mark.parametrize(
    "token",
    [
        "hunter2hunter2",
        TOKEN[:40],
        TOKEN[:-9],
        TOKEN + "---",
        TOKEN.replace("e", "_", 1),
        base64.b64encode(b"[]").decode(),
        base64.b64encode(json.dumps({"a": "", "t": TUNNEL_ID, "s": ""}).encode()).decode(),
        base64.b64encode(b"\xff\xfe").decode(),
        cloudflare_token(t="not-an-id"),
        cloudflare_token(s="***"),
        cloudflare_token(a=""),
        cloudflare_token(s=""),
        " ",
        "eyJhIjoiö",
    ],
)
def test_a_wrong_token_is_told_before_anything_is_started(token: str) -> None:
    """The program would end with 255, a connection later; no reason shows the token."""
    (problem,) = check(spec("cloudflare", token))
    assert problem.field == "token"
    assert "of Cloudflare's" in problem.reason
    assert token.strip() == "" or token not in problem.reason


def test_the_token_is_in_a_file_and_nowhere_else() -> None:
    """Every user of the machine can read arguments."""
    assert files_of(LAUNCH)["token"] == TOKEN
    assert not any(TOKEN in word or CLOUDFLARE_SECRET in word for word in (*LAUNCH.argv, *LAUNCH.env.values()))
    assert LAUNCH.env["TUNNEL_TOKEN_FILE"] == f"{FOLDER}/token"
    # A token in the environment would win over the file.
    assert "TUNNEL_TOKEN" not in LAUNCH.env
    assert set(LAUNCH.secrets) == {TOKEN, CLOUDFLARE_SECRET}


def test_what_belongs_to_the_tunnel_stands_before_run() -> None:
    """Behind it, it is not understood."""
    assert LAUNCH.argv == (
        *("/usr/bin/cloudflared", "tunnel", "--config", f"{FOLDER}/config.yml", "--no-autoupdate"),
        *("--metrics", "127.0.0.1:20241", "--output", "json", "--loglevel", "info", "--grace-period", "10s"),
        *("--protocol=http2", "--url", "http://127.0.0.1:8080", "run"),
    )
    assert LAUNCH.grace_s == 10


def test_no_configuration_of_somebody_else_is_read() -> None:
    """Such as the one in /etc/cloudflared."""
    assert files_of(LAUNCH)["config.yml"] == "no-autoupdate: true\n"
    assert LAUNCH.env["HOME"] == FOLDER


def test_the_tunnel_s_id_is_what_must_not_be_connected_twice() -> None:
    """Whatever the two specs are called."""
    assert identity(spec("cloudflare", TOKEN)) == LAUNCH.identity == f"cloudflare:{TUNNEL_ID}"


def test_ready_is_what_counts() -> None:
    """The metric of connections says 1 while there is none."""
    (probe,) = LAUNCH.edge
    assert isinstance(probe, PageProbe)
    assert probe.url == "http://127.0.0.1:20241/ready"
    assert read_ready(200, b'{"status":200,"readyConnections":4,"connectorId":"x"}') == Told(edge=True)
    assert read_ready(503, b'{"status":503,"readyConnections":0,"connectorId":"x"}').edge is False
    assert read_latency(200, b"cloudflared_tunnel_ha_connections 1\n") == NOTHING


def test_the_latency_is_that_of_the_shortest_way() -> None:
    """With QUIC."""
    page = b'quic_client_smoothed_rtt{conn_index="0"} 31\nquic_client_smoothed_rtt{conn_index="1"} 12\n'
    assert read_latency(200, page).latency_ms == 12
    assert read_latency(404, page) == NOTHING


@pytest.mark.parametrize(
    ("rules", "routing"),
    [
        ([{"hostname": "shop.example.com", "service": "http://localhost:8080"}], "yes"),
        ([{"hostname": "shop.example.com", "service": "http://127.0.0.1:8080"}], "yes"),
        ([{"hostname": "shop.example.com", "service": "https://[::1]:8080"}], "yes"),
        ([{"hostname": "shop.example.com", "service": "http://0.0.0.0:8080"}], "yes"),
        ([{"hostname": "*.example.com", "service": "http://localhost:8080"}], "yes"),
        ([{"hostname": "", "service": "http://localhost:8080"}], "yes"),
        ([{"hostname": "shop.example.com", "service": "http://localhost:3000"}], "no"),
        ([{"hostname": "shop.example.com", "service": "http://localhost"}], "no"),
        ([{"hostname": "shop.example.com", "service": "unix:/run/app.sock"}], "no"),
        ([{"hostname": "other.example.com", "service": "http://localhost:8080"}], "no"),
        ([{"hostname": "shop.example.com", "service": "http://localhost:99999"}], "unknown"),
        ([{"hostname": "shop.example.com", "service": "http://192.0.2.7:8080"}], "unknown"),
        ([{"hostname": "shop.example.com", "service": "http://app:8080"}], "unknown"),
        (
            [
                {"hostname": "shop.example.com", "service": "http://localhost:3000"},
                {"hostname": "*.example.com", "service": "http://localhost:8080"},
            ],
            "no",
        ),
    ],
)
def test_where_requests_go_is_read_and_held_against_the_local_port(rules: list[dict[str, Any]], routing: str) -> None:
    """The first rule that covers the hostname counts; the local port decides nothing."""
    told = read_config(8080, "shop.example.com", 200, config(*rules, {"service": "http_status:404"}))
    assert told.routing == routing
    assert bool(told.routing_detail) == (routing != "yes")


def test_a_hostname_without_a_rule_is_a_mismatch() -> None:
    """Where there is no rule for everything else."""
    rule = {"hostname": "other.example.com", "service": "http://localhost:8080"}
    told = read_config(8080, "shop.example.com", 200, config(rule))
    assert (told.routing, told.routing_detail) == ("no", "Cloudflare has no rule for shop.example.com in this tunnel")


def test_a_mismatch_says_where_requests_go_instead() -> None:
    """And to which port they should."""
    told = read_config(8080, "a.example", 200, config({"hostname": "a.example", "service": "http://localhost:3000"}))
    assert told.routing_detail == "Cloudflare sends a.example to http://localhost:3000, not to port 8080"


def test_without_a_hostname_any_rule_to_the_port_will_do_and_names_it() -> None:
    """It is how the public URL is learnt."""
    rules = ({"hostname": "a.example", "service": "http://localhost:8080"}, {"service": "http_status:404"})
    assert read_config(8080, None, 200, config(*rules)) == Told(routing="yes", url="https://a.example")
    assert read_config(9999, None, 200, config(*rules)).routing == "no"
    assert read_config(8080, None, 200, config({"hostname": "", "service": "http://app:8080"})).routing == "unknown"
    assert read_config(8080, None, 200, config({"service": "http://127.0.0.1:8080"}, version=-1)).routing == "yes"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"config":{"ingress":null}}', b"\xff", b'{"version":-1}'])
def test_a_page_that_says_nothing_tells_nothing(body: bytes) -> None:
    """Unknown is not wrong."""
    assert read_config(8080, None, 200, body) == NOTHING
    assert read_config(8080, None, 500, config({"service": "http://localhost:8080"})) == NOTHING


def test_a_line_of_json_is_read() -> None:
    """Without its time, with what helps."""
    line = read_line(
        '{"level":"info","event":0,"connIndex":2,"ip":"198.41.200.1","location":"fra01","protocol":"quic",'
        '"time":"2026-08-20T10:00:00Z","message":"Registered tunnel connection"}'
    )
    assert line.text == "Registered tunnel connection (connIndex=2 location=fra01 protocol=quic ip=198.41.200.1)"
    assert (line.level, line.told) == ("info", NOTHING)


def test_an_error_says_why() -> None:
    """As long as nothing better is known."""
    line = read_line('{"level":"error","error":"dial tcp: lookup x: no such host","message":"Failed to dial"}')
    assert (line.level, line.told.reason) == ("error", "Failed to dial: dial tcp: lookup x: no such host")


@pytest.mark.parametrize(
    "text",
    [
        "Provided Tunnel token is not valid.",
        '{"level":"error","error":"Unauthorized: Invalid tunnel secret","message":"Register tunnel error"}',
        '{"level":"error","error":"Unauthorized: Tunnel not found","message":"Register tunnel error"}',
        '"cloudflared tunnel run" requires the ID or name of the tunnel to run as the last command line argument',
    ],
)
def test_what_no_new_start_can_help_is_told(text: str) -> None:
    """By whoever notices: the program or Cloudflare."""
    assert read_line(text).told.permanent is not None


@pytest.mark.parametrize("text", ["", "See 'cloudflared tunnel run --help'.", "[]", "3", "{", "\ud800"])
def test_any_other_line_is_only_a_line(text: str) -> None:
    """Non-JSON lines occur when it ends early."""
    assert read_line(text).told == NOTHING


def test_an_end_with_255_is_the_token() -> None:
    """And 1 is not: the port for its pages was taken, or there is no DNS."""
    assert ending(LAUNCH, 255).is_permanent
    busy = read_line("listen tcp 127.0.0.1:20241: bind: address already in use").told
    assert ending(LAUNCH, 1, busy) == Ending(reason="the port for its own pages was taken in the meantime")
    assert not ending(LAUNCH, 1).is_permanent
    assert not ending(LAUNCH, 0).is_permanent
