"""OpenSSH 9.2 as it was measured: keys, arguments, and what its lines mean when its status is always 255."""

from __future__ import annotations

import subprocess

import msgspec
import pytest

from tests.tunnels.providers.specs import FOLDER, PLACE, files_of, key_with_passphrase, private_key, public_key, spec
from tunnels.providers.base import NOTHING, LogProbe, ending
from tunnels.providers.catalogue import check, plan
from tunnels.providers.ssh import host_keys, identity, key_file, read_line, split_destination

KEY = private_key()
HOST_KEY = public_key()
OPTIONS = {"server": "tunnel@vps.example.com:2222", "host_key": HOST_KEY, "remote_port": "8000"}
SPEC = spec("ssh", KEY, hostname="shop.example.com", **OPTIONS)
LAUNCH = plan(SPEC, PLACE)


def test_a_spec_has_a_key_a_server_a_host_key_and_a_port() -> None:
    """Nobody is there to say yes to an unknown server."""
    assert check(SPEC) == ()
    fields = [problem.field for problem in check(spec("ssh"))]
    assert fields == ["token", "options.server", "options.host_key", "options.remote_port"]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (key_with_passphrase(), "passphrase"),
        ("hunter2", "no private key"),
        (KEY[:120], "no private key"),
        (HOST_KEY, "no private key"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n",
            "passphrase",
        ),
    ],
    ids=["passphrase", "no key", "half a key", "public", "old passphrase"],
)
def test_a_wrong_key_is_told_before_anything_is_started(token: str, reason: str) -> None:
    """No reason shows anything of it."""
    (problem,) = check(spec("ssh", token, **OPTIONS))
    assert problem.field == "token"
    assert reason in problem.reason
    assert "hunter2" not in problem.reason


def test_a_key_is_written_as_ssh_wants_it() -> None:
    """It reads none whose last line has no end, or whose lines end as on Windows."""
    mangled = "\r\n".join(KEY.strip().splitlines())
    assert check(spec("ssh", mangled, **OPTIONS)) == ()
    assert key_file(mangled).decode() == KEY == files_of(LAUNCH)["key"]


@pytest.mark.parametrize(
    "text",
    [
        HOST_KEY,
        f"vps.example.com {HOST_KEY} comment",
        f"# vps\n[vps.example.com]:2222 {HOST_KEY}\n\n",
        f"|1|a|b {HOST_KEY}",
    ],
    ids=["pub", "known hosts", "with a port", "hashed"],
)
def test_a_host_key_has_the_forms_in_which_it_is_shown(text: str) -> None:
    """By ssh-keyscan and in the server's own file."""
    assert host_keys(text) == [HOST_KEY]


def test_a_server_may_have_several_host_keys() -> None:
    """Of different types."""
    other = public_key()
    assert host_keys(f"{HOST_KEY}\n{other}\n") == [HOST_KEY, other]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-dss AAAAB3NzaC1kc3MAAACB",
        HOST_KEY[:60],
        HOST_KEY[:59],
        "ssh-rsa " + HOST_KEY.split()[1],
    ],
    ids=["nothing", "only a type", "short", "unknown", "half", "odd", "another type"],
)
def test_a_host_key_that_is_none_is_told(text: str) -> None:
    """And not taken for a server that nobody knows."""
    with pytest.raises(ValueError, match=r"host key|empty"):
        host_keys(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("me@vps.example.com", ("me", "vps.example.com", 22)),
        ("ssh://me@vps.example.com:2222/", ("me", "vps.example.com", 2222)),
        ("me@[2001:db8::1]:22", ("me", "[2001:db8::1]", 22)),
        ("me@corp@vps.example.com", ("me@corp", "vps.example.com", 22)),
    ],
)
def test_a_server_is_written_as_for_ssh(text: str, expected: tuple[str, str, int]) -> None:
    """With the user."""
    assert split_destination(text) == expected


@pytest.mark.parametrize(
    "text", ["vps.example.com", "-oProxyCommand=x@host", "me@-oProxyCommand=x", "me@", "m e@host", "me@a/b"]
)
def test_a_server_that_is_none_is_told(text: str) -> None:
    """Above all what ssh would take for an option."""
    with pytest.raises(ValueError, match=r"must|label|empty"):
        split_destination(text)


def test_the_key_is_in_a_file_and_nowhere_else() -> None:
    """Arguments and environment show only where it is."""
    assert not any("PRIVATE KEY" in word for word in (*LAUNCH.argv, *LAUNCH.env.values()))
    assert f'IdentityFile="{FOLDER}/key"' in LAUNCH.argv
    assert LAUNCH.secrets == (KEY,)


def test_only_what_is_given_counts() -> None:
    """No agent, no configuration, no key and no known host of somebody's home, no question."""
    for option in (
        *("BatchMode=yes", "ExitOnForwardFailure=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"),
        *("IdentityAgent=none", "GlobalKnownHostsFile=/dev/null", "ServerAliveInterval=15", "ServerAliveCountMax=2"),
    ):
        assert LAUNCH.argv[LAUNCH.argv.index(option) - 1] == "-o"
    assert LAUNCH.argv[:5] == ("/usr/bin/ssh", "-F", "none", "-N", "-T")
    assert LAUNCH.argv[-8:] == (
        *("-R", "127.0.0.1:8000:127.0.0.1:8080", "-l", "tunnel", "-p", "2222", "--", "vps.example.com"),
    )


def test_a_host_key_counts_and_not_the_address() -> None:
    """Of a server that moved, or is reached in two ways."""
    assert files_of(LAUNCH)["known_hosts"] == f"server {HOST_KEY}\n"
    assert "HostKeyAlias=server" in LAUNCH.argv


@pytest.mark.needs("ssh")
def test_ssh_understands_the_arguments() -> None:
    """The real one, which only shows what it made of them; also of a folder with an odd name."""
    launch = plan(SPEC, msgspec.structs.replace(PLACE, folder="/var/lib/a b/50%h"))
    done = subprocess.run(
        ["ssh", "-G", *launch.argv[1:]], capture_output=True, text=True, check=True, env=dict(launch.env), timeout=10
    )
    shown = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    expected = {
        "hostname": "vps.example.com",
        "user": "tunnel",
        "port": "2222",
        "batchmode": "yes",
        "stricthostkeychecking": "true",
        "exitonforwardfailure": "yes",
        "hostkeyalias": "server",
        "remoteforward": "[127.0.0.1]:8000 [127.0.0.1]:8080",
        "identityfile": "/var/lib/a b/50%%h/key",
        "userknownhostsfile": "/var/lib/a b/50%h/known_hosts",
        "logverbose": "*:ssh_confirm_remote_forward():*",
    }
    assert {name: shown.get(name) for name in expected} == expected


def test_connected_is_what_its_lines_say() -> None:
    """Its server answers for the forward, once."""
    assert LAUNCH.edge == (LogProbe(),)
    said = (
        "ssh.c:ssh_confirm_remote_forward():1723 (pid=5): "
        "remote forward success for: listen 127.0.0.1:8000, connect 127.0.0.1:8080"
    )
    line = read_line(said)
    assert (line.told.edge, line.told.routing) == (True, "yes")
    assert line.text == "remote forward success for: listen 127.0.0.1:8000, connect 127.0.0.1:8080"
    assert read_line("debug1: remote forward failure for: listen 1, connect a:2").told.edge is False


@pytest.mark.parametrize(
    "text",
    [
        "tunnel@vps.example.com: Permission denied (publickey).",
        "Host key verification failed.",
        "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures",
        'Load key "/x/key": error in libcrypto',
        "command-line: line 0: Bad configuration option: logverbose",
        "Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. Their offer: ssh-rsa",
    ],
)
def test_what_no_new_start_can_help_is_told(text: str) -> None:
    """The status is 255 for all of them, as for everything else."""
    told = read_line(text).told
    assert told.permanent is not None
    assert ending(LAUNCH, 255, told).is_permanent


@pytest.mark.parametrize(
    "text",
    [
        "Error: remote port forwarding failed for listen port 8000",
        "ssh: Could not resolve hostname vps.example.com: Temporary failure in name resolution",
        "ssh: connect to host vps.example.com port 22: Connection refused",
        "ssh: connect to host vps.example.com port 22: Connection timed out",
        "Timeout, server vps.example.com not responding.",
        "Connection to vps.example.com closed by remote host.",
        "Connection closed by 192.0.2.1 port 22",
        "kex_exchange_identification: Connection closed by remote host",
    ],
)
def test_what_may_pass_is_tried_again(text: str) -> None:
    """A port that is taken is often held by the connection that was lost a minute ago."""
    told = read_line(text).told
    assert told.permanent is None
    assert told.edge is False
    end = ending(LAUNCH, 255, told)
    assert (end.reason, end.is_permanent) == (told.reason, False)


@pytest.mark.parametrize("text", ["", "debug1: Authentications that can continue: publickey", "Welcome"])
def test_any_other_line_is_only_a_line(text: str) -> None:
    """A banner, or what -v adds."""
    assert read_line(text).told == NOTHING


def test_the_port_of_the_server_is_what_must_not_be_connected_twice() -> None:
    """It would be refused there."""
    assert identity(SPEC) == LAUNCH.identity == "ssh:tunnel@vps.example.com:2222/127.0.0.1:8000"


def test_a_port_that_is_open_to_everybody_has_a_name() -> None:
    """Or nobody would know how to come."""
    assert [problem.field for problem in check(spec("ssh", KEY, **OPTIONS, remote_bind="*"))] == ["options.remote_bind"]
    assert check(spec("ssh", KEY, **OPTIONS, remote_bind="*", url="http://vps.example.com:8000")) == ()


def test_ipv6_and_compression_are_arguments() -> None:
    """The address without its brackets."""
    wanted = spec("ssh", KEY, **{**OPTIONS, "server": "me@[2001:db8::1]"}, compression="yes", remote_bind="::1")
    launch = plan(wanted, PLACE)
    assert launch.argv[-1] == "2001:db8::1"
    assert "-C" in launch.argv
    assert "[::1]:8000:127.0.0.1:8080" in launch.argv
