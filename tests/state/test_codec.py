"""Codec: rows that are what was written, sealed where the kind holds secrets."""

from __future__ import annotations

import msgspec
import pytest

from state.codec import Codec, StoredRow
from state.errors import SecretError, StoreError
from state.kinds import Kind
from state.model import KINDS, KindSpec, Organization, RouteKey
from state.policies import HealthCheck, Timeouts
from state.secrets import Secrets
from tests.state.samples import NOON, route

SEALED = {**KINDS, Kind.ORGANIZATION: KindSpec(Organization, str, is_secret=True)}
ORGANIZATION = Organization(id="org_a", name="Acme", created_at=NOON, revision=3)


def altered(row: StoredRow, **fields: object) -> StoredRow:
    """The row as somebody else wrote it."""
    return msgspec.structs.replace(row, **fields)


def test_a_row_is_readable_where_nothing_is_secret(secrets: Secrets) -> None:
    """With any SQL client, by key and by content."""
    row = Codec(secrets).encode(Kind.ROUTE, route("a.example", path_prefix="/api", revision=7))
    assert (row.key, row.revision) == ("a.example/api", 7)
    assert msgspec.json.decode(row.body)["host"] == "a.example"
    assert KINDS[Kind.ROUTE].parse_key(row.key) == RouteKey("a.example", "/api")


@pytest.mark.parametrize("kinds", [KINDS, SEALED], ids=["plain", "sealed"])
def test_a_value_comes_back(secrets: Secrets, kinds: dict[Kind, KindSpec]) -> None:
    """As it was."""
    codec = Codec(secrets, kinds)
    assert codec.decode(Kind.ORGANIZATION, codec.encode(Kind.ORGANIZATION, ORGANIZATION)) == ORGANIZATION


def test_a_secret_kind_is_sealed(secrets: Secrets) -> None:
    """The whole body, for which field is secret is nothing that a table should know."""
    assert b"Acme" not in Codec(secrets, SEALED).encode(Kind.ORGANIZATION, ORGANIZATION).body


@pytest.mark.parametrize("fields", [{"key": "org_b"}, {"revision": 2}, {"body": b"\x01"}])
def test_a_sealed_row_belongs_to_its_place(secrets: Secrets, fields: dict[str, object]) -> None:
    """An older body of the same row, or that of another, does not open."""
    codec = Codec(secrets, SEALED)
    with pytest.raises(SecretError, match="organizations/org_"):
        codec.decode(Kind.ORGANIZATION, altered(codec.encode(Kind.ORGANIZATION, ORGANIZATION), **fields))


@pytest.mark.parametrize("fields", [{"key": "org_b"}, {"revision": 2}, {"body": b"{}"}, {"body": b"\xff"}])
def test_a_plain_row_agrees_with_itself(secrets: Secrets, fields: dict[str, object]) -> None:
    """A row that does not is damage, and damage is not guessed at."""
    codec = Codec(secrets)
    with pytest.raises(StoreError, match="organizations/org_"):
        codec.decode(Kind.ORGANIZATION, altered(codec.encode(Kind.ORGANIZATION, ORGANIZATION), **fields))


def test_a_row_of_an_older_program_is_read(secrets: Secrets) -> None:
    """What it did not know has its default."""
    body = (
        b'{"host":"a.example","targets":[{"url":"http://127.0.0.1:9000","weight":1}],"org_id":null,"access":null,'
        b'"balance":"round_robin","path_prefix":"/","strip_prefix":false,"health":{"path":"/health","interval_s":5.0,'
        b'"timeout_s":2.0,"healthy_after":2,"unhealthy_after":3},"timeouts":{"connect_s":5.0,"response_s":60.0,'
        b'"idle_s":60.0},"retries":1,"max_body_bytes":null,"forward_token":false,"preserve_host":true,'
        b'"headers":{"request":{},"response":{}},"https":"off","revision":7}'
    )
    found = Codec(secrets).decode(Kind.ROUTE, StoredRow("a.example/", 7, body))
    timeouts = Timeouts(connect_s=5.0, response_s=60.0, idle_s=60.0)
    assert found == route("a.example", health=HealthCheck(), timeouts=timeouts, revision=7)
