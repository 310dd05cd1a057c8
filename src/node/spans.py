"""Exchanges as spans of OpenTelemetry, sent to a collector by OTLP over HTTP; needs the extra `otel`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mesh.ports import AccessRecord
from node.settings import CannotStart
from node.version import version

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_MISSING: Final = "tracing.endpoint: this installation cannot export traces; install zexio with the extra otel"
_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_TRACES_PATH: Final = "/v1/traces"
_SEND_S: Final = 5.0
_CLOSE_S: Final = 3.0


class SpanExporter:
    """Sends the spans of records in batches, from a thread of its own; more than it can hold are dropped."""

    def __init__(self, endpoint: str, service: str) -> None:
        """`endpoint` is the collector, `http://127.0.0.1:4318` for example; raises CannotStart without the extra."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError:
            raise CannotStart(_MISSING) from None
        self._exporter = OTLPSpanExporter(endpoint=traces_url(endpoint), timeout=_SEND_S)
        self._processor = BatchSpanProcessor(self._exporter)
        self._resource = Resource.create({"service.name": service, "service.version": version()})

    def export(self, records: Iterable[AccessRecord]) -> None:
        """Queue the spans of exchanges; each record has a trace id and a span id."""
        for record in records:
            self._processor.on_end(self._span(record))

    async def close(self) -> None:
        """Send what waits; a collector that does not answer is given up after some seconds."""
        closing = asyncio.get_running_loop().create_task(asyncio.to_thread(self._processor.shutdown), name="spans")
        _done, late = await asyncio.wait([closing], timeout=_CLOSE_S)
        if late:
            # Ends the attempts that would follow; the one under way ends by itself.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
        await closing

    def _span(self, record: AccessRecord) -> ReadableSpan:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

        trace_id, flags = int(record.trace_id, 16), trace.TraceFlags(trace.TraceFlags.SAMPLED)
        context = trace.SpanContext(trace_id, int(record.span_id, 16), is_remote=False, trace_flags=flags)
        parent = None
        if record.parent_id:
            parent = trace.SpanContext(trace_id, int(record.parent_id, 16), is_remote=True, trace_flags=flags)
        status = trace.Status()
        if record.status >= 500:
            status = trace.Status(trace.StatusCode.ERROR, record.detail or None)
        # Records are exact to the microsecond; a float of nanoseconds would not be.
        began_ns, took_ns = round(record.began_at * 1e6) * 1000, round(record.duration_s * 1e6) * 1000
        return ReadableSpan(
            name=span_name(record),
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes(record),
            kind=trace.SpanKind.SERVER,
            instrumentation_scope=InstrumentationScope("zexio.mesh", version()),
            status=status,
            start_time=began_ns,
            end_time=began_ns + took_ns,
        )


def traces_url(endpoint: str) -> str:
    """Where traces go: to the path that OTLP names, unless `endpoint` names another."""
    return endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _TRACES_PATH


def span_name(record: AccessRecord) -> str:
    """The method and the route, of which there are few, and never the path."""
    method = record.method if record.method in _METHODS else "HTTP"
    return f"{method} {record.path_prefix}" if record.path_prefix else method


def attributes(record: AccessRecord) -> dict[str, str | int | float]:
    """What the semantic conventions for HTTP servers ask for, and what only a proxy knows.

    The query is left out: it may hold what must not leave the node.
    """
    method, path = record.method, record.target.partition("?")[0]
    host, port = _host_and_port(record.host)
    known = method in _METHODS
    given: dict[str, str | int | float] = {
        "http.request.method": method if known else "_OTHER",
        "http.request.method_original": "" if known else method,
        "url.scheme": record.scheme,
        "url.path": path if path.startswith("/") else "",
        "http.route": record.path_prefix,
        "http.response.status_code": record.status,
        "http.request.body.size": record.received,
        "http.response.body.size": record.sent,
        "error.type": (record.cause or str(record.status)) if record.status >= 500 else "",
        "server.address": host,
        "server.port": port,
        "client.address": record.peer,
        "user_agent.original": record.user_agent,
        "network.protocol.name": "http",
        "network.protocol.version": record.version.removeprefix("HTTP/").replace("2.0", "2"),
        "tls.protocol.version": record.tls.removeprefix("TLSv"),
        "zexio.route": record.route,
        "zexio.target": record.upstream,
        "zexio.cause": record.cause,
        "zexio.request_id": record.request_id,
        "zexio.org_id": record.org_id,
        "zexio.retries": record.retries,
        "zexio.connect_s": record.connect_s,
        "zexio.first_byte_s": record.first_byte_s,
    }
    return {name: value for name, value in given.items() if value or name == "http.response.status_code"}


def _host_and_port(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    return (name, int(port)) if colon and port.isdigit() and not host.endswith("]") else (host, 0)
