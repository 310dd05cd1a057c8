"""frp as it was read: its configuration, its pages and its lines."""

from __future__ import annotations

import base64
import json

import pytest

from tests.tunnels.providers.specs import FOLDER, NONCE, PLACE, files_of, spec
from tunnels.providers.base import NOTHING, PageProbe, Told, ending
from tunnels.providers.catalogue import check, plan
from tunnels.providers.frp import identity, read_line, read_status

TOKEN = "frp-t0ken-frp"
SPEC = spec("frp", TOKEN, hostname="shop.example.com", server="frps.example.com")
LAUNCH = plan(SPEC, PLACE)


def test_the_token_is_in_a_file_and_nowhere_else() -> None:
    """As is the password of its own pages, which would show the token."""
    assert LAUNCH.argv == ("/usr/bin/frpc", "-c", f"{FOLDER}/frpc.json")
    written = json.loads(files_of(LAUNCH)["frpc.json"])
    assert written["auth"] == {"method": "token", "token": TOKEN}
    assert written["webServer"] == {"addr": "127.0.0.1", "port": 20241, "user": "zexio", "password": NONCE}
    assert set(LAUNCH.secrets) == {TOKEN, NONCE}
    assert not any(TOKEN in word for word in (*LAUNCH.argv, *LAUNCH.env.values()))


def test_one_proxy_leads_to_the_local_port() -> None:
    """Found by its host at the frps."""
    written = json.loads(files_of(LAUNCH)["frpc.json"])
    assert (written["serverAddr"], written["serverPort"], written["loginFailExit"]) == ("frps.example.com", 7000, True)
    assert written["proxies"] == [
        {
            "name": "zexio-office",
            "type": "http",
            "localIP": "127.0.0.1",
            "localPort": 8080,
            "customDomains": ["shop.example.com"],
        }
    ]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"type": "tcp", "remote_port": "8000"}, {"remotePort": 8000}),
        ({"subdomain": "shop"}, {"subdomain": "shop"}),
        ({"proxy_name": "shop_1"}, {"name": "shop_1"}),
        ({"type": "https"}, {"type": "https", "customDomains": ["shop.example.com"]}),
    ],
    ids=["tcp", "subdomain", "name", "https"],
)
def test_a_proxy_is_of_a_type(options: dict[str, str], part: dict[str, object]) -> None:
    """Each with what tells it apart."""
    wanted = spec("frp", TOKEN, hostname="shop.example.com", server="a.example", **options)
    assert check(wanted) == ()
    launch = plan(wanted, PLACE)
    (proxy,) = json.loads(files_of(launch)["frpc.json"])["proxies"]
    assert part.items() <= proxy.items()


def test_the_configuration_is_no_template() -> None:
    """The program would carry out what stands in two braces."""
    token = "{{ .Envs.HOME }}{{{".replace(" ", "")
    raw = files_of(plan(spec("frp", token, hostname="a.example", server="a.example"), PLACE))["frpc.json"]
    assert "{{" not in raw
    assert json.loads(raw)["auth"]["token"] == token


@pytest.mark.parametrize(
    ("token", "hostname", "options", "field"),
    [
        ("short", "a.example", {"server": "a.example"}, "token"),
        ("with a space", "a.example", {"server": "a.example"}, "token"),
        (TOKEN, "a.example", {}, "options.server"),
        (TOKEN, "a.example", {"server": "a b"}, "options.server"),
        (TOKEN, None, {"server": "a.example"}, "hostname"),
        (TOKEN, None, {"server": "a.example", "type": "tcp"}, "options.remote_port"),
        (TOKEN, "a.example", {"server": "a.example", "type": "udp"}, "options.type"),
        (TOKEN, "a.example", {"server": "a.example", "subdomain": "a.b"}, "options.subdomain"),
        (TOKEN, "a.example", {"server": "a.example", "proxy_name": "a.b"}, "options.proxy_name"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_started(
    token: str, hostname: str | None, options: dict[str, str], field: str
) -> None:
    """By its field."""
    assert [problem.field for problem in check(spec("frp", token, hostname=hostname, **options))] == [field]


def test_a_server_without_a_token_is_one() -> None:
    """A server need not ask for one."""
    wanted = spec("frp", hostname="a.example", server="a.example")
    assert check(wanted) == ()
    launch = plan(wanted, PLACE)
    assert json.loads(files_of(launch)["frpc.json"])["auth"] == {}
    assert launch.secrets == (NONCE,)


def test_its_page_is_asked_with_its_password() -> None:
    """It is made anew for each spawn."""
    (probe,) = LAUNCH.edge
    assert isinstance(probe, PageProbe)
    assert probe.url == "http://127.0.0.1:20241/api/status"
    assert base64.b64decode(probe.headers["Authorization"].removeprefix("Basic ")).decode() == f"zexio:{NONCE}"


def status(state: str, err: str = "", name: str = "zexio-office") -> bytes:
    """The page with one proxy."""
    return json.dumps({"http": [{"name": name, "type": "http", "status": state, "err": err}], "tcp": []}).encode()


@pytest.mark.parametrize(
    ("code", "body", "edge"),
    [
        (200, status("running"), True),
        (200, status("running", name="user.zexio-office"), True),
        (200, status("running", name="other"), False),
        (200, status("start error", "port already used"), False),
        (200, status("wait start"), False),
        (200, b"{}", False),
        (200, b"", False),
        (401, status("running"), False),
    ],
)
def test_connected_is_a_proxy_that_runs(code: int, body: bytes, edge: bool) -> None:
    """Ours, and no other."""
    assert read_status("zexio-office", code, body).edge is edge


def test_a_proxy_that_cannot_be_says_why() -> None:
    """A port that is taken may be free again; one that is not allowed never will be."""
    assert read_status("zexio-office", 200, status("start error", "port already used")).reason == "port already used"
    assert read_status("zexio-office", 200, status("start error", "port not allowed")).permanent is not None


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        (
            "2026-11-21 17:00:00.123 [I] [client/service.go:295] [0123456789abcdef] login to server success",
            "info",
            "login to server success",
        ),
        ("\x1b[1;33m2026/11/21 17:00:00 [W] [service.go:128] connect error\x1b[0m", "warning", "connect error"),
        ("flag provided but not defined", "info", "flag provided but not defined"),
    ],
)
def test_a_line_has_a_level_and_a_text(text: str, level: str, said: str) -> None:
    """In colours or not."""
    line = read_line(text)
    assert (line.level, line.text) == (level, said)


def test_a_refused_token_is_permanent() -> None:
    """The first login ends it, with the reason in its last line."""
    said = (
        "login to the server failed: token in login doesn't match token from configuration. "
        "With loginFailExit enabled, no additional retries will be attempted"
    )
    assert ending(LAUNCH, 1, read_line(said).told).is_permanent
    said = "login to the server failed: dial tcp 192.0.2.1:7000: connect: connection refused. With loginFailExit"
    assert read_line(said).told == Told(reason=said)
    assert not ending(LAUNCH, 1, read_line(said).told).is_permanent
    assert read_line("2026-11-21 17:00:00.123 [I] [a.go:1] start proxy success").told == NOTHING


def test_the_proxy_of_the_server_is_what_must_not_be_connected_twice() -> None:
    """It gives a name only once."""
    assert identity(SPEC) == LAUNCH.identity == "frp:frps.example.com:7000/zexio-office"


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "http://shop.example.com"),
        ({"type": "https"}, "https://shop.example.com"),
        ({"url": "https://x.example"}, "https://x.example"),
    ],
)
def test_what_visitors_use_follows_from_the_type(options: dict[str, str], url: str) -> None:
    """Unless the operator says it."""
    launch = plan(spec("frp", TOKEN, hostname="shop.example.com", server="a.example", **options), PLACE)
    assert launch.url == url
