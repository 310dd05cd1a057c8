"""The parts of the demo; tests/flows runs it as a whole."""

from __future__ import annotations

import shlex
import socket

import pytest

from node.cli.demo import Step, free_address


def test_a_step_can_be_repeated_in_a_shell() -> None:
    """The line is what a person copies."""
    step = Step("orders.acme.zexio.internal", "with a token", 200, "a.b.c")
    assert shlex.split(step.curl("127.0.0.1:8082")) == [
        *("curl", "-i", "-H", "Host: orders.acme.zexio.internal", "-H", "Authorization: Bearer a.b.c"),
        "http://127.0.0.1:8082/",
    ]


def test_without_a_token_there_is_no_authorization() -> None:
    """The visitor is anonymous."""
    assert Step("demo.zexio.app", "no token", 200).headers == {"Host": "demo.zexio.app"}


def test_a_taken_port_is_replaced_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Two demos may run side by side."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        address = free_address(port)
    assert address != f"127.0.0.1:{port}"
    assert f"port {port} is taken" in capsys.readouterr().out
    assert free_address(port) == f"127.0.0.1:{port}"
