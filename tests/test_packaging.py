"""The wheel and the sdist: what PyPI would take, installed without extras where nothing else is, greenlet least of all."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Final

import pytest

from session_aware._version import __version__

ROOT: Final = Path(__file__).parent.parent

PROGRAM: Final = """
from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec

import session_aware
from session_aware import NEW_SESSION, SessionAwareService, auto_session_ctx
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

assert find_spec("greenlet") is None
assert all(hasattr(session_aware, name) for name in session_aware.__all__)
engine = create_engine("sqlite:///shop.sqlite")


class Notes(SessionAwareService, session_factory=sessionmaker(engine)):
    def create(self, *, session: Session = NEW_SESSION) -> None:
        session.execute(text("CREATE TABLE note (body VARCHAR(80))"))

    def write(self, body: str, *, session: Session = NEW_SESSION) -> None:
        session.execute(text("INSERT INTO note VALUES (:body)"), {"body": body})

    def count(self, *, session: Session = NEW_SESSION) -> int:
        return session.scalars(text("SELECT count(*) FROM note")).one()

    async def acount(self, *, session: AsyncSession = NEW_SESSION) -> int:
        return 0


notes = Notes()
notes.create()
notes.write("first")
with auto_session_ctx(session_factory=Notes.session_factory) as session:
    notes.write("second", session=session)
    assert notes.count(session=session) == 2
print(notes.count(), "notes")
engine.dispose()
for factory in (None, lambda: None):
    Notes.async_session_factory = factory
    try:
        asyncio.run(notes.acount())
    except Exception as error:
        print(type(error).__name__, error)
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program to its end, without the folders that this session imports from; return what it prints."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = list(map(str, command))
    done = subprocess.run(words, cwd=cwd, env=variables, capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all of it; without a package index the tests fail in CI, and are skipped elsewhere."""
    folder = tmp_path_factory.mktemp("packaging")
    try:
        run(sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder / "index", "hatchling", cwd=folder)
    except AssertionError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"pip reaches no index: {error}")
    return folder


@pytest.fixture(scope="module")
def distributions(folder: Path) -> list[Path]:
    """Build the sdist, and the wheel from the sdist."""
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT, cwd=folder)
    return sorted((folder / "dist").iterdir())


@pytest.fixture(scope="module")
def python(folder: Path, distributions: list[Path]) -> Path:
    """Install the wheel without extras into an environment of its own; give its interpreter."""
    environment = folder / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    [wheel] = (file for file in distributions if file.suffix == ".whl")
    # SQLAlchemy 2.0 installs greenlet on the usual machines, extra or no extra.
    run(python, "-m", "pip", "install", "--quiet", "sqlalchemy>=2.1", wheel, cwd=folder)
    return python


def test_distributions_are_what_the_index_takes(folder: Path, distributions: list[Path]) -> None:
    assert [file.name for file in distributions] == [
        f"session_aware-{__version__}-py3-none-any.whl",
        f"session_aware-{__version__}.tar.gz",
    ]
    run(sys.executable, "-m", "twine", "check", "--strict", *distributions, cwd=folder)


def test_wheel_holds_the_package_and_asks_for_two_others(distributions: list[Path]) -> None:
    [wheel] = (file for file in distributions if file.suffix == ".whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        [metadata] = (message_from_bytes(opened.read(name)) for name in names if name.endswith("/METADATA"))
        [entry_points] = (opened.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"session_aware"}
    assert {"session_aware/py.typed", "session_aware/manual/inside.md"} <= set(names)
    required = [one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one]
    assert sorted(one.partition(">")[0] for one in required) == ["sqlalchemy", "wrapt"]
    assert "[pytest11]\nsession_aware = session_aware.pytest_plugin" in entry_points


def test_sync_service_needs_no_greenlet_and_an_async_one_says_so(python: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    out = run(python, "-W", "error", program, cwd=tmp_path).splitlines()
    assert out[0] == "2 notes"
    assert out[1].startswith(
        "SessionFactoryError Notes.acount: called without 'session=', but there is no async_session_factory"
    )
    assert out[2].startswith("ImportError ")
    assert "'greenlet'" in out[2]
    assert "pip install sqlalchemy[asyncio]" in out[2]


def test_installed_command_runs(python: Path, tmp_path: Path) -> None:
    assert "demo" in run(python, "-W", "error", "-m", "session_aware", "--help", cwd=tmp_path)
