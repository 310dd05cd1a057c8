"""Case 176: names without end, handshakes that are held and go away, and everybody who looks like an authority."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from mesh.on_demand import MOST_ASKED, MOST_HELD_PER_NETWORK, MOST_REFUSED
from mesh.routes import Challenges, Delta, MeshSettings
from tests.adversity.test_tls_corners import alert, hello
from tests.support.authority import Authority
from tests.support.client import Visitor, ask
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.secure_visitor import SecureVisitor
from tests.support.stage import request, until

AUTHORITY: Final = Authority()
SHOP: Final = AUTHORITY.issue(HOST)
NEW: Final = AUTHORITY.issue("new.example.org")
VALIDATION: Final = AUTHORITY.issue("new.example.org")
SETTINGS: Final = MeshSettings(on_demand_s=30.0)
TRUSTING: Final = MeshSettings(on_demand_s=30.0, trusted_proxies=("127.0.0.1",))
UNRECOGNIZED_NAME: Final = alert(112)
GET: Final = request(b"GET / HTTP/1.1")


class Control:
    """Whoever is asked: notes the names, and refuses them when it is told to."""

    def __init__(self, mesh: MeshUnderTest, refuses_for_s: float | None) -> None:
        """With None nobody is ever answered."""
        self.asked: list[str] = []
        self._mesh = mesh
        self._refuses_for_s = refuses_for_s
        mesh.core.on_demand.ask = self

    def __call__(self, name: str, _address: str) -> bool:
        """Note the name."""
        self.asked.append(name)
        if self._refuses_for_s is not None:
            self._mesh.core.call_soon(self._mesh.core.on_demand.refused, name, self._refuses_for_s)
        return True


@asynccontextmanager
async def door(
    settings: MeshSettings = SETTINGS, refuses_for_s: float | None = None
) -> AsyncIterator[tuple[MeshUnderTest, Control]]:
    """A proxy that may ask for certificates, with one tenant who has theirs."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings, certificates=(SHOP.certificate,)) as mesh,
    ):
        yield mesh, Control(mesh, refuses_for_s)


async def is_served(mesh: MeshUnderTest) -> bool:
    """Whether a tenant's visitors are served, by TLS and without."""
    async with await SecureVisitor.connect(mesh.tls_port, AUTHORITY.visitor_context(), HOST) as visitor:
        await visitor.send(GET)
        answer = await visitor.receive_until(b"\r\n\r\n")
    return b"200 OK" in answer and (await ask(mesh.port, GET)).status == 200


async def refusal(mesh: MeshUnderTest, name: bytes) -> bytes:
    """What a hello with this name is answered with."""
    async with await Visitor.connect(mesh.tls_port) as visitor:
        await visitor.send(hello(name))
        return await visitor.octets(7)


@pytest.mark.parametrize("settings", [SETTINGS, TRUSTING], ids=["stranger", "trusted"])
async def test_case_176_ten_thousand_names(settings: MeshSettings) -> None:
    """All are refused; what is remembered of them is bounded, and a network of strangers asks for a few only."""
    count = 10_000 if settings is SETTINGS else MOST_REFUSED + 500
    async with door(settings, refuses_for_s=3600.0) as (mesh, control):
        at_once = asyncio.Semaphore(50)

        async def come(number: int) -> bytes:
            async with at_once:
                return await refusal(mesh, b"n%d.example.org" % number)

        answers = await asyncio.gather(*(come(number) for number in range(count)))
        assert set(answers) == {UNRECOGNIZED_NAME}
        on_demand = mesh.core.on_demand
        assert on_demand.held == 0
        assert len(on_demand._refused) <= MOST_REFUSED
        assert not on_demand._asked
        assert not on_demand._by_name
        assert not on_demand._by_network
        if settings is SETTINGS:
            # A hundred at once, and ten for each second that it took.
            assert len(control.asked) < 1000
        else:
            assert len(control.asked) == count
        assert await is_served(mesh)


async def test_case_176_nobody_answers() -> None:
    """A network holds a few places, and everybody else goes on as before; then its time is up."""
    async with door(MeshSettings(on_demand_s=0.5)) as (mesh, control):
        visitors = [await Visitor.connect(mesh.tls_port) for _ in range(2 * MOST_HELD_PER_NETWORK)]
        for number, visitor in enumerate(visitors):
            await visitor.send(hello(b"n%d.example.org" % number))
        await until(lambda: mesh.core.counters.handshake_failures >= MOST_HELD_PER_NETWORK)
        assert 0 < len(control.asked) <= MOST_HELD_PER_NETWORK
        assert mesh.core.on_demand.held <= MOST_HELD_PER_NETWORK
        assert await is_served(mesh)
        assert {await visitor.octets(7) for visitor in visitors} == {UNRECOGNIZED_NAME}
        assert mesh.core.on_demand.held == 0
        for visitor in visitors:
            visitor.close()
        await until(lambda: not mesh.core._newcomers)


@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
async def test_case_176_held_handshakes_that_go_away(how: str) -> None:
    """A thousand times in a row: every place is free again, and no name is asked for twice."""
    async with door(TRUSTING) as (mesh, control):
        for _ in range(20):
            visitors = [await Visitor.connect(mesh.tls_port) for _ in range(50)]
            for number, visitor in enumerate(visitors):
                await visitor.send(hello(b"n%d.example.org" % number))
            await until(lambda: mesh.core.on_demand.held == 50)
            for visitor in visitors:
                getattr(visitor, how)()
            await until(lambda: not mesh.core.on_demand.held)
            for visitor in visitors:
                visitor.close()
        await until(lambda: not mesh.core._newcomers)
        assert len(control.asked) == 50
        assert (mesh.core.on_demand._by_name, mesh.core.on_demand._by_network) == ({}, {})
        assert mesh.core.counters.handshake_failures == 1000
        assert await is_served(mesh)


async def test_case_176_questions_whose_visitors_are_gone() -> None:
    """They count until they are answered: asking and leaving does not make the control process work without end."""
    async with door(TRUSTING) as (mesh, control):
        for number in range(MOST_ASKED + 100):
            async with await Visitor.connect(mesh.tls_port) as visitor:
                await visitor.send(hello(b"n%d.example.org" % number))
                if number < MOST_ASKED:
                    await until(lambda number=number: len(control.asked) == number + 1)  # type: ignore[misc]
                else:
                    assert await visitor.octets(7) == UNRECOGNIZED_NAME
        assert len(control.asked) == MOST_ASKED
        assert await is_served(mesh)


async def test_case_176_some_stay_and_some_go() -> None:
    """Whoever is still there when the certificate comes gets it, in whatever order the others left or talked."""
    chance = random.Random(176)
    async with door(TRUSTING) as (mesh, control):
        visitors = []
        for _ in range(200):
            visitor = SecureVisitor(await Visitor.connect(mesh.tls_port), AUTHORITY.visitor_context(), NEW.names[0])
            with pytest.raises(ssl.SSLWantReadError):
                visitor.tls.do_handshake()
            await visitor.flush()
            visitors.append(visitor)
        await until(lambda: mesh.core.on_demand.held == 200)
        staying = []
        for visitor in visitors:
            what = chance.choice(("stay", "close", "reset", "half_close", "talk"))
            if what == "stay":
                staying.append(visitor)
            elif what == "talk":
                await visitor.wire.send(os.urandom(chance.randint(1, 40_000)))
            else:
                getattr(visitor.wire, what)()
            if len(staying) == 20:
                mesh.apply(Delta(revision=2, put_certificates=(NEW.certificate,)))
        for visitor in staying:
            await visitor.shake_hands()
            assert visitor.tls.getpeercert(binary_form=True) == NEW.der
        for visitor in visitors:
            visitor.wire.close()
        await until(lambda: not (mesh.core._newcomers or mesh.core.visitors))
        assert (mesh.core.on_demand.held, control.asked) == (0, [NEW.names[0]])


@pytest.mark.parametrize(
    "name",
    [
        *(b"a..b", b"-", b"_", b"a" * 255, b"xn--", b"1.2.3.4", b"::1", b"localhost", b"a.b.", b"*.example.org"),
        *(b"a\0b", b""),
    ],
)
async def test_case_176_names_that_are_none(name: bytes) -> None:
    """Whatever the hello calls a name, the handshake ends by an alert or waits, and the rest goes on."""
    async with door(SETTINGS, refuses_for_s=60.0) as (mesh, control):
        assert (await refusal(mesh, name))[:6] == UNRECOGNIZED_NAME[:6]
        assert len(control.asked) <= 1
        assert await is_served(mesh)


async def test_case_176_everybody_may_look_like_an_authority() -> None:
    """A thousand of them cost no more than other visitors, and are shown nothing that is not for them."""
    async with door() as (mesh, control):
        mesh.apply(Delta(revision=2, challenges=Challenges(validations=(VALIDATION.certificate,))))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["acme-tls/1"])
        at_once = asyncio.Semaphore(20)

        async def come(name: str) -> bytes:
            async with at_once:
                try:
                    async with await SecureVisitor.connect(mesh.tls_port, context, name) as visitor:
                        return visitor.tls.getpeercert(binary_form=True) or b""
                except ssl.SSLError:
                    return b""

        names = [*VALIDATION.names, HOST, "nobody.example.org", "localhost"]
        shown = await asyncio.gather(*(come(name) for _ in range(250) for name in names))
        assert set(shown[::4]) == {VALIDATION.der}
        assert set(shown[1::4]) | set(shown[2::4]) | set(shown[3::4]) == {b""}
        assert (control.asked, len(mesh.core.certificates._validation_contexts)) == ([], 1)
        await until(lambda: not mesh.core._newcomers)
        assert await is_served(mesh)
