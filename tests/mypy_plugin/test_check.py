"""The command ``check``, in a project that has no configuration of mypy; once in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import session_aware
from session_aware.__main__ import main
from tests.mypy_plugin.checking import PATHS

SHOP = """\
from sqlalchemy.orm import Session
from session_aware import NEW_SESSION, SessionAwareService

class Accounts(SessionAwareService):
    def open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        session.commit()

    def move(self, *, session: Session = NEW_SESSION) -> None:
        self.open("ann")
        self.open(1, session=session)
        undefined()
"""
OWNED = (
    '"Accounts.open": "session.commit()" on a session that was given: whoever opened it ends its transaction. Remove the '
    'call. For a part that may fail alone write "with session.begin_nested():"'
)
NOT_PASSED = (
    '"Accounts.open" is called without the session "session" that is in scope: it opens a second transaction. Write '
    '"session=session", or "session=NEW_SESSION" if that is meant'
)


Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    monkeypatch.chdir(project)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["check", *arguments])
        return code, *capsys.readouterr()

    return run


def environment() -> dict[str, str]:
    source = str(Path(session_aware.__file__).parent.parent)
    return {"PYTHONPATH": source, "MYPYPATH": os.pathsep.join(map(str, PATHS))}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "src" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "accounts.py").write_text(SHOP)
    (tmp_path / "use.py").write_text(
        "from sqlalchemy.orm import Session\nfrom shop.accounts import Accounts\n\n"
        "def use(session: Session) -> None:\n    Accounts().open('ann')\n    Accounts().open('ann')  # type: ignore\n"
    )
    return tmp_path


def test_only_our_findings_are_shown(check: Check) -> None:
    code, out, err = check("src", "use.py")
    assert out.splitlines() == [
        f"src/shop/accounts.py:6:9: session-owned: {OWNED}",
        f"src/shop/accounts.py:9:9: session-not-passed: {NOT_PASSED}",
        f"use.py:5:5: session-not-passed: {NOT_PASSED}",
        "3 findings",
    ]
    assert (code, err) == (1, "")
    _, out, _ = check("use.py")  # what it imports is read and not reported
    assert out.splitlines() == [f"use.py:5:5: session-not-passed: {NOT_PASSED}", "1 finding"]


def test_configuration_of_the_project_is_not_read(project: Path, check: Check) -> None:
    (project / "mypy.ini").write_text("[mypy]\nnonsense\n")
    assert check("use.py")[1].endswith("1 finding\n")


def test_project_without_a_configuration_is_checked_in_a_process_of_its_own(project: Path) -> None:
    command = [sys.executable, "-m", "session_aware", "check", "--format=github", "use.py"]
    done = subprocess.run(
        command,
        cwd=project,
        env={**os.environ, **environment()},
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert done.stdout == f"::error file=use.py,line=5,col=5,title=session-not-passed::{NOT_PASSED}\n"
    assert (done.returncode, done.stderr) == (1, "")


def test_findings_are_given_as_json(check: Check) -> None:
    code, out, _ = check("use.py", "--format", "json")
    expected = {"file": "use.py", "line": 5, "column": 5, "code": "session-not-passed", "message": NOT_PASSED}
    assert (json.loads(out), code) == ([expected], 1)


def test_what_would_end_a_workflow_command_is_escaped(project: Path, check: Check) -> None:
    (project / "100%, a.py").write_text((project / "use.py").read_text())
    _, out, _ = check("100%, a.py", "--format=github")
    assert out == f"::error file=100%25%2C a.py,line=5,col=5,title=session-not-passed::{NOT_PASSED}\n"


def test_project_without_findings_passes(project: Path, check: Check) -> None:
    (project / "good.py").write_text("import shop\nnumber: int = 'a mistake of another kind'\n")
    assert check("good.py") == (0, "no findings\n", "")
    assert check("good.py", "--format=json")[1] == "[]\n"
    assert check("good.py", "--format=github")[1] == ""


def test_what_cannot_be_checked_is_an_error(project: Path, check: Check) -> None:
    assert check("missing.py") == (2, "", "check: missing.py: there is no such file or folder.\n")
    (project / "broken.py").write_text("def broken(:\n")
    code, out, err = check("broken.py")
    assert (code, out) == (2, "")
    assert re.match(r"check: mypy failed\.\nbroken\.py:1:\d+: error: ", err)


def test_rule_that_fails_is_an_error(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "use.py:5: note: session_aware.mypy_plugin 0 failed here"
    done = subprocess.CompletedProcess([], 0, stdout=f"{said}\n", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert check("use.py") == (2, "", f"check: {said}\n")


def test_missing_mypy_is_said_in_one_sentence(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("session_aware._tools.check.find_spec", lambda _name: None)
    expected = "check: mypy is not installed. Write \"pip install 'session-aware[check]'\".\n"
    assert check("use.py") == (2, "", expected)
