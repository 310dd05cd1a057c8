"""Fixtures of the admin API's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.admin_api.served import SETTINGS, Served, serve


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """An open admin API, as on a standalone node."""
    async with serve(tmp_path) as api:
        yield api


@pytest.fixture
async def signed(tmp_path: Path) -> AsyncIterator[Served]:
    """An admin API that asks for signatures, as in cloud mode."""
    async with serve(tmp_path, msgspec.structs.replace(SETTINGS, cloud=True)) as api:
        yield api
