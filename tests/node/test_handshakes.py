"""Handshakes that wait for a certificate."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from node.handshakes import Handshakes


class Desk:
    """Says how long a name is not to be asked for, when it is let."""

    def __init__(self, wait_s: float) -> None:
        """Closed at first."""
        self.wait_s = wait_s
        self.gate = asyncio.Event()
        self.asked: list[tuple[str, str]] = []
        self.refused: asyncio.Queue[tuple[str, float]] = asyncio.Queue()

    async def certificate_for(self, name: str, address: str) -> float:
        """What `certs.manager.Manager` offers."""
        self.asked.append((name, address))
        await self.gate.wait()
        if self.wait_s < 0:
            raise RuntimeError
        return self.wait_s

    def refuse(self, name: str, wait_s: float) -> None:
        """What `mesh.fleet.Fleet` offers."""
        self.refused.put_nowait((name, wait_s))


def handshakes(desk: Desk) -> Handshakes:
    """Handshakes that this desk answers."""
    made = Handshakes()
    made.use(desk.certificate_for, desk.refuse)
    return made


async def test_a_no_goes_back_to_the_workers() -> None:
    """With the seconds for which it holds."""
    desk = Desk(60.0)
    asked = handshakes(desk)
    asked.wanted("a.example", "192.0.2.1")
    desk.gate.set()
    assert await desk.refused.get() == ("a.example", 60.0)
    assert desk.asked == [("a.example", "192.0.2.1")]


async def test_a_certificate_is_its_own_answer() -> None:
    """The handshake sees it come, so nothing is said."""
    desk = Desk(0.0)
    asked = handshakes(desk)
    asked.wanted("a.example", "192.0.2.1")
    desk.gate.set()
    await asyncio.gather(*asked._tasks)
    assert desk.refused.empty()


async def test_an_error_is_a_no_for_a_while() -> None:
    """The visitor is not left waiting, and the operator can read why."""
    desk = Desk(-1.0)
    asked = handshakes(desk)
    with capture_logs() as logs:
        asked.wanted("a.example", "192.0.2.1")
        desk.gate.set()
        name, wait_s = await desk.refused.get()
    assert (name, wait_s > 0) == ("a.example", True)
    assert logs[0]["name"] == "a.example"


async def test_so_many_wait_and_no_more() -> None:
    """Names cost whoever makes them up nothing."""
    desk = Desk(60.0)
    asked = handshakes(desk)
    for number in range(1000):
        asked.wanted(f"{number}.example", "192.0.2.1")
    assert desk.refused.empty()
    asked.wanted("one.example", "192.0.2.1")
    assert desk.refused.get_nowait()[0] == "one.example"
    await asked.close()


async def test_nobody_is_asked_before_and_after() -> None:
    """A worker may be quicker than the node, and slower."""
    early = Handshakes()
    early.wanted("a.example", "192.0.2.1")
    desk = Desk(60.0)
    asked = handshakes(desk)
    asked.wanted("a.example", "192.0.2.1")
    await asked.close()
    asked.wanted("b.example", "192.0.2.1")
    assert desk.refused.get_nowait()[0] == "b.example"
    assert asked._tasks == set()
    assert "b.example" not in dict(desk.asked)
