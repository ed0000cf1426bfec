"""Every program of the README is run, compared with the output beneath it and type-checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

import session_aware
from session_aware import exceptions

ROOT: Final = Path(__file__).parent.parent
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")

FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """A block of code, the line on which it starts, and the text between it and the one before."""

    language: str
    code: str
    line: int
    before: str


def fences(markdown: str) -> list[Fence]:
    found = []
    end = 0
    for match in FENCE.finditer(markdown):
        line = markdown.count("\n", 0, match.start()) + 2
        found.append(Fence(match[1], match[2], line, markdown[end : match.start()].strip()))
        end = match.end()
    return found


FENCES: Final = fences(README)


def programs(found: list[Fence]) -> list[tuple[Fence, str]]:
    """Pair each program with its output: that of a text fence right after it, else none."""
    paired = pairwise([*found, Fence("", "", 0, "the end")])
    return [
        (one, following.code if following.language == "text" and not following.before else "")
        for one, following in paired
        if one.language == "python"
    ]


PROGRAMS: Final = programs(FENCES)
TESTS: Final = [(one, output) for one, output in PROGRAMS if "\ndef test_" in one.code]
SCRIPTS: Final = [pair for pair in PROGRAMS if pair not in TESTS]


def environment() -> dict[str, str]:
    """Let the programs and mypy import the package that the tests import."""
    package = Path(session_aware.__file__).parent.parent
    if package == Path(sysconfig.get_path("purelib")):  # installed: found anyway, and mypy refuses site-packages as a path
        return {**os.environ, "MYPYPATH": str(ROOT / "stubs")}
    return {**os.environ, "PYTHONPATH": str(package), "MYPYPATH": os.pathsep.join((str(package), str(ROOT / "stubs")))}


@pytest.mark.parametrize(("program", "output"), SCRIPTS, ids=[f"line {program.line}" for program, _ in SCRIPTS])
def test_program_prints_what_stands_beneath_it(program: Fence, output: str, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(program.code, encoding="utf-8")
    command = [sys.executable, "-W", "error", str(file)]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == output


@pytest.mark.parametrize("program", [program for program, _ in TESTS], ids=[f"line {program.line}" for program, _ in TESTS])
def test_file_of_tests_passes(program: Fence, tmp_path: Path) -> None:
    (tmp_path / "test_program.py").write_text(program.code, encoding="utf-8")
    is_installed = any(point.value == "session_aware.pytest_plugin" for point in metadata.entry_points(group="pytest11"))
    plugin = [] if is_installed else ["-p", "session_aware.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:asyncio", *plugin]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(r"^\d+ passed in ", done.stdout, re.MULTILINE)


def test_programs_pass_mypy_strict(tmp_path: Path) -> None:
    for program, _ in PROGRAMS:
        (tmp_path / f"line_{program.line}.py").write_text(program.code, encoding="utf-8")
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\nwarn_unreachable = true\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(tmp_path / "cache"), "."]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False, text=True, timeout=300)
    assert done.stderr == ""
    assert done.stdout == f"Success: no issues found in {len(PROGRAMS)} source files\n"
    assert done.returncode == 0


def test_there_are_programs_and_every_output_belongs_to_one() -> None:
    assert len(PROGRAMS) > 5
    for program, following in pairwise(FENCES):
        if following.language == "text":
            assert (program.language, following.before) == ("python", "")


def test_every_section_is_in_the_table_of_contents_and_every_link_leads_to_a_heading() -> None:
    prose = FENCE.sub("", README)
    headings = re.findall(r"^(#{2,3}) (.*)$", prose, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"): level for level, title in headings}
    links = re.findall(r"\]\(#([^)]*)\)", prose)
    assert set(links) <= set(anchors)
    contents = re.findall(r"\]\(#([^)]*)\)", prose.partition("\n## ")[0])
    assert sorted(contents) == sorted(anchor for anchor, level in anchors.items() if level == "##")


def test_fences_are_of_known_languages() -> None:
    assert {fence.language for fence in FENCES} == {"python", "text", "console", "ini", "py"}
    assert README.count("```") == 2 * len(FENCES)


def test_set_up_takes_exactly_two_commands_of_one_line() -> None:
    commands = [fence.code for fence in FENCES if fence.language == "console"]
    assert [command.count("\n") for command in commands] == [1, 1]
    assert [command.rpartition(" -m ")[2] for command in commands] == ["session_aware demo\n", "pytest -n auto\n"]


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_error_has_a_row_with_its_cure(name: str) -> None:
    [row] = re.findall(rf"^\| `{name}` \|(.*)\|$", README, re.MULTILINE)
    assert all(cell.strip() for cell in row.split(" | "))


@pytest.mark.parametrize("name", session_aware.__all__)
def test_every_public_name_is_shown(name: str) -> None:
    assert re.search(rf"\b{name}\b", README)


def test_plugin_reports_the_marked_lines_and_no_other(tmp_path: Path) -> None:
    (example,) = (fence.code for fence in FENCES if fence.language == "py" and "# error: [" in fence.code)
    file = tmp_path / "example.py"
    file.write_text(example, encoding="utf-8")
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\nplugins = session_aware.mypy_plugin\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(tmp_path / "cache"), file.name]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False, text=True, timeout=300)
    assert done.stderr == ""
    reported = re.findall(r"^example\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    marks = enumerate((re.search(r"# error: \[([\w-]+)\]$", line) for line in example.splitlines()), start=1)
    assert [(int(line), code) for line, code in reported] == [(number, mark[1]) for number, mark in marks if mark]
