"""The admin API's listener."""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
import pytest

from admin_api.plane.records import Home
from admin_api.plane.system import Sights
from node.admin import admin_settings, bind, home_of, serve
from node.settings import CannotStart, load
from node.values import Address
from state.secrets import Secrets
from state.store import Store


def test_a_bound_socket_has_the_address() -> None:
    """It does not listen yet: nobody is answered before the node is up."""
    with bind("admin.listen", Address("127.0.0.1:0")) as bound, socket.socket() as visitor:
        assert bound.getsockname()[0] == "127.0.0.1"
        with pytest.raises(ConnectionRefusedError):
            visitor.connect(bound.getsockname())


def test_a_taken_address_is_one_line() -> None:
    """The setting and the address are named."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = Address(f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(CannotStart, match=rf"^admin\.listen: {address} is already in use$"):
            bind("admin.listen", address)


@pytest.mark.parametrize(
    ("address", "reason"),
    [("192.0.2.1:0", "is no address of this machine"), ("host.invalid:0", "cannot be used: ")],
)
def test_other_addresses_have_their_own_reasons(address: str, reason: str) -> None:
    """What the system says about them."""
    with pytest.raises(CannotStart, match=reason):
        bind("mesh.listen", Address(address))


async def test_the_admin_api_is_served(tmp_path: Path) -> None:
    """On the socket that was bound, with the metrics of the node."""
    settings = load(None, {}, {"--data": str(tmp_path)})
    secrets = Secrets.load_or_create(tmp_path / "node.key")
    bound = bind("admin.listen", Address("127.0.0.1:0"))
    async with await Store.open(f"sqlite:///{tmp_path / 'zexio.db'}", secrets) as store:
        runner = await serve(store, admin_settings(settings), bound, Sights(lambda: b"up 1\n"))
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{bound.getsockname()[1]}") as session,
            session.get("/metrics") as response,
        ):
            assert await response.read() == b"up 1\n"
        await runner.cleanup()


def test_the_admin_api_s_settings(tmp_path: Path) -> None:
    """Cloud mode, the secret and the names of the listener."""
    environ = {
        "ZEXIO_CLOUD_TOKEN": "t",
        "ZEXIO_CLOUD_WORKER_ID": "w",
        "ZEXIO_AUTH_REQUIRE_TIMESTAMP": "true",
        "ZEXIO_ADMIN_HOSTS": "node.example.com",
        "ZEXIO_ADMIN_TRUSTED_ORIGINS": "http://localhost:3000",
    }
    settings = admin_settings(load(None, environ, {"--data": str(tmp_path)}))
    assert (settings.cloud, settings.auth_mode, settings.require_timestamp) == (True, "auto", True)
    assert settings.worker_secret == (tmp_path / "worker.secret").read_text().strip()
    assert settings.admin_hosts == {"node.example.com", "127.0.0.1"}
    assert settings.trusted_origins == {"http://localhost:3000"}


def test_who_adds_a_domain_is_told_where_visitors_come(tmp_path: Path) -> None:
    """By the settings in force, and by the addresses as they were bound."""
    assert home_of(load(None, {}, {"--data": str(tmp_path)}), []) == Home(
        internal_suffixes=("zexio.internal", "localhost"), tls_listen=()
    )
    environ = {
        "ZEXIO_CERTS_PUBLIC_NAME": "edge.example.com",
        "ZEXIO_CERTS_PUBLIC_ADDRESSES": "192.0.2.1,198.51.100.0/24",
        "ZEXIO_CERTS_OWNERSHIP": "true",
        "ZEXIO_MESH_PROJECT_SUFFIXES": "apps.example,zexio.app",
    }
    assert home_of(load(None, environ, {"--data": str(tmp_path)}), ["127.0.0.1:8443"]) == Home(
        public_name="edge.example.com",
        public_addresses=("192.0.2.1", "198.51.100.0/24"),
        ownership=True,
        internal_suffixes=("zexio.internal", "localhost"),
        project_suffix="apps.example",
        tls_listen=("127.0.0.1:8443",),
    )
