"""The operator's own program says yes or no."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from certs.asking import NoAnswer, ask


class Program:
    """Answers with a status, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.asked: list[dict[str, str]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """The status."""
        self.asked.append(dict(request.query))
        headers = {"Location": "/yes"} if self.status == 302 else {}
        return web.Response(status=200 if request.path == "/yes" else self.status, headers=headers)


@pytest.fixture
async def program() -> AsyncIterator[Program]:
    """A program on a port of its own."""
    found = Program()
    app = web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/allowed"
    yield found
    await runner.cleanup()


@pytest.mark.parametrize(("status", "expected"), [(200, True), (204, True), (400, False), (404, False)])
async def test_the_status_is_the_answer(program: Program, status: int, expected: bool) -> None:
    """2xx is a yes, 4xx a no."""
    program.status = status
    assert await ask(program.url, "shop.example.com", "192.0.2.7") is expected


async def test_it_is_told_who_asks_for_what(program: Program) -> None:
    """Beside what the operator has put into the URL."""
    await ask(f"{program.url}?key=1", "shop.example.com", "192.0.2.7")
    expected = {"key": "1", "domain": "shop.example.com", "sni": "shop.example.com", "address": "192.0.2.7"}
    assert program.asked == [expected]


@pytest.mark.parametrize("status", [302, 500, 503])
async def test_everything_else_is_no_answer(program: Program, status: int) -> None:
    """A redirect above all, which would lead to somebody else's yes."""
    program.status = status
    with pytest.raises(NoAnswer, match=str(status)):
        await ask(program.url, "shop.example.com", "192.0.2.7")
    assert len(program.asked) == 1


async def test_silence_is_no_answer() -> None:
    """And what is said of it does not quote the URL."""
    with pytest.raises(NoAnswer) as raised:
        await ask("http://127.0.0.1:1/?key=secret", "shop.example.com", "192.0.2.7")
    assert "secret" not in str(raised.value)
