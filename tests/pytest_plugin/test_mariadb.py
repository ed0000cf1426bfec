"""The plugin on MariaDB, where statements such as CREATE TABLE commit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.pytest_plugin.conftest import Project
from tests.servers.mariadb import MariaDB, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

TABLE = (
    "CREATE TABLE account (id INTEGER PRIMARY KEY AUTO_INCREMENT, owner VARCHAR(80) UNIQUE, balance INTEGER) ENGINE InnoDB"
)


@pytest.fixture(scope="module")
def server(all_servers: None) -> Iterator[MariaDB]:
    with MariaDB() as running:
        running.execute(TABLE)
        yield running


@pytest.fixture
def on_mariadb(project: Project, server: MariaDB) -> Iterator[Project]:
    server.execute("DELETE FROM account")
    project.use(make_url(server.url("pymysql")))
    yield project
    server.execute("DROP TABLE IF EXISTS made")


def owners(server: MariaDB) -> list[str]:
    engine = create_engine(server.url("pymysql"))
    try:
        with engine.connect() as connection:
            return list(connection.scalars(text("SELECT owner FROM account ORDER BY owner")))
    finally:
        engine.dispose()


def test_units_of_many_threads_are_rolled_back(on_mariadb: Project, server: MariaDB) -> None:
    on_mariadb.passes(
        """
        @pytest.mark.parametrize("time", [1, 2])
        def test_open(session_aware_db, time):
            accounts.open("ann")
            with pytest.raises(LookupError):
                accounts.fail("bob")
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(accounts.open, map(str, range(20))))
            assert accounts.count() == 21
            accounts.log_and_open("cid")
            accounts.open_serializable("dan")
            with pytest.raises(PoisonedTransactionError):
                accounts.swallow()
            assert accounts.count() == 24
        """,
        passed=2,
    )
    assert owners(server) == []


def test_a_statement_that_commits_fails_the_test(on_mariadb: Project, server: MariaDB) -> None:
    result = on_mariadb.run(
        """
        def test_create(session_aware_db):
            accounts.open("ann")
            session_aware_db.connection.exec_driver_sql("CREATE TABLE made (id INTEGER)")
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["E*SessionAwareError: session_aware: the outer transaction of the test was ended during the test*"]
    )
    assert owners(server) == ["ann"]


def test_autocommit_fails_the_test(on_mariadb: Project) -> None:
    on_mariadb.conftest = on_mariadb.conftest.replace(
        "poolclass=NullPool", "poolclass=NullPool, isolation_level='AUTOCOMMIT'"
    )
    result = on_mariadb.run("def test_create(session_aware_db): ...")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["E*SessionAwareError: session_aware: the outer transaction of the test was ended during the test*"]
    )
