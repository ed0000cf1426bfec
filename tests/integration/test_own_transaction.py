"""What an owned session needs: a transaction that its COMMIT ends, and that a ROLLBACK undoes. Others are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import StaticPool

from session_aware import (
    NEW_SESSION,
    PoisonedTransactionError,
    Propagation,
    SessionAwareService,
    SessionFactoryError,
    auto_session_ctx,
    auto_session_func,
)
from session_aware._database import connections, driver
from tests.databases import AsyncDatabase, Databases, SyncDatabase
from tests.ledger import Account, Entry
from tests.services import Accounts, AsyncAccounts, Failure, aadd, add

# AUTOCOMMIT

HAS_SWITCH = sys.version_info >= (3, 12)  # sqlite3's own "autocommit"

SWITCHES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sqlite, isolation_level": ("sqlite", {"isolation_level": "AUTOCOMMIT"}, {}),
    "sqlite, options": ("sqlite", {}, {"isolation_level": "AUTOCOMMIT"}),
    "sqlite, isolation_level of the driver": ("sqlite", {"connect_args": {"isolation_level": None}}, {}),
    "psycopg, isolation_level": ("psycopg", {"isolation_level": "AUTOCOMMIT"}, {}),
    "psycopg, options": ("psycopg", {}, {"isolation_level": "AUTOCOMMIT"}),
    "psycopg, autocommit of the driver": ("psycopg", {"connect_args": {"autocommit": True}}, {}),
    "psycopg2, isolation_level": ("psycopg2", {"isolation_level": "AUTOCOMMIT"}, {}),
    "psycopg2, options": ("psycopg2", {}, {"isolation_level": "AUTOCOMMIT"}),
}
ASYNC_SWITCHES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "aiosqlite, isolation_level": ("aiosqlite", {"isolation_level": "AUTOCOMMIT"}, {}),
    "aiosqlite, options": ("aiosqlite", {}, {"isolation_level": "AUTOCOMMIT"}),
    "aiosqlite, isolation_level of the driver": ("aiosqlite", {"connect_args": {"isolation_level": None}}, {}),
    "psycopg, isolation_level": ("psycopg", {"isolation_level": "AUTOCOMMIT"}, {}),
    "psycopg, autocommit of the driver": ("psycopg", {"connect_args": {"autocommit": True}}, {}),
    "asyncpg, isolation_level": ("asyncpg", {"isolation_level": "AUTOCOMMIT"}, {}),
    "asyncpg, options": ("asyncpg", {}, {"isolation_level": "AUTOCOMMIT"}),
}
if HAS_SWITCH:
    SWITCHES["sqlite, autocommit of the driver"] = ("sqlite", {"connect_args": {"autocommit": True}}, {})
    ASYNC_SWITCHES["aiosqlite, autocommit of the driver"] = ("aiosqlite", {"connect_args": {"autocommit": True}}, {})


OnAsync = tuple[AsyncDatabase, AsyncEngine]


def in_autocommit(name: str, *, is_sqlite: bool) -> str:
    begin = ", or send BEGIN in a listener of the engine's 'begin'" if is_sqlite else ""
    return (
        f"{name}: its connection is in AUTOCOMMIT, where each statement is committed at once: nothing could be rolled back. "
        "Name a session factory whose engine has transactions, without isolation_level='AUTOCOMMIT' and without the "
        f"driver's own switch{begin}."
    )


def listened(engine: Engine) -> list[str]:
    """Return where each statement of an engine is noted."""
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
    return sent


@pytest.fixture(params=SWITCHES)
def autocommitting(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    driver, options, execution_options = SWITCHES[request.param]
    url = databases.sync("sqlite" if driver == "sqlite" else "psycopg").engine.url
    engine = create_engine(url.set(drivername=f"postgresql+{driver}") if "psycopg" in driver else url, **options)
    yield engine.execution_options(**execution_options) if execution_options else engine
    engine.dispose()


@pytest.fixture(params=ASYNC_SWITCHES)
def autocommitting_async(request: pytest.FixtureRequest, databases: Databases) -> Iterator[OnAsync]:
    driver, options, execution_options = ASYNC_SWITCHES[request.param]
    database = databases.asynchronous(driver)
    engine = create_async_engine(database.engine.url, **options)
    yield database, engine.execution_options(**execution_options) if execution_options else engine
    database.run(engine.dispose())


@pytest.mark.parametrize("read_only", [False, True])
def test_engine_in_autocommit_is_refused_before_the_first_statement(autocommitting: Engine, *, read_only: bool) -> None:
    ran: list[str] = []
    sent = listened(autocommitting)

    @auto_session_func(session_factory=sessionmaker(autocommitting), read_only=read_only)
    def look(*, session: Session = NEW_SESSION) -> None:
        session.execute(select(Account))
        ran.append("more than the first statement")

    for _ in range(2):
        with pytest.raises(SessionFactoryError) as caught:
            look()
        assert str(caught.value) == in_autocommit("look", is_sqlite=autocommitting.dialect.name == "sqlite")
    assert ran == sent == []


def test_async_engine_in_autocommit_is_refused_before_the_first_statement(
    autocommitting_async: OnAsync,
) -> None:
    database, engine = autocommitting_async
    sent = listened(engine.sync_engine)
    accounts = AsyncAccounts()
    accounts.async_session_factory = async_sessionmaker(engine)
    for _ in range(2):
        with pytest.raises(SessionFactoryError) as caught:
            database.run(accounts.open("ann"))
        assert str(caught.value) == in_autocommit("AsyncAccounts.open", is_sqlite=not database.is_postgresql)
    assert sent == []
    assert database.owners() == []


@pytest.mark.parametrize("read_only", [False, True])
def test_refusal_that_the_body_swallows_lets_nothing_through(database: SyncDatabase, *, read_only: bool) -> None:
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    @auto_session_func(session_factory=sessionmaker(engine), read_only=read_only)
    def swallow(*, session: Session = NEW_SESSION) -> None:
        for _ in range(2):
            try:
                session.execute(insert(Account).values(owner="ann", balance=0))
            except SessionFactoryError:
                pass

    if read_only:  # which has nothing to lose
        swallow()
    else:
        with pytest.raises(PoisonedTransactionError) as caught:
            swallow()
        assert isinstance(caught.value.__cause__, SessionFactoryError)
    assert database.owners() == []


def test_factory_that_has_begun_hides_nothing(database: SyncDatabase) -> None:
    maker = sessionmaker(database.engine.execution_options(isolation_level="AUTOCOMMIT"))
    event.listen(maker, "after_begin", lambda *_: None)

    def factory() -> Session:
        session = maker()
        session.execute(text("SELECT 1"))
        return session

    with pytest.raises(SessionFactoryError), auto_session_ctx(session_factory=factory):
        pytest.fail("the block was entered")


def test_refusal_leaves_a_database_in_memory_alone() -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    maker = sessionmaker(engine)
    with maker.begin() as session:
        session.execute(text("CREATE TABLE t (n)"))
    refused = sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))
    with pytest.raises(SessionFactoryError), auto_session_ctx(session_factory=refused) as session:
        session.execute(text("SELECT 1"))
    with auto_session_ctx(session_factory=maker) as session:
        assert session.execute(text("SELECT * FROM t")).all() == []
    engine.dispose()


def test_listener_that_sends_no_begin_hides_nothing(databases: Databases) -> None:
    database = databases.sync("sqlite")
    options: Any = {"connect_args": {"isolation_level": None}}
    engine = create_engine(database.engine.url, **options)
    beginning, tracing = sessionmaker(engine), sessionmaker(engine)
    event.listen(beginning, "after_begin", lambda *args: args[2].exec_driver_sql("BEGIN"))
    event.listen(tracing, "after_begin", lambda *_: None)
    accounts = Accounts()
    for _ in range(2):
        accounts.session_factory = beginning
        accounts.open("ann" if not database.owners() else "bob")
        for maker in (tracing, sessionmaker(engine)):
            accounts.session_factory = maker
            with pytest.raises(SessionFactoryError):
                accounts.open("bad")
    assert database.owners() == ["ann", "bob"]
    engine.dispose()


@pytest.mark.skipif(not HAS_SWITCH, reason="sqlite3 has its autocommit from Python 3.12 on")
@pytest.mark.parametrize("place", ["policy", "engine"])
def test_level_takes_sqlite_out_of_no_autocommit(databases: Databases, place: str) -> None:
    database = databases.sync("sqlite")
    engine = create_engine(database.engine.url, connect_args={"autocommit": True})
    used = engine.execution_options(isolation_level="SERIALIZABLE") if place == "engine" else engine
    level = "SERIALIZABLE" if place == "policy" else None
    with (
        pytest.raises(SessionFactoryError),
        auto_session_ctx(session_factory=sessionmaker(used), isolation_level=level) as session,
    ):
        add(session, "bad")
    assert database.owners() == []
    engine.dispose()


def test_session_that_its_body_puts_in_autocommit_is_refused(database: SyncDatabase) -> None:
    class Here(Accounts, session_factory=database.maker):
        def forget(self, *, session: Session = NEW_SESSION) -> None:
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            add(session, "ann")

    with pytest.raises(SessionFactoryError):
        Here().forget()
    assert database.owners() == []


def test_given_session_may_be_in_autocommit(autocommitting: Engine) -> None:
    with Session(autocommitting) as session:
        assert Accounts().open("ann", session=session).owner == "ann"


def test_engine_is_asked_once(database: SyncDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Connection] = []
    is_autocommit = driver.is_autocommit

    def counting(connection: Connection) -> bool | None:
        asked.append(connection)
        return is_autocommit(connection)

    monkeypatch.setattr(driver, "is_autocommit", counting)
    accounts = Accounts()
    engine = create_engine(database.engine.url)  # whose driver begins by itself
    for number, bind in enumerate((engine, engine.execution_options(label="x"))):
        accounts.session_factory = sessionmaker(bind)
        for owner in ("ann", "bob"):
            accounts.open(f"{owner} {number}")
    assert len(asked) == 1
    engine.dispose()


def test_level_of_the_policy_takes_an_engine_out_of_autocommit(databases: Databases) -> None:
    database = databases.sync("psycopg")
    engine = create_engine(database.engine.url, isolation_level="AUTOCOMMIT")
    maker = sessionmaker(engine)
    with auto_session_ctx(session_factory=maker, isolation_level="SERIALIZABLE") as session:
        session.execute(select(Account))
        # Now on another connection: the first versions of SQLAlchemy 2 leave this one out of AUTOCOMMIT afterwards.
        with (
            pytest.raises(SessionFactoryError),
            auto_session_ctx(session_factory=maker, propagation=Propagation.REQUIRES_NEW) as other,
        ):
            other.execute(select(Account))
    engine.dispose()


def _begin_on_engine(engine: Engine, _maker: sessionmaker[Session]) -> None:
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))


def _begin_on_maker(_engine: Engine, maker: sessionmaker[Session]) -> None:
    event.listen(maker, "after_begin", lambda *args: args[2].exec_driver_sql("BEGIN IMMEDIATE"))


@pytest.mark.parametrize("begin", [_begin_on_engine, _begin_on_maker])
def test_driver_that_begins_nothing_is_taken_where_a_listener_begins(
    databases: Databases, begin: Callable[[Engine, sessionmaker[Session]], None]
) -> None:
    database = databases.sync("sqlite")
    options: Any = {"connect_args": {"isolation_level": None}}
    engine = create_engine(database.engine.url, **options)
    maker = sessionmaker(engine)
    begin(engine, maker)
    accounts = Accounts()
    accounts.session_factory = maker
    accounts.open("ann")
    with pytest.raises(Failure):
        accounts.open("bad")
    assert database.owners() == ["ann"]
    engine.dispose()


@pytest.mark.skipif(not HAS_SWITCH, reason="sqlite3 has its autocommit from Python 3.12 on")
def test_sqlite_with_its_own_transactions_is_taken(databases: Databases) -> None:
    database = databases.sync("sqlite")
    engine = create_engine(database.engine.url, connect_args={"autocommit": False})
    accounts = Accounts()
    accounts.session_factory = sessionmaker(engine)
    accounts.open("ann")
    with pytest.raises(Failure):
        accounts.open("bad")
    assert database.owners() == ["ann"]
    engine.dispose()


# A connection in somebody else's transaction


def begun_elsewhere(mode: str) -> str:
    return (
        "Accounts.open: its session is bound to a Connection in a transaction that was begun elsewhere, and "
        f"join_transaction_mode='{mode}' leaves the COMMIT to whoever began it: the call would be reported as committed, "
        "and could still be rolled back. Bind the factory to the engine, or write 'Accounts.open(..., session=session)' "
        "with a session of that connection; for tests join_transaction_mode='create_savepoint'."
    )


@pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only"])
def test_connection_in_a_transaction_that_commit_would_not_end_is_refused(database: SyncDatabase, mode: Any) -> None:
    with database.engine.connect() as connection, connection.begin():
        connection.execute(insert(Account).values(owner="outer", balance=0))
        accounts = Accounts()
        accounts.session_factory = sessionmaker(connection, join_transaction_mode=mode)
        with pytest.raises(SessionFactoryError) as caught:
            accounts.open("ann")
        assert str(caught.value) == begun_elsewhere(mode)
        with pytest.raises(SessionFactoryError), auto_session_ctx(session_factory=accounts.session_factory, read_only=True):
            pytest.fail("the block was entered")
    assert database.owners() == ["outer"]  # whose transaction was left alone


def test_connection_of_one_of_several_binds_is_refused_too(databases: Databases) -> None:
    one, two = databases.sync("sqlite", name="one"), databases.sync("sqlite", name="two")

    class Here(SessionAwareService):
        def both(self, *, session: Session = NEW_SESSION) -> None:
            add(session, "ann")
            session.execute(insert(Entry).values(account_id=1))

    with two.engine.connect() as connection, connection.begin():
        here = Here()
        binds: dict[Any, Any] = {Account: one.engine, Entry: connection}
        here.session_factory = sessionmaker(binds=binds)
        with pytest.raises(SessionFactoryError, match="begun elsewhere"):
            here.both()
        here.session_factory = sessionmaker(binds=binds, join_transaction_mode="create_savepoint")
    assert one.owners() == []


def test_connection_whose_transaction_commit_ends_is_taken(database: SyncDatabase) -> None:
    accounts = Accounts()
    with database.engine.connect() as connection:
        accounts.session_factory = sessionmaker(connection)  # in no transaction
        accounts.open("ann")
        connection.begin()
        accounts.session_factory = sessionmaker(connection, join_transaction_mode="control_fully")
        accounts.open("bob")
        assert database.owners() == ["ann", "bob"]
        with connection.begin(), connection.begin_nested():
            accounts.session_factory = sessionmaker(connection)  # in a savepoint it makes one of its own
            accounts.open("cid")
            with pytest.raises(Failure):
                accounts.open("bad")
    assert database.owners() == ["ann", "bob", "cid"]


def test_async_connection_in_a_transaction_that_commit_would_not_end_is_refused(async_database: AsyncDatabase) -> None:
    class Here(SessionAwareService):
        async def open(self, *, session: AsyncSession = NEW_SESSION) -> None:
            await aadd(session, "ann")

    async def scenario() -> None:
        here = Here()
        async with async_database.engine.connect() as connection, connection.begin():
            await connection.execute(text("INSERT INTO account (owner, balance) VALUES ('outer', 0)"))
            here.async_session_factory = async_sessionmaker(connection)
            with pytest.raises(SessionFactoryError, match="join_transaction_mode='conditional_savepoint' leaves the COMMIT"):
                await here.open()
            here.async_session_factory = async_sessionmaker(connection, join_transaction_mode="create_savepoint")
            await here.open()

    async_database.run(scenario())
    assert async_database.owners() == ["ann", "outer"]


# What a policy set on somebody's Connection


def test_policy_on_somebodys_connection_goes_with_the_unit(databases: Databases) -> None:
    for name in ("psycopg", "psycopg2", "sqlite"):
        database = databases.sync(name)
        with database.engine.connect() as connection:
            level = connection.get_isolation_level()
            connection.connection.rollback()  # which the driver has begun
            maker = sessionmaker(connection)
            for wanted in ("SERIALIZABLE", "SERIALIZABLE", None):
                with auto_session_ctx(session_factory=maker, read_only=True, isolation_level=wanted) as session:
                    session.execute(select(Account))
                    assert connection.get_isolation_level() == (wanted or level)
                assert connection.get_isolation_level() == level
                connection.connection.rollback()
                assert not event.contains(connection, "commit", connections._allow_writes)
            with auto_session_ctx(session_factory=maker) as session:
                add(session, name)
        assert name in database.owners()
