"""The models, held against the values of `state` that they stand for."""

from __future__ import annotations

import msgspec
import pytest
from pydantic import BaseModel, ValidationError

from admin_api.plane import schema
from state.journal import LogEntry
from state.model import HeaderEdits, HealthCheck, Route, Target, Timeouts
from state.observed import HostFact

PAIRS = [
    (schema.Target, Target),
    (schema.HealthCheck, HealthCheck),
    (schema.Timeouts, Timeouts),
    (schema.HeaderEdits, HeaderEdits),
    (schema.RouteBody, Route),
    (schema.Route, Route),
]


@pytest.mark.parametrize(("model", "struct"), PAIRS, ids=[model.__name__ for model, _ in PAIRS])
def test_model_has_the_fields_of_the_value(model: type[BaseModel], struct: type[msgspec.Struct]) -> None:
    """A field that is added to one and not to the other is noticed here."""
    assert set(model.model_fields) == set(struct.__struct_fields__)


def test_defaults_are_those_of_the_value() -> None:
    """What the document promises is what `state` does with a field that is not there."""
    route = Route(host="a.example", targets=(Target("http://127.0.0.1:80"),), health=HealthCheck())
    body = schema.RouteBody.model_validate({"targets": [{"url": "http://127.0.0.1:80"}], "health": {}})
    own = {"host", "path_prefix", "revision"}
    expected = {
        name: value for name, value in msgspec.json.decode(msgspec.json.encode(route)).items() if name not in own
    }
    assert body.model_dump(exclude=own) == expected


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
        {"targets": []},
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


def test_https_says_what_it_does_today() -> None:
    """There is no TLS listener yet, and nobody should believe so."""
    described = schema.RouteBody.model_json_schema()["properties"]["https"]["description"]
    assert "308" in described
    assert "on is the same as off" in described
