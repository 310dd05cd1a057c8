"""gRPC with both ends by grpcio: TLS from the caller to the proxy, HTTP/2 without TLS from there to the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import pytest

from mesh.policies import Target, TargetTls
from mesh.routes import Delta, Route, RouteKey
from tests.support.authority import Authority
from tests.support.mesh_node import HOST, MeshUnderTest, start_mesh
from tests.support.stage import until

AUTHORITY: Final = Authority()
ISSUED: Final = AUTHORITY.issue(HOST)
LARGE: Final = bytes(range(256)) * 8000
DEADLINE_S: Final = 10.0
UNLIMITED: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Service(grpc.GenericRpcHandler):
    """Messages are plain bytes; what a method does is in its name."""

    def __init__(self) -> None:
        """Nobody has called."""
        self.cancelled = threading.Event()
        self.is_called = threading.Event()
        self.metadata: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """The handler of a method."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "/zexio.Test/Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "/zexio.Test/Fails": grpc.unary_unary_rpc_method_handler(self._fail),
            "/zexio.Test/Hangs": grpc.unary_unary_rpc_method_handler(self._hang),
            "/zexio.Test/Download": grpc.unary_stream_rpc_method_handler(self._download),
            "/zexio.Test/Breaks": grpc.unary_stream_rpc_method_handler(self._break_off),
            "/zexio.Test/Upload": grpc.stream_unary_rpc_method_handler(self._upload),
            "/zexio.Test/Chat": grpc.stream_stream_rpc_method_handler(self._chat),
        }
        return handlers.get(handler_call_details.method or "")

    def _unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first", "1"), ("x-binary-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-last", "2"),))
        return request

    def _fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-last", "3"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100 % sure, dass es später geht")

    def _hang(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.cancelled.set)
        self.is_called.set()
        self.cancelled.wait(DEADLINE_S)
        return b""

    def _download(self, request: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    def _break_off(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"first"
        context.abort(grpc.StatusCode.DATA_LOSS, "that was all")

    def _upload(self, requests: Iterator[bytes], _context: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(len(one) for one in requests)

    def _chat(self, requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
        for one in requests:
            yield b"you said " + one


@asynccontextmanager
async def served(service: Service, *, is_secure: bool = False) -> AsyncIterator[int]:
    """The service on a port of loopback."""
    server = grpc.server(ThreadPoolExecutor(16), options=UNLIMITED)
    server.add_generic_rpc_handlers((service,))
    if is_secure:
        credentials = grpc.ssl_server_credentials([(ISSUED.key, ISSUED.chain)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        service.cancelled.set()
        await asyncio.to_thread(server.stop(None).wait)


def route_to(port: int, *, is_secure: bool = False) -> Route:
    """To a server of HTTP/2, with or without TLS."""
    scheme = "h2" if is_secure else "h2c"
    wanted = TargetTls(ca=AUTHORITY.pem, server_name=HOST)
    return Route(host=HOST, targets=(Target(f"{scheme}://127.0.0.1:{port}"),), target_tls=wanted)


@asynccontextmanager
async def before(port: int, *, is_secure: bool = False) -> AsyncIterator[tuple[MeshUnderTest, Any]]:
    """A proxy, and a channel to it (grpc.Channel, whose types cannot be told that messages are bytes)."""
    mesh = start_mesh(route_to(port, is_secure=is_secure), certificates=(ISSUED.certificate,))
    async with await mesh as running:
        channel = grpc.secure_channel(
            f"127.0.0.1:{running.tls_port}",
            grpc.ssl_channel_credentials(AUTHORITY.pem.encode()),
            options=(("grpc.ssl_target_name_override", HOST), *UNLIMITED),
        )
        try:
            yield running, channel
        finally:
            await asyncio.to_thread(channel.close)


async def calling(work: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What a blocking call gives, or raises."""
    return await asyncio.to_thread(work)


async def failing(work: Callable[[], Any]) -> grpc.RpcError:
    """How a call fails."""
    with pytest.raises(grpc.RpcError) as failure:
        await calling(work)
    return failure.value


@pytest.mark.parametrize("is_secure", [False, True], ids=["h2c", "h2"])
async def test_unary_calls_and_their_metadata(is_secure: bool) -> None:
    """Both ways, text and binary, before and behind the message."""
    service = Service()
    async with served(service, is_secure=is_secure) as port, before(port, is_secure=is_secure) as (_, channel):
        metadata = (("x-mine", "a"), ("x-mine-bin", b"\x01\x02"))
        unary = channel.unary_unary("/zexio.Test/Unary").with_call
        answer, call = await calling(lambda: unary(b"hello", metadata=metadata, timeout=DEADLINE_S))
        assert answer == b"hello"
        assert dict(call.initial_metadata())["x-binary-bin"] == b"\x00\xff"
        assert dict(call.initial_metadata())["x-first"] == "1"
        assert dict(call.trailing_metadata())["x-last"] == "2"
        assert (service.metadata["x-mine"], service.metadata["x-mine-bin"]) == ("a", b"\x01\x02")


async def test_errors_keep_their_status_their_words_and_their_trailers() -> None:
    """Of the server, and where there is no such method."""
    async with served(Service()) as port, before(port) as (_, channel):
        error: Any = await failing(lambda: channel.unary_unary("/zexio.Test/Fails")(b"", timeout=DEADLINE_S))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert error.details() == "not now: 100 % sure, dass es später geht"
        assert dict(error.trailing_metadata())["x-last"] == "3"
        error = await failing(lambda: channel.unary_unary("/zexio.Test/Nothing")(b"", timeout=DEADLINE_S))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_streams_either_way() -> None:
    """From the server, from the caller, and both at a time, message by message."""
    async with served(Service()) as port, before(port) as (_, channel):
        download = channel.unary_stream("/zexio.Test/Download")
        messages = await calling(lambda: list(download(b"1000", timeout=DEADLINE_S)))
        assert messages == [b"%d" % number for number in range(1000)]
        upload = channel.stream_unary("/zexio.Test/Upload")
        assert await calling(lambda: upload(iter([b"abc"] * 1000), timeout=DEADLINE_S)) == b"3000"

        def chat() -> list[bytes]:
            heard: list[bytes] = []
            turn = threading.Semaphore(1)

            def say() -> Iterator[bytes]:
                for number in range(50):
                    # The next word waits for the answer to the last one: nothing may be held back on the way.
                    turn.acquire()
                    yield b"%d" % number

            for one in channel.stream_stream("/zexio.Test/Chat")(say(), timeout=DEADLINE_S):
                heard.append(one)
                turn.release()
            return heard

        assert await calling(chat) == [b"you said %d" % number for number in range(50)]


async def test_a_stream_that_breaks_off_says_why() -> None:
    """What came before is delivered."""
    async with served(Service()) as port, before(port) as (_, channel):
        heard: list[bytes] = []
        error: Any = await failing(
            lambda: heard.extend(channel.unary_stream("/zexio.Test/Breaks")(b"", timeout=DEADLINE_S))
        )
        assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "that was all")


async def test_large_messages() -> None:
    """Two megabytes, several at a time, larger than any window."""
    async with served(Service()) as port, before(port) as (_, channel):
        unary = channel.unary_unary("/zexio.Test/Unary")
        answers = await asyncio.gather(
            *(calling(lambda: unary(LARGE, timeout=DEADLINE_S)) for _ in range(4)),
        )
        assert all(answer == LARGE for answer in answers)


async def test_a_call_that_is_cancelled_is_cancelled_at_the_server() -> None:
    """By the caller, or by the deadline that it set."""
    for by_deadline in (False, True):
        service = Service()
        async with served(service) as port, before(port) as (mesh, channel):
            call = channel.unary_unary("/zexio.Test/Hangs").future(b"", timeout=0.2 if by_deadline else DEADLINE_S)
            assert await asyncio.to_thread(service.is_called.wait, DEADLINE_S)
            if not by_deadline:
                call.cancel()
            assert await asyncio.to_thread(service.cancelled.wait, DEADLINE_S)
            expected = grpc.StatusCode.DEADLINE_EXCEEDED if by_deadline else grpc.StatusCode.CANCELLED
            assert await asyncio.to_thread(call.code) is expected
            await until(lambda: mesh.core.in_flight == 0)


async def test_what_the_proxy_itself_has_to_say() -> None:
    """UNAVAILABLE when the server is gone, UNIMPLEMENTED when the route is; callers know what to do with these."""
    async with served(Service()) as port:
        gone = port
    async with before(gone) as (mesh, channel):
        unary = channel.unary_unary("/zexio.Test/Unary")
        error: Any = await failing(lambda: unary(b"", timeout=DEADLINE_S))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        mesh.apply(Delta(revision=2, removed=(RouteKey(HOST),)))
        error = await failing(lambda: unary(b"", timeout=DEADLINE_S))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_calls_go_on_while_routes_change() -> None:
    """Streams keep their server, and no call fails."""
    async with served(Service()) as port, before(port) as (mesh, channel):
        unary = channel.unary_unary("/zexio.Test/Unary")
        words: list[bytes] = []
        heard: list[bytes] = []
        more = threading.Semaphore(0)

        def say() -> Iterator[bytes]:
            while True:
                more.acquire()
                if not words:
                    return
                yield words.pop(0)

        chat = channel.stream_stream("/zexio.Test/Chat")(say(), timeout=DEADLINE_S)
        for revision in range(2, 32):
            mesh.apply(Delta(revision=revision, put=(route_to(port),)))
            assert await calling(lambda: unary(b"hello", timeout=DEADLINE_S)) == b"hello"
            words.append(b"%d" % revision)
            more.release()
            heard.append(await calling(lambda: next(chat)))
        more.release()
        assert heard == [b"you said %d" % revision for revision in range(2, 32)]
        assert await calling(lambda: list(chat)) == []
