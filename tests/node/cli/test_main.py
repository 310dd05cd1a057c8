"""From arguments to a command and an exit code."""

from __future__ import annotations

import subprocess
import sys

from tests.node.cli.conftest import Zexio


async def test_a_failure_is_one_line_and_code_1(zexio: Zexio) -> None:
    """On stderr, under the program's name."""
    result = await zexio("routes", "ls", "--admin", "http://127.0.0.1:1")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith("zexio: no answer from the admin API")


async def test_a_wrong_call_is_one_line_and_code_2(zexio: Zexio) -> None:
    """The parser's usage is left to --help."""
    result = await zexio("routes", "set", "a.example.com")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert result.err.startswith("zexio routes set: the following arguments are required: TARGET")


def test_a_reader_that_has_seen_enough_is_no_traceback() -> None:
    """`zexio ... | head` ends quietly."""
    command = [sys.executable, "-m", "node.cli.main", "tokens", "issue", "--org", "org_a"]
    environ = {"MESH_JWT_SECRET": "s" * 32, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_client_command_does_not_load_the_server() -> None:
    """Otherwise every `zexio status` would wait for it."""
    script = (
        "import sys; from node.cli.main import main\n"
        "assert main(['status', '--admin', 'http://127.0.0.1:1']) == 1\n"
        "print(*{'aiohttp', 'uvloop', 'cryptography', 'sqlalchemy', 'pydantic', 'structlog'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
