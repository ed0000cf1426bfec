"""Interpreters of one process: the library works in those that SQLAlchemy can be imported into."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="concurrent.interpreters is new in Python 3.14")
ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from concurrent import interpreters

WORK = '''
from session_aware import NEW_SESSION, SessionAwareService, after_commit, configure
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

class Accounts(SessionAwareService):
    def one(self, *, session: Session = NEW_SESSION) -> int:
        after_commit(session, lambda: print("committed", flush=True))
        return session.scalar(text("SELECT 1"))

engine = create_engine("sqlite://")
configure(session_factory=sessionmaker(engine))
print(Accounts().one(), flush=True)
engine.dispose()
'''

for _ in range(int(sys.argv[1])):
    interpreter = interpreters.create()
    try:
        interpreter.exec(WORK)
    except interpreters.ExecutionFailed as failed:
        print(failed.excinfo.type.__name__, failed.excinfo.msg)
    interpreter.close()
"""


def run(folder: Path, times: int) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT / "src")))}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(times)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_library_works_in_every_interpreter_that_sqlalchemy_can_be_imported_into(tmp_path: Path) -> None:
    found = importlib.util.find_spec("sqlalchemy")
    assert found is not None
    assert found.origin is not None
    # As its wheel without compiled modules has it, which interpreters with a lock of their own cannot load.
    shutil.copytree(Path(found.origin).parent, tmp_path / "sqlalchemy", ignore=shutil.ignore_patterns("*.so", "*.pyd"))
    assert run(tmp_path, times=3) == ["committed", "1"] * 3


def test_where_sqlalchemy_cannot_be_imported_the_error_is_its_own(tmp_path: Path) -> None:
    (said,) = run(tmp_path, times=1)
    assert said.startswith("ImportError module sqlalchemy.")
    assert said.endswith(" does not support loading in subinterpreters")
