from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import mypy.api
import mypy.version
import pytest
from mypy.errors import CompileError

from session_aware._declare import service
from session_aware._version import __version__
from session_aware.mypy_plugin import OLDEST_MYPY, _codes, _dispatch, _names, _rules, plugin
from tests.mypy_plugin.checking import HEADER, PATHS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mypy_plugin.checking import Project

EVERY_CODE = """
class Accounts(SessionAwareService):
    def a(self, *, session: Session = NEW_SESSION) -> Iterator[int]:  # E: session-lazy-result
        session.commit()  # E: session-owned
        return (1 for _ in session.new)
    def b(self, *, session: Session | None = None) -> None:  # E: session-optional
        pass
    def c(self, session: Session) -> None:  # E: session-positional
        self.a(session=session)
    def d(self, *, session: AsyncSession = NEW_SESSION) -> None:  # E: session-kind
        self.a()
@auto_session_func
def e() -> None: ...  # E: session-missing
def f(session: Session) -> None:
    list(Accounts().a())  # E: session-not-passed
"""

CODES = [
    "session-kind",
    "session-lazy-result",
    "session-missing",
    "session-not-passed",
    "session-optional",
    "session-owned",
    "session-positional",
]


def test_each_code_and_all_of_them_are_switched_off_by_name_in_the_section_of_a_module(project: Project) -> None:
    project.write("codes.py", EVERY_CODE)
    sections = []
    for code in CODES:
        name = f"without_{code.replace('-', '_')}"
        project.write(f"{name}.py", EVERY_CODE.replace(f"  # E: {code}\n", "\n"))
        sections.append(f"[mypy-{name}]\ndisable_error_code = {code}")
    project.write("without_any.py", EVERY_CODE.replace("# E: ", "# "))
    sections.append("[mypy-without_any]\ndisable_error_code = session-aware")
    project.verify(configuration="\n".join(sections))


WAYS = {
    "ini": ({"mypy.ini": "[mypy]\nplugins = session_aware.mypy_plugin\ndisable_error_code = CODE\n"}, [], ""),
    "section": (
        {"mypy.ini": "[mypy]\nplugins = session_aware.mypy_plugin\n[mypy-codes]\ndisable_error_code = CODE\n"},
        [],
        "",
    ),
    "pyproject": (
        {
            "pyproject.toml": '[tool.mypy]\nplugins = ["session_aware.mypy_plugin"]\ndisable_error_code = ["CODE"]\n',
        },
        [],
        "",
    ),
    "override": (
        {
            "pyproject.toml": '[tool.mypy]\nplugins = ["session_aware.mypy_plugin"]\n[[tool.mypy.overrides]]\n'
            'module = "codes"\ndisable_error_code = ["CODE"]\n',
        },
        [],
        "",
    ),
    "command line": (
        {"mypy.ini": "[mypy]\nplugins = session_aware.mypy_plugin\n"},
        ["--disable-error-code=CODE"],
        "",
    ),
    "line of the module": (
        {"mypy.ini": "[mypy]\nplugins = session_aware.mypy_plugin\n"},
        [],
        '# mypy: disable-error-code="CODE"\n',
    ),
}
SINCE_MYPY_1_19 = set(WAYS) - {"line of the module"}


@pytest.mark.parametrize("code", ["session-owned", "session-not-passed", "session-aware"])
@pytest.mark.parametrize("way", WAYS)
def test_code_is_switched_off_in_a_process_of_its_own(way: str, code: str, tmp_path: Path) -> None:
    if way in SINCE_MYPY_1_19 and tuple(map(int, mypy.version.__version__.split(".")[:2])) < (1, 19):
        pytest.skip("mypy checks the names of codes before it loads plugins")
    files, options, line = WAYS[way]
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("CODE", code))
    (tmp_path / "codes.py").write_text(line.replace("CODE", code) + HEADER + EVERY_CODE)
    environment = {**os.environ, "MYPYPATH": os.pathsep.join(map(str, PATHS)), "PYTHONPATH": str(PATHS[0])}
    arguments = [option.replace("CODE", code) for option in options]
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), *arguments, "codes.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False, text=True, timeout=120)
    off = set(CODES) if code == "session-aware" else {code}
    assert (set(re.findall(r"\[(session-[a-z-]+)\]$", done.stdout, re.MULTILINE)), done.stderr) == (set(CODES) - off, "")
    assert "Invalid error code" not in done.stdout
    assert done.returncode == (0 if off == set(CODES) else 1)


def test_parent_code_switches_all_off(project: Project) -> None:
    project.write("codes.py", EVERY_CODE)
    project.cache = project.folder / "cache"  # an option for all modules would empty the shared one
    assert project.check(configuration="disable_error_code = session-aware") == set()


def test_one_line_is_switched_off_by_an_ignore_comment(project: Project) -> None:
    source = EVERY_CODE
    for code in CODES:
        source = source.replace(f"# E: {code}", f"# type: ignore[{code}]")
    project.write("codes.py", source + "def used() -> None: ...  # type: ignore[session-kind]  # E: unused-ignore\n")
    project.verify()


def test_older_mypy_is_refused_clearly() -> None:
    with pytest.raises(CompileError) as refusal:
        plugin("1.7.1")
    lowest = ".".join(map(str, OLDEST_MYPY))
    assert refusal.value.messages == [
        f"session_aware.mypy_plugin: mypy 1.7.1 is too old, the plugin needs mypy {lowest} or newer. Upgrade mypy."
    ]


@pytest.mark.parametrize("version", [".".join(map(str, OLDEST_MYPY)) + ".0", "2.4.1", "3.0.0+dev.0123abc"])
def test_newer_mypy_is_accepted(version: str) -> None:
    assert plugin(version) is _dispatch.SessionAwarePlugin


def test_plugin_imports_neither_sqlalchemy_nor_wrapt() -> None:
    program = "import sys, session_aware.mypy_plugin._rules; print({'sqlalchemy', 'wrapt'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_names_of_construction_hooks_are_those_of_the_library() -> None:
    assert _names.CONSTRUCTION == service.CONSTRUCTION


def fails(*_: object, **__: object) -> None:
    msg = "seeded"
    raise ValueError(msg)


@pytest.mark.parametrize("rule", ["may_be_aware", "check_call", "is_service", "visit_decorated", "visit_service"])
def test_error_in_a_rule_means_that_it_does_not_apply_and_is_said_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    monkeypatch.setattr(_rules, rule, fails)
    project.write(
        f"rules_{rule}.py",  # a module of its own: another one's findings would come from the cache
        """
        class Accounts(SessionAwareService):
            def a(self, *, session: Session = NEW_SESSION) -> None: ...
        @auto_session_func
        def function(*, session: Session = NEW_SESSION) -> None: ...
        function()
        Accounts().a()
        """,
    )
    with pytest.raises(ValueError, match="seeded"):
        mypy.api.run([*project.arguments("--raise-exceptions"), *map(str, project.modules)])
    project.shows_traceback = False
    assert project.check() == set()
    said = re.findall(r"^\S+: note: (.*)$", project.output, re.MULTILINE)
    assert said == [
        f"session_aware.mypy_plugin {__version__} failed here under mypy {mypy.version.__version__}, and may not find "
        'everything (ValueError: seeded). Please report this to its maintainers, with what "mypy --show-traceback" prints'
    ]


def test_mypy_that_has_no_stack_of_watchers_is_reported(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_codes, "unfiltered", lambda errors: errors.renamed)
    project.write("renamed.py", EVERY_CODE)
    project.shows_traceback = False
    assert project.check() == {finding for finding in project.expected() if finding[2] != "session-not-passed"}
    assert "'Errors' object has no attribute 'renamed'" in project.output
