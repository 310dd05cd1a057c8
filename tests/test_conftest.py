"""The guards of the test run do guard."""

import asyncio
import time
from types import FunctionType

import pytest
from blockbuster import BlockingError

import admin_api
from tests.conftest import ROOT, debian_packages, pure_tests


async def test_asynchronous_tests_run_on_uvloop() -> None:
    """What is tested is what runs."""
    assert type(asyncio.get_running_loop()).__module__ == "uvloop"


async def test_a_blocking_call_of_ours_on_the_loop_is_refused() -> None:
    """A sleep in the admin API would hold up everybody; this one claims to stand in a file of that package."""
    code = (lambda: time.sleep(0)).__code__.replace(co_filename=f"{admin_api.__path__[0]}/app.py")
    with pytest.raises(BlockingError):
        FunctionType(code, globals())()


async def test_a_timeout_ends_the_tasks_of_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """pytest-timeout raises in a signal handler, which uvloop runs as a callback."""
    asyncio.get_running_loop().call_soon(pytest.fail, "as pytest-timeout does")
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(10)
    assert "as pytest-timeout does" in caplog.text
    caplog.clear()


def test_pure_tests_mirror_the_contract() -> None:
    """`make fast` runs the tests of the modules that import-linter keeps pure."""
    assert ROOT / "tests" / "mesh" / "test_wire.py" in pure_tests()
    assert ROOT / "tests" / "mesh" / "test_relay.py" not in pure_tests()


def test_every_program_has_its_debian_package() -> None:
    """A skip names the package to install."""
    assert debian_packages()["curl"] == "curl"
