"""Starting a node from the command line, as far as it goes without one; tests/flows has the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.node.cli.conftest import Zexio


async def test_an_unknown_key_is_a_wrong_call(zexio: Zexio, tmp_path: Path) -> None:
    """Nothing is started."""
    config = tmp_path / "zexio.toml"
    config.write_text("[mesh]\nlisen = '127.0.0.1:0'\n")
    result = await zexio("up", "--config", str(config), "--data", str(tmp_path / "data"))
    assert (result.code, result.err) == (
        2,
        f"zexio: {config}: mesh.lisen: there is no such setting; the nearest is mesh.listen\n",
    )
    assert not (tmp_path / "data").exists()


async def test_an_unsigned_admin_api_stays_at_home(zexio: Zexio, tmp_path: Path) -> None:
    """contracts/plane.md decision 2."""
    result = await zexio("up", "--admin", "0.0.0.0:0", "--data", str(tmp_path / "data"))
    assert (result.code, "--admin-open-to-network" in result.err) == (2, True)


def test_standard_streams_that_are_closed_are_filled() -> None:
    """Service managers may close them; a socket in their place would be written to, or abort a worker."""
    script = (
        "import os, sys, node.cli.up as up; up._fill_standard_streams();"
        "sys.exit(not (sys.stderr and all(map(os.get_inheritable, range(3)))))"
    )
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script]
    assert subprocess.run(closed, check=False).returncode == 0
