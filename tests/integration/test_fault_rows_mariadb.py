"""Rows of the classification that MariaDB gives; ``unit/test_fault_table.py`` has the whole table."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pymysql
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from session_aware import PoisonedTransactionError
from session_aware._database.faults import code_of
from tests.fault_rows import Work, connecting, sql, tried
from tests.servers._process import HOST, free_port
from tests.servers.mariadb import MariaDB

pytestmark = pytest.mark.mariadb


@pytest.fixture(scope="module")
def server(mariadb: MariaDB) -> MariaDB:
    mariadb.execute(
        f"CREATE TABLE IF NOT EXISTS fault (id INT PRIMARY KEY, n INT) ENGINE=InnoDB; "
        f"CREATE OR REPLACE USER few@'{HOST}' WITH MAX_USER_CONNECTIONS 1; GRANT ALL ON test.* TO few@'{HOST}'; "
        f"CREATE OR REPLACE USER plain@'{HOST}'; GRANT ALL ON test.* TO plain@'{HOST}'"
    )
    return mariadb


@pytest.fixture
def engine(server: MariaDB) -> Iterator[Engine]:
    server.execute("DELETE FROM fault; INSERT INTO fault VALUES (1, 0)")
    made = create_engine(server.url())
    yield made
    assert made.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
    made.dispose()


DRIVERS = pytest.mark.parametrize(("driver", "is_async"), [("pymysql", False), ("asyncmy", True), ("aiomysql", True)])


@DRIVERS
def test_refused_connection_is_tried_again(server: MariaDB, driver: str, *, is_async: bool) -> None:
    assert connecting(server.url(driver, port=free_port()), is_async=is_async) == (2003, 2)


@DRIVERS
def test_users_limit_of_connections_is_tried_again(server: MariaDB, driver: str, *, is_async: bool) -> None:
    url = server.url(driver).replace("root@", "few@")
    with closing(pymysql.connect(host=HOST, port=server.port, user="few", database="test")):
        assert connecting(url, is_async=is_async) == (1226, 2)


@DRIVERS
def test_servers_limit_of_connections_is_tried_again(server: MariaDB, driver: str, *, is_async: bool) -> None:
    ((usual,),) = server.execute("SELECT @@max_connections")
    server.execute("SET GLOBAL max_connections = 10")
    try:
        with ExitStack() as stack:
            with pytest.raises(pymysql.OperationalError, match="1040"):
                for _ in range(11):
                    held = pymysql.connect(host=HOST, port=server.port, user="plain", database="test")
                    stack.enter_context(closing(held))
            url = server.url(driver).replace("root@", "plain@")
            assert connecting(url, is_async=is_async) == (1040, 2)
    finally:
        server.execute(f"SET GLOBAL max_connections = {usual}")  # there is one more connection for the superuser


def test_record_that_has_changed_is_tried_again(server: MariaDB, engine: Engine) -> None:
    def body(session: Session) -> None:
        session.execute(text("SET SESSION innodb_snapshot_isolation = ON"))
        session.execute(text("SELECT n FROM fault")).all()
        server.execute("UPDATE fault SET n = n + 1")
        session.execute(text("UPDATE fault SET n = 5"))

    assert tried(engine, body) == (1020, 2)


def test_record_that_has_changed_is_not_healed_by_a_savepoint(server: MariaDB, engine: Engine) -> None:
    def body(session: Session) -> None:
        session.execute(text("SET SESSION innodb_snapshot_isolation = ON"))
        session.execute(text("SELECT n FROM fault")).all()
        server.execute("UPDATE fault SET n = n + 1")
        with suppress(DBAPIError), session.begin_nested():
            session.execute(text("UPDATE fault SET n = 5"))
        session.execute(text("INSERT INTO fault VALUES (2, 0)"))

    work = Work(engine)
    with pytest.raises(PoisonedTransactionError) as caught:
        work.run(body)
    assert caught.value.__cause__ is not None
    assert code_of(caught.value.__cause__) == 1020
    assert work.attempts == 2
    assert [int(number) for (number,) in server.execute("SELECT id FROM fault")] == [1]


def test_killed_connection_is_tried_again_whenever_it_is_noticed(server: MariaDB, engine: Engine) -> None:
    def between(session: Session) -> None:
        number = session.scalar(text("SELECT connection_id()"))
        server.execute(f"KILL {number}")
        session.execute(text("SELECT 1"))

    def inside(session: Session) -> None:
        number = session.scalar(text("SELECT connection_id()"))
        killer = threading.Timer(0.1, server.execute, [f"KILL {number}"])
        killer.start()
        try:
            session.execute(text("SELECT sleep(10)"))
        finally:
            killer.join()

    assert tried(engine, between) in {(2006, 2), (2013, 2), (1927, 2)}
    assert tried(engine, inside) in {(2013, 2), (1927, 2)}


def test_server_that_has_gone_away_is_tried_again(server: MariaDB, engine: Engine) -> None:
    def body(session: Session) -> None:
        session.connection().connection.driver_connection._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr] # of pymysql
        session.execute(text("SELECT 1"))

    assert tried(engine, body) == (2006, 2)


def test_killed_statement_is_not_tried_again(server: MariaDB, engine: Engine) -> None:
    def body(session: Session) -> None:
        number = session.scalar(text("SELECT connection_id()"))
        killer = threading.Timer(0.1, server.execute, [f"KILL QUERY {number}"])
        killer.start()
        try:
            session.execute(text("SELECT n FROM fault WHERE benchmark(100000000000, md5('x')) = 0"))
        finally:
            killer.join()

    assert tried(engine, body) == (1317, 1)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SET STATEMENT max_statement_time = 0.1 FOR SELECT n FROM fault WHERE benchmark(100000000000, md5('x')) = 0", 1969),
        ("INSERT INTO fault VALUES (1, 0)", 1062),
    ],
)
def test_refused_statement_is_not_tried_again(engine: Engine, statement: str, code: int) -> None:
    assert tried(engine, sql(statement)) == (code, 1)


def test_write_in_a_read_only_transaction_is_not_tried_again(engine: Engine) -> None:
    assert tried(engine, sql("SET TRANSACTION READ ONLY", "START TRANSACTION", "DELETE FROM fault")) == (1792, 1)


def test_lock_timeout_is_not_tried_again(server: MariaDB, engine: Engine) -> None:
    with closing(pymysql.connect(host=HOST, port=server.port, user="root", database="test")) as holder:
        holder.cursor().execute("UPDATE fault SET n = 1")
        assert tried(engine, sql("SET innodb_lock_wait_timeout = 1", "UPDATE fault SET n = 2")) == (1205, 1)


def test_write_on_a_read_only_server_is_not_tried_again(server: MariaDB) -> None:
    engine = create_engine(server.url().replace("root@", "plain@"))
    server.execute("SET GLOBAL read_only = 1")
    try:
        assert tried(engine, sql("INSERT INTO fault VALUES (2, 0)")) == (1290, 1)
    finally:
        server.execute("SET GLOBAL read_only = 0")
        engine.dispose()
