"""What each endpoint of Plane takes and gives, for the document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from admin_api.dialect import EVENT_STREAM, Answer, Operation
from admin_api.models import model_of
from admin_api.plane import schema
from state.model import Split
from state.observed import RouteFact

_TEXT: Final = "text/plain"
_TAG: Final[Mapping[str, str]] = {"ETag": "The revision of what is in the answer, quoted."}
IF_MATCH: Final[Mapping[str, str]] = {"If-Match": "Only if this is still the ETag, or `*`: only if it exists."}
IF_NONE_MATCH: Final[Mapping[str, str]] = {
    "If-None-Match": "Only if the ETag is none of these; `*`: only if it is new."
}
_UNCHANGED: Final[Mapping[str, str]] = {"If-None-Match": "Answer 304 if this is still the ETag."}

INVALID: Final = Answer(description="Something in the request is wrong; `fields` says what.", model=schema.Error)
_UNKNOWN_CALLER: Final = Answer(description="The signature is missing or wrong. Without a body.")
_FOREIGN_PAGE: Final = Answer(description="A page of another origin asked, and the node is open.", model=schema.Error)
_FOREIGN_NAME: Final = Answer(description="The node is open and not known by this Host.", model=schema.Error)
_ABSENT: Final = Answer(description="There is no such route.", model=schema.Error)
STALE: Final = Answer(description="The condition of the request does not hold.", model=schema.Error)
_NOT_MODIFIED: Final = Answer(description="The client has the newest one.", headers=_TAG)
_NOT_MEASURED: Final = Answer(description="The machine has not been measured yet.", model=schema.Error)
TOO_MANY: Final = Answer(description="Too many streams are open.", model=schema.Error)
CONFLICT: Final = Answer(description="It contradicts something that exists.", model=schema.Error)
TOO_LARGE: Final = Answer(description="The body is too large.", model=schema.Error)
NOT_JSON: Final = Answer(description="The body is of another type than application/json.", model=schema.Error)
NOT_SAVED: Final = Answer(description="The change could not be saved.", model=schema.Error)

PROTECTED: Final[Mapping[int, Answer]] = {401: _UNKNOWN_CALLER, 403: _FOREIGN_PAGE, 421: _FOREIGN_NAME}

HEALTH: Final = Operation(
    id="health", summary="Whether the node answers", answers={200: Answer(description="`OK`", media=_TEXT)}
)
STATS: Final = Operation(
    id="stats",
    summary="The load of the machine",
    answers={200: Answer(description="The newest figures.", model=schema.Stats), 503: _NOT_MEASURED},
)
STATS_STREAM: Final = Operation(
    id="stream_stats",
    summary="The load of the machine, every two seconds",
    answers={200: Answer(description="Events whose data is a Stats object.", media=EVENT_STREAM), 503: TOO_MANY},
)
LOGS: Final = Operation(
    id="logs",
    summary="The newest lines of the node's log",
    query=schema.LogsQuery,
    answers={200: Answer(description="Oldest first.", model=schema.LogLines), 400: INVALID},
)
LOGS_STREAM: Final = Operation(
    id="stream_logs",
    summary="The node's log as it is written",
    description="In place of lines that a client was too slow for comes one line of the level WARN that counts them.",
    query=schema.LogStreamQuery,
    headers={"Last-Event-ID": "Go on after the event with this id."},
    answers={
        200: Answer(description="Events whose data is a LogLine object.", media=EVENT_STREAM),
        400: INVALID,
        503: TOO_MANY,
    },
)
ACCESS_STREAM: Final = Operation(
    id="stream_access",
    summary="Exchanges with visitors as they end",
    description='Workers report them for as long as somebody looks. `{"dropped": 7}` stands for those left out.',
    query=schema.AccessQuery,
    answers={
        200: Answer(
            description="Events whose data is an object with the fields of the access log.", media=EVENT_STREAM
        ),
        400: INVALID,
        **PROTECTED,
        503: TOO_MANY,
    },
)
SYNC: Final = Operation(
    id="sync",
    summary="What a control plane wants to know of its worker",
    answers={200: Answer(description="It is online.", model=schema.Sync), **PROTECTED, 503: _NOT_MEASURED},
)
METRICS: Final = Operation(
    id="metrics",
    summary="The node's metrics for Prometheus",
    answers={200: Answer(description="Prometheus text format.", media=_TEXT)},
)
OPENAPI: Final = Operation(
    id="openapi",
    summary="This document",
    answers={200: Answer(description="OpenAPI 3.1.", media="application/json")},
)
LIST_ROUTES: Final = Operation(
    id="list_routes",
    summary="Routes in the order of their hosts",
    description="Every route that exists all the while is on exactly one page, whatever changes between the pages.",
    query=schema.RoutesQuery,
    headers=_UNCHANGED,
    answers={
        200: Answer(description="One page.", model=model_of(schema.RoutePage), headers=_TAG),
        304: _NOT_MODIFIED,
        400: INVALID,
        **PROTECTED,
    },
)
GET_ROUTE: Final = Operation(
    id="get_route",
    summary="The route of a host and a path prefix",
    query=schema.RouteQuery,
    headers=_UNCHANGED,
    answers={
        200: Answer(description="The route.", model=schema.Route, headers=_TAG),
        304: _NOT_MODIFIED,
        400: INVALID,
        **PROTECTED,
        404: _ABSENT,
    },
)
PUT_ROUTE: Final = Operation(
    id="put_route",
    summary="Create or replace a route",
    description="The answer comes when the change is on disk. Repeating it changes nothing, not even the ETag.",
    query=schema.RouteQuery,
    body=schema.RouteBody,
    headers={**IF_MATCH, **IF_NONE_MATCH},
    answers={
        200: Answer(description="It replaced the route.", model=schema.Route, headers=_TAG),
        201: Answer(
            description="It is new.", model=schema.Route, headers={**_TAG, "Location": "The path of the new route."}
        ),
        400: INVALID,
        **PROTECTED,
        409: CONFLICT,
        412: STALE,
        413: TOO_LARGE,
        415: NOT_JSON,
        503: NOT_SAVED,
    },
)
_STEERED: Final[Mapping[int, Answer]] = {
    200: Answer(description="The route, as it is from now on.", model=schema.Route, headers=_TAG),
    400: INVALID,
    **PROTECTED,
    404: _ABSENT,
    412: STALE,
    413: TOO_LARGE,
    415: NOT_JSON,
    503: NOT_SAVED,
}
_WITHOUT_BODY: Final[Mapping[int, Answer]] = {
    status: answer for status, answer in _STEERED.items() if status not in {413, 415}
}
PAUSE_ROUTE: Final = Operation(
    id="pause_route",
    summary="Hold new requests until the route is resumed",
    description="One that is held for longer than `hold_s` gets 503. The body may be left out.",
    query=schema.RouteQuery,
    body=model_of(schema.Pause),
    headers=IF_MATCH,
    answers=_STEERED,
)
STOP_ROUTE: Final = Operation(
    id="stop_route",
    summary="Answer new requests with 503 and a message",
    description="Requests under way are finished. The body may be left out.",
    query=schema.RouteQuery,
    body=model_of(schema.Stop),
    headers=IF_MATCH,
    answers=_STEERED,
)
RESUME_ROUTE: Final = Operation(
    id="resume_route",
    summary="Serve again after a pause or a stop",
    query=schema.RouteQuery,
    headers=IF_MATCH,
    answers=_WITHOUT_BODY,
)
DRAIN_TARGET: Final = Operation(
    id="drain_target",
    summary="Give a target no new requests",
    description="A PUT of the route does not end it. The answer comes when the target is empty, or after `wait_s`.",
    query=schema.RouteQuery,
    body=model_of(schema.Drain),
    headers=IF_MATCH,
    answers={
        202: Answer(description="It is draining.", model=model_of(schema.DrainedRoute), headers=_TAG),
        **{status: answer for status, answer in _STEERED.items() if status != 200},
    },
)
GET_DRAIN: Final = Operation(
    id="get_drain",
    summary="How far a target is with draining",
    description="`empty` is true when every worker serves a revision in which it drains and has no request in flight "
    "there, from this route or another.",
    query=schema.DrainQuery,
    answers={
        200: Answer(description="As it is now.", model=model_of(schema.TargetDrain)),
        400: INVALID,
        **PROTECTED,
        404: _ABSENT,
    },
)
UNDRAIN_TARGET: Final = Operation(
    id="undrain_target",
    summary="Give a target new requests again",
    query=schema.RouteQuery,
    body=model_of(schema.Undrain),
    headers=IF_MATCH,
    answers=_STEERED,
)
SPLIT_ROUTE: Final = Operation(
    id="split_route",
    summary="Send some requests to a second set of targets",
    description="A PUT of the route does not end it.",
    query=schema.RouteQuery,
    body=model_of(Split),
    headers=IF_MATCH,
    answers=_STEERED,
)
UNSPLIT_ROUTE: Final = Operation(
    id="unsplit_route",
    summary="Send all requests to the route's own targets",
    query=schema.RouteQuery,
    headers=IF_MATCH,
    answers=_WITHOUT_BODY,
)
ROUTE_STATS: Final = Operation(
    id="route_stats",
    summary="What workers saw of a route since they started",
    query=schema.RouteQuery,
    answers={
        200: Answer(description="All workers together.", model=model_of(RouteFact)),
        400: INVALID,
        **PROTECTED,
        404: _ABSENT,
    },
)
INSPECT_ROUTE: Final = Operation(
    id="inspect_route",
    summary="Send requests through inspectors for as long as this answer lasts",
    description="Nothing of it is saved: when the client goes, however that is, targets get their requests directly "
    "again, as they do at any time when nothing listens at the inspector's address.",
    query=schema.RouteQuery,
    body=model_of(schema.Inspection),
    answers={
        200: Answer(description="Events whose data is a News object.", media=EVENT_STREAM),
        400: INVALID,
        **PROTECTED,
        404: _ABSENT,
        409: CONFLICT,
        413: TOO_LARGE,
        415: NOT_JSON,
        503: TOO_MANY,
    },
)
END_INSPECTION: Final = Operation(
    id="end_inspection",
    summary="End an inspection, whoever began it",
    query=schema.RouteQuery,
    answers={
        204: Answer(description="No worker sends requests through inspectors any more."),
        400: INVALID,
        **PROTECTED,
        404: Answer(description="The route is not being inspected.", model=schema.Error),
    },
)
DELETE_ROUTE: Final = Operation(
    id="delete_route",
    summary="Remove a route",
    query=schema.RouteQuery,
    headers=IF_MATCH,
    answers={
        204: Answer(description="It is gone."),
        400: INVALID,
        **PROTECTED,
        404: _ABSENT,
        412: STALE,
        503: NOT_SAVED,
    },
)
