"""The models, held against the values of `state` that they stand for."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from admin_api.plane import schema
from state.journal import LogEntry
from state.model import Route, Target
from state.observed import HostFact
from state.policies import HealthCheck
from state.route_rules import fold_route

DOCS = (Path(__file__).parent.parent.parent.parent / "docs" / "routes.md").read_text()


def test_defaults_are_those_of_the_value() -> None:
    """What the document promises is what `state` does with a field that is not there."""
    route = Route(host="a.example", targets=(Target("http://127.0.0.1:80"),), health=HealthCheck())
    body = schema.RouteBody.model_validate({"targets": [{"url": "http://127.0.0.1:80"}], "health": {}})
    own = {"host", "path_prefix", "revision", "traffic"}
    expected = {
        name: value for name, value in msgspec.json.decode(msgspec.json.encode(route)).items() if name not in own
    }
    assert body.model_dump(exclude=own) == expected


def test_a_body_has_every_field_of_a_route() -> None:
    """An answer of a GET may be sent back as it came."""
    assert set(schema.RouteBody.model_fields) == set(Route.__struct_fields__)


def test_stats_are_the_seven_of_the_seed() -> None:
    """contracts/plane.md decision 6."""
    fields = ["cpu_usage", "memory_used", "memory_total", "memory_percent", "disk_used", "disk_total", "disk_percent"]
    assert list(schema.Stats.model_fields) == fields
    assert set(fields) == set(HostFact.__struct_fields__) - {"at"}


def test_log_line_is_an_entry_without_its_id() -> None:
    """contracts/plane.md decision 5; the id goes with the event."""
    assert set(schema.LogLine.model_fields) == set(LogEntry.__struct_fields__) - {"id"}


@pytest.mark.parametrize(
    "body",
    [
        {"targets": [{"url": "http://127.0.0.1:80", "weight": -1}]},
        {"targets": [{"url": "http://127.0.0.1:80", "weight": True}]},
        {"targets": [{"url": "ftp://127.0.0.1"}]},
        {"targets": [{"url": "http://127.0.0.1:80"}], "org_id": "not one"},
        {"targets": [{"url": "http://127.0.0.1:80"}], "retries": 6},
        {"targets": [{"url": "http://127.0.0.1:80"}], "retries": 1.0},
        {"targets": [{"url": "http://127.0.0.1:80"}], "strip_prefix": "no"},
        {"targets": [{"url": "http://127.0.0.1:80"}], "strip_prefix": 1},
        {"targets": [{"url": "http://127.0.0.1:80"}], "timeouts": None},
        {"targets": [{"url": "http://127.0.0.1:80"}], "timeouts": {"connect_s": 0}},
        {"targets": [{"url": "http://127.0.0.1:80"}], "headers": {"request": {"a": 1}}},
        {"targets": [{"url": "http://127.0.0.1:80"}], "https": "ON"},
    ],
)
def test_models_are_strict(body: object) -> None:
    """Nothing is read as something else."""
    with pytest.raises(ValidationError):
        schema.RouteBody.model_validate(body)


@pytest.mark.parametrize(
    ("given", "encodings"),
    [(True, ["zstd", "br", "gzip"]), ({"encodings": ["br"]}, ["br"]), (False, None), (None, None)],
)
def test_a_policy_with_defaults_is_switched_on(given: object, encodings: list[str] | None) -> None:
    """True is all defaults, false is null."""
    found = schema.RouteBody.model_validate({"compression": given}).model_dump()["compression"]
    assert (found and found["encodings"]) == encodings


def test_a_field_may_be_added_once_without_a_list() -> None:
    """Most are."""
    body = schema.RouteBody.model_validate({"headers": {"add_response": {"Link": "</a>", "Vary": ["A", "B"]}}})
    assert body.model_dump()["headers"]["add_response"] == {"Link": ["</a>"], "Vary": ["A", "B"]}


def test_every_field_is_documented() -> None:
    """docs/routes.md has a row for each, but for what goes without saying."""
    documented = set(re.findall(r"`([a-z_]+)`", DOCS))
    assert set(Route.__struct_fields__) - {"host", "traffic", "revision"} <= documented | {"traffic"}


def test_every_example_of_the_documentation_is_a_route() -> None:
    """And together they show every field that a client can send."""
    shown: set[str] = set()
    for text in re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL):
        fields = schema.RouteBody.model_validate_json(text, strict=True).model_dump(exclude={"traffic", "revision"})
        fields["basic_auth"] = None
        fold_route(msgspec.convert({**fields, "host": "a.example", "path_prefix": fields["path_prefix"] or "/"}, Route))
        shown |= set(msgspec.json.decode(text))
    assert set(Route.__struct_fields__) - shown == {"host", "traffic", "revision", "strip_prefix"}
