"""Rows of the classification that PostgreSQL gives; ``unit/test_fault_table.py`` has the whole table."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event, exc, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from session_aware import NEW_SESSION, CommitOutcomeUnknown, SessionAwareService
from session_aware._database.faults import code_of
from tests.fault_rows import TWICE, Work, connecting, sql, tried, tried_async
from tests.faults.stage import wait_until
from tests.servers._process import free_port
from tests.servers.postgresql import PostgreSQL
from tests.servers.proxy import TcpProxy, Verdict

REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.code = '57P01' THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); END IF;
  RAISE EXCEPTION 'refused' USING ERRCODE = NEW.code;
END $$;
CREATE TABLE refused (code text);
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON refused
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TABLE t (id int PRIMARY KEY, n int);
CREATE ROLE limited LOGIN CONNECTION LIMIT 0
"""


@pytest.fixture(scope="module")
def server(servers: None) -> Iterator[PostgreSQL]:
    with PostgreSQL(settings={"deadlock_timeout": "50ms"}) as running:
        running.execute(REFUSING)
        yield running


@pytest.fixture
def engine(server: PostgreSQL) -> Iterator[Engine]:
    server.execute("TRUNCATE t; INSERT INTO t VALUES (1, 0), (2, 0)")
    made = create_engine(server.url())
    yield made
    assert made.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
    made.dispose()


DRIVERS = pytest.mark.parametrize(
    ("driver", "is_async", "has_code"),
    [("psycopg", False, False), ("psycopg2", False, False), ("psycopg", True, False), ("asyncpg", True, True)],
)


@DRIVERS
def test_refused_connection_is_tried_again(server: PostgreSQL, driver: str, *, is_async: bool, has_code: bool) -> None:
    assert connecting(server.url(driver, port=free_port()), is_async=is_async) == (None, 2)  # asyncpg: a bare OSError


@DRIVERS
def test_too_many_connections_are_tried_again(server: PostgreSQL, driver: str, *, is_async: bool, has_code: bool) -> None:
    url = server.url(driver).replace("postgres@", "limited@")
    assert connecting(url, is_async=is_async) == ("53300" if has_code else None, 2)


@DRIVERS
def test_server_that_shuts_down_is_tried_again(server: PostgreSQL, driver: str, *, is_async: bool, has_code: bool) -> None:
    try:
        with psycopg.connect(server.url().replace("+psycopg", "")) as held:  # it waits for its last client
            held.execute("SELECT 1")
            os.kill(server._running().pid, signal.SIGTERM)
            held.execute("SELECT pg_sleep(0.2)")
            assert connecting(server.url(driver), is_async=is_async) == ("57P03" if has_code else None, 2)
    finally:
        server.restart()


def test_exhausted_pool_is_tried_again(server: PostgreSQL) -> None:
    engine = create_engine(server.url(), pool_size=1, max_overflow=0, pool_timeout=0.05)
    with engine.connect():
        assert tried(engine, sql("SELECT 1")) == (None, 2)
    engine.dispose()


def test_deadlock_is_tried_again(server: PostgreSQL, engine: Engine) -> None:
    rivals: list[threading.Thread] = []

    def rival() -> None:
        with server._connect() as connection, connection.transaction():
            connection.execute("SET deadlock_timeout = '10s'")
            connection.execute("UPDATE t SET n = 1 WHERE id = 2")
            connection.execute("UPDATE t SET n = 1 WHERE id = 1")

    def body(session: Session) -> None:
        session.execute(text("UPDATE t SET n = 2 WHERE id = 1"))
        rivals.append(threading.Thread(target=rival))
        rivals[-1].start()
        # Who waits last finds the deadlock, and is its victim.
        assert wait_until(lambda: server.execute("SELECT pid FROM pg_locks WHERE NOT granted") != [], seconds=10)
        session.execute(text("UPDATE t SET n = 2 WHERE id = 2"))

    assert tried(engine, body) == ("40P01", 2)
    for thread in rivals:
        thread.join(10)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT FROM t WHERE id = 1 FOR UPDATE NOWAIT", "55P03"),
        ("SET LOCAL statement_timeout = 50; SELECT pg_sleep(10)", "57014"),
        ("SET TRANSACTION READ ONLY; INSERT INTO t VALUES (3, 0)", "25006"),
        ("INSERT INTO t VALUES (1, 0)", "23505"),
        ("SELECT count(*) FROM t FOR UPDATE", "0A000"),
    ],
)
def test_refused_statement_is_not_tried_again(server: PostgreSQL, engine: Engine, statement: str, code: str) -> None:
    with server._connect() as holder, holder.transaction():
        holder.execute("SELECT FROM t WHERE id = 1 FOR UPDATE" if code == "55P03" else "SELECT 1")
        assert tried(engine, sql(statement)) == (code, 1)


def test_statement_in_a_failed_transaction_is_not_tried_again(engine: Engine) -> None:
    def body(session: Session) -> None:
        with pytest.raises(exc.DBAPIError):
            session.execute(text("SELECT nothing FROM nowhere"))
        session.execute(text("SELECT 1"))

    assert tried(engine, body) == ("25P02", 1)


def test_terminated_backend_is_tried_again(server: PostgreSQL, engine: Engine) -> None:
    suicide = "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(5)"
    assert tried(engine, sql(suicide)) == ("57P01", 2)
    assert tried_async(server.url("asyncpg"), suicide) in {("57P01", 2), ("08003", 2)}  # the driver may miss the answer


def test_connection_that_breaks_in_a_statement_is_tried_again(server: PostgreSQL) -> None:
    with TcpProxy(server.port) as proxy:

        def judge(data: bytes) -> Verdict:
            if b"pg_sleep" in data:
                threading.Timer(0.1, proxy.cut).start()
            return Verdict.PASS

        proxy.on_client = judge
        assert tried_async(server.url("asyncpg", port=proxy.port), "SELECT pg_sleep(5)") == ("08003", 2)


def test_connection_that_broke_between_statements_is_tried_again(server: PostgreSQL) -> None:
    class Killed(SessionAwareService, retry=TWICE):
        attempts = 0

        async def run(self, *, session: AsyncSession = NEW_SESSION) -> None:
            self.attempts += 1
            raw = await (await session.connection()).get_raw_connection()
            assert raw.driver_connection is not None
            noticed = asyncio.Event()  # or it depends on what arrives first
            raw.driver_connection.add_termination_listener(lambda _: noticed.set())
            await asyncio.to_thread(server.terminate_backends)
            await asyncio.wait_for(noticed.wait(), 10)
            await session.execute(text("SELECT 1"))

    async def scenario() -> None:
        engine = create_async_engine(server.url("asyncpg"))
        work = Killed()
        work.async_session_factory = async_sessionmaker(engine)
        with pytest.raises(exc.InterfaceError, match="connection is closed") as caught:
            await work.run()
        assert work.attempts == 2
        assert code_of(caught.value) is None
        assert caught.value.connection_invalidated
        await engine.dispose()

    asyncio.run(scenario())


def test_conflict_that_shows_at_commit_is_tried_again(server: PostgreSQL) -> None:
    engine = create_engine(server.url(), isolation_level="SERIALIZABLE")
    server.execute("TRUNCATE t; INSERT INTO t VALUES (1, 0), (2, 0)")

    def body(session: Session) -> None:
        session.execute(text("SELECT n FROM t WHERE id = 1"))
        session.execute(text("UPDATE t SET n = n + 1 WHERE id = 2"))
        with Session(engine) as other:  # write skew: each reads what the other writes
            other.execute(text("SELECT n FROM t WHERE id = 2"))
            other.execute(text("UPDATE t SET n = n + 1 WHERE id = 1"))
            other.commit()

    at_commit: list[object] = []
    event.listen(engine, "handle_error", lambda context: at_commit.append(context.statement))
    assert tried(engine, body) == ("40001", 2)
    assert at_commit == [None, None]  # no statement: it was COMMIT
    assert server.execute("SELECT n FROM t ORDER BY id") == [(2,), (0,)]
    engine.dispose()


@pytest.mark.parametrize(
    ("code", "attempts"),
    [
        *[("40001", 2), ("40P01", 2), ("23503", 1), ("23505", 1), ("23514", 1), ("23P01", 1), ("40002", 1)],
        *[("P0001", 1), ("P0002", 1), ("22012", 1), ("21000", 1), ("27000", 1), ("2F003", 1), ("38000", 1), ("39004", 1)],
        *[("42P01", 1), ("44000", 1), ("0A000", 1), ("25006", 1), ("55P03", 1)],
    ],
)
def test_commit_that_is_certainly_not_applied_raises_the_answer(engine: Engine, code: str, attempts: int) -> None:
    assert tried(engine, sql(f"INSERT INTO refused VALUES ('{code}')")) == (code, attempts)


@pytest.mark.parametrize("code", ["40003", "08007", "57P01", "57014", "53100", "XX000", "XXA00"])
def test_other_answer_to_commit_is_unknown(engine: Engine, code: str) -> None:
    work = Work(engine)
    with pytest.raises(CommitOutcomeUnknown) as caught:
        work.run(sql(f"INSERT INTO refused VALUES ('{code}')"))
    assert caught.value.__cause__ is not None
    assert code_of(caught.value.__cause__) == code
    assert work.attempts == 1
