"""What every test run shares: the event loop, the guards, and skips that name the missing Debian package."""

import asyncio
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from logging import ERROR
from pathlib import Path

import hypothesis
import pytest
import uvloop
from blockbuster import blockbuster_ctx

ROOT = Path(__file__).parent.parent

# The deadline of hypothesis is wall time, which a busy machine exceeds; derandomize makes a red run repeatable.
hypothesis.settings.register_profile("gate", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile("gate")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--pure`, which `make fast` gives."""
    parser.addoption("--pure", action="store_true", help="run the tests of the pure modules only")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test on the loop that the node runs on."""
    return {"uvloop": new_event_loop}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--pure`, leave out every test file but those of the modules named in the import contract."""
    if not config.getoption("--pure") or not collection_path.name.startswith("test_"):
        return None
    return collection_path not in pure_tests()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `needs(program)` where the program is not installed."""
    for mark in item.iter_markers("needs"):
        for program in mark.args:
            if shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is None:
                pytest.skip(f"{program} is not installed (Debian package {debian_packages()[program]})")


@pytest.fixture(scope="session", autouse=True)
def _no_blocking_call_on_the_loop() -> Iterator[None]:
    """Fail a test in which the data plane or the admin API blocks its event loop.

    `state` and `node` are not watched: they read their files at start, on the loop, before there is traffic.
    """
    with blockbuster_ctx(["mesh", "admin_api"]):
        yield


@pytest.fixture(autouse=True)
def _no_unseen_error_on_the_loop(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which a callback or a forgotten task raised: the loop logs that and goes on."""
    yield
    records = [record for phase in ("setup", "call", "teardown") for record in caplog.get_records(phase)]
    errors = [record for record in records if record.name == "asyncio" and record.levelno >= ERROR]
    assert not errors, "\n".join(record.getMessage() for record in errors)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop whose tasks end when pytest-timeout strikes.

    uvloop takes what a signal handler raises for the failure of a callback, so the test would go on waiting.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        loop.default_exception_handler(context)
        if isinstance(context.get("exception"), pytest.fail.Exception):
            for task in asyncio.all_tasks(loop):
                task.cancel()

    loop = uvloop.new_event_loop()
    loop.set_exception_handler(handle)
    return loop


def pure_tests() -> frozenset[Path]:
    """The test files of the modules that the contract in pyproject.toml keeps pure."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    modules = next(contract["source_modules"] for contract in contracts if contract["name"].startswith("Pure cores"))
    folders = (module.rsplit(".", 1) for module in modules)
    return frozenset(ROOT / "tests" / package.replace(".", "/") / f"test_{name}.py" for package, name in folders)


def debian_packages() -> Mapping[str, str]:
    """Which Debian package brings a program; a program that a test needs has to be listed."""
    lines = (ROOT / "tests" / "debian-packages.txt").read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return {word[-1]: word[0] for word in words}
