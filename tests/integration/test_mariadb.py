"""MariaDB: deadlocks that bodies swallow, READ ONLY, killed connections, and real error objects of its drivers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, insert, inspect, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    CommitOutcomeUnknown,
    PoisonedTransactionError,
    PolicyConflictError,
    Retry,
    SessionAwareService,
    SessionFactoryError,
    auto_session_func,
    configure,
    is_transient,
)
from session_aware._database.driver import is_autocommit
from session_aware._database.faults import code_of
from tests.ledger import Account, Base, Entry
from tests.servers.mariadb import MariaDB
from tests.servers.proxy import TcpProxy, Verdict, on_commit
from tests.services import add

pytestmark = pytest.mark.mariadb

AT_ONCE = Retry(attempts=3, wait_initial=0, wait_max=0)


class Work(SessionAwareService):
    def __init__(self) -> None:
        self.attempts = 0

    def run(self, body: Callable[[Session], Any], *, session: Session = NEW_SESSION) -> Any:
        self.attempts += 1
        return body(session)

    @auto_session_func(read_only=True)
    def misplaced(self, *, session: Session = NEW_SESSION) -> None:
        assert session.scalars(select(Account.owner)).all() == ["ann", "bob"]
        session.execute(insert(Account).values(owner="eve", balance=0))

    async def arun(self, statement: str, *, session: AsyncSession = NEW_SESSION) -> None:
        await session.execute(text(statement))


class Bank:
    """Two accounts, and whoever else wants them."""

    def __init__(self, server: MariaDB) -> None:
        self.server = server
        self.engine = create_engine(server.url())
        self.work = Work()
        self.work.session_factory = sessionmaker(self.engine)
        self._rival = create_engine(server.url())

    def balances(self) -> dict[str, int]:
        with self._rival.connect() as connection:
            return {row.owner: row.balance for row in connection.execute(select(Account.owner, Account.balance))}

    def locked_by_rival(self, session: Session) -> threading.Thread:
        """Let a rival lock bob, and then want ann; it has more to lose, so that the session is a deadlock's victim."""
        holds = threading.Event()

        def rival() -> None:
            with self._rival.begin() as connection:
                connection.execute(insert(Account), [{"owner": f"rival {n}", "balance": 0} for n in range(50)])
                connection.execute(credit("bob"))
                holds.set()
                connection.execute(credit("ann"))
                connection.rollback()

        session.execute(credit("ann"))
        thread = threading.Thread(target=rival)
        thread.start()
        assert holds.wait(10)
        return thread

    def deadlock(self, session: Session) -> None:
        """End in error 1213."""
        thread = self.locked_by_rival(session)
        try:
            session.execute(credit("bob"))
        finally:
            thread.join(10)

    def close(self) -> None:
        assert self.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
        self.engine.dispose()
        self._rival.dispose()


def credit(owner: str) -> Any:
    return update(Account).where(Account.owner == owner).values(balance=Account.balance + 1)


@pytest.fixture
def bank(mariadb: MariaDB) -> Iterator[Bank]:
    made = Bank(mariadb)
    Base.metadata.create_all(made.engine, tables=[Base.metadata.tables["account"]])  # MariaDB has no deferred constraints
    with made.engine.begin() as connection:
        connection.execute(delete(Account))
        connection.execute(insert(Account), [{"owner": owner, "balance": 0} for owner in ("ann", "bob")])
    yield made
    made.close()


def test_deadlock_is_tried_again(bank: Bank) -> None:
    def body(session: Session) -> None:
        if bank.work.attempts < 3:
            bank.deadlock(session)
        session.execute(credit("ann"))

    configure(retry=AT_ONCE)
    bank.work.run(body)
    assert bank.work.attempts == 3
    assert bank.balances() == {"ann": 1, "bob": 0}


def test_swallowed_deadlock_commits_nothing(bank: Bank) -> None:
    def body(session: Session) -> None:
        try:
            bank.deadlock(session)
        except DBAPIError:
            pass
        session.execute(credit("bob"))

    with pytest.raises(PoisonedTransactionError) as caught:
        bank.work.run(body)
    assert code_of(caught.value.__cause__ or caught.value) == 1213
    assert is_transient(caught.value)
    assert bank.balances() == {"ann": 0, "bob": 0}


def test_deadlock_in_a_savepoint_surfaces_as_a_lost_savepoint_and_is_tried_again(bank: Bank) -> None:
    codes: list[object] = []

    def note(error: BaseException) -> bool:
        codes.append(code_of(error))
        return is_transient(error)

    def body(session: Session) -> None:
        session.scalars(select(Account.owner)).all()
        with session.begin_nested():
            if bank.work.attempts == 1:
                bank.deadlock(session)
            session.execute(credit("ann"))

    configure(retry=Retry(wait_initial=0, wait_max=0, on=note))
    bank.work.run(body)
    assert codes == [1305]
    assert bank.balances() == {"ann": 1, "bob": 0}


def test_deadlock_swallowed_around_a_savepoint_commits_nothing(bank: Bank) -> None:
    def body(session: Session) -> None:
        try:
            with session.begin_nested():
                bank.deadlock(session)
        except DBAPIError:
            pass
        session.execute(credit("bob"))

    with pytest.raises(Exception) as caught:  # noqa: PT011 - SQLAlchemy may refuse the session first
        bank.work.run(body)
    assert not isinstance(caught.value, AssertionError)
    assert bank.balances() == {"ann": 0, "bob": 0}


def test_swallowed_lock_timeout_commits_nothing(bank: Bank) -> None:
    with create_engine(bank.server.url()).connect() as holder:
        holder.execute(credit("bob"))

        def body(session: Session) -> None:
            session.execute(credit("ann"))
            with pytest.raises(DBAPIError) as caught:
                session.execute(credit("bob"))
            assert code_of(caught.value) == 1205
            assert not is_transient(caught.value)

        with pytest.raises(PoisonedTransactionError):
            bank.work.run(body)
        holder.rollback()
        holder.engine.dispose()
    assert bank.balances() == {"ann": 0, "bob": 0}


def test_write_in_a_read_only_unit_is_refused_by_the_database(bank: Bank) -> None:
    with pytest.raises(DBAPIError) as caught:
        bank.work.misplaced()
    assert code_of(caught.value) == 1792
    assert caught.value.__notes__ == [
        "session-aware: Work.misplaced is read_only, and this was a write. Remove read_only=True, or write in a method "
        "without it."
    ]
    bank.work.run(lambda session: session.execute(credit("ann")))  # the pooled connection writes again
    assert bank.balances() == {"ann": 1, "bob": 0}


@pytest.mark.parametrize("engine_options", [{}, {"isolation_level": "AUTOCOMMIT"}], ids=["switched", "by itself"])
def test_reads_in_autocommit_leave_a_connection_with_transactions(bank: Bank, engine_options: dict[str, Any]) -> None:
    reading = create_engine(bank.server.url(), **engine_options)
    maker = sessionmaker(reading if engine_options else bank.engine)

    @auto_session_func(session_factory=maker, read_only=True, isolation_level="AUTOCOMMIT")
    def owners(*, session: Session = NEW_SESSION) -> list[str]:
        assert is_autocommit(session.connection()) is True
        with pytest.raises(PolicyConflictError, match="this statement writes"):
            session.execute(credit("ann"))
        with pytest.raises(PolicyConflictError, match="no SAVEPOINT"), session.begin_nested():
            session.connection()
        return list(session.scalars(select(Account.owner).order_by(Account.owner)))

    def fail(session: Session) -> None:
        session.execute(credit("ann"))
        raise LookupError

    for _ in range(2):
        assert owners() == ["ann", "bob"]
        with pytest.raises(LookupError):
            bank.work.run(fail)
    reading.dispose()
    assert bank.balances() == {"ann": 0, "bob": 0}


@pytest.mark.parametrize(
    "options", [{"isolation_level": "AUTOCOMMIT"}, {"connect_args": {"autocommit": True}}], ids=["isolation_level", "driver"]
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # aiomysql's, at the end of its loop
def test_engine_in_autocommit_is_refused_before_the_first_statement(bank: Bank, options: dict[str, Any]) -> None:
    async def scenario() -> None:
        for driver in ("asyncmy", "aiomysql"):
            engine = create_async_engine(bank.server.url(driver), **options)
            bank.work.async_session_factory = async_sessionmaker(engine)
            with pytest.raises(SessionFactoryError, match="is in AUTOCOMMIT"):
                await bank.work.arun("INSERT INTO account (owner, balance) VALUES ('eve', 0)")
            await engine.dispose()

    engine = create_engine(bank.server.url(), **options)
    bank.work.session_factory = sessionmaker(engine)
    with pytest.raises(SessionFactoryError, match="is in AUTOCOMMIT"):
        bank.work.run(lambda session: add(session, "eve"))
    engine.dispose()
    asyncio.run(scenario())
    assert sorted(bank.balances()) == ["ann", "bob"]


def test_read_only_and_level_hold_on_every_connection(bank: Bank) -> None:
    other = create_engine(bank.server.url())
    binds: dict[Any, Any] = {Account: bank.engine, Entry: other}
    bank.work.session_factory = sessionmaker(binds=binds)
    statement = insert(Account).values(owner="eve", balance=0)

    def write(session: Session) -> None:
        session.execute(select(Account))
        session.execute(statement, bind_arguments={"mapper": inspect(Entry)})

    def levels(session: Session) -> list[str]:
        return [session.connection(bind_arguments={"mapper": inspect(cls)}).get_isolation_level() for cls in binds]

    configure(read_only=True, isolation_level="SERIALIZABLE")
    with pytest.raises(DBAPIError) as caught:
        bank.work.run(write)
    assert code_of(caught.value) == 1792
    assert bank.work.run(levels) == ["SERIALIZABLE"] * 2
    configure(read_only=None, isolation_level=None)
    assert bank.work.run(levels) == ["REPEATABLE READ"] * 2
    bank.work.run(write)
    assert sorted(bank.balances()) == ["ann", "bob", "eve"]
    other.dispose()


def test_killed_connection_is_tried_again(bank: Bank) -> None:
    codes: list[object] = []

    def note(error: BaseException) -> bool:
        codes.append(code_of(error))
        return is_transient(error)

    def body(session: Session) -> None:
        session.execute(credit("ann"))
        if bank.work.attempts == 1:
            number = session.scalar(text("SELECT connection_id()"))
            killer = threading.Timer(0.2, bank.server.execute, [f"KILL {number}"])
            killer.start()
            try:
                session.execute(text("SELECT sleep(10)"))
            finally:
                killer.join()
        session.execute(credit("bob"))

    configure(retry=Retry(wait_initial=0, wait_max=0, on=note))
    bank.work.run(body)
    assert len(codes) == 1
    assert bank.balances() == {"ann": 1, "bob": 1}


@pytest.mark.parametrize("resolve", [False, True])
@pytest.mark.parametrize(("verdict", "applied"), [(Verdict.CUT, 0), (Verdict.CUT_ON_ANSWER, 1)])
def test_interrupted_commit_is_unknown_even_with_resolve_commit(
    bank: Bank, verdict: Verdict, applied: int, *, resolve: bool
) -> None:
    configure(retry=Retry(on=lambda _: True), resolve_commit=resolve)
    with TcpProxy(bank.server.port) as proxy:
        engine = create_engine(bank.server.url(port=proxy.port))
        bank.work.session_factory = sessionmaker(engine)
        bank.work.run(lambda session: session.scalar(select(1)))
        proxy.on_client = on_commit(verdict)
        with pytest.raises(CommitOutcomeUnknown):
            bank.work.run(lambda session: session.execute(credit("ann")))
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
        engine.dispose()
    assert bank.work.attempts == 2
    assert bank.balances()["ann"] == applied


CODES = pytest.mark.parametrize(
    ("code", "expected"),
    [
        *((code, True) for code in (1213, 1020, 6235, 8002, 9007, 1226, 1040)),
        *((code, False) for code in (1205, 1317, 1969, 1062, 1290)),
    ],
)


@CODES
def test_code_is_read_from_the_error_of_pymysql(bank: Bank, code: int, *, expected: bool) -> None:
    with pytest.raises(DBAPIError) as caught:
        bank.work.run(lambda session: session.execute(text(f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}")))
    assert code_of(caught.value) == code
    assert is_transient(caught.value) is expected


@CODES
@pytest.mark.parametrize("driver", ["asyncmy", "aiomysql"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # aiomysql's, at the end of its loop
def test_code_is_read_from_the_error_of_async_drivers(bank: Bank, driver: str, code: int, *, expected: bool) -> None:
    async def scenario() -> None:
        engine = create_async_engine(bank.server.url(driver))
        bank.work.async_session_factory = async_sessionmaker(engine)
        with pytest.raises(DBAPIError) as caught:
            await bank.work.arun(f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}")
        assert code_of(caught.value) == code
        assert is_transient(caught.value) is expected
        await engine.dispose()

    asyncio.run(scenario())


def test_added_account_is_committed(bank: Bank) -> None:
    bank.work.run(lambda session: add(session, "cleo"))
    assert bank.balances() == {"ann": 0, "bob": 0, "cleo": 0}
