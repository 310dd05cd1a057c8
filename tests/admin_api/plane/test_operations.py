"""The descriptions of Plane's endpoints."""

from __future__ import annotations

import pytest

from admin_api.dialect import Endpoint
from admin_api.plane import operations, schema
from admin_api.switchboard import SWITCHBOARD
from tests.admin_api.served import Served


@pytest.fixture
def endpoints(served: Served) -> tuple[Endpoint, ...]:
    """Every endpoint of Plane."""
    return served.app[SWITCHBOARD].dialects[0].endpoints


def test_protected_endpoints_describe_how_they_refuse(endpoints: tuple[Endpoint, ...]) -> None:
    """401 on a signed node; 403 and 421 on an open one."""
    for endpoint in endpoints:
        refusals = {401, 403, 421} & set(endpoint.operation.answers)
        assert refusals == ({401, 403, 421} if endpoint.access == "protected" else set())


def test_errors_have_the_one_form(endpoints: tuple[Endpoint, ...]) -> None:
    """Everything from 400 is an Error, but for the empty 401."""
    for endpoint in endpoints:
        errors = {status: answer.model for status, answer in endpoint.operation.answers.items() if status >= 400}
        assert all(model is (None if status == 401 else schema.Error) for status, model in errors.items())


def test_what_takes_input_can_refuse_it(endpoints: tuple[Endpoint, ...]) -> None:
    """A body, a query or a name in the path may be wrong."""
    for endpoint in endpoints:
        given = (endpoint.operation.query, endpoint.operation.body)
        takes_input = given != (None, None) or "{" in endpoint.path
        assert (400 in endpoint.operation.answers) is takes_input


def test_streams_are_known_as_such() -> None:
    """They are the ones that no HEAD can ask for."""
    assert operations.STATS_STREAM.is_stream
    assert operations.LOGS_STREAM.is_stream
    assert not operations.LOGS.is_stream
