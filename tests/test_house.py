"""The rules of the house that no linter knows: layout, size, state at module level, and what a commit must not hold."""

import ast
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src"

LONGEST_FUNCTION = 60
DEEPEST_NESTING = 4

# Modules without a test file of their own, each with the reason. Entries may only leave this list.
TESTED_ELSEWHERE: Mapping[str, str] = {
    "certs/ports.py": "protocols only; mypy holds the implementations to them",
    "state/ports.py": "protocols only; mypy holds the implementations to them",
}

BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
READ_ONLY = ("Mapping", "Sequence", "Collection", "AbstractSet")
MUTABLE_TYPES = (
    *("dict", "list", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict", "count"),
    *("WeakKeyDictionary", "WeakValueDictionary", "WeakSet", "Queue", "SimpleQueue"),
    *("Lock", "RLock", "Event", "Condition", "Semaphore"),
)

# Written in pieces, so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(
    r"(^|[^A-Za-z0-9_])/(?:" + "|".join(("wo" + "rk", "ro" + "ot", "fa" + "rm")) + ")/", re.MULTILINE
)
DOWNLOAD_PLACE = re.compile(
    r"://|--(?:extra-)?index-url|--find-links|--trusted-host|(?:^|\s)-[if]\s|@\s*file", re.MULTILINE
)


def test_every_source_file_has_its_test_file() -> None:
    """`src/mesh/wire.py` is tested by `tests/mesh/test_wire.py`, so that nobody has to search."""
    missing = [name for name, test in sources_and_tests() if not test.exists() and name not in TESTED_ELSEWHERE]
    assert not missing, "\n".join(missing)


def test_the_list_of_exceptions_only_shrinks() -> None:
    """A module that has gone, or that has a test file now, is no exception any more."""
    without_test = {name for name, test in sources_and_tests() if not test.exists()}
    assert set(TESTED_ELSEWHERE) <= without_test


def test_every_test_file_has_its_source_file() -> None:
    """A test file that lost its module is renamed with it, not left behind."""
    expected = {test for _, test in sources_and_tests()}
    packages = [ROOT / "tests" / folder.name for folder in SOURCES.iterdir() if folder.is_dir()]
    found = [test for package in packages for test in package.rglob("test_*.py")]
    assert [relative(test) for test in found if test not in expected] == []


def test_every_module_starts_with_a_sentence() -> None:
    """The first line of a file says what the file is."""
    offenders = [name for name, tree in modules() if not re.search(r"\S[.!?]$", docstring_line(tree))]
    assert not offenders, "\n".join(offenders)


def test_packages_hold_one_sentence_and_no_imports() -> None:
    """Importing `mesh.routes` runs `mesh/__init__.py` too, and pays for whatever that imports."""
    offenders = [name for name, tree in modules() if name.endswith("__init__.py") and len(tree.body) != 1]
    assert not offenders, "\n".join(offenders)


def test_no_state_at_module_level() -> None:
    """State has an owner with a lifetime; a table at module level is typed so that it cannot be changed."""
    offenders = [
        f"{name}:{node.lineno}" for name, tree in modules("src") for node in tree.body if holds_mutable_value(node)
    ]
    assert not offenders, "annotate a constant table with Mapping or Sequence:\n" + "\n".join(offenders)


def test_no_global_statement() -> None:
    """Nothing rebinds a module's names from inside a function."""
    offenders = [
        f"{name}:{node.lineno}" for name, tree in modules() for node in ast.walk(tree) if isinstance(node, ast.Global)
    ]
    assert not offenders, "\n".join(offenders)


def test_no_function_is_too_long_to_read() -> None:
    """A function fits on a screen."""
    offenders = [
        f"{name}:{function.lineno} {function.name} spans {span(function)} lines"
        for name, function in functions()
        if span(function) > LONGEST_FUNCTION
    ]
    assert not offenders, "\n".join(offenders)


def test_no_function_is_nested_too_deeply() -> None:
    """Nobody can hold five open conditions in the head."""
    offenders = [
        f"{name}:{function.lineno} {function.name} is nested {depth(function.body)} deep"
        for name, function in functions()
        if depth(function.body) > DEEPEST_NESTING
    ]
    assert not offenders, "\n".join(offenders)


def test_import_contracts_hold() -> None:
    """Imports go one way, and pure cores import neither sockets nor clocks."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_requirements_name_no_place_to_download_from() -> None:
    """Where packages come from is the business of the machine that installs them."""
    offenders = [path.name for path in (ROOT / "requirements").iterdir() if DOWNLOAD_PLACE.search(path.read_text())]
    assert not offenders, "\n".join(offenders)


def test_every_requirement_is_pinned_with_a_hash() -> None:
    """What is installed tomorrow is what was tested today."""
    for path in (ROOT / "requirements").iterdir():
        requirements = path.read_text().replace("\\\n", "").splitlines()
        assert [line for line in requirements if "==" not in line or "--hash=sha256:" not in line] == []


def test_no_file_names_a_path_of_one_machine() -> None:
    """What is in the tree means the same on every machine."""
    offenders = [relative(path) for path, text in text_files() if MACHINE_PATH.search(text)]
    assert not offenders, "\n".join(offenders)


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Every Python file of the folders (of all of ours, by default) with its name and its tree."""
    for folder in folders or ("src", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield relative(path), parsed(path)


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The tree of one file, parsed once for all tests."""
    return ast.parse(path.read_text())


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of every module, with the name of the file."""
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                yield name, node


def sources_and_tests() -> Iterator[tuple[str, Path]]:
    """Every module under src, by its name there, with the file that has to test it."""
    for path in sorted(SOURCES.rglob("*.py")):
        if path.name != "__init__.py":
            name = path.relative_to(SOURCES)
            yield str(name), ROOT / "tests" / name.with_name(f"test_{name.name}")


def text_files() -> Iterator[tuple[Path, str]]:
    """Every text file that is, or could be, committed."""
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name == ".ci" or (name[0] not in "._" and name != "htmlcov")]
        for name in names:
            content = (Path(folder) / name).read_bytes()
            if b"\0" not in content:
                yield Path(folder) / name, content.decode(errors="replace")


def relative(path: Path) -> str:
    """The path as seen from the top of the repository."""
    return str(path.relative_to(ROOT))


def docstring_line(tree: ast.Module) -> str:
    """The first line of a module's docstring, or nothing."""
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def span(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def depth(body: list[ast.stmt]) -> int:
    """How many blocks are open in the deepest place; `elif` is as deep as its `if`, an inner function starts anew."""
    return max((depth_of(statement) for statement in body), default=0)


def depth_of(statement: ast.stmt) -> int:
    """How many blocks one statement opens inside one another."""
    if not isinstance(statement, BLOCKS):
        return 0
    orelse = getattr(statement, "orelse", [])
    is_elif = isinstance(statement, ast.If) and len(orelse) == 1 and isinstance(orelse[0], ast.If)
    inner = [*getattr(statement, "body", []), *getattr(statement, "finalbody", []), *([] if is_elif else orelse)]
    for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
        inner += part.body
    return max(1 + depth(inner), depth(orelse) if is_elif else 0)


def holds_mutable_value(statement: ast.stmt) -> bool:
    """Whether a statement binds a value that can be changed to a name of the module."""
    if isinstance(statement, ast.AnnAssign):
        filled = isinstance(statement.value, DISPLAYS) and ast.unparse(statement.value) not in {"[]", "{}"}
        if filled and any(word in ast.unparse(statement.annotation) for word in READ_ONLY):
            return False
    elif not isinstance(statement, ast.Assign) or ast.unparse(statement.targets[0]) == "__all__":
        return False
    return isinstance(statement.value, DISPLAYS) or called_name(statement.value) in MUTABLE_TYPES


def called_name(value: ast.expr | None) -> str:
    """The last part of the name that an expression calls, or nothing."""
    if not isinstance(value, ast.Call):
        return ""
    return ast.unparse(value.func).rpartition(".")[2]
