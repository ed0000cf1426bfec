"""An interrupted COMMIT: unknown unless PostgreSQL can be asked, and never run again while it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, cast

import pytest
from sqlalchemy import Engine, create_engine, delete, event, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    CommitOutcomeUnknown,
    Retry,
    SessionAwareService,
    UnitRecord,
    after_commit,
    configure,
)
from session_aware._database import outcome
from session_aware._unit import shield
from tests.databases import SyncDatabase
from tests.faults.stage import wait_until
from tests.ledger import Account, Base, Entry
from tests.servers.postgresql import PostgreSQL, Standby
from tests.servers.proxy import TcpProxy, Verdict, on_commit, pass_all
from tests.services import aadd, add

EAGER = Retry(attempts=3, wait_initial=0, wait_max=0, on=lambda _: True)
ADVICE = (
    " It was not retried. Look for something that the unit itself writes, such as a request's id, before repeating it, or "
    "write resolve_commit=True on PostgreSQL."
)
NOT_COMMITTED = "session-aware: Work.open: PostgreSQL says that its transaction was not committed."


class Work(SessionAwareService):
    def open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        add(session, owner)

    def nothing(self, *, session: Session = NEW_SESSION) -> None:
        session.execute(select(1))

    def do(self, body: Callable[[Session], None], *, session: Session = NEW_SESSION) -> None:
        body(session)

    async def ado(self, body: Callable[[AsyncSession], Awaitable[None]], *, session: AsyncSession = NEW_SESSION) -> None:
        await body(session)

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        await aadd(session, owner)


class Line:
    """A server, a proxy in front of it, and engines through the proxy."""

    def __init__(self, server: PostgreSQL, proxy: TcpProxy, witness: Engine) -> None:
        self.server = server
        self.proxy = proxy
        self.work = Work()
        self._witness = witness
        self.engine = create_engine(server.url(port=proxy.port))
        self.work.session_factory = sessionmaker(self.engine)

    def run(self, driver: str, scenario: Callable[[Work], Any]) -> Any:
        """Run an async scenario with an engine of this driver."""

        async def main() -> None:
            engine = create_async_engine(self.server.url(driver, port=self.proxy.port))
            self.work.async_session_factory = async_sessionmaker(engine)
            try:
                await scenario(self.work)
            finally:
                assert engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
                await engine.dispose()

        asyncio.run(main())

    def owners(self) -> list[str]:
        with self._witness.connect() as connection:
            return list(connection.scalars(select(Account.owner).order_by(Account.owner)))

    def at_commit(self, act: Callable[[], object]) -> None:
        """Do this once when the client sends COMMIT, which never arrives."""
        hook = on_commit(Verdict.CUT)

        def judge(data: bytes) -> Verdict:
            if (found := hook(data)) is not Verdict.PASS:
                act()
            return found

        self.proxy.on_client = judge


@pytest.fixture(scope="module")
def server(servers: None) -> Iterator[PostgreSQL]:
    # What is not committed stays in memory: a crash forgets that there ever was such a transaction.
    with PostgreSQL(settings={"wal_writer_delay": "10s", "lock_timeout": "5s"}) as running:
        yield running


@pytest.fixture
def line(server: PostgreSQL) -> Iterator[Line]:
    witness = create_engine(server.url(), isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    Base.metadata.create_all(witness)
    with witness.connect() as connection:
        connection.execute(delete(Account))
    with TcpProxy(server.port) as proxy:
        made = Line(server, proxy, witness)
        made.work.nothing()
        yield made
        assert made.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
        made.engine.dispose()
    witness.dispose()


LOST = pytest.mark.parametrize(
    ("verdict", "applied"), [(Verdict.CUT, []), (Verdict.CUT_ON_ANSWER, ["ann"])], ids=["never arrived", "answer lost"]
)
DRIVERS = pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])


@LOST
def test_interrupted_commit_is_unknown_and_never_tried_again(line: Line, verdict: Verdict, applied: list[str]) -> None:
    configure(retry=EAGER)
    line.proxy.on_client = on_commit(verdict)
    with pytest.raises(CommitOutcomeUnknown) as caught:
        line.work.open("ann")
    assert isinstance(caught.value.__cause__, DBAPIError)
    assert str(caught.value) == (
        "Work.open: the connection failed while COMMIT was under way (OperationalError), so its work may or may not be "
        "applied: the database may have committed and only its answer got lost." + ADVICE
    )
    assert line.owners() == applied


@LOST
@DRIVERS
def test_interrupted_async_commit_is_unknown_and_never_tried_again(
    line: Line, driver: str, verdict: Verdict, applied: list[str]
) -> None:
    configure(retry=EAGER)

    async def scenario(work: Work) -> None:
        line.proxy.on_client = on_commit(verdict)
        with pytest.raises(CommitOutcomeUnknown):
            await work.aopen("ann")

    line.run(driver, scenario)
    assert line.owners() == applied


class Tidying(Session):
    """Cleans up by itself, as subclasses do."""

    def commit(self) -> None:
        try:
            super().commit()
        except Exception:
            self.rollback()
            raise


class AsyncTidying(AsyncSession):
    """The same, awaited."""

    async def commit(self) -> None:
        try:
            await super().commit()
        except Exception:
            await self.rollback()
            raise


@LOST
@pytest.mark.parametrize("resolve", [False, True])
def test_interrupted_commit_of_a_session_that_cleans_up_is_told_the_same(
    line: Line, verdict: Verdict, applied: list[str], *, resolve: bool
) -> None:
    configure(retry=EAGER, resolve_commit=resolve)
    line.work.session_factory = sessionmaker(line.engine, class_=Tidying)
    line.proxy.on_client = on_commit(verdict)
    if resolve:
        line.work.open("ann")
        assert line.owners() == ["ann"]
    else:
        with pytest.raises(CommitOutcomeUnknown):
            line.work.open("ann")
        assert line.owners() == applied


@LOST
@DRIVERS
def test_interrupted_async_commit_of_a_session_that_cleans_up_is_told_the_same(
    line: Line, driver: str, verdict: Verdict, applied: list[str]
) -> None:
    configure(retry=EAGER)

    async def scenario(work: Work) -> None:
        made = cast("Any", work.async_session_factory)
        work.async_session_factory = async_sessionmaker(made.kw["bind"], class_=AsyncTidying)
        line.proxy.on_client = on_commit(verdict)
        with pytest.raises(CommitOutcomeUnknown):
            await work.aopen("ann")

    line.run(driver, scenario)
    assert line.owners() == applied


def test_unit_that_another_one_shares_its_connection_with_at_the_end_is_told_of_its_commit(line: Line) -> None:
    current: list[Any] = []

    class Audit(SessionAwareService):
        def record(self, *, session: Session = NEW_SESSION) -> None:
            add(session, f"audit {len(current)}")

    audit = Audit()
    audit.session_factory = lambda: Session(current[-1], join_transaction_mode="create_savepoint")

    @event.listens_for(line.work.session_factory, "before_commit")
    def _record(session: Session) -> None:
        current.append(session.connection())
        audit.record()
        line.proxy.on_client = on_commit(Verdict.CUT_ON_ANSWER)

    configure(retry=EAGER)
    with pytest.raises(CommitOutcomeUnknown):
        line.work.open("ann")
    assert line.owners() == ["ann", "audit 1"]


def test_release_of_a_savepoint_that_is_lost_is_certain(line: Line) -> None:
    with line.engine.connect() as connection:
        connection.begin()
        line.work.session_factory = sessionmaker(connection, join_transaction_mode="create_savepoint")
        line.proxy.on_client = lambda data: Verdict.CUT if b"RELEASE SAVEPOINT" in data else Verdict.PASS
        with pytest.raises(DBAPIError):
            line.work.open("ann")
    assert line.owners() == []


def test_outcome_of_two_connections_is_not_that_of_the_one_that_was_asked_about(line: Line) -> None:
    other = create_engine(line.server.url())
    binds: dict[Any, Any] = {Account: line.engine, Entry: other}
    maker = sessionmaker(binds=binds)

    @event.listens_for(maker, "before_commit")
    def _record(session: Session) -> None:
        session.execute(select(Entry))
        line.at_commit(lambda: None)

    configure(resolve_commit=True)
    line.work.session_factory = maker
    with pytest.raises(CommitOutcomeUnknown, match="COMMIT failed on one of its 2 connections"):
        line.work.open("ann")
    other.dispose()


def test_commit_that_never_arrived_is_resolved_to_the_drivers_error(line: Line) -> None:
    configure(resolve_commit=True)
    line.proxy.on_client = on_commit(Verdict.CUT)
    with pytest.raises(DBAPIError) as caught:
        line.work.open("ann")
    assert caught.value.__notes__ == [NOT_COMMITTED]
    assert line.owners() == []


def test_commit_whose_answer_was_lost_is_resolved_to_success(line: Line) -> None:
    configure(resolve_commit=True)
    line.proxy.on_client = on_commit(Verdict.CUT_ON_ANSWER)
    line.work.open("ann")
    assert line.owners() == ["ann"]


@LOST
def test_callbacks_of_a_resolved_unit_run_once_if_it_was_committed(line: Line, verdict: Verdict, applied: list[str]) -> None:
    configure(resolve_commit=True)
    called: list[str] = []

    def register(session: Session, name: str) -> None:
        after_commit(session, lambda: called.append(name))

    def work(session: Session) -> None:
        add(session, "ann")
        register(session, "first")
        event.listen(session, "before_commit", lambda session: register(session, "of a listener"))
        with suppress(LookupError), session.begin_nested():
            register(session, "of a savepoint")
            raise LookupError

    line.proxy.on_client = on_commit(verdict)
    with suppress(DBAPIError):
        line.work.do(work)
    assert line.owners() == applied
    assert called == (["first", "of a listener"] if applied else [])


@LOST
@DRIVERS
def test_callbacks_of_a_resolved_async_unit_are_awaited_if_it_was_committed(
    line: Line, driver: str, verdict: Verdict, applied: list[str]
) -> None:
    configure(resolve_commit=True)
    called: list[str] = []

    async def callback() -> None:
        await asyncio.sleep(0)
        called.append("ann")

    async def body(session: AsyncSession) -> None:
        await aadd(session, "ann")
        after_commit(session, callback)

    async def scenario(work: Work) -> None:
        line.proxy.on_client = on_commit(verdict)
        with suppress(DBAPIError, OSError):
            await work.ado(body)

    line.run(driver, scenario)
    assert line.owners() == applied == called


@LOST
def test_resolved_unit_is_tried_again_only_if_it_was_not_committed(line: Line, verdict: Verdict, applied: list[str]) -> None:
    configure(resolve_commit=True, retry=EAGER)
    records: list[UnitRecord] = []
    configure(observer=records.append)
    line.proxy.on_client = on_commit(verdict)
    line.work.open("ann")
    assert line.owners() == ["ann"]
    assert [(record.outcome, record.attempts) for record in records] == [("committed", 1 if applied else 2)]


@LOST
@DRIVERS
def test_interrupted_async_commit_is_resolved(line: Line, driver: str, verdict: Verdict, applied: list[str]) -> None:
    configure(resolve_commit=True, retry=EAGER)

    async def scenario(work: Work) -> None:
        line.proxy.on_client = on_commit(verdict)
        await work.aopen("ann")

    line.run(driver, scenario)
    assert line.owners() == ["ann"]


@pytest.mark.parametrize("immediate", [False, True])
def test_outcome_is_resolved_through_a_restart(line: Line, *, immediate: bool) -> None:
    configure(resolve_commit=True)
    line.at_commit(lambda: line.server.restart(immediate=immediate))
    with pytest.raises(DBAPIError) as caught:
        line.work.open("ann")
    assert caught.value.__notes__ == [NOT_COMMITTED]
    assert line.owners() == []


def test_committed_after_a_crash_is_not_believed_since_ids_come_back(line: Line) -> None:
    def crash() -> None:
        ids.append(line.server.execute("SELECT backend_xid FROM pg_stat_activity WHERE backend_xid IS NOT NULL")[0][0])
        line.server.restart(immediate=True)
        ids.append(line.server.execute("INSERT INTO account (owner, balance) VALUES ('bob', 0) RETURNING xmin")[0][0])

    ids: list[object] = []
    configure(resolve_commit=True)
    line.at_commit(crash)
    with pytest.raises(CommitOutcomeUnknown):
        line.work.open("ann")
    assert ids[0] == ids[1]
    assert line.owners() == ["bob"]


@LOST
def test_unit_that_wrote_nothing_is_not_unknown(line: Line, verdict: Verdict, applied: list[str]) -> None:
    configure(resolve_commit=True)
    line.proxy.on_client = on_commit(verdict)
    if applied:
        line.work.nothing()
        return
    with pytest.raises(DBAPIError) as caught:
        line.work.nothing()
    assert caught.value.__notes__ == [NOT_COMMITTED.replace("open", "nothing")]


@LOST
def test_unit_whose_listener_writes_after_the_question_is_resolved(line: Line, verdict: Verdict, applied: list[str]) -> None:
    @event.listens_for(line.work.session_factory, "before_commit")
    def _record(session: Session) -> None:
        session.add(Account(owner="ann"))

    configure(resolve_commit=True, retry=EAGER)
    line.proxy.on_client = on_commit(verdict)
    line.work.nothing()
    assert line.owners() == ["ann"]


@LOST
def test_unit_that_only_notifies_is_resolved_and_not_repeated(line: Line, verdict: Verdict, applied: list[str]) -> None:
    class Notifying(SessionAwareService):
        session_factory = line.work.session_factory

        def notify(self, *, session: Session = NEW_SESSION) -> None:
            session.execute(text("NOTIFY news, 'ann'"))

    configure(resolve_commit=True, retry=EAGER)
    with line.server._connect() as listener:
        listener.execute("LISTEN news")
        line.proxy.on_client = on_commit(verdict)
        Notifying().notify()
        assert [one.payload for one in listener.notifies(timeout=0.3)] == ["ann"]


@LOST
def test_unit_that_writes_through_postgres_fdw_is_resolved_and_not_repeated(
    line: Line, verdict: Verdict, applied: list[str]
) -> None:
    line.server.execute(
        "CREATE EXTENSION IF NOT EXISTS postgres_fdw; DROP SERVER IF EXISTS other CASCADE;"
        f"CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{line.server.port}', "
        "dbname 'postgres'); CREATE USER MAPPING FOR postgres SERVER other OPTIONS (user 'postgres');"
        "CREATE FOREIGN TABLE far (owner text, balance int) SERVER other OPTIONS (table_name 'account')"
    )

    class Far(SessionAwareService):
        session_factory = line.work.session_factory

        def write(self, *, session: Session = NEW_SESSION) -> None:
            session.execute(text("INSERT INTO far VALUES ('ann', 0)"))

    configure(resolve_commit=True, retry=EAGER)
    line.proxy.on_client = on_commit(verdict)
    Far().write()
    assert line.owners() == ["ann"]


class Replicated(NamedTuple):
    """An engine that names a server, through the proxy, and its standby: whichever answers is taken."""

    line: Line
    standby: Standby
    engine: Engine


@pytest.fixture
def replicated(line: Line) -> Iterator[Replicated]:
    with line.server.standby() as standby:
        url = f"postgresql+psycopg://postgres@/postgres?host=127.0.0.1:{line.proxy.port}&host=127.0.0.1:{standby.port}"
        engine = create_engine(url)
        line.work.session_factory = sessionmaker(engine)
        standby.wait_until_caught_up()
        yield Replicated(line, standby, engine)
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
        engine.dispose()


def test_standby_that_lags_behind_may_not_answer(replicated: Replicated, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(data: bytes) -> Verdict:
        if (found := hook(data)) is not Verdict.PASS:
            replicated.standby.execute("SELECT pg_wal_replay_pause()")
            line.proxy.refuse()
        return found

    line, hook = replicated.line, on_commit(Verdict.CUT_ON_ANSWER)
    monkeypatch.setattr(outcome, "RESOLVE_SECONDS", 1.0)
    configure(resolve_commit=True, retry=EAGER)
    line.proxy.on_client = judge
    with pytest.raises(CommitOutcomeUnknown, match="PostgreSQL was asked, but could not tell"):
        line.work.open("ann")
    line.proxy.accept()
    assert line.owners() == ["ann"]


def test_standby_that_was_promoted_without_the_transaction_may_not_answer(replicated: Replicated) -> None:
    def judge(data: bytes) -> Verdict:
        if (found := hook(data)) is not Verdict.PASS:
            line.proxy.refuse()
            threading.Thread(target=promote).start()
        return found

    def promote() -> None:
        replicated.standby.promote()
        promoted.set()

    line, promoted, hook = replicated.line, threading.Event(), on_commit(Verdict.CUT_ON_ANSWER)
    replicated.standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
    replicated.standby.execute("SELECT pg_reload_conf()")
    assert wait_until(lambda: not replicated.standby.execute("SELECT 1 FROM pg_stat_wal_receiver"), seconds=10)
    configure(resolve_commit=True, retry=EAGER)
    line.proxy.on_client = judge
    with pytest.raises(CommitOutcomeUnknown, match="PostgreSQL was asked, but could not tell"):
        line.work.open("ann")
    assert promoted.wait(30)
    line.proxy.accept()
    assert line.owners() == ["ann"]


def test_server_that_is_back_after_its_standby_was_asked_tells(replicated: Replicated) -> None:
    def judge(data: bytes) -> Verdict:
        if (found := hook(data)) is not Verdict.PASS:
            line.proxy.refuse()
            threading.Timer(0.5, line.proxy.accept).start()
        return found

    line, hook = replicated.line, on_commit(Verdict.CUT_ON_ANSWER)
    configure(resolve_commit=True, retry=EAGER)
    line.proxy.on_client = judge
    line.work.open("ann")
    assert line.owners() == ["ann"]


def test_status_that_the_server_has_forgotten_is_unknown(postgres: SyncDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.engine.connect() as connection:
        witness = outcome.identify([connection])
        assert witness is not None
        assert connection.scalar(text("SELECT pg_xact_status('3'::xid8)")) is None
    assert witness._replace(id="3").is_committed() is None
    monkeypatch.setattr(outcome, "RESOLVE_SECONDS", 0.2)
    assert witness._replace(id="no number").is_committed() is None  # whatever else is wrong with the question


def test_server_that_refuses_the_question_of_an_async_driver_leaves_it_unknown(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(work: Work) -> None:
        await work.aopen("eve")
        line.at_commit(line.proxy.refuse)
        with pytest.raises(CommitOutcomeUnknown):  # asyncpg: a refused connection is a bare OSError
            await work.aopen("ann")

    monkeypatch.setattr(outcome, "RESOLVE_SECONDS", 0.3)
    configure(resolve_commit=True)
    line.run("asyncpg", scenario)
    line.proxy.accept()
    assert line.owners() == ["eve"]


def test_server_that_cannot_be_asked_leaves_it_unknown(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "RESOLVE_SECONDS", 0.3)
    configure(resolve_commit=True)
    line.at_commit(line.proxy.refuse)
    with pytest.raises(CommitOutcomeUnknown) as caught:
        line.work.open("ann")
    assert str(caught.value) == (
        "Work.open: the connection failed while COMMIT was under way (OperationalError), so its work may or may not be "
        "applied: the database may have committed and only its answer got lost. PostgreSQL was asked, but could not tell. "
        "It was not retried. Look for something that the unit itself writes, such as a request's id, before repeating it."
    )
    line.proxy.accept()
    assert line.owners() == []


@pytest.fixture
def _refusing_commit(line: Line) -> Iterator[None]:
    line.server.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION $$refused$$ USING ERRCODE = $$XX000$$; END'"
    )
    line.server.execute(
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON account DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    yield
    line.server.execute("DROP TRIGGER refuse ON account; DROP FUNCTION refuse")


@pytest.mark.usefixtures("_refusing_commit")
def test_answer_that_is_in_no_table_is_unknown_and_said_to_be_an_answer(line: Line) -> None:
    configure(retry=EAGER)
    with pytest.raises(CommitOutcomeUnknown) as caught:
        line.work.open("ann")
    assert str(caught.value) == (
        "Work.open: the database answered COMMIT with an error (InternalError, XX000) that does not tell whether its "
        "work is applied." + ADVICE
    )
    assert line.owners() == []


@pytest.mark.usefixtures("_refusing_commit")
def test_answer_that_is_in_no_table_is_resolved(line: Line) -> None:
    configure(resolve_commit=True)
    with pytest.raises(DBAPIError, match="refused") as caught:
        line.work.open("ann")
    assert caught.value.__notes__ == [NOT_COMMITTED]


def test_error_that_is_no_databases_is_named(line: Line) -> None:
    def leave(_: object) -> None:
        raise LookupError

    event.listen(
        line.engine, "commit", leave
    )  # the last who is asked before COMMIT is sent: nobody can tell that it was not
    with pytest.raises(CommitOutcomeUnknown) as caught:
        line.work.open("ann")
    assert str(caught.value) == (
        "Work.open: COMMIT ended in LookupError, which does not tell whether its work is applied." + ADVICE
    )
    assert line.owners() == []


def test_commit_of_two_connections_of_which_one_fails_is_unknown_whatever_the_error(line: Line) -> None:
    other = create_engine(line.server.url())

    class Both(SessionAwareService, session_factory=sessionmaker(binds={Account: line.engine, Entry: other})):
        def write(self, *, session: Session = NEW_SESSION) -> None:
            session.execute(insert(Account).values(owner="ann", balance=0))
            session.execute(insert(Entry).values(account_id=404))  # checked at COMMIT

    try:
        with pytest.raises(CommitOutcomeUnknown) as caught:
            Both().write()
    finally:
        other.dispose()
    assert str(caught.value) == (
        "Both.write: COMMIT failed on one of its 2 connections (IntegrityError), so all, part or none of its work is "
        "applied." + ADVICE
    )
    assert line.owners() in ([], ["ann"])  # a session commits its connections in no order


@pytest.fixture
def _slow_commit(line: Line) -> Iterator[None]:
    line.server.execute(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END'"
    )
    line.server.execute(
        "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON account DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION linger()"
    )
    yield
    line.server.execute("DROP TRIGGER linger ON account; DROP FUNCTION linger")


def cutting_while_it_runs(line: Line) -> None:
    """Cut the client off once COMMIT has arrived; the server goes on with it."""

    def judge(data: bytes) -> Verdict:
        if b"COMMIT" in data:
            line.proxy.on_client = pass_all
            threading.Timer(0.1, line.proxy.cut).start()
        return Verdict.PASS

    line.proxy.on_client = judge


@pytest.mark.usefixtures("_slow_commit")
def test_commit_that_still_runs_is_waited_for(line: Line) -> None:
    configure(resolve_commit=True)
    cutting_while_it_runs(line)
    line.work.open("ann")
    assert line.owners() == ["ann"]


@DRIVERS
@pytest.mark.usefixtures("_slow_commit")
def test_async_commit_that_still_runs_is_waited_for_while_the_loop_goes_on(line: Line, driver: str) -> None:
    configure(resolve_commit=True)
    ticks: list[int] = []

    async def tick() -> None:
        while True:
            ticks.append(len(ticks))
            await asyncio.sleep(0.01)

    async def scenario(work: Work) -> None:
        await work.aopen("eve")
        ticking = asyncio.create_task(tick())
        cutting_while_it_runs(line)
        await work.aopen("ann")
        ticking.cancel()

    line.run(driver, scenario)
    assert line.owners() == ["ann", "eve"]
    assert len(ticks) > 5


async def interrupted(line: Line, verdict: Verdict, how: str, then: Callable[[], object] = lambda: None) -> None:
    """Cancel a unit, or let its time run out, once its COMMIT is under way."""
    loop = asyncio.get_running_loop()
    hook = on_commit(verdict)

    def interrupt() -> None:
        limit.reschedule(0) if how == "timeout" else task.cancel()
        then()

    def judge(data: bytes) -> Verdict:
        if (found := hook(data)) is not Verdict.PASS:
            loop.call_soon_threadsafe(interrupt)
        return found

    line.proxy.on_client = judge
    task = asyncio.create_task(line.work.aopen("ann"))
    async with asyncio.timeout(None) as limit:
        await task


@DRIVERS
@pytest.mark.parametrize("verdict", [Verdict.HANG, Verdict.HANG_ON_ANSWER], ids=["never arrived", "answer lost"])
@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_commit_that_hangs_beyond_the_grace_period_is_unknown(
    line: Line, driver: str, verdict: Verdict, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shield, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(shield, "GIVE_UP_SECONDS", 0.2)
    configure(retry=EAGER)

    async def scenario(_: Work) -> None:
        with pytest.raises(CommitOutcomeUnknown) as caught:
            await interrupted(line, verdict, how)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert str(caught.value) == (
            "Work.aopen: it was cancelled while COMMIT was under way (CancelledError), and no answer tells whether its work "
            "is applied." + ADVICE
        )
        line.proxy.cut()  # or the driver would wait seconds for the server to heed its own cancellation
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    line.run(driver, scenario)
    assert line.owners() == (["ann"] if verdict is Verdict.HANG_ON_ANSWER else [])


@DRIVERS
@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_commit_that_hangs_within_the_grace_period_is_told(line: Line, driver: str, how: str) -> None:
    async def scenario(_: Work) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises((asyncio.CancelledError, TimeoutError)) as caught:
            await interrupted(line, Verdict.HANG_ON_ANSWER, how, lambda: loop.call_later(0.2, line.proxy.resume))
        cancelled = caught.value.__cause__ if how == "timeout" else caught.value
        assert cancelled is not None
        assert cancelled.__notes__ == ["session-aware: Work.aopen had already committed when this was raised."]

    line.run(driver, scenario)
    assert line.owners() == ["ann"]


@DRIVERS
def test_cancellation_during_the_clean_up_does_not_hide_an_unknown_commit(line: Line, driver: str) -> None:
    tasks: list[asyncio.Task[None]] = []
    configure(observer=lambda _: tasks[0].cancel())  # called at the very end of the clean-up

    async def scenario(work: Work) -> None:
        line.proxy.on_client = on_commit(Verdict.CUT_ON_ANSWER)
        tasks.append(asyncio.create_task(work.aopen("ann")))
        with pytest.raises(CommitOutcomeUnknown):
            await tasks[0]

    line.run(driver, scenario)
    assert line.owners() == ["ann"]


def test_killed_backend_before_commit_is_tried_again(line: Line) -> None:
    configure(retry=Retry(wait_initial=0, wait_max=0))
    kills = iter([line.server.terminate_backends])

    @event.listens_for(line.engine, "begin")
    def _kill(_: object) -> None:
        for kill in kills:
            kill()

    line.work.open("ann")
    assert line.owners() == ["ann"]


def test_nothing_is_asked_of_sqlite_or_of_two_connections(sqlite: SyncDatabase, postgres: SyncDatabase) -> None:
    with sqlite.engine.connect() as one, postgres.engine.connect() as two, postgres.engine.connect() as three:
        assert outcome.identify([one]) is None
        assert outcome.identify([two, three]) is None
        assert outcome.identify([]) is None
        witness = outcome.identify([two])
        assert witness is not None
        assert None not in witness
        assert witness._replace(id=None).is_committed() is None
