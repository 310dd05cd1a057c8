"""Compiles the hot modules of mesh from their source: `make compile`, or for a wheel when ZEXIO_COMPILE is 1."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from setuptools.command.build_ext import build_ext

# What is on the path of most requests, compiled as one group, so that modules call one another without a look-up.
# Not among them: modules whose annotations msgspec reads at run time (routes, policies, ledger, ports, channel), and
# those with named tuples of classes that are imported for their types alone (arrival, checks), which mypyc crashes on.
MODULES = (
    *("abandoned", "admission", "answers", "balance", "budget", "connection", "core", "counts", "deadlines"),
    *("downstream", "dressing", "edits", "errors", "exchange", "forward", "heads", "hops", "live"),
    *("networks", "pool", "relay", "rules", "sides", "table", "targets", "trace", "upstream", "wire"),
    *("frames", "h2", "h2_connection", "h2_downstream", "h2_heads", "h2_sending", "h2_stream", "h2_upstream", "hpack"),
    *("hello", "secure"),
)
GROUP = "zexio_mesh"


class CompileHook(BuildHookInterface):
    """A wheel is made of Python alone unless the environment asks for more."""

    def dependencies(self) -> list[str]:
        """What only a compiled wheel needs to be built."""
        return ["mypy>=2.4", "setuptools>=77"] if _is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the compiled modules beside their sources; an editable install stays as it is."""
        if version == "editable" or not _is_wanted():
            return
        self._folder = tempfile.TemporaryDirectory(prefix="zexio-compile-")
        built = compile_into(Path(self.root) / "src", Path(self._folder.name))
        build_data["force_include"].update({str(path): str(path.relative_to(self._folder.name)) for path in built})
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def compile_into(source: Path, folder: Path, level: str = "3") -> list[Path]:
    """Copy the package mesh to `folder` and compile its modules there; gives the files that were made.

    `level` is how much the C compiler optimizes.
    """
    from mypyc.build import mypycify  # noqa: PLC0415 - only whoever compiles has it
    from setuptools import Distribution  # noqa: PLC0415

    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source / "mesh", folder / "mesh", ignore=shutil.ignore_patterns("__pycache__"))
    before = Path.cwd()
    os.chdir(folder)
    try:
        files = [f"mesh/{name}.py" for name in MODULES]
        options = ["--config-file=", "--cache-dir=c/mypy", "--follow-imports=silent", *files]
        extensions = mypycify(
            options, opt_level=level, debug_level="0", multi_file=True, group_name=GROUP, target_dir="c"
        )
        command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = ".", "c"
        command.ensure_finalized()
        _compile_side_by_side(command)
        shutil.rmtree("c")
    finally:
        os.chdir(before)
    return sorted(path for path in folder.rglob("*") if path.suffix in (".so", ".pyd"))


def _compile_side_by_side(command: build_ext) -> None:
    # One module after another would take minutes; setuptools can only make whole extensions side by side, and this
    # is a single one.
    build = command.build_extensions

    def build_extensions() -> None:
        compile_all = command.compiler.compile

        def compile_each(sources: list[str], **how: object) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                made = pool.map(lambda source: compile_all([source], **how), sources)
                return [name for names in made for name in names]

        command.compiler.compile = compile_each
        build()

    command.build_extensions = build_extensions
    command.run()


def _is_wanted() -> bool:
    return os.environ.get("ZEXIO_COMPILE") == "1"


if __name__ == "__main__":
    compile_into(Path(__file__).resolve().parent / "src", Path(sys.argv[1]).resolve(), *sys.argv[2:])
