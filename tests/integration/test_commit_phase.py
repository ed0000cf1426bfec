"""When COMMIT is sent: what fails before it is certain, whoever raises it; what comes after it may be unknown."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, exc, insert, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    CommitOutcomeUnknown,
    PoisonedTransactionError,
    Retry,
    SessionAwareService,
    UnitRecord,
    auto_session_ctx,
    configure,
    is_transient,
)
from tests.databases import AsyncDatabase, Databases, SyncDatabase
from tests.faults.stage import wait_until
from tests.ledger import Account, Base, Entry
from tests.servers.postgresql import PostgreSQL
from tests.servers.proxy import TcpProxy, Verdict
from tests.services import UNDONE, aadd, add

AT_ONCE = Retry(attempts=3, wait_initial=0, wait_max=0)


class Work(SessionAwareService):
    def __init__(self) -> None:
        self.attempts = 0

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        self.attempts += 1
        add(session, owner)

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        self.attempts += 1
        await aadd(session, owner)


# Listeners of before_commit, which may send more


IMPOSSIBLE: Any = object()  # no driver can send it, and the error is in no table


def test_flush_that_fails_in_a_listener_before_the_commit_is_an_ordinary_error(database: SyncDatabase) -> None:
    @event.listens_for(database.maker, "before_commit")
    def _record(session: Session) -> None:
        session.add(Account(owner=IMPOSSIBLE))

    work = Work()
    work.session_factory = database.maker
    with pytest.raises(exc.DBAPIError) as caught:
        work.open("ann")
    assert not hasattr(caught.value, "__notes__")
    assert database.recorder.events == UNDONE
    assert database.owners() == []


def test_flush_that_fails_in_an_async_listener_before_the_commit_is_an_ordinary_error(async_database: AsyncDatabase) -> None:
    class Recorded(Session):
        """What an outbox listens to."""

    @event.listens_for(Recorded, "before_commit")
    def _record(session: Session) -> None:
        session.add(Account(owner=IMPOSSIBLE))

    work = Work()
    work.async_session_factory = async_sessionmaker(async_database.engine, sync_session_class=Recorded)
    with pytest.raises(exc.DBAPIError) as caught:
        async_database.run(work.aopen("ann"))
    assert not hasattr(caught.value, "__notes__")
    assert async_database.owners() == []


def test_connection_that_is_lost_in_a_listener_before_the_commit_is_tried_again(
    postgres: SyncDatabase, postgresql: PostgreSQL
) -> None:
    @event.listens_for(postgres.maker, "before_commit")
    def _record(session: Session) -> None:
        if work.attempts < 3:
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            postgresql.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
        session.add(Account(owner="recorded"))

    configure(retry=AT_ONCE)
    work = Work()
    work.session_factory = postgres.maker
    work.open("ann")
    assert work.attempts == 3
    assert postgres.owners() == ["ann", "recorded"]


def test_connection_that_is_lost_to_rollback_too_is_tried_again(postgres: SyncDatabase, postgresql: PostgreSQL) -> None:
    @event.listens_for(postgres.maker, "before_commit")
    def _record(session: Session) -> None:
        session.add(Account(owner=IMPOSSIBLE if work.attempts == 1 else "recorded"))

    @event.listens_for(postgres.engine, "rollback")
    def _lose(connection: Any) -> None:  # the rollback of the flush that failed
        if work.attempts == 1 and not lost:
            lost.append(connection)
            raise OSError

    lost: list[Any] = []
    configure(retry=Retry(attempts=2, wait_initial=0, wait_max=0, on=lambda _: True))
    work = Work()
    work.session_factory = postgres.maker
    work.open("ann")
    assert len(lost) == 1
    assert work.attempts == 2
    assert postgres.owners() == ["ann", "recorded"]


@pytest.mark.parametrize("name", ["after_flush", "after_flush_postexec"])
def test_flush_of_what_a_listener_added_fails_before_the_commit(database: SyncDatabase, name: str) -> None:
    added = iter([Account(owner=IMPOSSIBLE)])

    @event.listens_for(database.maker, name)
    def _record(session: Session, *_: object) -> None:
        session.add_all(list(added))

    with pytest.raises(exc.DBAPIError), auto_session_ctx(session_factory=database.maker) as session:
        session.add(Account(owner="ann"))
    assert database.owners() == []


def test_error_of_a_listener_after_the_commit_is_no_answer_to_it(sqlite: SyncDatabase) -> None:
    work = Work()
    work.session_factory = sqlite.maker
    work.open("first")  # from now on the library listens, and only a later listener can come before it

    @event.listens_for(sqlite.maker, "after_commit", insert=True)
    def _record(_: Session) -> None:
        with Session(sqlite.engine) as session:
            session.add_all([Account(owner="twice"), Account(owner="twice")])
            session.flush()

    configure(retry=Retry(wait_initial=0, wait_max=0, on=lambda error: isinstance(error, exc.IntegrityError)))
    work.attempts = 0
    with pytest.raises(CommitOutcomeUnknown):  # the listener comes before SQLAlchemy's word that it is committed
        work.open("ann")
    assert work.attempts == 1
    assert sqlite.owners() == ["ann", "first"]


def test_exception_of_a_listener_before_the_commit_is_itself(database: SyncDatabase) -> None:
    @event.listens_for(database.maker, "before_commit")
    def _refuse(_: Session) -> None:
        raise error

    error = LookupError()
    work = Work()
    work.session_factory = database.maker
    with pytest.raises(LookupError) as caught:
        work.open("ann")
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert database.recorder.events == UNDONE
    assert database.owners() == []


def test_exception_of_a_listener_after_the_commit_is_reported(
    database: SyncDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    @event.listens_for(database.maker, "after_commit")
    def _fail(_: Session) -> None:
        raise LookupError

    work = Work()
    work.session_factory = database.maker
    work.open("ann")
    assert [record.getMessage() for record in caplog.records] == ["Work.open: committed, but what came after COMMIT failed"]
    assert database.owners() == ["ann"]


def fail_on_session(session: Session) -> None:
    session.execute(text("INSERT INTO nowhere VALUES (1)"))


def fail_on_driver(session: Session) -> None:
    session.connection().connection.cursor().execute("INSERT INTO nowhere VALUES (1)")


@pytest.mark.parametrize("fail", [fail_on_session, fail_on_driver])
@pytest.mark.parametrize("name", ["before_commit", "after_flush"])
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_error_that_a_listener_swallows_at_the_end_commits_nothing(
    databases: Databases, driver: str, name: str, fail: Callable[[Session], None]
) -> None:
    database = databases.sync(driver)

    @event.listens_for(database.maker, name)
    def _record(session: Session, *_: object) -> None:
        with suppress(Exception):
            fail(session)

    records: list[UnitRecord] = []
    configure(observer=records.append)
    with (
        pytest.raises(PoisonedTransactionError) as caught,
        auto_session_ctx(session_factory=database.maker) as session,
    ):
        session.add(Account(owner="ann"))
    assert (caught.value.__cause__ is not None) is (fail is fail_on_session)
    assert [record.outcome for record in records] == ["rolled back"]
    assert database.owners() == []
    assert database.checked_out == 0


@pytest.mark.parametrize("fail", [fail_on_session, fail_on_driver])
@pytest.mark.parametrize("name", ["before_commit", "after_flush"])
def test_error_that_an_async_listener_swallows_at_the_end_commits_nothing(
    async_postgres: AsyncDatabase, name: str, fail: Callable[[Session], None]
) -> None:
    class Recorded(Session):
        """What an audit listens to."""

    @event.listens_for(Recorded, name)
    def _record(session: Session, *_: object) -> None:
        with suppress(Exception):
            fail(session)

    async def scenario() -> None:
        maker = async_sessionmaker(async_postgres.engine, sync_session_class=Recorded)
        async with auto_session_ctx(async_session_factory=maker) as session:
            session.add(Account(owner="ann"))

    with pytest.raises(PoisonedTransactionError):
        async_postgres.run(scenario())
    assert async_postgres.owners() == []


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT nothing FROM nowhere"])
def test_connection_that_a_listener_takes_at_the_end_is_looked_at(databases: Databases, statement: str) -> None:
    one, two = databases.sync("psycopg"), databases.sync("psycopg")
    binds: dict[Any, Any] = {Account: one.engine, Entry: two.engine}
    maker = sessionmaker(binds=binds)

    @event.listens_for(maker, "before_commit")
    def _record(session: Session) -> None:
        with suppress(exc.DBAPIError):
            session.connection(bind_arguments={"mapper": inspect(Entry)}).exec_driver_sql(statement)

    is_fine = statement == "SELECT 1"
    with (
        nullcontext() if is_fine else pytest.raises(PoisonedTransactionError),
        auto_session_ctx(session_factory=maker) as session,
    ):
        add(session, "ann")
    assert one.owners() == (["ann"] if is_fine else [])
    # Whose COMMIT would have come first is rolled back beneath SQLAlchemy, which takes it for over; there is no order.
    assert two.recorder.transactions in ([["BEGIN", "COMMIT"]] if is_fine else [["BEGIN"], ["BEGIN", "ROLLBACK"]])


@pytest.mark.parametrize("reset", ["rollback", None])
def test_unit_that_is_refused_at_its_commit_is_rolled_back(databases: Databases, reset: Any) -> None:
    for driver in ("sqlite", "psycopg"):
        database = databases.sync(driver)
        swallowing = iter([True])

        def record(session: Session, swallowing: Iterator[bool] = swallowing) -> None:
            if next(swallowing, False):
                with suppress(exc.DBAPIError):
                    session.execute(text("INSERT INTO nowhere VALUES (1)"))

        engine = create_engine(database.engine.url, pool_size=1, max_overflow=0, pool_reset_on_return=reset)
        with nullcontext(engine) if reset is None else engine.connect() as bind:
            maker = sessionmaker(bind)
            event.listen(maker, "before_commit", record)
            work = Work()
            work.session_factory = maker
            with pytest.raises(PoisonedTransactionError):
                work.open("refused")
            work.open("next")
        assert database.owners() == ["next"]
        engine.dispose()


def test_commit_that_failed_is_rolled_back_on_somebodys_connection(databases: Databases) -> None:
    database = databases.sync("sqlite")
    reader = sqlite3.connect(str(database.engine.url.database), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM account").fetchall()
    work = Work()

    def release(error: BaseException) -> bool:
        reader.execute("ROLLBACK")
        return is_transient(error)

    configure(retry=Retry(attempts=2, wait_initial=0, wait_max=0, on=release))
    engine = create_engine(database.engine.url, connect_args={"timeout": 0})
    with engine.connect() as connection:
        work.session_factory = sessionmaker(connection)
        work.open("ann")
    reader.close()
    engine.dispose()
    assert work.attempts == 2
    assert database.owners() == ["ann"]


def test_conflict_that_a_listener_swallows_is_tried_again(postgres: SyncDatabase) -> None:
    @event.listens_for(postgres.maker, "before_commit")
    def _record(session: Session) -> None:
        if work.attempts < 3:
            with suppress(exc.DBAPIError):
                session.execute(text("DO $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '40001'; END $$"))

    configure(retry=AT_ONCE)
    work = Work()
    work.session_factory = postgres.maker
    work.open("ann")
    assert work.attempts == 3
    assert postgres.owners() == ["ann"]


# The driver is not asked at all


def test_connection_that_the_body_invalidated_has_committed_nothing(database: SyncDatabase) -> None:
    with (
        pytest.raises(exc.PendingRollbackError) as caught,
        auto_session_ctx(session_factory=database.maker) as session,
    ):
        add(session, "ann")
        session.connection().invalidate()
    assert not hasattr(caught.value, "__notes__")
    assert database.owners() == []


def test_connection_that_a_listener_invalidated_has_committed_nothing(database: SyncDatabase) -> None:
    event.listen(database.maker, "before_commit", lambda session: session.connection().invalidate())
    with pytest.raises(exc.PendingRollbackError), auto_session_ctx(session_factory=database.maker) as session:
        add(session, "ann")
    assert database.owners() == []


def test_invalidated_connection_keeps_the_other_one_from_committing(databases: Databases) -> None:
    one, two = databases.sync("sqlite", name="one"), databases.sync("sqlite", name="two")
    binds: dict[Any, Any] = {Account: one.engine, Entry: two.engine}
    for number in range(20):  # a session commits its connections in no order
        with pytest.raises(exc.PendingRollbackError), auto_session_ctx(session_factory=sessionmaker(binds=binds)) as session:
            add(session, f"{number}")
            session.connection(bind_arguments={"clause": select(Entry)}).invalidate()
    assert one.owners() == []


def test_savepoint_that_cannot_be_released_has_committed_nothing(database: SyncDatabase) -> None:
    with pytest.raises(exc.DBAPIError) as caught, auto_session_ctx(session_factory=database.maker) as session:
        add(session, "ann")
        session.begin_nested()
        session.execute(text("RELEASE SAVEPOINT sa_savepoint_1"))  # the commit releases it once more, before COMMIT
    assert "savepoint" in str(caught.value)
    assert database.owners() == []


def test_interrupt_while_commit_is_sent_passes_with_a_note(database: SyncDatabase) -> None:
    @event.listens_for(database.engine, "commit")
    def _interrupt(_: object) -> None:
        raise KeyboardInterrupt

    records: list[UnitRecord] = []
    configure(observer=records.append, retry=AT_ONCE)
    work = Work()
    work.session_factory = database.maker
    with pytest.raises(KeyboardInterrupt) as caught:
        work.open("ann")
    assert caught.value.__notes__ == [
        "session-aware: Work.open was sending COMMIT, so its outcome is unknown, when this was raised."
    ]
    assert [(record.outcome, record.error) for record in records] == [("unknown", caught.value)]
    assert work.attempts == 1


# Two-phase commit


@pytest.fixture(scope="module")
def server(servers: None) -> Iterator[PostgreSQL]:
    with PostgreSQL(settings={"max_prepared_transactions": 4}) as running:
        witness = create_engine(running.url())
        Base.metadata.create_all(witness)
        witness.dispose()
        running.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RAISE EXCEPTION $$refused$$ USING ERRCODE = $$XX000$$; END';"
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON entry DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        yield running


class TwoPhase:
    """A session on two connections to one server through a proxy, committed in two phases."""

    def __init__(self, server: PostgreSQL, proxy: TcpProxy) -> None:
        self._server = server
        self.proxy = proxy
        self._engines = [create_engine(server.url(port=proxy.port)) for _ in range(2)]
        binds: dict[Any, Any] = dict(zip((Account, Entry), self._engines, strict=True))
        self.maker = sessionmaker(binds=binds, twophase=True)
        server.execute("DELETE FROM entry; DELETE FROM account")

    def left(self) -> tuple[list[Any], list[Any]]:
        """Return what is applied, and what is prepared."""
        owners = self._server.execute("SELECT owner FROM account ORDER BY owner")
        return owners, self._server.execute("SELECT gid FROM pg_prepared_xacts")

    def close(self) -> None:
        for engine in self._engines:
            assert engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
            engine.dispose()


@pytest.fixture
def twophase(server: PostgreSQL) -> Iterator[TwoPhase]:
    with TcpProxy(server.port) as proxy:
        made = TwoPhase(server, proxy)
        yield made
        made.close()


def test_two_phases_are_committed(twophase: TwoPhase) -> None:
    with auto_session_ctx(session_factory=twophase.maker) as session:
        add(session, "ann")
        session.execute(select(Entry))
    assert twophase.left() == ([("ann",)], [])


def test_error_that_a_listener_swallows_before_prepare_commits_nothing(twophase: TwoPhase) -> None:
    @event.listens_for(twophase.maker, "before_commit")
    def _record(session: Session) -> None:
        with suppress(exc.DBAPIError):
            session.execute(text("INSERT INTO nowhere VALUES (1)"), bind_arguments={"mapper": inspect(Entry)})

    # SQLAlchemy 2.0.0 puts an error of its own in the place of one before PREPARE.
    refused = (PoisonedTransactionError, exc.InvalidRequestError)
    with pytest.raises(refused), auto_session_ctx(session_factory=twophase.maker) as session:
        add(session, "ann")
    assert twophase.left() == ([], [])


def test_failed_prepare_is_certain(twophase: TwoPhase, server: PostgreSQL) -> None:
    server.execute("INSERT INTO account VALUES (7, 'old', 0)")
    with (
        pytest.raises((exc.DBAPIError, exc.InvalidRequestError)) as caught,
        auto_session_ctx(session_factory=twophase.maker) as session,
    ):
        add(session, "ann")
        session.execute(insert(Entry).values(account_id=7))
    # SQLAlchemy's own rollback of what was not prepared fails as well: with psycopg, and under 2.0.0 always.
    reasons = [caught.value, caught.value.__context__]
    assert any("refused" in str(reason) for reason in reasons)
    assert twophase.left() == ([("old",)], [])


def test_prepare_that_never_arrived_is_certain(twophase: TwoPhase) -> None:
    with (
        pytest.raises((exc.OperationalError, exc.InvalidRequestError)),
        auto_session_ctx(session_factory=twophase.maker) as session,
    ):
        add(session, "ann")
        cut = itertools.chain([Verdict.CUT], itertools.repeat(Verdict.PASS))
        twophase.proxy.on_client = lambda data: next(cut) if b"PREPARE TRANSACTION" in data else Verdict.PASS
    assert twophase.left() == ([], [])


def test_commit_of_what_is_prepared_is_unknown_where_its_answer_is_lost(twophase: TwoPhase) -> None:
    with (
        pytest.raises(CommitOutcomeUnknown),
        auto_session_ctx(session_factory=twophase.maker) as session,
    ):
        add(session, "ann")
        cut = itertools.chain([Verdict.CUT_ON_ANSWER], itertools.repeat(Verdict.PASS))
        twophase.proxy.on_client = lambda data: next(cut) if b"COMMIT PREPARED" in data else Verdict.PASS
    assert twophase.left() == ([("ann",)], [])


# The server ends the session in the middle

LIMITS = {
    "idle_in_transaction_session_timeout": "25P03",
    "transaction_timeout": "25P04",
}


def is_gone(server: PostgreSQL, pid: int) -> bool:
    return not server.execute(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}")


class Slow(Work):
    """Lets the server lose its patience once."""

    def __init__(self, server: PostgreSQL, *, at_commit: bool) -> None:
        super().__init__()
        self._server = server
        self._at_commit = at_commit

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        self.attempts += 1
        add(session, owner)
        if self.attempts == 1:
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            assert wait_until(lambda: is_gone(self._server, pid), seconds=10)
            if not self._at_commit:
                session.execute(select(Account))

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        self.attempts += 1
        await aadd(session, owner)
        if self.attempts == 1:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
            raw: Any = await (await session.connection()).get_raw_connection()
            assert await asyncio.to_thread(wait_until, lambda: is_gone(self._server, pid), seconds=10)
            if hasattr(raw.driver_connection, "is_closed"):  # asyncpg: what the server said has to arrive
                assert await asyncio.to_thread(wait_until, raw.driver_connection.is_closed, seconds=10)
            if not self._at_commit:
                await session.execute(select(Account))


def limited(server: PostgreSQL, driver: str, limit: str) -> dict[str, Any]:
    """Return what connects with a time limit of the server's."""
    options = {"server_settings": {limit: "200ms"}} if driver == "asyncpg" else {"options": f"-c {limit}=200ms"}
    return {"url": server.url(driver), "connect_args": options}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("driver", "at_commit"), [("psycopg", True), ("psycopg", False), ("psycopg2", False)])
def test_transaction_that_the_server_ended_is_tried_again(
    server: PostgreSQL, limit: str, driver: str, *, at_commit: bool
) -> None:
    server.execute("DELETE FROM account")
    engine = create_engine(**limited(server, driver, limit))
    codes: list[Any] = []
    event.listen(engine, "handle_error", lambda context: codes.append(getattr(context.original_exception, "sqlstate", None)))
    configure(retry=AT_ONCE)
    work = Slow(server, at_commit=at_commit)
    work.session_factory = sessionmaker(engine)
    work.open("ann")
    assert work.attempts == 2
    assert codes[0] == (LIMITS[limit] if driver == "psycopg" else None)
    assert server.execute("SELECT owner FROM account") == [("ann",)]
    engine.dispose()


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("at_commit", [True, False])
def test_transaction_that_the_server_ended_is_tried_again_by_async_drivers(
    server: PostgreSQL, limit: str, driver: str, *, at_commit: bool
) -> None:
    async def scenario() -> None:
        engine = create_async_engine(**limited(server, driver, limit))
        work.async_session_factory = async_sessionmaker(engine)
        await work.aopen("ann")
        await engine.dispose()

    server.execute("DELETE FROM account")
    configure(retry=AT_ONCE)
    work = Slow(server, at_commit=at_commit)
    asyncio.run(scenario())
    assert work.attempts == 2
    assert server.execute("SELECT owner FROM account") == [("ann",)]


def test_psycopg2_tells_nothing_of_it_at_commit(server: PostgreSQL) -> None:
    server.execute("DELETE FROM account")
    engine = create_engine(**limited(server, "psycopg2", "idle_in_transaction_session_timeout"))
    configure(retry=AT_ONCE)
    work = Slow(server, at_commit=True)
    work.session_factory = sessionmaker(engine)
    with pytest.raises(CommitOutcomeUnknown):
        work.open("ann")
    assert work.attempts == 1
    assert server.execute("SELECT owner FROM account") == []
    engine.dispose()


def test_commit_that_waits_for_a_standby_is_ended_by_no_time_limit(server: PostgreSQL) -> None:
    """Prove the premise: none of the time limits whose codes are certain at COMMIT can come from one that has begun."""

    def wait_for_nobody(names: str) -> None:
        server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        server.execute("SELECT pg_reload_conf()")
        waiting = "SELECT 1 FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting = "
        assert wait_until(lambda: bool(server.execute(f"{waiting}'{names}'")), seconds=10)

    server.execute("DELETE FROM account")
    options = " ".join(f"-c {limit}=200ms" for limit in (*LIMITS, "statement_timeout", "idle_session_timeout"))
    engine: Engine = create_engine(server.url(), connect_args={"options": options})
    work = Work()
    work.session_factory = sessionmaker(engine)
    with engine.connect():  # what connects later may meet the limits by itself
        pass
    waits = "SELECT extract(epoch FROM now() - state_change) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

    def release() -> None:
        wait_until(lambda: any(seconds > 0.6 for (seconds,) in server.execute(waits)), seconds=10)
        wait_for_nobody("")

    releases = threading.Thread(target=release)
    wait_for_nobody("nobody")
    try:
        releases.start()
        work.open("ann")
    finally:
        releases.join(20)
        wait_for_nobody("")
    assert server.execute("SELECT owner FROM account") == [("ann",)]
    engine.dispose()


# The driver knows that its connection is closed, and the body has swallowed what it said: asyncpg's COMMIT is then silent


class Deaf(Work):
    """Loses its connection once, and swallows the error of the driver's own cursor, of which SQLAlchemy hears nothing."""

    def __init__(self, server: PostgreSQL) -> None:
        super().__init__()
        self._server = server

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        super().open(owner, session=session)
        if self.attempts == 1:
            self.lose(session)

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        self.attempts += 1
        await aadd(session, owner)
        if self.attempts == 1:
            await session.run_sync(self.lose)

    def lose(self, session: Session) -> None:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        self._server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
        with suppress(Exception):
            session.connection().connection.cursor().execute("SELECT 1")


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_loss_that_only_the_driver_noticed_is_tried_again(server: PostgreSQL, driver: str) -> None:
    server.execute("DELETE FROM account")
    engine = create_engine(server.url(driver))
    configure(retry=AT_ONCE)
    work = Deaf(server)
    work.session_factory = sessionmaker(engine)
    work.open("ann")
    assert work.attempts == 2
    assert server.execute("SELECT owner FROM account") == [("ann",)]
    engine.dispose()


@pytest.mark.parametrize("in_listener", [False, True])
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_loss_that_only_the_driver_noticed_is_tried_again_by_async_drivers(
    server: PostgreSQL, driver: str, *, in_listener: bool
) -> None:
    class Listened(Session):
        """What a listener may hear."""

    async def scenario() -> None:
        engine = create_async_engine(server.url(driver))
        work.async_session_factory = async_sessionmaker(engine, sync_session_class=Listened)
        await work.aopen("ann")
        await engine.dispose()

    server.execute("DELETE FROM account")
    configure(retry=AT_ONCE)
    work: Work = Work() if in_listener else Deaf(server)
    if in_listener:
        losing = [Deaf(server).lose]
        event.listen(Listened, "before_commit", lambda session: losing.pop()(session) if losing else None)
    asyncio.run(scenario())
    assert work.attempts == 2
    assert server.execute("SELECT owner FROM account") == [("ann",)]
