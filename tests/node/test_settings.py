"""The settings value: defaults, precedence, and every mistake at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from mesh.keys import WELL_KNOWN_SECRET
from node.settings import Settings, SettingsError, assemble, default_data, flatten, known_keys, load

LONG_SECRET = "s" * 32


def problems(config: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> list[str]:
    """The lines of the error that these sources give."""
    with pytest.raises(SettingsError) as caught:
        load(config, environ, flags)
    return str(caught.value).splitlines()


def test_defaults_are_those_of_the_design_page() -> None:
    """A node needs no configuration at all."""
    settings = load(None, {}, {})
    assert settings.mesh.listen == ("0.0.0.0:8082",)
    assert settings.admin.listen == "127.0.0.1:8081"
    assert settings.mesh.workers == os.cpu_count()
    assert settings.mesh.internal_suffixes == ("zexio.internal",)
    assert settings.mesh.project_suffixes == ("zexio.app", "zexio.dev")
    assert settings.log.access == "off"
    assert settings.jwt.issuer == "zexio-service-mesh"


def test_the_data_folder_depends_on_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root keeps its data in a system folder, everybody else at home."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data({"HOME": "/home/ann"}) == Path("/var/lib/zexio")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_data({"HOME": "/home/ann"}) == Path("/home/ann/.local/share/zexio")


def test_the_later_source_wins(tmp_path: Path) -> None:
    """File, then environment, then flags."""
    config = tmp_path / "zexio.toml"
    config.write_text('[mesh]\nworkers = 2\nmax_headers = 50\n[log]\nlevel = "debug"\n')
    settings = load(config, {"ZEXIO_MESH_WORKERS": "3", "ZEXIO_LOG_LEVEL": "error"}, {"--workers": "4"})
    assert (settings.mesh.workers, settings.mesh.max_headers, settings.log.level) == (4, 50, "error")


def test_the_seed_variable_is_honoured() -> None:
    """MESH_JWT_SECRET is the shared secret of mesh tokens."""
    assert load(None, {"MESH_JWT_SECRET": LONG_SECRET}, {}).jwt.secret == LONG_SECRET


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    """Each line says where it stands and what would do."""
    config = tmp_path / "zexio.toml"
    config.write_text('[mesh]\nwrokers = 3\nworkers = "3"\n[log]\naccess = "xml"\n')
    found = problems(config, {"ZEXIO_ADMIN_LISTENS": "x", "ZEXIO_LOG_LEVEL": "loud"}, {"--mesh": "8082"})
    assert found == [
        f"{config}: mesh.wrokers: there is no such setting; the nearest is mesh.workers",
        "ZEXIO_ADMIN_LISTENS: there is no such setting; the nearest is ZEXIO_ADMIN_LISTEN",
        f"{config}: mesh.workers: '3' is not accepted; give a whole number from 1 to 1024",
        f'{config}: log.access: \'xml\' is not accepted; give one of "json", "combined", "logfmt", "off"',
        'ZEXIO_LOG_LEVEL: \'loud\' is not accepted; give one of "debug", "info", "warning", "error"',
        "--mesh: '8082' is not accepted; give a list, each HOST:PORT or [IPV6]:PORT, with a port from 0 to 65535",
    ]


def test_a_wrong_value_counts_even_when_a_later_source_overrides_it(tmp_path: Path) -> None:
    """Otherwise the mistake would wait for the day the flag is dropped."""
    config = tmp_path / "zexio.toml"
    config.write_text("[mesh]\nworkers = 0\n")
    assert len(problems(config, {}, {"--workers": "2"})) == 1


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MESH_JWT_SECRET": WELL_KNOWN_SECRET.decode()}, "MESH_JWT_SECRET: this is the published example secret"),
        ({"ZEXIO_JWT_SECRET": "short"}, "ZEXIO_JWT_SECRET: the secret is shorter than 32 bytes"),
        ({"ZEXIO_JWT_JWKS_URL": "http://keys.example/jwks"}, "ZEXIO_JWT_JWKS_URL: keys fetched over plain HTTP"),
        ({"ZEXIO_JWT_JWKS_URL": "https://u:p@keys.example/"}, "ZEXIO_JWT_JWKS_URL: the URL of a key set has a host"),
        ({"ZEXIO_JWT_JWKS_URL": "https://["}, "ZEXIO_JWT_JWKS_URL: the URL of a key set has a malformed host or port"),
        ({"ZEXIO_JWT_JWKS_URL": "https://h/#f"}, "ZEXIO_JWT_JWKS_URL: the URL of a key set has a host"),
        ({"ZEXIO_CLOUD_TOKEN": "t"}, "cloud.worker_id: this is missing beside cloud.token"),
        ({"ZEXIO_CLOUD_WORKER_ID": "w"}, "cloud.token: this is missing beside cloud.worker_id"),
        ({"ZEXIO_MESH_LISTEN": ","}, "ZEXIO_MESH_LISTEN: the mesh needs an address"),
        ({"ZEXIO_CERTS_ISSUERS": ","}, "ZEXIO_CERTS_ISSUERS: there has to be one"),
        ({"ZEXIO_CERTS_CHALLENGES": "tls-alpn-01"}, "ZEXIO_CERTS_CHALLENGES: none of these can be answered: http-01"),
        ({"ZEXIO_CERTS_CHALLENGES": ","}, "ZEXIO_CERTS_CHALLENGES: there has to be one of http-01"),
        (
            {"ZEXIO_CERTS_RFC2136_ZONE": "a.b"},
            "ZEXIO_CERTS_RFC2136_ZONE: this is missing beside it: certs.rfc2136_server",
        ),
        ({"ZEXIO_CERTS_RFC2136_KEY_FILE": "k"}, "ZEXIO_CERTS_RFC2136_KEY_FILE: this is missing beside it"),
        ({"ZEXIO_CERTS_DNS_COMMAND": "hook,set"}, "ZEXIO_CERTS_DNS_COMMAND: hook has to be the whole path"),
        (
            {"ZEXIO_CERTS_DNS_COMMAND": "/hook", "ZEXIO_CERTS_RFC2136_SERVER": "192.0.2.1"},
            "ZEXIO_CERTS_DNS_COMMAND: certs.rfc2136_server answers dns-01 already",
        ),
        ({"ZEXIO_CERTS_CHALLENGES": "dns-01"}, "ZEXIO_CERTS_CHALLENGES: dns-01 needs certs.rfc2136_server"),
        ({"ZEXIO_CERTS_NAMES": "a.example,*.a.example"}, "ZEXIO_CERTS_NAMES: *.a.example needs dns-01"),
        (
            {"ZEXIO_CERTS_NAMES": "*.a", "ZEXIO_CERTS_DNS_COMMAND": "/x", "ZEXIO_CERTS_CHALLENGES": "http-01"},
            "ZEXIO_CERTS_NAMES: '*.a' is not accepted; give a list, each a domain name such as",
        ),
        (
            {"ZEXIO_CERTS_NAMES": "*.a.b", "ZEXIO_CERTS_DNS_COMMAND": "/x", "ZEXIO_CERTS_CHALLENGES": "http-01"},
            "ZEXIO_CERTS_NAMES: *.a.b needs dns-01",
        ),
        ({"ZEXIO_ADMIN_LISTEN": "0.0.0.0:8081"}, "ZEXIO_ADMIN_LISTEN: 0.0.0.0:8081 opens the unsigned admin API"),
        ({"ZEXIO_ADMIN_LISTEN": "[::]:1", "ZEXIO_AUTH_MODE": "open"}, "ZEXIO_ADMIN_LISTEN: [::]:1 opens the unsigned"),
    ],
)
def test_no_node_starts_against_these_rules(environ: dict[str, str], expected: str) -> None:
    """Each broken rule names the setting that breaks it."""
    (line,) = problems(None, environ, {})
    assert line.startswith(expected)


@pytest.mark.parametrize(
    "environ",
    [
        {"ZEXIO_ADMIN_OPEN_TO_NETWORK": "true"},
        {"ZEXIO_AUTH_MODE": "always"},
        {"ZEXIO_CLOUD_TOKEN": "t", "ZEXIO_CLOUD__WORKER_ID": "w"},
    ],
)
def test_the_admin_api_may_leave_loopback(environ: dict[str, str]) -> None:
    """With the explicit flag, or when it is signed (contracts/plane.md decision 2)."""
    assert load(None, environ | {"ZEXIO_ADMIN_LISTEN": "0.0.0.0:8081"}, {}).admin.listen.port == 8081


def test_keys_may_be_fetched_from_loopback_in_plain() -> None:
    """Nobody stands between two programs on one machine."""
    assert load(None, {"ZEXIO_JWT_JWKS_URL": "http://127.0.0.1:9/jwks"}, {}).jwt.jwks_url


@pytest.mark.parametrize(
    ("token", "worker_id", "mode", "is_cloud", "is_signed"),
    [
        ("t", "w", "auto", True, True),
        ("t", "w", "open", True, False),
        ("", "", "auto", False, False),
        ("", "", "always", False, True),
    ],
)
def test_cloud_mode_needs_a_token_and_a_worker_id(
    token: str, worker_id: str, mode: str, is_cloud: bool, is_signed: bool
) -> None:
    """contracts/plane.md decision 2."""
    settings = load(None, {"ZEXIO_CLOUD_TOKEN": token, "ZEXIO_CLOUD_WORKER_ID": worker_id, "ZEXIO_AUTH_MODE": mode}, {})
    assert (settings.is_cloud, settings.is_signed) == (is_cloud, is_signed)


def test_tls_needs_no_certificate_of_a_file() -> None:
    """They come for domains and for internal names by themselves."""
    assert load(None, {"ZEXIO_MESH_TLS_LISTEN": "127.0.0.1:0"}, {}).tls.certificates == ()


def test_wildcards_are_wanted_where_they_can_be_had() -> None:
    """DNS-01 needs somebody who sets records."""
    for name, text in (("DNS_COMMAND", "/usr/bin/hook,set"), ("RFC2136_SERVER", "192.0.2.1")):
        environ = {"ZEXIO_CERTS_NAMES": "*.a.example", f"ZEXIO_CERTS_{name}": text}
        assert load(None, environ, {}).certs.names == ("*.a.example",)


def test_a_mesh_may_speak_tls_only() -> None:
    """With a certificate."""
    environ = {"ZEXIO_MESH_LISTEN": ",", "ZEXIO_TLS_CERTIFICATES": "a.pem,b.pem"}
    settings = load(None, environ, {"--mesh-tls": "127.0.0.1:8443,[::1]:8443"})
    assert [address.port for address in settings.mesh.tls_listen] == [8443, 8443]
    assert settings.tls.certificates == (Path("a.pem"), Path("b.pem"))


@pytest.mark.parametrize(
    ("name", "text", "is_taken"),
    [
        ("MESH_TOTAL_TIMEOUT_S", "0", True),
        ("MESH_TOTAL_TIMEOUT_S", "-1", False),
        ("MESH_CONNECT_TIMEOUT_S", "0", False),
        ("MESH_MIN_BYTES_PER_S", "0", True),
        ("MESH_HTTP2_MAX_STREAMS", "0", False),
        ("MESH_PROXY_PROTOCOL_FROM", "10.0.0.0/8", True),
        ("MESH_PROXY_PROTOCOL_FROM", "lan", False),
        ("TLS_MIN_VERSION", "1.1", False),
        ("TRACING_RATIO", "0.5", True),
        ("TRACING_RATIO", "2", False),
        ("TRACING_ENDPOINT", "4318", False),
    ],
)
def test_values_have_bounds(name: str, text: str, is_taken: bool) -> None:
    """0 is no limit where there may be none."""
    environ = {f"ZEXIO_{name}": text}
    if is_taken:
        load(None, environ, {})
    else:
        assert len(problems(None, environ, {})) == 1


def test_every_setting_is_documented() -> None:
    """docs/settings.md has a row for each."""
    rows = (Path(__file__).parent.parent.parent / "docs" / "settings.md").read_text()
    assert [key for key in known_keys() if f"`{key}`" not in rows] == []


def test_secrets_are_never_repeated(tmp_path: Path) -> None:
    """Neither a printed settings value nor an error about a secret shows it."""
    config = tmp_path / "zexio.toml"
    config.write_text("[jwt]\nsecret = 123456789\n")
    assert "123456789" not in "".join(problems(config, {}, {}))
    assert LONG_SECRET not in repr(load(None, {"MESH_JWT_SECRET": LONG_SECRET}, {}))


def test_flatten_and_assemble_are_inverse() -> None:
    """A reload takes settings apart and puts them together again."""
    settings: Settings = load(None, {"ZEXIO_MESH_WORKERS": "7"}, {})
    assert flatten(settings)["mesh.workers"] == 7
    assert assemble(flatten(settings)) == settings
