"""The other proxies start with their configuration and forward to the origin behind them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.origin import Origin
from tests.support.peers import PEERS, running


@pytest.mark.parametrize("name", PEERS)
async def test_a_peer_forwards(name: str, tmp_path: Path) -> None:
    """A request reaches the origin through the peer."""
    if not shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin"):
        pytest.skip(f"{name} is not installed")
    with running(name, tmp_path) as peer:
        async with Origin(peer.origin_port) as origin:
            answer = await ask(peer.port, b"GET /a HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
    assert answer.json["target"] == "/a"
    assert len(origin.requests) == 1
