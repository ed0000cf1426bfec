"""What a database test costs: rolled back by the plugin, or followed by emptying its tables, or by making them anew.

Each way runs one suite of tests in a pytest process of its own, and so does the same suite without a database, whose time is
subtracted. A test adds three rows in two owned calls and reads them in a third; the schema has as many tables as is said.

The ways take turns, and the fastest round of each counts: what else the machine does only adds.

    python -m tests.pytest_plugin.cost [--tests 500] [--tables 20] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.servers.postgresql import PostgreSQL

ROOT = Path(__file__).parents[2]

CONFTEST = """
import os

import pytest
from sqlalchemy import create_engine, text

from app import Base, Sessions

URL = os.environ["COST_URL"]
WAY = os.environ["COST_WAY"]


@pytest.fixture(scope="session")
def session_aware_engine():
    engine = create_engine(URL)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    Sessions.configure(bind=engine)
    yield engine
    Base.metadata.drop_all(engine)
    engine.dispose()


def empty(engine):
    with engine.begin() as connection:
        names = [table.name for table in reversed(Base.metadata.sorted_tables)]
        if engine.dialect.name == "postgresql" and WAY == "truncate":
            connection.execute(text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"))
        else:
            for name in names:
                connection.execute(text(f"DELETE FROM {name}"))


if WAY == "nothing":

    @pytest.fixture
    def database():
        return None

elif WAY == "rollback":

    @pytest.fixture
    def database(session_aware_db):
        return session_aware_db

else:

    @pytest.fixture
    def database(session_aware_engine):
        yield
        if WAY == "recreate":
            Base.metadata.drop_all(session_aware_engine)
            Base.metadata.create_all(session_aware_engine)
        else:
            empty(session_aware_engine)
"""

APP = """
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from session_aware import NEW_SESSION, SessionAwareService

Sessions = sessionmaker()


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(unique=True)


for number in range({tables} - 1):
    type(f"Other{{number}}", (Base,), {{
        "__tablename__": f"other_{{number}}",
        "__annotations__": {{"id": Mapped[int], "account_id": Mapped[int], "note": Mapped[str]}},
        "id": mapped_column(primary_key=True),
        "account_id": mapped_column(ForeignKey("account.id"), index=True),
        "note": mapped_column(),
    }})


class Accounts(SessionAwareService, session_factory=Sessions):
    def open(self, *owners: str, session: Session = NEW_SESSION) -> None:
        session.add_all([Account(owner=owner) for owner in owners])

    def count(self, *, session: Session = NEW_SESSION) -> int:
        return session.scalars(select(func.count(Account.id))).one()
"""

SUITE = """
import os

import pytest

from app import Accounts

accounts = Accounts()


@pytest.mark.parametrize("number", range({tests}))
def test_accounts(database, number):
    if os.environ["COST_WAY"] == "nothing":
        return
    accounts.open("ann", "bob")
    accounts.open("cid")
    assert accounts.count() == 3
"""

WAYS = {
    "rollback": "rolled back by session_aware_db",
    "truncate": "TRUNCATE after each test (SQLite: DELETE)",
    "delete": "DELETE after each test",
    "recreate": "DROP and CREATE after each test",
}


def seconds(folder: Path, url: str, way: str) -> float:
    """Run the suite one way and return its time."""
    path = os.pathsep.join(str(ROOT / part) for part in ("src", "."))
    environment = {**os.environ, "COST_URL": url, "COST_WAY": way, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "session_aware.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "suite.py",
    ]
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout)
    return time.perf_counter() - begun


def main() -> None:
    """Print milliseconds per test and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=500)
    parser.add_argument("--tables", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, PostgreSQL() as server:
        folder = Path(name)
        (folder / "conftest.py").write_text(CONFTEST, "utf-8")
        (folder / "app.py").write_text(APP.format(tables=options.tables), "utf-8")
        (folder / "suite.py").write_text(SUITE.format(tests=options.tests), "utf-8")
        urls = {"SQLite file": f"sqlite:///{folder}/cost.sqlite", "PostgreSQL": server.url("psycopg")}
        sys.stdout.write(
            f"{options.tests} tests, {options.tables} tables; milliseconds per test, best of {options.rounds}\n"
        )
        for database, url in urls.items():
            rounds = [{way: seconds(folder, url, way) for way in ("nothing", *WAYS)} for _ in range(options.rounds)]
            best = {way: min(taken[way] for taken in rounds) for way in rounds[0]}
            for way, words in WAYS.items():
                sys.stdout.write(f"{database:12} {1000 * (best[way] - best['nothing']) / options.tests:8.2f}  {words}\n")


if __name__ == "__main__":
    main()
