"""Fixtures of all tests: one PostgreSQL for the session, fresh tables for each test, and nothing left behind."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, delete

from session_aware._call import factory
from session_aware._database import events
from session_aware._unit import configuration, nesting
from tests.databases import DRIVERS, AsyncDatabase, Databases, SyncDatabase, sqlite_engine
from tests.ledger import Base
from tests.servers.galera import Galera
from tests.servers.galera import missing as galera_missing
from tests.servers.mariadb import MariaDB
from tests.servers.mariadb import missing as mariadb_missing
from tests.servers.postgresql import PostgreSQL, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

pytest_plugins = ["pytester"]  # runs the tests of the pytest plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run leave out what cannot differ there; README's command leaves nothing out."""
    parser.addoption("--servers", choices=("all", "postgresql", "none"), default="all", help="skip tests on other servers")


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> None:
    """Let a test start a PostgreSQL."""
    if request.config.getoption("--servers") == "none":
        pytest.skip("this run is one with --servers=none")


@pytest.fixture(scope="session")
def all_servers(request: pytest.FixtureRequest) -> None:
    """Let a test start any server."""
    if request.config.getoption("--servers") != "all":
        pytest.skip("this run is one without --servers=all")


@pytest.fixture(scope="session")
def postgresql(servers: None) -> Iterator[PostgreSQL]:
    """One server for the session. Without its binaries the tests fail: a green run must not mean "skipped"."""
    if (problem := missing()) is not None:
        pytest.fail(problem, pytrace=False)
    # A test that waits for a lock, or forgets a transaction, ends with an error instead of hanging.
    bounds = {"lock_timeout": "5s", "statement_timeout": "20s", "idle_in_transaction_session_timeout": "30s"}
    with PostgreSQL(settings=bounds) as server:
        yield server


def _need(problem: str | None) -> None:
    """Skip where a server of the distribution's packages is not installed, but never in CI."""
    if problem is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(problem)


@pytest.fixture(scope="session")
def mariadb(all_servers: None) -> Iterator[MariaDB]:
    """One MariaDB for the session, where its package is installed."""
    _need(mariadb_missing())
    with MariaDB(settings={"innodb-lock-wait-timeout": 2}) as server:
        yield server


@pytest.fixture(scope="session")
def galera(all_servers: None) -> Iterator[Galera]:
    """One cluster for the session, where its packages are installed."""
    _need(galera_missing())
    missed = {"evs.keepalive_period": "PT0.3S", "evs.suspect_timeout": "PT1S", "evs.inactive_timeout": "PT3S"}
    with Galera(settings={"innodb-lock-wait-timeout": 2, "wsrep-sync-wait": 1}, provider=missed) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgresql_witness(postgresql: PostgreSQL) -> Iterator[Engine]:
    """Sees the server's rows from outside; its tables are made once."""
    witness = create_engine(postgresql.url("psycopg"), isolation_level="AUTOCOMMIT")
    Base.metadata.create_all(witness)
    yield witness
    witness.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with empty tables; each test works on a copy."""
    file = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    engine = sqlite_engine(file)
    Base.metadata.create_all(engine)
    engine.dispose()
    return file


@pytest.fixture
def postgresql_tables(request: pytest.FixtureRequest) -> Callable[[], tuple[PostgreSQL, Engine]]:
    """Empty the tables at the first call; a test on SQLite alone starts no server."""
    found: list[tuple[PostgreSQL, Engine]] = []

    def tables() -> tuple[PostgreSQL, Engine]:
        if not found:
            witness = request.getfixturevalue("postgresql_witness")
            with witness.connect() as connection:
                for table in reversed(Base.metadata.sorted_tables):
                    connection.execute(delete(table))
            found.append((request.getfixturevalue("postgresql"), witness))
        return found[0]

    return tables


@pytest.fixture
def databases(
    tmp_path: Path, sqlite_template: Path, postgresql_tables: Callable[[], tuple[PostgreSQL, Engine]]
) -> Iterator[Databases]:
    """Makes databases by driver. At the end no connection may be checked out."""
    made = Databases(tmp_path, sqlite_template, postgresql_tables)
    yield made
    left = made.close()
    assert not any(left), f"connections left checked out, by engine: {left}"


@pytest.fixture(params=["sqlite", "psycopg"])
def database(request: pytest.FixtureRequest, databases: Databases) -> SyncDatabase:
    """A sync engine, on SQLite and on PostgreSQL."""
    return databases.sync(request.param)


@pytest.fixture(params=["aiosqlite", "psycopg", "asyncpg"])
def async_database(request: pytest.FixtureRequest, databases: Databases) -> AsyncDatabase:
    """An async engine, on SQLite and on PostgreSQL with both drivers."""
    return databases.asynchronous(request.param)


@pytest.fixture(params=DRIVERS)
def any_database(request: pytest.FixtureRequest, databases: Databases) -> SyncDatabase | AsyncDatabase:
    """An engine of either kind, for what holds for both; ``any_database.run(call())`` awaits what must be awaited."""
    make, driver = DRIVERS[request.param]
    return make(databases, driver)


@pytest.fixture(params=["psycopg", "async psycopg", "asyncpg"])
def any_postgres(request: pytest.FixtureRequest, databases: Databases) -> SyncDatabase | AsyncDatabase:
    """An engine of either kind on PostgreSQL."""
    make, driver = DRIVERS[request.param]
    return make(databases, driver)


@pytest.fixture(params=["psycopg", "asyncpg"])
def async_postgres(request: pytest.FixtureRequest, databases: Databases) -> AsyncDatabase:
    """An async engine on PostgreSQL, with both drivers."""
    return databases.asynchronous(request.param)


@pytest.fixture
def postgres(databases: Databases) -> SyncDatabase:
    """A sync engine on PostgreSQL."""
    return databases.sync("psycopg")


@pytest.fixture
def sqlite(databases: Databases) -> SyncDatabase:
    """A sync engine on SQLite, for what does not depend on the database."""
    return databases.sync("sqlite")


@pytest.fixture
def aiosqlite(databases: Databases) -> AsyncDatabase:
    """An async engine on SQLite, for what does not depend on the database."""
    return databases.asynchronous("aiosqlite")


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Take back what the test configured; an override that outlives its block is a defect."""
    yield
    configuration.settings = configuration.NO_SETTINGS
    if nesting._blocks:
        gc.collect()
    assert nesting._blocks == {}, "a block is noted for ever"
    assert factory._overrides == {}
    if events._kept:
        gc.collect()  # a stream that was dropped
    assert events._kept == {}, "a suspended stream is kept for ever"
