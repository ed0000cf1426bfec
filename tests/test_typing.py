"""What ``tests/typing`` says every type checker must accept and reject, and that each of them can tell.

A line that must be rejected ends in ``# E``. Where the checkers differ, the mark says who and why:
``# E: not ty - reason`` (all but these reject it) or ``# E: only mypy, ty - reason`` (these alone do).
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parent.parent
FILES: Final = sorted((ROOT / "tests" / "typing").glob("*.py"))
MARK: Final = re.compile(r"  # E(?:: (?P<verb>not|only) (?P<names>[a-z, ]+) - (?P<reason>.+?))?(?:  # noqa: .+)?$")
SEED: Final = 'seeded: int = "text"'


VERSIONS: Final = ("3.11", "3.15")


class Checker(NamedTuple):
    """How a checker is called, and what its lines about errors look like."""

    options: Sequence[str]
    version: str
    error: re.Pattern[str]


CHECKERS: Final = {
    "mypy": Checker(
        (
            "--config-file=",  # as a user without our plugin runs it
            "--strict",
            "--warn-unreachable",
            "--hide-error-context",
            "--show-absolute-path",
            f"--cache-dir={ROOT / '.mypy_cache' / 'typing'}",
        ),
        "--python-version",
        re.compile(r"^(.+?):(\d+): error: "),
    ),
    "pyright": Checker(
        (f"--project={ROOT}", f"--pythonpath={sys.executable}"),
        "--pythonversion",
        re.compile(r"^ +(.+?):(\d+):\d+ - error: "),
    ),
    "pyrefly": Checker(
        (
            "check",
            f"--config={ROOT / 'pyproject.toml'}",
            f"--python-interpreter-path={sys.executable}",
            "--output-format=min-text",
            "--relative-to=",
        ),
        "--python-version",
        re.compile(r"^ERROR (.+?):(\d+):"),
    ),
    "ty": Checker(
        ("check", f"--project={ROOT}", "--output-format=concise", f"--python={sys.prefix}"),
        "--python-version",
        re.compile(r"^(.+?):(\d+):\d+: error\["),
    ),
}


@cache
def rejected_lines(checker: str, version: str, folder: Path) -> dict[str, set[int]]:
    """Run a checker over the files and their seeded copies; return the numbers of the lines that it rejects."""
    seeded = [seed(file, folder) for file in FILES]
    options, of_version, error = CHECKERS[checker]
    command = [sys.executable, "-m", checker, *options, of_version, version, *map(str, FILES), *map(str, seeded)]
    environment = {**os.environ, "MYPYPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT / "stubs"))), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    found: dict[str, set[int]] = {file.name: set() for file in (*FILES, *seeded)}
    for line in done.stdout.splitlines():
        if match := error.match(line):
            found[Path(match[1]).name].add(int(match[2]))
    assert any(found.values()), f"{checker} found nothing:\n{done.stdout}{done.stderr}"
    return found


def seed(file: Path, folder: Path) -> Path:
    """Copy a file, every asserted type in it made wrong and a wrong line added at its end."""
    lines = file.read_text().splitlines()
    for asserted in reversed(asserted_types(file)):
        number = asserted.lineno - 1
        lines[number] = f"{lines[number][: asserted.col_offset]}memoryview{lines[number][asserted.end_col_offset :]}"
    copy = folder / f"seeded_{file.name}"
    copy.write_text("\n".join([*lines, SEED, ""]))
    return copy


def asserted_types(file: Path) -> list[ast.expr]:
    """Find the second argument of every ``assert_type`` in the order in which they stand."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    types = [call.args[1] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "assert_type"]
    return sorted(types, key=lambda node: (node.lineno, node.col_offset))


def marks(file: Path) -> dict[int, re.Match[str]]:
    lines = enumerate(file.read_text().splitlines(), 1)
    return {number: match for number, line in lines if (match := MARK.search(line))}


def marked_lines(file: Path, checker: str) -> set[int]:
    """Return the numbers of the lines that this checker must reject."""
    expected = set()
    for number, mark in marks(file).items():
        names = (mark["names"] or "").split(", ")
        if mark["verb"] is None or (checker in names) is (mark["verb"] == "only"):
            expected.add(number)
    return expected


@pytest.fixture(scope="module", params=CHECKERS)
def checker(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if importlib.util.find_spec(name) is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed: pip install 'session-aware[types]'")
    return name


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_checker_rejects_the_marked_lines_and_no_other(checker: str, version: str, file: Path, folder: Path) -> None:
    found, expected = rejected_lines(checker, version, folder)[file.name], marked_lines(file, checker)
    lines = file.read_text().splitlines()
    accepted = [f"{number}: {lines[number - 1].strip()}" for number in sorted(expected - found)]
    refused = [f"{number}: {lines[number - 1].strip()}" for number in sorted(found - expected)]
    assert (accepted, refused) == ([], []), f"{checker} accepts what is wrong, or rejects what is right"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_checker_rejects_every_seeded_error(checker: str, version: str, file: Path, folder: Path) -> None:
    found = rejected_lines(checker, version, folder)[f"seeded_{file.name}"]
    lines = file.read_text().splitlines()
    seeded = {node.lineno for node in asserted_types(file)}
    unnoticed = [f"{number}: {lines[number - 1].strip()}" for number in sorted(seeded - found)]
    assert unnoticed == [], f"{checker} does not look at these lines"
    assert len(lines) + 1 in found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_mark_names_checkers_and_every_file_has_lines_of_both_kinds(file: Path) -> None:
    text = file.read_text()
    assert len(marks(file)) == text.count("# E"), "a mark is misspelt"
    assert {name for mark in marks(file).values() if mark["names"] for name in mark["names"].split(", ")} <= set(CHECKERS)
    assert marks(file)
    assert asserted_types(file)


def test_public_names_are_completely_typed() -> None:
    if importlib.util.find_spec("pyright") is None and not os.environ.get("CI"):
        pytest.skip("pyright is not installed: pip install 'session-aware[types]'")
    options = ["--verifytypes", "session_aware", "--ignoreexternal"]  # mypy, which the plugin uses, is not complete itself
    command = [sys.executable, "-m", "pyright", f"--pythonpath={sys.executable}", *options]
    # --verifytypes looks for the packages of the python that it finds on the PATH
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "Type completeness score: 100%" in done.stdout, done.stdout
