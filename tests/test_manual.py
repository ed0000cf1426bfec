"""Every program of the README and of the manual is run, compared with the output below it and type-checked."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import session_aware
from session_aware import exceptions
from session_aware.__main__ import main

if TYPE_CHECKING:
    from tests.servers.postgresql import PostgreSQL

ROOT: Final = Path(__file__).parent.parent
MANUAL: Final = Path(session_aware.__file__).parent / "manual"
README: Final = ROOT / "README.md"
PAGES: Final = {file: file.read_text(encoding="utf-8") for file in (README, *sorted(MANUAL.glob("*.md")))}

FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """A block of code, where it stands, and the text between it and the one before."""

    page: str
    line: int
    language: str
    code: str
    before: str

    @property
    def name(self) -> str:
        """Where it stands, as the name of a module."""
        return f"{self.page}_{self.line}"


def fences(file: Path) -> list[Fence]:
    found = []
    markdown = PAGES[file]
    end = 0
    for match in FENCE.finditer(markdown):
        line = markdown.count("\n", 0, match.start()) + 2
        found.append(Fence(file.stem, line, match[1], match[2], markdown[end : match.start()].strip()))
        end = match.end()
    return found


FENCES: Final = {file: fences(file) for file in PAGES}


def programs(found: list[Fence]) -> list[tuple[Fence, str]]:
    """Pair each program with its output: that of a text fence right after it, else none."""
    paired = pairwise([*found, Fence("", 0, "", "", "the end")])
    return [
        (one, following.code if following.language == "text" and not following.before else "")
        for one, following in paired
        if one.language == "python"
    ]


PROGRAMS: Final = [pair for found in FENCES.values() for pair in programs(found)]
TESTS: Final = [one for one, _ in PROGRAMS if re.search(r"^(async )?def test_", one.code, re.MULTILINE)]
SCRIPTS: Final = [(one, output) for one, output in PROGRAMS if one not in TESTS]


def environment() -> dict[str, str]:
    """Let the programs and mypy import the package that the tests import."""
    package = Path(session_aware.__file__).parent.parent
    if package == Path(sysconfig.get_path("purelib")):  # installed: found anyway, and mypy refuses site-packages as a path
        return {**os.environ, "MYPYPATH": str(ROOT / "stubs")}
    return {**os.environ, "PYTHONPATH": str(package), "MYPYPATH": os.pathsep.join((str(package), str(ROOT / "stubs")))}


def mypy(folder: Path, *options: str) -> str:
    """Check a folder as a user would who has set ``strict``; return what mypy prints."""
    config = folder / "mypy.ini"
    config.write_text(
        "\n".join(["[mypy]", "python_version = 3.11", "strict = true", "warn_unreachable = true", *options, ""]),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(folder / "cache"), "."]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, check=False, text=True, timeout=300)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all programs, since a reader has one."""
    return tmp_path_factory.mktemp("manual")


@pytest.mark.parametrize(("program", "output"), SCRIPTS, ids=[program.name for program, _ in SCRIPTS])
def test_program_prints_what_stands_below_it(
    program: Fence, output: str, shared: Path, request: pytest.FixtureRequest
) -> None:
    variables = environment()
    if "DATABASE_URL" in program.code:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        variables["DATABASE_URL"] = server.url("psycopg")
    file = shared / f"{program.name}.py"
    file.write_text(program.code, encoding="utf-8")
    before = set(shared.iterdir())
    command = [sys.executable, "-W", "error", str(file)]
    done = subprocess.run(command, cwd=shared, env=variables, capture_output=True, check=False, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == output
    for made in set(shared.iterdir()) - before:  # so that it can be run again
        assert f'Path("{made.name}").unlink(missing_ok=True)' in program.code


def test_programs_share_no_file() -> None:
    named = Counter(name for program, _ in PROGRAMS for name in set(re.findall(r'Path\("([^"]+)"\)\.unlink', program.code)))
    assert named
    assert set(named.values()) == {1}


@pytest.mark.parametrize("program", TESTS, ids=[program.name for program in TESTS])
def test_file_of_tests_passes(program: Fence, tmp_path: Path) -> None:
    (tmp_path / "test_program.py").write_text(program.code, encoding="utf-8")
    is_installed = any(point.value == "session_aware.pytest_plugin" for point in metadata.entry_points(group="pytest11"))
    plugin = [] if is_installed else ["-p", "session_aware.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:asyncio", *plugin]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(r"^\d+ passed in ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("has_plugin", [False, True], ids=["mypy alone", "with the plugin"])
def test_programs_pass_mypy_strict(has_plugin: bool, tmp_path: Path) -> None:
    for program, _ in PROGRAMS:
        (tmp_path / f"{program.name}.py").write_text(program.code, encoding="utf-8")
    printed = mypy(tmp_path, "plugins = session_aware.mypy_plugin") if has_plugin else mypy(tmp_path)
    assert printed == f"Success: no issues found in {len(PROGRAMS)} source files\n"


STRICT: Final = {
    "pyright": ("pyrightconfig.json", '{"typeCheckingMode": "strict", "pythonVersion": "3.11", "extraPaths": ["PATH"]}'),
    "pyrefly": (
        "pyrefly.toml",
        # typing.override needs Python 3.12
        'preset = "strict"\npython-version = "3.11"\nproject-includes = ["."]\nsearch-path = ["PATH"]\n'
        "[errors]\nmissing-override-decorator = false\n",
    ),
}


@pytest.mark.parametrize("checker", STRICT)
def test_programs_pass_strict_checkers(checker: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    name, configuration = STRICT[checker]
    (tmp_path / name).write_text(configuration.replace("PATH", str(Path(session_aware.__file__).parent.parent)))
    for program, _ in PROGRAMS:
        if "import Celery" not in program.code:  # celery has no types
            (tmp_path / f"{program.name}.py").write_text(program.code, encoding="utf-8")
    command = [sys.executable, "-m", checker, *(["check"] if checker == "pyrefly" else ["--pythonpath", sys.executable])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    (tmp_path / "seeded.py").write_text("number: int = 'text'\n")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == 1, done.stdout


def test_every_output_belongs_to_a_program() -> None:
    for found in FENCES.values():
        for program, following in pairwise([Fence("", 0, "", "", ""), *found]):
            if following.language == "text":
                assert (program.language, following.before) == ("python", ""), following.name


def anchors(file: Path) -> set[str]:
    """The anchors that a code host makes of the headings."""
    titles = re.findall(r"^#{1,4} (.*)$", FENCE.sub("", PAGES[file]), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("file", PAGES, ids=[file.stem for file in PAGES])
def test_every_link_leads_to_a_page_and_a_heading(file: Path) -> None:
    folder = ROOT / "src" / "session_aware" / "manual" if file != README else ROOT
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", PAGES[file])):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (folder / path).resolve() if path else folder / file.name
        assert target.exists(), link
        if anchor:
            page = README if target.name == "README.md" else MANUAL / target.name
            assert anchor in anchors(page), link


def test_readme_is_short_and_leads_to_every_page() -> None:
    assert PAGES[README].count("\n") <= 250
    links = set(re.findall(r"src/session_aware/manual/(\w+\.md)", PAGES[README]))
    assert links == {file.name for file in MANUAL.glob("*.md")}


@pytest.mark.parametrize("file", PAGES, ids=[file.stem for file in PAGES])
def test_fences_are_of_known_languages(file: Path) -> None:
    assert {fence.language for fence in FENCES[file]} <= {
        "",
        "python",
        "text",
        "console",
        "ini",
        "toml",
        "py",
        "sql",
        "json",
    }
    assert PAGES[file].count("```") == 2 * len(FENCES[file])


def test_set_up_takes_exactly_two_commands_of_one_line() -> None:
    commands = [fence.code for fence in FENCES[README] if fence.language == "console"]
    assert [command.count("\n") for command in commands] == [1, 1]
    assert [command.rpartition(" -m ")[2] for command in commands] == ["session_aware demo\n", "pytest -n auto\n"]


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_error_has_a_row_with_its_cure(name: str) -> None:
    [row] = re.findall(rf"^\| `{name}` \|(.*)\|$", PAGES[MANUAL / "errors.md"], re.MULTILINE)
    assert all(cell.strip() for cell in row.split(" | "))


def test_plugin_reports_the_marked_lines_and_no_other(tmp_path: Path) -> None:
    (example,) = (
        one.code for found in FENCES.values() for one in found if one.language == "py" and "# error: [" in one.code
    )
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    printed = mypy(tmp_path, "plugins = session_aware.mypy_plugin")
    reported = re.findall(r"^example\.py:(\d+): error: .*\[([\w-]+)\]$", printed, re.MULTILINE)
    marks = enumerate((re.search(r"# error: \[([\w-]+)\]$", line) for line in example.splitlines()), start=1)
    assert [(int(line), code) for line, code in reported] == [(number, mark[1]) for number, mark in marks if mark]


# At a terminal.


def test_manual_lists_its_pages_and_shows_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manual"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.partition("\n\n")[0].splitlines()]
    assert listed == [file.stem for file in sorted(MANUAL.glob("*.md"))]
    for name in listed:
        assert main(["manual", name]) == 0
        assert capsys.readouterr().out.strip() == PAGES[MANUAL / f"{name}.md"].strip()
    for name in ("policies.md", "policies.md#policies"):  # as the pages write it in their links
        assert main(["manual", name]) == 0
        assert capsys.readouterr().out.startswith("# Policies\n")


@pytest.mark.parametrize(
    ("page", "meant"),
    [("polices", "'policies'"), ("xyz", "'python -m session_aware manual' for the list")],
)
def test_page_that_there_is_not_is_answered_with_the_nearest(
    page: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manual", page]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"manual: there is no page '{page}'. Write {meant}.\n")


def test_manual_is_read_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-W", "error", "-m", "session_aware", "manual", "transaction"]
    done = subprocess.run(command, env=environment(), capture_output=True, check=False, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == PAGES[MANUAL / "transaction.md"].strip()
