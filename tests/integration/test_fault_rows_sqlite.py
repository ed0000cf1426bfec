"""Rows of the classification that SQLite gives; ``unit/test_fault_table.py`` has the whole table."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.orm import Session

from tests.fault_rows import sql, tried


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "rows.sqlite"
    with closing(sqlite3.connect(found)) as connection:
        connection.execute("CREATE TABLE t (n)")
    return found


@pytest.fixture
def lite(file: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{file}?timeout=0")

    @event.listens_for(made, "connect")
    def _connected(connection: Any, _: object) -> None:
        connection.isolation_level = None

    event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    yield made
    made.dispose()


def errors_of(engine: Engine) -> list[tuple[int, str | None]]:
    """Note the full result code of each error, and its statement."""
    found: list[tuple[int, str | None]] = []
    event.listen(
        engine,
        "handle_error",
        lambda context: found.append((context.original_exception.sqlite_errorcode, context.statement)),
    )
    return found


def test_locked_file_is_tried_again(lite: Engine, file: Path) -> None:
    found = errors_of(lite)
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert tried(lite, sql("INSERT INTO t VALUES (1)")) == ("sqlite:5", 2)
    assert [code for code, _ in found] == [sqlite3.SQLITE_BUSY] * 2


def test_file_that_is_locked_at_commit_is_tried_again(lite: Engine, file: Path) -> None:
    found = errors_of(lite)
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM t").fetchall()
        assert tried(lite, sql("INSERT INTO t VALUES (1)")) == ("sqlite:5", 2)
        assert reader.execute("SELECT * FROM t").fetchall() == []
    assert found == [(sqlite3.SQLITE_BUSY, None)] * 2  # no statement: it was COMMIT


def test_snapshot_that_is_outdated_is_tried_again(lite: Engine, file: Path) -> None:
    found = errors_of(lite)
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")

        def body(session: Session) -> None:
            session.execute(text("SELECT * FROM t")).all()
            writer.execute("INSERT INTO t VALUES (2)")
            session.execute(text("INSERT INTO t VALUES (1)"))

        assert tried(lite, body) == ("sqlite:5", 2)
    assert [code for code, _ in found] == [sqlite3.SQLITE_BUSY_SNAPSHOT] * 2


FULL = """
import sys
from pathlib import Path
from sqlalchemy import create_engine, event, text
sys.path.insert(0, {root!r})
from tests.fault_rows import tried

def body(session):
    session.execute(text("PRAGMA cache_size = -100000"))  # nothing is written before COMMIT
    for _ in range(100):
        session.execute(text("INSERT INTO t VALUES (zeroblob(4000))"))

for mode in ("DELETE", "WAL"):
    engine = create_engine("sqlite:///{folder}/full.sqlite")
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    statements = []
    event.listen(engine, "handle_error", lambda context: statements.append(context.statement))
    raw = engine.raw_connection()
    raw.cursor().execute(f"PRAGMA journal_mode = {{mode}}")
    raw.cursor().execute("CREATE TABLE t (b)")
    raw.close()
    print(mode, tried(engine, body), statements)
    with engine.connect() as connection:
        print(connection.scalar(text("SELECT count(*) FROM t")))
    engine.dispose()
    Path("{folder}/full.sqlite").unlink()
"""


def test_disk_that_is_full_at_commit_has_applied_nothing(tmp_path: Path) -> None:
    # A small disk of its own, which goes with the process: in a namespace where anybody may mount one.
    (tmp_path / "disk").mkdir()
    program = FULL.format(root=str(Path(__file__).parents[2]), folder=tmp_path / "disk")
    (tmp_path / "full.py").write_text(program, "utf-8")
    script = 'mount -t tmpfs -o size=128k tmpfs "$1" && exec "$2" "$3"'
    arguments: list[str | Path] = [tmp_path / "disk", sys.executable, tmp_path / "full.py"]
    done = subprocess.run(
        ["/usr/bin/unshare", "-rm", "sh", "-c", script, "sh", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "unshare failed" in done.stderr or "permission denied" in done.stderr:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no disk can be mounted here: {done.stderr}")
    applied_nothing = [f"{mode} ('sqlite:13', 1) [None]\n0\n" for mode in ("DELETE", "WAL")]
    assert done.stdout == "".join(applied_nothing), done.stderr


def test_interrupted_statement_is_not_tried_again(lite: Engine) -> None:
    @event.listens_for(lite, "connect")
    def _connected(connection: Any, _: object) -> None:
        connection.create_function("interrupt", 0, connection.interrupt)

    rows = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 100000) SELECT i, interrupt() FROM r"
    assert tried(lite, lambda session: session.execute(text(rows)).all()) == ("sqlite:9", 1)


def test_file_that_may_only_be_read_is_not_tried_again(lite: Engine) -> None:
    def body(session: Session) -> None:
        session.execute(text("PRAGMA query_only = 1"))
        session.execute(text("INSERT INTO t VALUES (1)"))

    assert tried(lite, body) == ("sqlite:8", 1)
