"""What the settings come to for whoever obtains certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from certs.settings import ISSUERS, CertsSettings, Rfc2136Spec
from node.issuance import certs_settings, internal_suffixes
from node.settings import CannotStart, load


def read(tmp_path: Path, **environ: str) -> CertsSettings:
    """The settings of certificates with these variables."""
    named = {f"ZEXIO_{name.upper()}": text for name, text in environ.items()}
    return certs_settings(load(None, named, {"--data": str(tmp_path)}))


def private(path: Path, text: str = "secret") -> Path:
    """A file that only its owner may read."""
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_both_sides_agree_about_the_defaults(tmp_path: Path) -> None:
    """What is not set is what `certs` says itself."""
    assert read(tmp_path, mesh_tls_listen="127.0.0.1:0") == CertsSettings()


def test_challenges_are_those_that_can_be_answered(tmp_path: Path) -> None:
    """One that no listener answers would only cost failed validations."""
    assert read(tmp_path).challenges == ("http-01", "dns-01")
    assert read(tmp_path, mesh_listen=",", mesh_tls_listen="127.0.0.1:0").challenges == ("tls-alpn-01", "dns-01")


def test_every_value_arrives(tmp_path: Path) -> None:
    """As text of the plain kind, so that others can encode it."""
    key, secret = private(tmp_path / "tsig.key"), private(tmp_path / "warn.secret", "hush\n")
    found = read(
        tmp_path,
        certs_issuers="letsencrypt-staging",
        certs_contact="ops@example.com",
        certs_accept_terms="false",
        certs_challenges="dns-01",
        certs_key_type="rsa2048",
        certs_names="*.Example.com,shop.example.com,shop.example.com.",
        certs_preflight="warn",
        certs_ownership="true",
        certs_resolvers="192.0.2.53,[2001:db8::53]:5353",
        certs_public_addresses="192.0.2.1,2001:0db8::1",
        certs_public_name="edge.zexio.app.",
        certs_rfc2136_server="192.0.2.1",
        certs_rfc2136_key_file=str(key),
        certs_rfc2136_zone="example.com",
        certs_dns_propagation_s="7",
        certs_on_demand="true",
        certs_ask_url="http://127.0.0.1:9/ask",
        certs_parallel="3",
        certs_order_timeout_s="60",
        certs_max_orders_per_name_week="9",
        certs_warn_url="https://hooks.example/zexio",
        certs_warn_secret_file=str(secret),
        mesh_internal_suffixes="corp,localhost",
    )
    assert found.issuers[0].directory == ISSUERS["letsencrypt-staging"].directory
    assert (found.issuers[0].contact, found.issuers[0].accept_terms) == (("mailto:ops@example.com",), False)
    assert (found.challenges, found.key_type, found.preflight, found.ownership) == (
        ("dns-01",),
        "rsa2048",
        "warn",
        True,
    )
    assert found.names == ("*.example.com", "shop.example.com")
    assert found.resolvers == ("192.0.2.53:53", "[2001:db8::53]:5353")
    assert (found.public_addresses, found.public_name) == (("192.0.2.1", "2001:db8::1"), "edge.zexio.app")
    assert found.rfc2136 == Rfc2136Spec(server="192.0.2.1:53", key_file=key, zone="example.com")
    assert (found.dns_propagation_s, found.on_demand, found.ask_url) == (7.0, True, "http://127.0.0.1:9/ask")
    assert (found.parallel, found.order_timeout_s, found.max_orders_per_name_week) == (3, 60.0, 9)
    assert (found.warn_url, found.warn_secret) == ("https://hooks.example/zexio", "hush")
    assert found.internal_suffixes == ("corp", "localhost")
    assert {type(text) for text in (*found.names, *found.resolvers, *found.public_addresses)} == {str}


def test_a_command_arrives_with_its_arguments(tmp_path: Path) -> None:
    """As a list, never as a line for a shell."""
    assert read(tmp_path, certs_dns_command="/usr/bin/hook, --zone,x y").dns_command == (
        "/usr/bin/hook",
        "--zone",
        "x y",
    )


def test_a_printed_value_shows_no_secret(tmp_path: Path) -> None:
    """Whoever logs the settings does not log what signs events."""
    secret = private(tmp_path / "warn.secret", "hush")
    assert "hush" not in repr(read(tmp_path, certs_warn_secret_file=str(secret)))


@pytest.mark.parametrize(
    ("setting", "others"),
    [("certs_warn_secret_file", {}), ("certs_rfc2136_key_file", {"certs_rfc2136_server": "192.0.2.1"})],
)
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, setting: str, others: dict[str, str]) -> None:
    """And one that is missing; the setting and the file are named."""
    path = private(tmp_path / "secret")
    path.chmod(0o644)
    key = setting.replace("_", ".", 1)
    with pytest.raises(CannotStart, match=rf"{key}: .*secret can be read by others"):
        read(tmp_path, **{setting: str(path)}, **others)
    with pytest.raises(CannotStart, match=rf"{key}: .*absent cannot be read"):
        read(tmp_path, **{setting: str(tmp_path / "absent")}, **others)


def test_the_inside_of_the_mesh_is_internal(tmp_path: Path) -> None:
    """And this machine, which no setting takes away."""
    settings = load(None, {"ZEXIO_MESH_INTERNAL_SUFFIXES": "corp,localhost,corp"}, {"--data": str(tmp_path)})
    assert internal_suffixes(settings) == ("corp", "localhost")
