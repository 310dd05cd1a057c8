"""WebSockets through a node, between a client and a server of a library that is not ours."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Data, Subprotocol

from tests.flows.running import RunningNode, until

HOST: Final = "demo.zexio.app"
TENANT: Final = "chat.acme.zexio.internal"
SOCKETS: Final = 100
CHANGES: Final = 200
LARGE: Final = 2**20
MESSAGES: Final[Mapping[str, Data]] = {
    "text": "päron ☃",
    "no text": "",
    "bytes": b"\x00\xff",
    "no bytes": b"",
    "1 MiB of text": "x" * LARGE,
    "1 MiB of bytes": random.Random(1).randbytes(LARGE),
}
CHAT: Final = Subprotocol("chat.v2")

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Application:
    """Sends back each message in the fragments in which it came, unless the path asks for something else."""

    def __init__(self) -> None:
        """Nobody was here yet."""
        self.url = ""
        self.opened = 0
        self.closed: dict[str, tuple[int | None, str | None]] = {}

    async def serve(self, socket: ServerConnection) -> None:
        """One connection, until its end. `/close/4000` closes with that code, `/ping` asks for a pong."""
        self.opened += 1
        assert socket.request is not None
        _slash, action, *rest = socket.request.path.split("/")
        with suppress(ConnectionClosed):
            if action == "close":
                await socket.close(int(rest[0]), "that was all")
            elif action == "break":
                socket.transport.abort()
            elif action == "ping":
                await (await socket.ping(b"are you there?"))
                await socket.send("there is a pong")
            elif action == "who":
                await socket.send(f"{socket.request.headers.get('X-Zexio-Org')} of {socket.request.headers['Host']}")
            while True:
                await socket.send(socket.recv_streaming())
        await socket.wait_closed()
        self.closed[socket.request.path] = socket.close_code, socket.close_reason


class Place:
    """A node, its settings file, and the application behind its public and its tenant route."""

    def __init__(self, node: RunningNode, config: Path, behind: Application) -> None:
        """All of them run."""
        self.node = node
        self.behind = behind
        self.secret = "a" * 32
        self._config = config

    def open(self, path: str = "/", host: str = HOST, token: str = "", **options: Any) -> connect:  # noqa: ANN401
        """A client's connection through the node."""
        address, _colon, port = self.node.mesh.rpartition(":")
        fields = {"Authorization": f"Bearer {token}"} if token else {}
        options = {"max_size": 2 * LARGE, "proxy": None, "additional_headers": fields, **options}
        return connect(f"ws://{host}{path}", host=address, port=int(port), **options)

    def token(self, org_id: str) -> str:
        """A token of an organization by the secret that is in force."""
        return self.node.token(org_id, self.secret)

    def write_settings(self) -> None:
        """The secret in the settings file."""
        self._config.write_text(f'[jwt]\nsecret = "{self.secret}"\n')

    async def change_secret(self) -> None:
        """Let the node reload its settings, with another secret in them."""
        self.secret = "b" * 32 if self.secret[0] == "a" else "a" * 32
        self.write_settings()
        self.node.signal(signal.SIGHUP)
        assert (await self.node.logged("settings reloaded"))["keys_changed"] is True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """One node for all tests of this file."""
    home = tmp_path_factory.mktemp("websocket")
    behind, config = Application(), home / "zexio.toml"
    found = Place(RunningNode(home / "data", config), config, behind)
    found.write_settings()
    async with (
        serve(behind.serve, "127.0.0.1", 0, max_size=2 * LARGE, select_subprotocol=_select) as server,
        found.node as node,
    ):
        behind.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        await node.put(HOST, behind.url)
        await node.put(TENANT, behind.url, org_id="org_acme")
        yield found


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("kind", MESSAGES)
async def test_messages_come_back(place: Place, kind: str, compression: str | None) -> None:
    """Text as text and bytes as bytes, up to 1 MiB in one frame."""
    async with place.open(compression=compression) as socket:
        for _ in range(3):
            await socket.send(MESSAGES[kind])
            assert await socket.recv() == MESSAGES[kind]


@pytest.mark.parametrize(
    "fragments", [["a", "b", "c"], [b"\x00", b"", b"\xff"], ["x" * 300_000] * 4], ids=["text", "bytes", "large"]
)
async def test_fragments_stay_fragments(place: Place, fragments: list[Data]) -> None:
    """The relay joins nothing and splits nothing; the library ends each such message with an empty fragment."""
    async with place.open() as socket:
        await socket.send(fragments)
        found = [fragment async for fragment in socket.recv_streaming()]
    assert found[: len(fragments)] == fragments
    assert not any(found[len(fragments) :])


async def test_messages_of_many_sizes_in_a_row(place: Place) -> None:
    """Nothing is lost where one read of the relay holds many frames, and one frame takes many reads."""
    messages = [bytes([number % 256]) * (number * 331 % 70_000) for number in range(400)]
    async with place.open(compression=None) as socket, asyncio.TaskGroup() as group:
        sending = group.create_task(_send_all(socket, messages))
        assert [await socket.recv() for _ in messages] == messages
        await sending


async def test_pings_are_answered_both_ways(place: Place) -> None:
    """Control frames pass like all others."""
    async with place.open("/ping") as socket:
        assert await socket.recv() == "there is a pong"
        await (await socket.ping(b"and you?"))


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_close_codes_pass(place: Place, code: int) -> None:
    """The code and the reason of whoever closes first arrive at the other side."""
    async with place.open(f"/close/{code}") as socket:
        await socket.wait_closed()
    assert (socket.close_code, socket.close_reason) == (code, "that was all")
    path = f"/closed-by-the-client/{code}"
    async with place.open(path) as socket:
        await socket.close(code, "bye")
    await until(lambda: path in place.behind.closed)
    assert place.behind.closed[path] == (code, "bye")


async def test_a_broken_side_breaks_the_other(place: Place) -> None:
    """A connection that is gone without a closing frame is 1006 for the other side too."""
    async with place.open("/break") as socket:
        await socket.wait_closed()
    assert socket.close_code == 1006
    async with place.open("/broken") as socket:
        socket.transport.abort()
    await until(lambda: "/broken" in place.behind.closed)
    assert place.behind.closed["/broken"][0] == 1006


async def test_protocols_and_extensions_are_negotiated_with_the_application(place: Place) -> None:
    """The node offers and chooses nothing itself."""
    async with place.open(subprotocols=[Subprotocol("chat.v1"), CHAT]) as socket:
        assert socket.subprotocol == CHAT
        assert [extension.name for extension in socket.protocol.extensions] == ["permessage-deflate"]
    async with place.open(compression=None) as socket:
        assert socket.subprotocol is None
        assert socket.protocol.extensions == []


async def test_a_tenant_route_needs_a_token(place: Place) -> None:
    """contracts/plane.md decision 9: no socket is opened without one, or with another tenant's."""
    opened = place.behind.opened
    for token, expected in (("", 401), ("garbage", 401), (place.token("org_other"), 403)):
        with pytest.raises(InvalidStatus) as refused:
            await place.open(host=TENANT, token=token)
        assert refused.value.response.status_code == expected
    assert place.behind.opened == opened
    async with place.open("/who", host=TENANT, token=place.token("org_acme")) as socket:
        assert await socket.recv() == f"org_acme of {TENANT}"


async def test_sockets_stay_open_whatever_the_operator_does(place: Place) -> None:
    """A hundred of them, through 200 changes of routes, a new secret, and the end of their own route."""
    node, target = place.node, {"targets": [{"url": place.behind.url}]}
    await node.put("open.zexio.app", place.behind.url)
    await node.put("closed.zexio.internal", place.behind.url, org_id="org_acme")
    entrances = [("open.zexio.app", ""), ("closed.zexio.internal", place.token("org_acme"))]
    sockets = [await place.open(f"/{number}", *entrances[number % 2]) for number in range(SOCKETS)]
    echoes = [0] * SOCKETS
    async with asyncio.TaskGroup() as group:
        talks = [group.create_task(_talk(socket, number, echoes)) for number, socket in enumerate(sockets)]
        for number in range(CHANGES):
            await node.call("PUT", f"/routes/h{number % 20}.example.com", target)
        await place.change_secret()
        await node.call("DELETE", "/routes/open.zexio.app")
        await node.put("closed.zexio.internal", "http://127.0.0.1:1", org_id="org_other")
        with pytest.raises(InvalidStatus):
            await place.open(host="open.zexio.app")
        before = [*echoes]
        await until(lambda: all(now > then + 1 for now, then in zip(echoes, before, strict=True)))
        for talk in talks:
            talk.cancel()
    for socket in sockets:
        await socket.close()
    assert {socket.close_code for socket in sockets} == {1000}


def _select(_socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return CHAT if CHAT in offered else None


async def _talk(socket: ClientConnection, number: int, echoes: list[int]) -> None:
    while True:
        said = f"{number}:{echoes[number]}"
        await socket.send(said)
        assert await socket.recv() == said
        echoes[number] += 1
        await asyncio.sleep(0.01)


async def _send_all(socket: ClientConnection, messages: list[bytes]) -> None:
    for message in messages:
        await socket.send(message)
