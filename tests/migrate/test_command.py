"""The command: what it prints, writes and returns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from session_aware.__main__ import main
from session_aware._migrate.tree import read

BEFORE = """\
from airflow.utils.session import provide_session
from sqlalchemy.orm import Session


@provide_session
def rename(name, session: Session = None):
    session.flush()


@provide_session
def move(name, session: Session = None):
    session.commit()


rename("ann", s)"""

E = ""  # an empty line of a diff begins with a space
DIFF = f"""\
--- shop/names.py
+++ shop/names.py
@@ -1,9 +1,10 @@
 from airflow.utils.session import provide_session
 from sqlalchemy.orm import Session
+from session_aware import NEW_SESSION, auto_session_func
 {E}
 {E}
-@provide_session
-def rename(name, session: Session = None):
+@auto_session_func
+def rename(name, *, session: Session = NEW_SESSION):
     session.flush()
 {E}
 {E}
@@ -12,4 +13,4 @@
     session.commit()
 {E}
 {E}
-rename("ann", s)
\\ No newline at end of file
+rename("ann", session=s)
\\ No newline at end of file
"""

REPORT = """\
shop/names.py:11: move: it ends or begins the transaction: line 12 calls session.commit(), which is the owner's
{done}: 1 definition and 1 call in 1 file
left alone: 1
      1 it ends or begins the transaction
"""
NEXT = (
    "next: where the program starts, call configure(session_factory=...) with {factory}; "
    "for async def async_session_factory=...\n"
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "names.py").write_text(BEFORE, encoding="utf-8")
    return folder / "names.py"


def test_diff_is_printed_and_nothing_written(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "shop"]) == 1
    assert capsys.readouterr().out == DIFF + REPORT.format(done="to rewrite") + NEXT.format(factory="your sessionmaker")
    assert shop.read_text(encoding="utf-8") == BEFORE


def test_what_is_written_needs_no_second_time(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "shop", "--write"]) == 0
    assert capsys.readouterr().out == REPORT.format(done="rewritten") + NEXT.format(factory="your sessionmaker")
    after = shop.read_text(encoding="utf-8")
    assert after.endswith('rename("ann", session=s)')
    assert main(["migrate", "shop"]) == 0
    assert capsys.readouterr().out == dedent("""\
        shop/names.py:12: move: it ends or begins the transaction: line 13 calls session.commit(), which is the owner's
        to rewrite: 0 definitions and 0 calls in 0 files
        left alone: 1
              1 it ends or begins the transaction
    """)
    assert shop.read_text(encoding="utf-8") == after


def test_factory_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.py").write_text(
        "from contextlib import nullcontext\nSessions = sessionmaker()\ndef f(session=None):\n"
        "    with nullcontext(session) if session else Sessions() as session:\n        session.flush()\n",
        encoding="utf-8",
    )
    assert main(["migrate", str(tmp_path / "shop.py")]) == 1
    assert capsys.readouterr().out.endswith("\n" + NEXT.format(factory="the sessionmaker of 'shop.Sessions'"))


def test_path_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", str(tmp_path / "shop")]) == 2
    assert capsys.readouterr().err == f"migrate: {tmp_path}/shop: there is no such file or directory.\n"


def test_missing_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "libcst" or name.startswith("session_aware._migrate."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "libcst", None)
    assert main(["migrate", str(tmp_path)]) == 2
    said = "import of libcst halted; None in sys.modules"
    assert capsys.readouterr().err == f"migrate: {said}. Write \"pip install 'session-aware[migrate]'\".\n"


def test_other_commands_do_not_load_libcst_nor_this_one_sqlalchemy(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom session_aware._migrate import command\nassert 'libcst' not in sys.modules\n"
        "import argparse, pathlib\n"
        f"options = argparse.Namespace(path=pathlib.Path({str(tmp_path)!r}), write=False, decorator=[], factory='')\n"
        "assert command.run(options) == 0\nassert 'libcst' in sys.modules and 'sqlalchemy' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)


def test_foreign_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("shop", ".git", "site-packages", "node_modules", "env/lib"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "names.py").write_text("", encoding="utf-8")
        (folder / "names.txt").write_text("", encoding="utf-8")
    (tmp_path / "env" / "pyvenv.cfg").touch()
    tree, unread = read(tmp_path)
    assert ([module.path for module in tree.modules], unread) == ([tmp_path / "shop" / "names.py"], [])


def test_wrong_escapes_of_others_do_not_warn(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("x = '\\_'\n", encoding="utf-8")
    assert len(read(tmp_path / "shop.py")[0].modules) == 1
