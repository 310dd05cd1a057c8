"""What holds for every provider: no secret in arguments, private files, a page of its own, and a way to install it."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from state.tunnels import TunnelProvider, TunnelSpec
from tests.tunnels.providers.specs import FOLDER, NONCE, PLACE, cloudflare_token, private_key, public_key, spec
from tunnels.providers import catalogue
from tunnels.providers.base import Line
from tunnels.providers.catalogue import PROVIDERS, check, identity, missing, plan, programs

SPECS = {
    "cloudflare": spec("cloudflare", cloudflare_token()),
    "cloudflare-quick": spec("cloudflare-quick"),
    "pangolin": spec("pangolin", "https://site1:s3cr3ts3cr3t@pangolin.example.com"),
    "ssh": spec("ssh", private_key(), server="me@a.example", host_key=public_key(), remote_port="8000"),
    "frp": spec("frp", "frp-t0ken-frp", hostname="a.example", server="a.example"),
    "command": spec("command", "t0ken-t0ken", argv='["bore", "{token_file}"]'),
}


def test_every_provider_of_the_model_is_there() -> None:
    """And no other."""
    assert set(PROVIDERS) == set(get_args(TunnelProvider)) == set(SPECS)


@pytest.mark.parametrize("wanted", SPECS.values(), ids=SPECS)
def test_a_launch_keeps_its_secrets(wanted: TunnelSpec) -> None:
    """Out of its arguments, its identity and its repr; they are all to be redacted."""
    assert check(wanted) == ()
    launch = plan(wanted, PLACE)
    shown = " ".join((*launch.argv, launch.identity, identity(wanted), repr(launch), launch.url or ""))
    for secret in (wanted.token, *launch.secrets):
        assert not secret or secret not in shown
    if wanted.token:
        assert any(secret in wanted.token for secret in launch.secrets)
    assert all(len(secret) >= 8 for secret in launch.secrets)


@pytest.mark.parametrize("wanted", SPECS.values(), ids=SPECS)
def test_a_launch_is_at_home_in_its_folder(wanted: TunnelSpec) -> None:
    """Its program is an absolute path, its home the private folder, its files have plain names."""
    launch = plan(wanted, PLACE)
    assert launch.argv[0].startswith("/")
    assert launch.env["HOME"] == FOLDER
    assert all("/" not in file.name for file in launch.files)
    assert launch.identity == identity(wanted)
    assert launch.identity.startswith(f"{wanted.provider}:")


@pytest.mark.parametrize("wanted", SPECS.values(), ids=SPECS)
def test_any_line_can_be_read(wanted: TunnelSpec) -> None:
    """Nothing that a program says may end its supervisor."""
    read = plan(wanted, PLACE).read_line
    for text in ("", " ", "{", "[]", "null", '"', "a" * 5000, "\ufffd\u2028", '{"message":null,"level":7}', "ERROR: "):
        assert isinstance(read(text), Line)


@pytest.mark.parametrize("wanted", SPECS.values(), ids=SPECS)
def test_a_program_that_is_missing_says_how_to_install_it(wanted: TunnelSpec) -> None:
    """Instead of a number of an error."""
    said = missing(wanted)
    assert programs(wanted)[0] in said
    assert "install" in said
    with pytest.raises(LookupError):
        plan(wanted, msgspec.structs.replace(PLACE, programs={}))


def test_a_secret_on_the_command_line_is_refused_whoever_asks_for_it() -> None:
    """Also for providers that are yet to come."""
    wanted = spec("command", "t0ken-t0ken", argv='["bore", "t0ken-t0ken"]')
    with pytest.raises(ValueError, match="command line") as caught:
        catalogue.plan(wanted, PLACE)
    assert "t0ken" not in str(caught.value)
    assert NONCE not in str(caught.value)
