"""What tests of certificates share: an authority, and the store's shelves."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from state.secrets import Secrets
from state.store import Store
from tests.certs.issuing import Issuing
from tests.certs.scripted import ScriptedAuthority
from tests.support.challenge_server import ChallengeServer
from tests.support.pebble import Pebble


@pytest.fixture(scope="session")
def pebble() -> Iterator[Pebble]:
    """An authority without peculiarities for the whole run; whoever restarts one, or needs options, starts another."""
    with Pebble() as started:
        yield started


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    async with await Store.open(f"sqlite:///{tmp_path}/data/zexio.db", Secrets(os.urandom(32))) as opened:
        yield opened


@pytest.fixture
async def stage(pebble: Pebble) -> AsyncIterator[ChallengeServer]:
    """Where pebble looks for answers."""
    async with ChallengeServer(pebble) as started:
        yield started


@pytest.fixture
def issuing(pebble: Pebble, store: Store, stage: ChallengeServer) -> Issuing:
    """Everything that an issuance needs."""
    return Issuing(pebble, store, stage)


@pytest.fixture
async def authority() -> AsyncIterator[ScriptedAuthority]:
    """One that says what it is told to."""
    async with ScriptedAuthority() as started:
        yield started
