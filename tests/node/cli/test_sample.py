"""The sample application."""

from __future__ import annotations

import aiohttp

from node.cli.sample import serving


async def test_the_page_the_echo_and_the_events() -> None:
    """Everything that the page promises is there."""
    async with serving() as url, aiohttp.ClientSession(url) as session:
        async with session.get("/") as page:
            assert "It works" in await page.text()
        async with session.post("/echo?a=1", data="hello", headers={"X-Seen": "yes"}) as echo:
            seen = await echo.json()
        assert (seen["method"], seen["path"], seen["body"], seen["headers"]["X-Seen"]) == (
            "POST",
            "/echo?a=1",
            "hello",
            "yes",
        )
        async with session.get("/events") as events:
            assert events.content_type == "text/event-stream"
            assert (await events.content.readline()).startswith(b"data: ")
