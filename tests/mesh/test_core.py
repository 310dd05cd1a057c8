"""What the connections of a worker share: routes that change under traffic, targets and peers, and the end."""

from __future__ import annotations

import asyncio
import itertools
import re
import time

import msgspec
import pytest

from mesh import core as core_module
from mesh.challenges import Challenged
from mesh.core import Core
from mesh.forward import Peer
from mesh.listener import ListenSpec, bind
from mesh.policies import Target
from mesh.routes import AccessKeys, Challenges, Delta, MeshSettings, Route, RouteKey, Snapshot, VerifyKey
from tests.support.client import Visitor, ask
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.stage import Stage, answering, head_of, idle, in_flight, request, under_way, until, watched
from tests.support.tokens import access_keys, bearer, claims, mint

GET = request(b"GET / HTTP/1.1")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
_HOSTS = (HOST.encode(), b"b", b"c")


@pytest.fixture
async def core() -> Core:
    """A core without routes."""
    return Core(Snapshot(revision=1))


def _addresses(core: Core) -> list[str]:
    return [target.address for target in core.targets(100)]


def _route(*ports: int, host: str = HOST) -> Route:
    return Route(host=host, targets=tuple(Target(f"http://127.0.0.1:{port}") for port in ports))


# Changes.


async def test_a_delta_says_which_revision_is_in_force(core: Core) -> None:
    """Whatever else it changes or not."""
    core.apply(Delta(revision=7))
    assert core.revision == 7
    core.apply(Snapshot(revision=9))
    assert core.revision == 9


async def test_a_route_and_its_targets_come_and_go(core: Core) -> None:
    """A target is remembered from the first request to a route of it until its last route is gone."""
    core.apply(Delta(revision=2, put=(_route(1, 2), _route(2, 3, host="b"))))
    assert _addresses(core) == []
    first, second = core.find(b"shop.example.com", b"/"), core.find(b"b", b"/")
    assert first is not None
    assert second is not None
    assert first.targets[1] is second.targets[0]
    core.apply(Delta(revision=3, removed=(RouteKey(HOST),)))
    assert _addresses(core) == ["http://127.0.0.1:2", "http://127.0.0.1:3"]
    core.apply(Delta(revision=4, removed=(RouteKey("b"),)))
    assert _addresses(core) == []


async def test_a_route_keeps_its_turns_as_long_as_it_is_the_same(core: Core) -> None:
    """Between two requests nothing starts over."""
    core.apply(Delta(revision=2, put=(_route(1, 2),)))
    live = core.find(b"shop.example.com", b"/")
    core.apply(Delta(revision=3, put=(_route(1, host="other"),)))
    assert core.find(b"shop.example.com", b"/?x") is live


async def test_a_target_that_stays_keeps_its_connections() -> None:
    """A change of the route around it closes nothing and forgets nothing."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        await ask(mesh.port, GET)
        (before,) = mesh.core.targets(2)
        before.failures = 3
        mesh.apply(Delta(revision=2, put=(_route(origin.port, 9),)))
        assert next(mesh.core.targets(1)) is before
        assert (before.failures, idle(mesh)) == (3, 1)
        mesh.core.apply(Snapshot(revision=3, routes=(_route(9, origin.port),)))
        assert before in list(mesh.core.targets(9))
        assert idle(mesh) == 1
        assert origin.connections[0].ending == "open"


@pytest.mark.parametrize("change", [Delta(revision=2, removed=(RouteKey(HOST),)), Snapshot(revision=2)])
async def test_a_target_that_goes_takes_its_connections_along(change: Delta | Snapshot) -> None:
    """Idle connections are closed at once."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        await ask(mesh.port, GET)
        mesh.core.apply(change)
        assert await origin.connections[0].ended() == "closed"
        assert _addresses(mesh.core) == []
        assert (await ask(mesh.port, GET)).status == 404


async def test_a_connection_that_comes_back_to_a_target_that_is_gone_is_closed() -> None:
    """The request under way ends as it began."""
    go = asyncio.Event()
    ended = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await go.wait()
        writer.write(OK)
        await reader.read()
        ended.set()

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(GET)
            await until(lambda: stage.entered)
            mesh.apply(Delta(revision=2, removed=(RouteKey(HOST),)))
            go.set()
            answer = await visitor.answer()
            assert answer is not None
            assert answer.body == b"hello"
        await ended.wait()


async def test_requests_in_flight_are_counted_over_all_targets(core: Core) -> None:
    """Those of targets that are remembered."""
    core.apply(Delta(revision=2, put=(_route(1, 2), _route(3, host="b"))))
    assert core.in_flight == 0
    for host in (b"shop.example.com", b"b"):
        live = core.find(host, b"/")
        assert live is not None
        live.targets[0].in_flight += 2
    assert core.in_flight == 4


async def test_what_was_found_for_a_host_is_forgotten_with_the_routes_it_came_of(core: Core) -> None:
    """A more exact host, a prefix, another list of project suffixes: each changes where the next request goes."""
    core.apply(Delta(revision=2, put=(_route(1, host="*.a.test"), _route(2, host="b.test"))))

    def found(host: bytes, target: bytes = b"/x/y") -> str:
        live = core.find(host, target)
        return live.route.host + live.route.path_prefix if live is not None else ""

    assert [found(b"c.a.test"), found(b"c--b.test"), found(b"b.test")] == ["*.a.test/", "", "b.test/"]
    deeper = msgspec.structs.replace(_route(4, host="b.test"), path_prefix="/x")
    core.apply(Delta(revision=3, put=(_route(3, host="c.a.test"), deeper)))
    assert [found(b"c.a.test"), found(b"b.test"), found(b"b.test", b"/")] == ["c.a.test/", "b.test/x", "b.test/"]
    core.apply(Delta(revision=4, removed=(RouteKey("c.a.test"), deeper.key)))
    assert [found(b"c.a.test"), found(b"b.test")] == ["*.a.test/", "b.test/"]
    core.apply(Delta(revision=5, put=(_route(5, host="*.test"),)))
    assert found(b"c--b.test") == "*.test/"
    core.apply(Delta(revision=6, settings=MeshSettings(project_suffixes=("test",))))
    assert found(b"c--b.test") == "b.test/"


async def test_any_number_of_hosts_under_a_wildcard_find_their_route(core: Core) -> None:
    """Also when more were made up than are kept."""
    core.apply(Delta(revision=2, put=(_route(1, host="*.a.test"),)))
    assert len({id(core.find(b"%d.a.test" % number, b"/")) for number in range(5000)}) == 1


async def test_health_is_taken_for_routes_in_use_and_not_yet_in_use() -> None:
    """A target that is down gets nothing, until it is up again."""
    async with Origin() as origin, await start_mesh(route_to(origin.port), _route(origin.port, host="b")) as mesh:
        assert (await ask(mesh.port, GET)).status == 200
        address = f"http://127.0.0.1:{origin.port}"
        mesh.core.use_health({RouteKey(HOST): (address,), RouteKey("b"): (address,)})
        assert (await ask(mesh.port, GET)).status == 503
        assert (await ask(mesh.port, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")).status == 503
        mesh.core.use_health({})
        assert (await ask(mesh.port, GET)).status == 200
        assert (await ask(mesh.port, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")).status == 200


async def test_a_copy_of_a_route_has_the_health_of_the_first() -> None:
    """In use or not yet; it keeps none of its own."""
    async with Origin() as origin:
        routes = [route_to(origin.port), route_to(origin.port, "b"), route_to(origin.port, "c")]
        copies = [msgspec.structs.replace(route, alias_of="a") for route in routes[:2]]
        async with await start_mesh(*copies, routes[2]) as mesh:
            assert (await ask(mesh.port, GET)).status == 200
            mesh.core.use_health({RouteKey("a"): (f"http://127.0.0.1:{origin.port}",)})
            statuses = [(await ask(mesh.port, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)).status for host in _HOSTS]
            assert statuses == [503, 503, 200]


async def test_limits_change_while_the_proxy_runs() -> None:
    """The next request is measured by the new ones, on connections that are open too."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        raw = request(b"GET / HTTP/1.1", *(b"X-%d: a" % number for number in range(5)))
        for settings, status in ((None, 200), (MeshSettings(max_headers=5), 431)):
            mesh.apply(Delta(revision=2, settings=settings))
            await visitor.send(raw)
            answer = await visitor.answer()
            assert answer is not None
            assert answer.status == status


async def test_project_suffixes_change_while_the_proxy_runs() -> None:
    """They are settings of the table."""
    async with Origin() as origin, await start_mesh(_route(origin.port, host="shop.zexio.test")) as mesh:
        raw = b"GET / HTTP/1.1\r\nHost: main--shop.zexio.test\r\n\r\n"
        assert (await ask(mesh.port, raw)).status == 404
        mesh.apply(Delta(revision=2, settings=MeshSettings(project_suffixes=("zexio.test",))))
        assert (await ask(mesh.port, raw)).status == 200


async def test_keys_change_while_the_proxy_runs() -> None:
    """A token that was good is refused as soon as its key is gone."""
    token = mint(claims(time.time()))
    raw = request(b"GET / HTTP/1.1", b"Authorization: " + bearer(token))
    async with Origin() as origin:
        route = msgspec.structs.replace(route_to(origin.port), access="tenant", org_id="org_a")
        async with await start_mesh(route, keys=access_keys()) as mesh:
            records = watched(mesh)
            assert (await ask(mesh.port, raw)).status == 200
            assert records[0].org_id == "org_a"
            other = VerifyKey(algorithm="HS256", material=b"another secret of more than 32 octets")
            mesh.apply(Delta(revision=2, keys=AccessKeys(generation=1, keys=(other,))))
            assert (await ask(mesh.port, raw)).status == 401
        assert len(origin.requests) == 1


# Peers.


async def test_visitors_of_one_address_share_a_peer(core: Core) -> None:
    """What is told about them is composed once."""
    assert core.peer("192.0.2.1") is core.peer("192.0.2.1")
    assert core.peer("192.0.2.1") is not core.peer("192.0.2.2")


async def test_peers_are_forgotten_when_there_are_many(core: Core) -> None:
    """The memory is bounded; a visitor keeps the value that it has."""
    first = core.peer("192.0.2.1")
    for number in range(core_module._MAX_REMEMBERED_PEERS):
        core.peer(f"10.0.{number >> 8}.{number & 255}")
    again = core.peer("192.0.2.1")
    assert again is not first
    assert (again.address, again.node) == (first.address, first.node)


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("192.0.3.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("unix", False),
    ],
)
def test_trust_is_for_networks(address: str, is_trusted: bool) -> None:
    """Of either family, with IPv4 in IPv6 taken for what it is."""

    async def peer() -> Peer:
        settings = MeshSettings(trusted_proxies=("192.0.2.0/24", "2001:db8::/32"))
        return Core(Snapshot(revision=1, settings=settings)).peer(address)

    assert asyncio.run(peer()).is_trusted == is_trusted


async def test_one_listener_for_both_families_tells_ipv4_by_its_own_name() -> None:
    """Targets and rules know 127.0.0.1, not ::ffff:127.0.0.1."""
    async with Origin() as origin:
        core = Core(Snapshot(revision=1, routes=(route_to(origin.port),)))
        (listener,) = bind(ListenSpec("::", 0), 1)
        server = await asyncio.get_running_loop().create_server(core.visitor, sock=listener)
        async with MeshUnderTest(core, server) as mesh:
            records = watched(mesh)
            await ask(mesh.port, GET)
        assert origin.requests[0].values(b"x-forwarded-for") == [b"127.0.0.1"]
        assert records[0].peer == "127.0.0.1"


# Small things.


async def test_request_ids_are_unique_among_workers(core: Core) -> None:
    """Each has a prefix of its own, and no id comes twice."""
    others = [Core(Snapshot(revision=1)) for _ in range(3)]
    ids = {each.next_request_id() for each in (core, *others) for _ in range(100)}
    assert len(ids) == 400
    assert all(re.fullmatch(rb"[0-9a-f]{24}", each) for each in ids)


async def test_the_date_is_made_once_a_second(core: Core) -> None:
    """In the format of RFC 9110 section 5.6.7."""
    core.wall = 784111777.9
    assert core.date() == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert core.date() is core.date()
    core.wall += 1
    assert core.date() == b"Sun, 06 Nov 1994 08:49:38 GMT"


async def test_a_request_that_could_not_be_read_is_counted_and_recorded() -> None:
    """With an empty method, host and target, for nothing of it is believed."""
    async with await start_mesh() as mesh:
        records = watched(mesh)
        answer = await ask(mesh.port, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        assert answer.status == 400
        (record,) = records
        assert (record.status, record.method, record.host, record.target) == (400, "", "", "")
        assert (record.peer, record.cause, record.sent) == ("127.0.0.1", "http_request_error", len(answer.body))
        assert record.request_id == answer.json["request_id"]
        counters = mesh.core.counters
        assert (counters.requests, counters.statuses[4], counters.causes) == (1, 1, {"http_request_error": 1})
        mesh.core.observer = None
        assert (await ask(mesh.port, b"nonsense (\r\n\r\n")).status == 400


# The end.


async def test_draining_closes_idle_visitors_and_turns_new_ones_away() -> None:
    """Nobody is asked to wait for nothing."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        fresh, used = await Visitor.connect(mesh.port), await Visitor.connect(mesh.port)
        await used.send(GET)
        assert await used.answer()
        await until(lambda: len(mesh.core.visitors) == 2)
        await mesh.core.drain(5.0)
        late = await Visitor.connect(mesh.port)
        for visitor in (fresh, used, late):
            assert await visitor.end() == "closed"
            visitor.close()


async def test_draining_finishes_what_is_under_way() -> None:
    """A body that was coming keeps coming, and the connection is closed behind the answer."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await go.wait()
        writer.write(b"world")
        await reader.read()

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(GET)
        await until(lambda: mesh.core.visitors and under_way(mesh).is_response_begun)
        draining = asyncio.get_running_loop().create_task(mesh.core.drain(5.0), name="drain")
        await asyncio.sleep(0.02)
        assert not draining.done()
        go.set()
        answer = await visitor.answer()
        assert answer is not None
        assert answer.body == b"helloworld"
        assert await visitor.end() == "closed"
        await draining


async def test_a_tunnel_is_kept_until_the_deadline_of_the_drain() -> None:
    """Then it is cut, and counted once."""
    raw = request(b"GET /-/websocket HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket")
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        records = watched(mesh)
        visitor = await Visitor.connect(mesh.port)
        await visitor.send(raw)
        assert (await visitor.answer()) is not None
        draining = asyncio.get_running_loop().create_task(mesh.core.drain(0.05), name="drain")
        await visitor.send(b"still here")
        assert await visitor.octets(10) == b"still here"
        await draining
        assert records == []
        await mesh.close()
        assert await visitor.end() in {"closed", "reset"}
        visitor.close()
        await until(lambda: records)
        assert [(record.status, record.received, record.sent) for record in records] == [(101, 10, 10)]
        assert in_flight(mesh) == 0


async def test_closing_cuts_what_is_left() -> None:
    """A request under way ends with its connections, idle connections to targets are closed."""
    async with Origin() as origin, Stage(answering(b"")) as stage:
        mesh = await start_mesh(route_to(origin.port), _route(stage.port, host="b"))
        records = watched(mesh)
        await ask(mesh.port, GET)
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
            await until(lambda: stage.entered)
            await mesh.close()
            assert await visitor.end() in {"closed", "reset"}
        assert await origin.connections[0].ended() in {"closed", "reset"}
        assert [record.status for record in records] == [200, 499]
        assert in_flight(mesh) == 0


async def test_a_host_that_is_known_is_looked_at_for_a_challenge_all_the_same() -> None:
    """What is remembered of a host must not answer in the place of a token, nor be remembered meanwhile."""
    core = Core(Snapshot(revision=1, routes=(route_to(80),)))
    try:
        host = HOST.encode()
        assert core.find(host, b"/") is core.find(host, b"/x") is not None
        core.apply(Delta(revision=1, challenges=Challenges(tokens=(("token", "token.thumbprint"),))))
        assert core.find(host, b"/") is not None
        with pytest.raises(Challenged):
            core.find(host, b"/.well-known/acme-challenge/token")
    finally:
        await core.close()


class Expired:
    """Something whose time is up, until it moves."""

    def __init__(self, told: list[Expired]) -> None:
        self.deadline = 0.0
        self.looked_at = 0
        self._told = told

    def expired(self) -> None:
        """Note it."""
        self._told.append(self)


async def test_those_whose_time_is_up_together_end_a_few_at_a_time() -> None:
    """Whoever else comes is served in between, and one that has moved meanwhile is left alone."""
    core = Core(Snapshot(revision=1))
    try:
        told: list[Expired] = []
        waiting = [Expired(told) for _ in range(100)]
        for each in waiting:
            each.deadline = core.now
            core.deadlines.watch(each)
        while not told:  # noqa: ASYNC110 - turn by turn, for `until` would sleep over the rest
            await asyncio.sleep(0)
        turns = [len(told)]
        moved = core._expiring[-1]
        moved.deadline = core.now + 60.0
        while len(told) < 99:
            await asyncio.sleep(0)
            turns.append(len(told))
        assert max(after - before for before, after in itertools.pairwise(turns)) <= 16
        assert {id(each) for each in waiting} - {id(each) for each in told} == {id(moved)}
        assert moved.looked_at
    finally:
        await core.close()
