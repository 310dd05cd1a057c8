"""What Plane takes and gives, as the pydantic models that validate it and that OpenAPI is made of."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel

from state.model import Access, Balance, Https
from state.route_rules import (
    MAX_BODY_BYTES,
    MAX_CHECKS,
    MAX_PATH,
    MAX_RETRIES,
    MAX_SECONDS,
    MAX_TARGETS,
    MAX_WEIGHT,
    org_id_reason,
)
from state.target_urls import fold_target_url

MAX_PAGE: Final = 1000
MAX_LOG_LINES: Final = 10_000

Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
Checks = Annotated[int, Field(ge=1, le=MAX_CHECKS)]
TargetUrl = Annotated[
    str,
    AfterValidator(fold_target_url),
    Field(description="http://host:port, https://host:port or unix:/path", examples=["http://[::1]:9000"]),
]
PathPrefix = Annotated[str, Field(max_length=MAX_PATH, examples=["/", "/api"])]


def _check_org_id(org_id: str) -> str:
    if reason := org_id_reason(org_id):
        raise ValueError(reason)
    return org_id


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Query(BaseModel):
    # Text is all that a query string has, so numbers are read from it.
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Body):
    """Where requests go."""

    url: TargetUrl
    weight: int = Field(1, ge=0, le=MAX_WEIGHT)


class HealthCheck(_Body):
    """How targets are probed; as many results in a row as the two counts say turn a target."""

    path: str = Field("/health", max_length=MAX_PATH)
    interval_s: Seconds = 5.0
    timeout_s: Seconds = 2.0
    healthy_after: Checks = 2
    unhealthy_after: Checks = 3


class Timeouts(_Body):
    """Limits in seconds: to connect, to the head of the answer, and between two reads of a body."""

    connect_s: Seconds = 5.0
    response_s: Seconds = 60.0
    idle_s: Seconds = 60.0


class HeaderEdits(_Body):
    """Fields that are set on the way to the target and on the way back, in place of any of the same name."""

    request: dict[str, str] = {}
    response: dict[str, str] = {}


class _RouteFields(_Body):
    targets: list[Target] = Field(min_length=1, max_length=MAX_TARGETS)
    org_id: Annotated[str, AfterValidator(_check_org_id)] | None = Field(
        None, description="The organization whose mesh tokens the route admits."
    )
    access: Access | None = Field(None, description="null is the default for the host's suffix.")
    balance: Balance = "round_robin"
    strip_prefix: bool = False
    health: HealthCheck | None = None
    timeouts: Timeouts = Timeouts()
    retries: int = Field(1, ge=0, le=MAX_RETRIES)
    max_body_bytes: int | None = Field(None, ge=0, le=MAX_BODY_BYTES)
    forward_token: bool = False
    preserve_host: bool = True
    headers: HeaderEdits = HeaderEdits()
    https: Https = Field(
        "off",
        description="redirect answers plain requests with 308 to https://, for a TLS terminator in front of the node; "
        "on is the same as off until the node has a TLS listener.",
    )


class RouteBody(_RouteFields):
    """A route as it is wanted. An answer of `GET /routes/{host}` may be sent back as it came."""

    host: str | None = Field(None, description="If given, the host of the path.")
    path_prefix: PathPrefix | None = Field(None, description="If given beside the query's, the same; `/` by default.")
    revision: int | None = Field(None, description="Ignored: it is If-Match that guards against lost updates.")


class Route(_RouteFields):
    """A route as it is kept; its `revision` is the number in its ETag."""

    host: str = Field(examples=["shop.example.com", "*.example.com"])
    path_prefix: PathPrefix
    revision: int


class RoutePage(_Body):
    """Some of the routes, in the order of their hosts; `next_cursor` is null on the last page."""

    routes: list[Route]
    next_cursor: str | None


class RoutesQuery(_Query):
    """Which routes to list."""

    limit: int = Field(100, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(None, description="The `next_cursor` of the page before.")
    org_id: str | None = Field(None, description="Only routes of this organization.")
    q: str | None = Field(None, max_length=253, description="Only hosts that contain this text.")


class RouteQuery(_Query):
    """Which of the routes of a host is meant."""

    path_prefix: PathPrefix | None = Field(None, description="`/` by default.")


class LogsQuery(_Query):
    """How many log lines."""

    limit: int = Field(100, ge=1, le=MAX_LOG_LINES, description="The newest so many lines.")


class LogStreamQuery(_Query):
    """Where a stream of log lines starts."""

    limit: int = Field(0, ge=0, le=MAX_LOG_LINES, description="Start with the newest so many lines.")


class Stats(_Body):
    """The load of the machine. Sizes in bytes, shares in percent."""

    cpu_usage: float
    memory_used: int
    memory_total: int
    memory_percent: float
    disk_used: int
    disk_total: int
    disk_percent: float


class LogLine(_Body):
    """One line of the node's log."""

    timestamp: str = Field(json_schema_extra={"format": "date-time"})
    level: str = Field(examples=["INFO"])
    message: str


class LogLines(RootModel[list[LogLine]]):
    """Log lines, oldest first."""


class Sync(_Body):
    """What the worker is and how it does."""

    status: str = Field(examples=["online"])
    version: str
    stats: Stats


class FieldProblem(_Body):
    """One wrong field, by its path (`targets[0].url`), and why; the reason reads on after the name."""

    field: str
    reason: str


class Error(_Body):
    """Why a request failed; `fields` has every wrong field of an invalid one."""

    error: str
    fields: list[FieldProblem] = []
