"""The application as a whole: how it is put together, and how it ends."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from admin_api.app import build
from admin_api.plane.system import Sights
from state.secrets import Secrets
from state.store import Store
from tests.admin_api.served import SECRET, SETTINGS, EventReader, Served


async def test_signatures_without_a_secret_are_refused(tmp_path: Path) -> None:
    """A node does not start half protected."""
    settings = msgspec.structs.replace(SETTINGS, cloud=True, worker_secret="")
    secrets = Secrets.load_or_create(tmp_path / "node.key")
    async with await Store.open(f"sqlite:///{tmp_path}/zexio.db", secrets) as store:
        with pytest.raises(ValueError, match="empty"):
            build(store, store, store, settings, Sights())


def test_settings_do_not_show_the_secret() -> None:
    """They end up in logs."""
    assert SECRET not in f"{SETTINGS} {SETTINGS!r}"


async def test_open_streams_do_not_hold_up_the_end(served: Served) -> None:
    """Every client sees its stream end in order, and the server waits for none."""
    async with served.client.get("/system/logs/stream") as logs, served.client.get("/stats/stream") as stats:
        readers = [EventReader(logs), EventReader(stats)]
        for reader in readers:
            assert await reader.block() == {"retry": "1000"}
        await served.runner.cleanup()
        for reader in readers:
            while await reader.block():
                continue
    assert len(served.streams) == 0
