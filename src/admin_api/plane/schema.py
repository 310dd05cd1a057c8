"""What Plane takes and gives, as the pydantic models that validate it and that OpenAPI is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from pydantic import AfterValidator, Field, RootModel

from admin_api.models import Body, Query, make_model, model_of
from state import model, policies
from state.rules import Fold, Length, Range
from state.target_urls import fold_target_url
from state.text_rules import check_password, check_user

MAX_PAGE: Final = 1000
MAX_LOG_LINES: Final = 10_000
MAX_WAIT_S: Final = 300

_INSPECTORS: Final = ("http://127.0.0.1:", "http://[::1]:")

PathPrefix = Annotated[str, Field(max_length=1024, examples=["/", "/api"])]
_Password = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(check_password)]
_Passwords = Annotated[
    dict[Annotated[str, AfterValidator(check_user)], _Password],
    Field(min_length=1, max_length=256, description="A password, or its argon2id hash in PHC form, by name."),
]

BasicAuthBody: Final = make_model(
    "BasicAuthBody",
    policies.BasicAuth,
    {"users": (_Passwords, ...)},
    "Who may use the route, by name and password; passwords are kept and shown as hashes.",
)
RouteBody: Final = make_model(
    "RouteBody",
    model.Route,
    {
        "host": (str | None, Field(None, description="If given, the host of the path.")),
        "path_prefix": (
            PathPrefix | None,
            Field(None, description="If given beside the query's, the same; `/` by default."),
        ),
        "basic_auth": (BasicAuthBody | None, None),
        "traffic": (Any, Field(None, description="Ignored, as `draining` is: they have endpoints of their own.")),
        "revision": (int | None, Field(None, description="Ignored: it is If-Match that guards against lost updates.")),
    },
    "A route as it is wanted. An answer of `GET /routes/{host}` may be sent back as it came.",
)
Route: Final = model_of(model.Route)


class RoutePage(msgspec.Struct, frozen=True):
    """Some of the routes, in the order of their hosts; `next_cursor` is null on the last page."""

    routes: tuple[model.Route, ...]
    next_cursor: str | None


class Pause(msgspec.Struct, frozen=True):
    """How long each request is held, in seconds."""

    hold_s: policies.Seconds = 30.0


class Stop(msgspec.Struct, frozen=True):
    """What visitors are told; `retry_after_s` 0 does not say when to come back."""

    message: model.Message = ""
    retry_after_s: model.RetryAfter = 0


class Drain(msgspec.Struct, frozen=True):
    """Which target, by its URL, and how long the answer may wait for it to be empty."""

    target: str
    wait_s: Annotated[float, Range(0, MAX_WAIT_S)] = 0.0


class Undrain(msgspec.Struct, frozen=True):
    """Which target, by its URL."""

    target: str


class TargetDrain(msgspec.Struct, frozen=True, kw_only=True):
    """How far a target is: `empty` when no worker gives it requests any more, and none has one in flight."""

    target: str
    draining: bool
    in_flight: int
    empty: bool


class DrainedRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route with a target that drains."""

    route: model.Route
    target: TargetDrain


def fold_inspector(text: str) -> str:
    """The one spelling of an inspector's address: `http://` and a port of loopback; raises ValueError."""
    address = fold_target_url(text)
    if not address.startswith(_INSPECTORS):
        raise ValueError("is no address such as http://127.0.0.1:8092: an inspector is on the node's own machine")
    return address


class Inspection(msgspec.Struct, frozen=True):
    """Which inspector requests pass on their way to a target: an address on loopback by the URL of the target."""

    targets: Annotated[
        Mapping[Annotated[str, Fold(fold_target_url)], Annotated[str, Fold(fold_inspector)]], Length(1, 256)
    ]


class RoutesQuery(Query):
    """Which routes to list."""

    limit: int = Field(100, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(None, description="The `next_cursor` of the page before.")
    org_id: str | None = Field(None, description="Only routes of this organization.")
    q: str | None = Field(None, max_length=253, description="Only hosts that contain this text.")


class RouteQuery(Query):
    """Which of the routes of a host is meant."""

    path_prefix: PathPrefix | None = Field(None, description="`/` by default.")


class DrainQuery(RouteQuery):
    """Which target is meant, and how long the answer may wait for it to be empty."""

    target: str = Field(description="The URL of the target.")
    wait_s: float = Field(0.0, ge=0, le=MAX_WAIT_S, description="In seconds.")


class LogsQuery(Query):
    """How many log lines."""

    limit: int = Field(100, ge=1, le=MAX_LOG_LINES, description="The newest so many lines.")


class LogStreamQuery(Query):
    """Where a stream of log lines starts."""

    limit: int = Field(0, ge=0, le=MAX_LOG_LINES, description="Start with the newest so many lines.")


class AccessQuery(Query):
    """Which exchanges to show."""

    host: str | None = Field(None, max_length=253, description="Only those of this host, or of routes with this host.")


class Stats(Body):
    """The load of the machine. Sizes in bytes, shares in percent."""

    cpu_usage: float
    memory_used: int
    memory_total: int
    memory_percent: float
    disk_used: int
    disk_total: int
    disk_percent: float


class LogLine(Body):
    """One line of the node's log."""

    timestamp: str = Field(json_schema_extra={"format": "date-time"})
    level: str = Field(examples=["INFO"])
    message: str


class LogLines(RootModel[list[LogLine]]):
    """Log lines, oldest first."""


class Sync(Body):
    """What the worker is and how it does."""

    status: str = Field(examples=["online"])
    version: str
    stats: Stats


class FieldProblem(Body):
    """One wrong field, by its path (`targets[0].url`), and why; the reason reads on after the name."""

    field: str
    reason: str


class Error(Body):
    """Why a request failed; `fields` has every wrong field of an invalid one."""

    error: str
    fields: list[FieldProblem] = Field(default_factory=list)
