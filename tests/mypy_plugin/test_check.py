"""The command ``check``, in a process of its own and in a project that has no configuration of mypy."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import session_aware
from tests.mypy_plugin.checking import PATHS

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def check(folder: Path, *arguments: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    source = str(Path(session_aware.__file__).parent.parent)
    variables = {**os.environ, "PYTHONPATH": source, "MYPYPATH": os.pathsep.join(map(str, PATHS))}
    command = [sys.executable, *options, "-m", "session_aware", "check", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, check=False, text=True, timeout=300)


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


def test_only_our_findings_are_shown(project: Path) -> None:
    done = check(project, "src", "use.py")
    assert done.stdout.splitlines() == [
        f"src/shop/accounts.py:6:9: session-owned: {OWNED}",
        f"src/shop/accounts.py:9:9: session-not-passed: {NOT_PASSED}",
        f"use.py:5:5: session-not-passed: {NOT_PASSED}",
        "3 findings",
    ]
    assert (done.returncode, done.stderr) == (1, "")
    done = check(project, "use.py")  # what it imports is read and not reported
    assert done.stdout.splitlines() == [f"use.py:5:5: session-not-passed: {NOT_PASSED}", "1 finding"]


def test_configuration_of_the_project_is_not_read(project: Path) -> None:
    (project / "mypy.ini").write_text("[mypy]\nnonsense\n")
    assert check(project, "use.py").stdout.endswith("1 finding\n")


def test_findings_are_given_as_json_and_to_github(project: Path) -> None:
    done = check(project, "use.py", "--format", "json")
    expected = {"file": "use.py", "line": 5, "column": 5, "code": "session-not-passed", "message": NOT_PASSED}
    assert (json.loads(done.stdout), done.returncode) == ([expected], 1)
    done = check(project, "--format=github", "use.py")
    assert done.stdout == f"::error file=use.py,line=5,col=5,title=session-not-passed::{NOT_PASSED}\n"
    assert done.returncode == 1


def test_project_without_findings_passes(project: Path) -> None:
    (project / "good.py").write_text("import shop\nnumber: int = 'a mistake of another kind'\n")
    done = check(project, "good.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "no findings\n", "")
    assert check(project, "good.py", "--format=json").stdout == "[]\n"
    assert check(project, "good.py", "--format=github").stdout == ""


def test_what_cannot_be_checked_is_an_error(project: Path) -> None:
    done = check(project, "missing.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "check: missing.py: there is no such file or folder.\n"
    (project / "broken.py").write_text("def broken(:\n")
    done = check(project, "broken.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(r"check: mypy failed\.\nbroken\.py:1:\d+: error: ", done.stderr)


def test_missing_mypy_is_said_in_one_sentence(project: Path) -> None:
    source = str(Path(session_aware.__file__).parent.parent)
    program = (
        "import importlib.util as u; find = u.find_spec; u.find_spec = lambda name: None if name == 'mypy' else find(name)\n"
        "from session_aware.__main__ import main; raise SystemExit(main(['check', 'use.py']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project,
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "check: mypy is not installed. Write \"pip install 'session-aware[check]'\".\n"
