"""What SIGHUP does: settings read again, those that can change in a running node applied, the others named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from certs.settings import CertsSettings
from mesh.routes import MeshSettings
from node.compile import Edge
from node.files import Files, read_files
from node.issuance import certs_settings
from node.mesh_keys import MeshKeys
from node.settings import MeshSection, Settings, assemble, flatten
from state.cell import Cell

_LIVE_SECTIONS: Final = frozenset({"certs", "jwt", "log", "mesh", "tls"})
_FIXED: Final = frozenset({"mesh.listen", "mesh.tls_listen", "mesh.workers", "log.entries"})
# `mesh.error_page` is a path, and what the data plane calls so is a page.
_SAME_NAME: Final = frozenset(MeshSettings.__struct_fields__) & frozenset(MeshSection.__struct_fields__) - {
    "error_page"
}


def nobody_cares(_certs: CertsSettings, _files: Files) -> None:
    """What a node does with new settings of certificates that obtains none."""


class Reloader:
    """Holds the settings that are in force."""

    def __init__(
        self,
        settings: Settings,
        keys: MeshKeys,
        edge: Cell[Edge],
        reshape: Callable[[CertsSettings, Files], None] = nobody_cares,
    ) -> None:
        """Start with what the node was started with; `reshape` is told the settings of certificates after a reload."""
        self.settings = settings
        self._keys = keys
        self._edge = edge
        self._reshape = reshape

    def reload(self, read: Callable[[], Settings]) -> Settings:
        """The settings in force after reading them again; wrong ones are logged, and change nothing."""
        try:
            wanted = read()
            usable = merge(self.settings, wanted)
            files = read_files(usable)
            certs = certs_settings(usable)
            is_rekeyed = self._keys.reload(usable)
            self._reshape(certs, files)
        except Exception as error:  # noqa: BLE001  whatever a file can hold, it must not end a node that serves
            return self._refuse(error)
        changed = differences(self.settings, usable)
        self.settings = usable
        before = self._edge.value
        self._edge.set(with_settings(before, usable, files))
        log = structlog.get_logger()
        log.info(
            "settings reloaded",
            changed=changed,
            keys_changed=is_rekeyed,
            certificates_changed=files.certificates != before.certificates,
        )
        if fixed := differences(usable, wanted):
            log.warning("these settings need a restart", settings=fixed)
        return usable

    def _refuse(self, error: Exception) -> Settings:
        reasons = str(error).splitlines() or [type(error).__name__]
        structlog.get_logger().error("settings not reloaded, the old ones stay", reasons=reasons)
        return self.settings


def merge(current: Settings, wanted: Settings) -> Settings:
    """The wanted value of every setting that may change in a running node, the current value of the others."""
    new = flatten(wanted)
    return assemble({key: new[key] if _is_live(key) else value for key, value in flatten(current).items()})


def differences(one: Settings, other: Settings) -> list[str]:
    """The keys whose values differ."""
    values = flatten(other)
    return [key for key, value in flatten(one).items() if value != values[key]]


def with_settings(edge: Edge, settings: Settings, files: Files) -> Edge:
    """The edge under these settings and with what their files hold, one revision later."""
    section, tls = settings.mesh, settings.tls
    limits = {name: _plain(getattr(section, name)) for name in _SAME_NAME}
    return msgspec.structs.replace(
        edge,
        revision=edge.revision + 1,
        limits=MeshSettings(
            **limits,
            access_log=settings.log.access,
            error_page=files.error_page,
            tls_min_version=tls.min_version,
            tls_handshake_s=tls.handshake_s,
            tls_contexts=tls.contexts,
            default_certificate=tls.default or "",
            on_demand_s=settings.certs.on_demand_s if section.tls_listen else 0.0,
            https_port=tls.public_port or next((address.port for address in section.tls_listen if address.port), 443),
            tracing=settings.tracing.ratio if settings.tracing.endpoint else None,
        ),
        certificates=files.certificates,
        has_tls=bool(section.tls_listen),
        asks_ownership=settings.certs.ownership,
        internal_suffixes=_plain(section.internal_suffixes),
        tenant_everywhere=section.default_access == "tenant",
    )


def _plain(value: Any) -> Any:  # noqa: ANN401
    # What is sent to workers is encoded, and the encoder knows text but not our kinds of it.
    return tuple(map(str, value)) if isinstance(value, tuple) else value


def _is_live(key: str) -> bool:
    return key.partition(".")[0] in _LIVE_SECTIONS and key not in _FIXED
