"""The descriptions of the endpoints of domains and certificates."""

from __future__ import annotations

from admin_api.plane import domain_operations
from tests.admin_api.served import Served


def test_streams_are_known_as_such() -> None:
    """They are the ones that no HEAD can ask for."""
    assert domain_operations.FOLLOW_DOMAIN.is_stream
    assert domain_operations.FOLLOW_CERTIFICATE.is_stream
    assert not domain_operations.GET_DOMAIN.is_stream


async def test_an_import_takes_either_form(served: Served) -> None:
    """And the document says so."""
    async with served.client.get("/openapi.json") as answer:
        document = await answer.json()
    content = document["paths"]["/certificates"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "application/x-pem-file"}


async def test_a_domain_is_described_as_it_is_validated(served: Served) -> None:
    """With what may be said of it, and no more."""
    async with served.client.get("/openapi.json") as answer:
        schemas = (await answer.json())["components"]["schemas"]
    body = schemas["DomainBody"]
    assert (body["additionalProperties"], body["properties"]["certificate"]["enum"]) == (False, ["auto", "off"])
    assert {"status", "fact", "records"} <= set(schemas["DomainView"]["properties"])
