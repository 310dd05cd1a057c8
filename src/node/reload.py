"""What SIGHUP does: settings read again, those that can change in a running node applied, the others named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from mesh.routes import MeshSettings
from node.compile import Edge
from node.mesh_keys import MeshKeys
from node.settings import Settings, assemble, flatten
from state.cell import Cell

_LIVE_SECTIONS: Final = frozenset({"jwt", "log", "mesh"})
_FIXED: Final = frozenset({"mesh.listen", "mesh.workers", "log.entries"})


class Reloader:
    """Holds the settings that are in force."""

    def __init__(self, settings: Settings, keys: MeshKeys, edge: Cell[Edge]) -> None:
        """Start with what the node was started with."""
        self.settings = settings
        self._keys = keys
        self._edge = edge

    def reload(self, read: Callable[[], Settings]) -> Settings:
        """The settings in force after reading them again; wrong ones are logged, and change nothing."""
        try:
            wanted = read()
            usable = merge(self.settings, wanted)
            is_rekeyed = self._keys.reload(usable)
        except Exception as error:  # noqa: BLE001  whatever a file can hold, it must not end a node that serves
            return self._refuse(error)
        changed = differences(self.settings, usable)
        self.settings = usable
        self._edge.set(with_settings(self._edge.value, usable))
        log = structlog.get_logger()
        log.info("settings reloaded", changed=changed, keys_changed=is_rekeyed)
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


def with_settings(edge: Edge, settings: Settings) -> Edge:
    """The edge under these settings, one revision later."""
    section = settings.mesh
    limits = {name: _plain(getattr(section, name)) for name in MeshSettings.__struct_fields__ if hasattr(section, name)}
    return msgspec.structs.replace(
        edge,
        revision=edge.revision + 1,
        limits=MeshSettings(access_log=settings.log.access, **limits),
        internal_suffixes=_plain(section.internal_suffixes),
        tenant_everywhere=section.default_access == "tenant",
    )


def _plain(value: Any) -> Any:  # noqa: ANN401
    # What is sent to workers is encoded, and the encoder knows text but not our kinds of it.
    return tuple(map(str, value)) if isinstance(value, tuple) else value


def _is_live(key: str) -> bool:
    return key.partition(".")[0] in _LIVE_SECTIONS and key not in _FIXED
