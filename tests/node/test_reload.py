"""Reading the settings again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from certs.settings import CertsSettings
from mesh.channel import encode
from mesh.routes import Certificate, Delta, MeshSettings
from node.compile import Edge
from node.files import Files, read_files
from node.mesh_keys import MeshKeys
from node.reload import Reloader, differences, merge, with_settings
from node.settings import MeshSection, Settings, load
from state.cell import Cell

CERTIFICATE = Certificate(fingerprint="1", names=("a.example",), chain=b"c", key=b"k")


class Running:
    """A node's settings, keys and edge."""

    def __init__(self, read: Callable[..., Settings]) -> None:
        """As a node has them after its start."""
        settings = read()
        self.edge = Cell(with_settings(Edge(), settings, read_files(settings)))
        self.reloader = Reloader(settings, MeshKeys(settings, self.edge), self.edge)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Settings]:
    """Reads settings from these variables."""

    def read(**environ: str) -> Settings:
        return load(None, {name.upper(): text for name, text in environ.items()}, {"--data": str(tmp_path)})

    return read


async def test_limits_change_in_a_running_node(read: Callable[..., Settings]) -> None:
    """The edge has them, so the publisher sends them."""
    running = Running(read)
    before = running.edge.revision
    with capture_logs() as logs:
        running.reloader.reload(lambda: read(zexio_mesh_max_headers="50", zexio_log_access="json"))
    limits = running.edge.value.limits
    assert (limits.max_headers, limits.access_log) == (50, "json")
    assert running.edge.revision > before
    assert logs[0]["changed"] == ["mesh.max_headers", "log.access"]


async def test_settings_that_need_a_restart_are_named(read: Callable[..., Settings]) -> None:
    """They stay as they are until then, also in what the next reload compares with."""
    running = Running(read)
    for _again in range(2):
        with capture_logs() as logs:
            settings = running.reloader.reload(lambda: read(zexio_mesh_workers="9", zexio_admin_listen="127.0.0.1:1"))
        assert settings == running.reloader.settings == read()
        assert logs[-1]["settings"] == ["mesh.workers", "admin.listen"]


async def test_wrong_settings_change_nothing(read: Callable[..., Settings]) -> None:
    """The log has every reason."""
    running = Running(read)
    edge = running.edge.value
    with capture_logs() as logs:
        running.reloader.reload(lambda: read(zexio_mesh_max_headers="many", zexio_log_levle="info"))
    assert running.edge.value is edge
    assert len(logs[0]["reasons"]) == 2


async def test_an_unfit_key_changes_nothing(read: Callable[..., Settings], tmp_path: Path) -> None:
    """Neither keys nor limits: a reload happens as a whole or not at all."""
    running = Running(read)
    edge = running.edge.value
    with capture_logs() as logs:
        running.reloader.reload(
            lambda: read(zexio_jwt_pem_files=str(tmp_path / "absent.pem"), zexio_mesh_max_headers="50")
        )
    assert running.edge.value is edge
    assert "absent.pem cannot be read" in logs[0]["reasons"][0]


async def test_a_running_node_survives_any_file(read: Callable[..., Settings]) -> None:
    """Whatever reading settings raises, visitors are not to suffer for it."""
    running = Running(read)
    edge = running.edge.value

    def broken() -> Settings:
        raise RecursionError

    with capture_logs() as logs:
        assert running.reloader.reload(broken) == read()
    assert running.edge.value is edge
    assert logs[0]["reasons"] == ["RecursionError"]


def test_the_edge_has_every_limit(read: Callable[..., Settings]) -> None:
    """Settings and data plane call the limits by the same names, and agree about the defaults."""
    edge = with_settings(Edge(), read(zexio_mesh_default_access="tenant", zexio_mesh_internal_suffixes="corp"), Files())
    assert edge.limits == MeshSettings()
    assert (edge.tenant_everywhere, edge.internal_suffixes) == (True, ("corp",))


def test_the_edge_has_what_files_hold(read: Callable[..., Settings]) -> None:
    """And what the section of TLS says, under the data plane's names."""
    files = Files(certificates=(CERTIFICATE,), error_page="<p>{status}</p>")
    settings = read(
        zexio_tls_min_version="1.3", zexio_tls_default="a.example", zexio_tls_contexts="7", zexio_tls_handshake_s="3"
    )
    edge = with_settings(Edge(), settings, files)
    assert edge.certificates == (CERTIFICATE,)
    assert edge.limits == MeshSettings(
        error_page="<p>{status}</p>",
        tls_min_version="1.3",
        default_certificate="a.example",
        tls_contexts=7,
        tls_handshake_s=3.0,
    )


def test_handshakes_wait_where_there_are_any(read: Callable[..., Settings]) -> None:
    """A node without TLS is asked for no certificate, and redirects nobody."""
    edge = with_settings(Edge(), read(zexio_certs_on_demand_s="7"), Files())
    assert (edge.limits.on_demand_s, edge.has_tls) == (0.0, False)
    edge = with_settings(Edge(), read(zexio_certs_on_demand_s="7", zexio_mesh_tls_listen="127.0.0.1:0"), Files())
    assert (edge.limits.on_demand_s, edge.has_tls) == (7.0, True)


def test_the_edge_knows_whether_domains_have_to_be_proved(read: Callable[..., Settings]) -> None:
    """Else whoever adds a name gets its visitors."""
    assert not with_settings(Edge(), read(), Files()).asks_ownership
    assert with_settings(Edge(), read(zexio_certs_ownership="true"), Files()).asks_ownership


async def test_settings_of_certificates_are_handed_on(read: Callable[..., Settings], tmp_path: Path) -> None:
    """With what their files hold now; unfit ones change nothing."""
    settings = read()
    taken: list[CertsSettings] = []
    edge = Cell(Edge())
    reloader = Reloader(settings, MeshKeys(settings, edge), edge, lambda certs, _files: taken.append(certs))
    reloader.reload(lambda: read(zexio_certs_names="a.example"))
    assert [certs.names for certs in taken] == [("a.example",)]
    with capture_logs() as logs:
        reloader.reload(lambda: read(zexio_certs_issuers=str(tmp_path / "absent.toml")))
    assert "certs.issuers" in logs[0]["reasons"][0]
    assert (len(taken), reloader.settings.certs.names) == (1, ("a.example",))


def test_traces_are_recorded_where_they_can_be_sent(read: Callable[..., Settings]) -> None:
    """A ratio alone is none."""
    assert with_settings(Edge(), read(zexio_tracing_ratio="0.1"), Files()).limits.tracing is None
    settings = read(zexio_tracing_ratio="0.1", zexio_tracing_endpoint="http://127.0.0.1:4318")
    assert with_settings(Edge(), settings, Files()).limits.tracing == 0.1


def test_every_limit_of_the_data_plane_is_a_setting() -> None:
    """Under its own name, or one that its section makes plain."""
    renamed = {"tls_min_version", "tls_handshake_s", "tls_contexts", "default_certificate", "https_port"}
    renamed |= {"access_log", "tracing", "on_demand_s"}
    assert set(MeshSettings.__struct_fields__) - renamed <= set(MeshSection.__struct_fields__)


async def test_files_are_read_again(read: Callable[..., Settings], tmp_path: Path) -> None:
    """Their paths stay, and what they hold may not; one that is gone changes nothing."""
    page = tmp_path / "error.html"
    page.write_text("old")
    running = Running(lambda: read(zexio_mesh_error_page=str(page)))
    page.write_text("new")
    running.reloader.reload(lambda: read(zexio_mesh_error_page=str(page)))
    assert running.edge.value.limits.error_page == "new"
    page.unlink()
    with capture_logs() as logs:
        running.reloader.reload(lambda: read(zexio_mesh_error_page=str(page), zexio_mesh_max_headers="5"))
    assert running.edge.value.limits.error_page == "new"
    assert f"{page} cannot be read" in logs[0]["reasons"][0]


def test_the_edge_can_be_sent(read: Callable[..., Settings]) -> None:
    """The encoder of the channel knows no other text than `str`."""
    edge = with_settings(
        Edge(), read(zexio_mesh_trusted_proxies="10.0.0.0/8", zexio_mesh_project_suffixes="my.app"), Files()
    )
    assert edge.limits.project_suffixes == ("my.app",)
    assert encode(Delta(revision=1, settings=edge.limits))


def test_merge_takes_only_what_may_change(read: Callable[..., Settings]) -> None:
    """Sections of the data plane and the log change, sockets and files do not."""
    wanted = read(zexio_mesh_workers="9", zexio_mesh_pool_size="3", zexio_node_drain_s="1")
    merged = merge(read(), wanted)
    assert differences(read(), merged) == ["mesh.pool_size"]
    assert differences(merged, wanted) == ["node.drain_s", "mesh.workers"]
