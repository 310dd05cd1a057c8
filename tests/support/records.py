"""Exchanges and reports that nobody has to spell out."""

from __future__ import annotations

from typing import Any, Final

from mesh.channel import WorkerReport
from mesh.ports import AccessRecord

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = "00f067aa0ba902b7"


def record(**given: Any) -> AccessRecord:  # noqa: ANN401  fields of any kind
    """An exchange like any other, but for what is given."""
    usual = AccessRecord(
        began_at=784111777.25,
        duration_s=0.5,
        peer="192.0.2.7",
        method="GET",
        host="shop.example.com",
        target="/a?b",
        version="HTTP/1.1",
        status=200,
        received=3,
        sent=120,
        request_id="id-1",
        route="shop.example.com",
        path_prefix="/",
        upstream="http://10.0.0.1:80",
    )
    return AccessRecord(**{name: getattr(usual, name) for name in AccessRecord.__struct_fields__} | given)


def report(index: int = 0, pid: int | None = None, **counted: Any) -> WorkerReport:  # noqa: ANN401  fields of any kind
    """A report of a worker that counted nothing but what is given."""
    zeros: dict[str, Any] = dict.fromkeys(
        ("revision", "accepted", "refused", "requests", "dials", "received", "sent", "connections", "in_flight"), 0
    )
    usual = {**zeros, "statuses": (0,) * 10, "causes": {}}
    return WorkerReport(index=index, pid=100 + index if pid is None else pid, **{**usual, **counted})
