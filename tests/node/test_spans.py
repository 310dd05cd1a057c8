"""Exchanges as spans of OpenTelemetry, as a collector gets them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from node import spans
from node.settings import CannotStart
from node.spans import SpanExporter, attributes, span_name, traces_url
from node.version import version
from tests.support.records import SPAN, TRACE, record

PARENT = "b7ad6b7169203331"
SAMPLED = record(trace_id=TRACE, span_id=SPAN, parent_id=PARENT, began_at=1700000000.25, duration_s=0.5)


class Collector:
    """What a collector was sent."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.url = ""
        self.sent: list[ResourceSpans] = []

    async def take(self, request: web.Request) -> web.Response:
        """Keep what came."""
        message = ExportTraceServiceRequest()
        message.ParseFromString(await request.read())
        self.sent += message.resource_spans
        return web.Response(content_type="application/x-protobuf")

    @property
    def spans(self) -> Iterator[Span]:
        """Every span, without what is said once for many."""
        for resource in self.sent:
            for scope in resource.scope_spans:
                yield from scope.spans


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """A collector on loopback."""
    found = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def values(attributes: Any) -> dict[str, object]:  # noqa: ANN401  protobuf's own sequence
    """Attributes as a table."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


async def test_a_collector_gets_the_spans() -> None:
    """With the ids of the trace, the times, and the node's name."""
    async with collector() as found:
        exporter = SpanExporter(found.url, "edge-1")
        exporter.export([SAMPLED])
        await exporter.close()
        (span,) = found.spans
        resource = values(found.sent[0].resource.attributes)
    assert (resource["service.name"], resource["service.version"]) == ("edge-1", version())
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert (span.name, span.kind, span.status.code) == ("GET /", Span.SPAN_KIND_SERVER, 0)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1700000000_250000000, 1700000000_750000000)
    assert values(span.attributes) == attributes(SAMPLED)


async def test_a_trace_that_begins_here_has_no_parent() -> None:
    """And a failure is one for those who look at traces too."""
    failed = record(
        trace_id=TRACE,
        span_id=SPAN,
        status=502,
        cause="connection_refused",
        detail="The target refused the connection.",
    )
    async with collector() as found:
        exporter = SpanExporter(found.url, "edge-1")
        exporter.export([failed])
        await exporter.close()
        (span,) = found.spans
    assert span.parent_span_id == b""
    assert (span.status.code, span.status.message) == (2, "The target refused the connection.")
    assert values(span.attributes)["error.type"] == "connection_refused"


async def test_a_collector_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that ends does not wait for it for long."""
    monkeypatch.setattr(spans, "_CLOSE_S", 0.05)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    exporter = SpanExporter(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "edge-1")
    exporter.export([SAMPLED])
    async with asyncio.timeout(5):
        await exporter.close()
    server.close()


def test_without_the_extra_there_is_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages are not needed by those who do not trace."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(CannotStart, match=r"tracing\.endpoint: .*extra otel"):
        SpanExporter("http://127.0.0.1:4318", "edge-1")


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example.com/otlp/v1/traces", "https://collector.example.com/otlp/v1/traces"),
    ],
)
def test_traces_have_a_path_of_their_own(endpoint: str, url: str) -> None:
    """The one of OTLP, unless another is given."""
    assert traces_url(endpoint) == url


def test_attributes_are_those_of_http_servers() -> None:
    """By the semantic conventions; what is not known is left out, and the query always is."""
    exchange = record(
        host="shop.example.com:8443", scheme="https", tls="TLSv1.3", version="HTTP/2.0", user_agent="curl/8", retries=1
    )
    assert attributes(exchange) == {
        "http.request.method": "GET",
        "url.scheme": "https",
        "url.path": "/a",
        "http.route": "/",
        "http.response.status_code": 200,
        "http.request.body.size": 3,
        "http.response.body.size": 120,
        "server.address": "shop.example.com",
        "server.port": 8443,
        "client.address": "192.0.2.7",
        "user_agent.original": "curl/8",
        "network.protocol.name": "http",
        "network.protocol.version": "2",
        "tls.protocol.version": "1.3",
        "zexio.route": "shop.example.com",
        "zexio.target": "http://10.0.0.1:80",
        "zexio.request_id": "id-1",
        "zexio.retries": 1,
    }


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [("[::1]", "[::1]", None), ("[::1]:80", "[::1]", 80), ("a", "a", None), ("a:80", "a", 80)],
)
def test_a_host_is_an_address_and_a_port(host: str, address: str, port: int | None) -> None:
    """An address of IPv6 has colons of its own."""
    found = attributes(record(host=host))
    assert (found["server.address"], found.get("server.port")) == (address, port)


def test_a_method_that_nobody_knows_is_no_name() -> None:
    """Visitors must not be able to make up names of spans."""
    unknown = record(method="BREW", path_prefix="/pot")
    assert span_name(unknown) == "HTTP /pot"
    found = attributes(unknown)
    assert (found["http.request.method"], found["http.request.method_original"]) == ("_OTHER", "BREW")
    assert span_name(record(path_prefix="")) == "GET"
