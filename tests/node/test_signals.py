"""Signals of the operating system."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from node.signals import Signals


async def test_hangup_asks_to_reload() -> None:
    """SIGHUP ends nothing."""
    signals = Signals()
    signals.install()
    os.kill(os.getpid(), signal.SIGHUP)
    await signals.reload.wait()
    assert not signals.stop.is_set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_request_to_stop_is_noted(number: signal.Signals) -> None:
    """Whoever waits for it goes on in order."""
    signals = Signals()
    signals.install()
    os.kill(os.getpid(), number)
    await signals.stop.wait()


async def test_the_second_request_to_stop_cancels() -> None:
    """Whatever the node is waiting for then, it waits no more."""
    started = asyncio.Event()

    async def live() -> None:
        signals = Signals()
        signals.install()
        os.kill(os.getpid(), signal.SIGTERM)
        await signals.stop.wait()
        started.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(live())
        await started.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait([task])
    assert task.cancelled()
