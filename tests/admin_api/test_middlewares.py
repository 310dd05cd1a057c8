"""What every request passes and what every answer carries."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from admin_api.plane.system import Sights
from tests.admin_api.served import SETTINGS, TARGETS, Served, raw_status, serve


async def test_client_may_choose_the_request_id(served: Served) -> None:
    """So that a request can be followed through more than one program."""
    async with served.client.get("/health", headers={"X-Request-Id": "trace-1.a_b"}) as answer:
        assert answer.headers["X-Request-Id"] == "trace-1.a_b"


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "<script>", "a;b"])
async def test_request_id_of_another_form_is_replaced(served: Served, given: str) -> None:
    """An id ends up in logs, so it is letters, digits and little else."""
    async with served.client.get("/health", headers={"X-Request-Id": given}) as answer:
        assert answer.headers["X-Request-Id"] != given
        assert len(answer.headers["X-Request-Id"]) == 32


async def test_every_answer_says_what_it_is_and_not_what_made_it(served: Served) -> None:
    """No browser guesses a type, and nobody learns the versions of our libraries."""
    for path in ("/health", "/nothing"):
        async with served.client.get(path) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Server"] == "zexio"


async def test_unknown_path_is_a_404_in_json(served: Served) -> None:
    """The form of an error does not depend on who found it."""
    async with served.client.get("/nothing") as answer:
        assert (answer.status, await answer.json()) == (404, {"error": "There is nothing at /nothing."})


async def test_wrong_method_is_a_405_that_says_which_are_right(served: Served) -> None:
    """RFC 9110 section 15.5.6."""
    async with served.client.post("/routes/a.example.com") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "DELETE,GET,HEAD,PUT")
        assert "POST is not for /routes/a.example.com" in (await answer.json())["error"]


async def test_too_large_body_is_a_413_in_json(tmp_path: Path) -> None:
    """The limit is a setting."""
    settings, body = msgspec.structs.replace(SETTINGS, max_body_bytes=100), {"targets": TARGETS * 100}
    async with serve(tmp_path, settings) as api, api.client.put("/routes/a.example.com", json=body) as answer:
        assert (answer.status, await answer.json()) == (413, {"error": "The body is too large."})


async def test_defect_is_a_500_that_says_nothing_but_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets an id, and the log has the rest under it."""

    def broken() -> bytes:
        raise RuntimeError("the inside story")

    async with serve(tmp_path, sights=Sights(broken)) as api, api.client.get("/metrics") as answer:
        assert answer.status == 500
        text = await answer.text()
        assert answer.headers["X-Request-Id"] in text
        assert "inside" not in text
        assert answer.headers["X-Request-Id"] in caplog.text
        assert "the inside story" in caplog.text


async def test_store_that_takes_no_change_is_a_503(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """It is not the caller's fault, and may be better later."""
    await served.store.close()
    with caplog.at_level(logging.ERROR):
        async with served.client.put("/routes/a.example.com", json={"targets": TARGETS}) as answer:
            assert answer.status == 503
            assert "could not be saved" in (await answer.json())["error"]
    (record,) = caplog.records
    assert record.getMessage().endswith(": the store is closed")
    assert record.exc_info is None


async def test_body_that_does_not_unpack_is_no_defect(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever can reach the listener could fill the log with it."""
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with served.client.put("/routes/a.example.com", data=b"not packed", headers=headers) as answer:
        assert answer.status == 415
    assert caplog.records == []


async def test_host_given_twice_is_refused(served: Served) -> None:
    """Two programs may look at different ones."""
    request = b"PUT /routes/a HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"
    assert await raw_status(served.port, request) == 400


async def test_unknown_expectation_is_a_417(served: Served) -> None:
    """Aiohttp refuses it before any middleware, and the answer carries what all answers carry."""
    async with served.client.get("/health", headers={"Expect": "miracles"}) as answer:
        assert (answer.status, len(answer.headers["X-Request-Id"])) == (417, 32)


async def test_options_that_is_no_preflight_is_a_wrong_method(served: Served) -> None:
    """Only browsers ask that way, and they say more."""
    async with served.client.options("/health") as answer:
        assert answer.status == 405
        assert "Access-Control-Allow-Origin" not in answer.headers
