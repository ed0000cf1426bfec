"""Who ends what: a body may not end what the library opened, and a swallowed statement error is not committed."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Executable, String, event, exc, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from session_aware import (
    NEW_SESSION,
    EndedSessionWarning,
    PoisonedTransactionError,
    Propagation,
    Retry,
    SessionOwnershipError,
    auto_session_ctx,
    auto_session_func,
)
from tests.databases import AsyncDatabase, Databases, SyncDatabase
from tests.ledger import Account
from tests.servers.postgresql import PostgreSQL
from tests.services import JOINED, OWNED, UNDONE, Accounts, AsyncAccounts, Failure, aadd, add


class Work(Accounts):
    """Runs what a test hands over as the body."""

    def run(self, body: Callable[[Session], Any], *, is_commit: bool = True, session: Session = NEW_SESSION) -> Any:
        return body(session)

    @auto_session_func(propagation=Propagation.NESTED)
    def run_nested(self, body: Callable[[Session], Any], *, session: Session = NEW_SESSION) -> Any:
        return body(session)


class AsyncWork(AsyncAccounts):
    """The same, awaited."""

    async def run(self, body: Callable[[AsyncSession], Awaitable[Any]], *, session: AsyncSession = NEW_SESSION) -> Any:
        return await body(session)


@pytest.fixture
def work(database: SyncDatabase) -> Work:
    made = Work()
    made.session_factory = database.maker
    return made


@pytest.fixture
def awork(async_database: AsyncDatabase) -> AsyncWork:
    made = AsyncWork()
    made.async_session_factory = async_database.maker
    return made


# 7. Ownership


def commits(session: Session) -> None:
    add(session, "ann")
    session.commit()


def commits_through_the_transaction(session: Session) -> None:
    add(session, "ann")
    transaction = session.get_transaction()
    assert transaction is not None
    transaction.commit()


def commits_inside_a_savepoint(session: Session) -> None:
    add(session, "ann")
    session.begin_nested()
    session.commit()


@pytest.mark.parametrize("body", [commits, commits_through_the_transaction, commits_inside_a_savepoint])
def test_body_that_commits_is_refused_before_anything_is_committed(
    work: Work, database: SyncDatabase, body: Callable[[Session], None]
) -> None:
    with pytest.raises(SessionOwnershipError, match="the body commits"):
        work.run(body)
    assert [word for word in database.recorder.events if word != "SAVEPOINT"] == UNDONE
    assert database.owners() == []


def test_error_of_a_refused_commit_that_the_body_swallows_does_not_commit(work: Work, database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with suppress(SessionOwnershipError):
            session.commit()
        add(session, "bob")

    work.run(body)
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann", "bob"]


@pytest.mark.parametrize(
    "verb",
    [
        "rollback",
        "close",
        "invalidate",
        pytest.param("reset", marks=pytest.mark.skipif(not hasattr(Session, "reset"), reason="new in SQLAlchemy 2.0.22")),
    ],
)
def test_body_that_ends_the_transaction_is_refused(work: Work, database: SyncDatabase, verb: str) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        getattr(session, verb)()

    with pytest.raises(SessionOwnershipError, match="the body ended the transaction"):
        work.run(body)
    assert "COMMIT" not in database.recorder.events
    assert database.owners() == []


@pytest.mark.parametrize("verb", ["rollback", "close"])
def test_body_that_goes_on_after_it_ended_the_transaction_is_refused(work: Work, database: SyncDatabase, verb: str) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        getattr(session, verb)()
        add(session, "bob")

    with pytest.raises(SessionOwnershipError):
        work.run(body)
    assert database.recorder.events == UNDONE * 2
    assert database.owners() == []


@pytest.mark.parametrize("is_commit", [True, False])
@pytest.mark.parametrize("verb", ["commit", "rollback", "close"])
def test_body_that_ends_the_transaction_of_its_connection_is_refused(
    work: Work, database: SyncDatabase, verb: str, is_commit: bool
) -> None:
    def body(session: Session) -> None:
        session.execute(select(Account))
        getattr(session.connection(), verb)()

    with pytest.warns(match="transaction already deassociated"), pytest.raises(SessionOwnershipError):
        work.run(body, is_commit=is_commit)


def test_body_that_commits_through_the_transaction_of_its_connection_is_refused(work: Work, database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        transaction = session.connection().get_transaction()
        assert transaction is not None
        transaction.commit()

    with pytest.raises(SessionOwnershipError, match="the transaction of its session's connection"):
        work.run(body)
    assert database.owners() == ["ann"]  # as the message says


def test_body_that_begins_is_refused_by_sqlalchemy_and_rolled_back(work: Work, database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        session.begin()

    with pytest.raises(exc.InvalidRequestError, match="already begun"):
        work.run(body)
    assert database.recorder.events == UNDONE


def test_own_exception_after_a_rollback_is_unchanged(work: Work, database: SyncDatabase) -> None:
    error = Failure()

    def body(session: Session) -> None:
        add(session, "ann")
        session.rollback()
        raise error

    with pytest.raises(Failure) as caught:
        work.run(body)
    assert caught.value is error
    assert not getattr(error, "__notes__", [])
    assert database.recorder.events == UNDONE


def test_session_may_be_committed_again_once_the_unit_is_over(work: Work, database: SyncDatabase) -> None:
    session = work.run(lambda session: session)
    with pytest.warns(EndedSessionWarning):
        add(session, "ann")
    session.commit()
    session.close()
    assert database.owners() == ["ann"]


def test_given_session_may_be_committed_by_the_body(work: Work, database: SyncDatabase) -> None:
    with database.maker() as session:
        work.run(commits, session=session)
    assert database.recorder.events == OWNED


@pytest.mark.parametrize("verb", ["commit", "rollback", "close"])
def test_async_body_that_ends_the_transaction_is_refused(awork: AsyncWork, async_database: AsyncDatabase, verb: str) -> None:
    async def body(session: AsyncSession) -> None:
        await aadd(session, "ann")
        await getattr(session, verb)()

    async def scenario() -> None:
        with pytest.raises(SessionOwnershipError):
            await awork.run(body)

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE
    assert async_database.owners() == []


def ends_its_savepoint(session: Session) -> None:
    savepoint = session.get_nested_transaction()
    assert savepoint is not None
    savepoint.rollback()


def rolls_everything_back(session: Session) -> None:
    session.rollback()


@pytest.mark.parametrize(("ends", "rolled_back"), [(ends_its_savepoint, []), (rolls_everything_back, ["ROLLBACK"])])
def test_body_that_ends_its_savepoint_is_refused(
    work: Work, database: SyncDatabase, ends: Callable[[Session], None], rolled_back: list[str]
) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        ends(session)

    with database.maker() as session:
        with pytest.raises(SessionOwnershipError, match="the body ended the savepoint"):
            work.run_nested(body, session=session)
        assert database.recorder.transactions == ["BEGIN", "SAVEPOINT", "ROLLBACK TO", *rolled_back]


def test_body_that_ends_its_savepoint_inside_another_one_is_refused(work: Work, database: SyncDatabase) -> None:
    with database.maker() as session, session.begin_nested() as outer:
        with pytest.raises(SessionOwnershipError, match="the body ended the savepoint"):
            work.run_nested(ends_its_savepoint, session=session)
        assert session.get_nested_transaction() is outer


def test_savepoint_of_the_body_that_is_still_open_is_released(work: Work, database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        session.begin_nested()
        add(session, "bob")

    with database.maker.begin() as session:
        work.run_nested(body, session=session)
    assert database.recorder.transactions == ["BEGIN", "SAVEPOINT", "SAVEPOINT", "RELEASE", "RELEASE", "COMMIT"]
    assert database.owners() == ["ann", "bob"]


# 8. Poisoned transactions


def swallowed(session: Session, statement: str = "SELECT nothing FROM nowhere") -> None:
    with suppress(exc.DBAPIError):
        session.execute(text(statement))


def test_swallowed_statement_error_is_not_committed(work: Work, database: SyncDatabase) -> None:
    def body(session: Session) -> str:
        add(session, "ann")
        swallowed(session)
        return "fine"

    with pytest.raises(PoisonedTransactionError) as caught:
        work.run(body)
    assert isinstance(caught.value.__cause__, exc.DBAPIError)
    assert "nowhere" in str(caught.value.__cause__)
    assert database.recorder.events == UNDONE
    assert database.owners() == []


def test_swallowed_flush_error_is_not_committed(work: Work, database: SyncDatabase) -> None:
    work.open("ann")
    database.recorder.take()

    def body(session: Session) -> None:
        session.add(Account(owner="ann"))
        with suppress(exc.IntegrityError):
            session.flush()

    with pytest.raises(PoisonedTransactionError) as caught:
        work.run(body)
    assert isinstance(caught.value.__cause__, exc.IntegrityError)
    assert database.recorder.events == UNDONE


def test_first_of_many_swallowed_errors_is_the_cause(work: Work) -> None:
    def body(session: Session) -> None:
        swallowed(session, "SELECT 1 FROM first_one")
        swallowed(session, "SELECT 1 FROM second_one")

    with pytest.raises(PoisonedTransactionError) as caught:
        work.run(body)
    assert "first_one" in str(caught.value.__cause__)


def test_savepoint_that_is_rolled_back_heals(work: Work, database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with pytest.raises(exc.DBAPIError), session.begin_nested():
            session.execute(text("SELECT nothing FROM nowhere"))
        add(session, "bob")

    work.run(body)
    assert database.recorder.transactions == ["BEGIN", "SAVEPOINT", "ROLLBACK TO", "COMMIT"]
    assert database.owners() == ["ann", "bob"]


@pytest.mark.parametrize("is_flushed", [True, False], ids=["at once", "at the end of the savepoint"])
def test_savepoint_around_a_failed_flush_heals(work: Work, database: SyncDatabase, is_flushed: bool) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with suppress(exc.IntegrityError), session.begin_nested():
            session.add(Account(owner="ann"))
            if is_flushed:
                session.flush()
        add(session, "bob")

    work.run(body)
    assert database.owners() == ["ann", "bob"]


def test_savepoint_around_a_failed_flush_heals_inside_another_one(work: Work, database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with session.begin_nested():
            with suppress(exc.IntegrityError), session.begin_nested():
                add(session, "ann")
            add(session, "bob")

    work.run(body)
    assert database.owners() == ["ann", "bob"]


def test_outer_savepoint_heals_what_failed_in_an_inner_one(work: Work, database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        outer = session.begin_nested()
        session.begin_nested()
        swallowed(session)
        outer.rollback()

    work.run(body)
    assert database.owners() == ["ann"]


def test_nested_call_that_fails_heals(work: Work, database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with pytest.raises(exc.DBAPIError):
            work.run_nested(lambda session: session.execute(text("SELECT nothing FROM nowhere")), session=session)

    work.run(body)
    assert database.owners() == ["ann"]


def test_savepoint_of_the_connection_heals_too(work: Work, database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with pytest.raises(exc.DBAPIError), session.connection().begin_nested():
            session.execute(text("SELECT nothing FROM nowhere"))
        add(session, "bob")

    work.run(body)
    assert database.owners() == ["ann", "bob"]


def test_savepoint_that_began_after_the_error_does_not_heal(work: Work, sqlite: SyncDatabase) -> None:
    work.session_factory = sqlite.maker  # PostgreSQL takes no SAVEPOINT then

    def body(session: Session) -> None:
        add(session, "ann")
        swallowed(session)
        session.begin_nested().rollback()

    with pytest.raises(PoisonedTransactionError):
        work.run(body)
    assert sqlite.owners() == []


@pytest.mark.parametrize("is_of_the_connection", [False, True])
def test_released_savepoint_does_not_heal(work: Work, sqlite: SyncDatabase, is_of_the_connection: bool) -> None:
    work.session_factory = sqlite.maker  # PostgreSQL takes no RELEASE then

    def body(session: Session) -> None:
        with session.connection().begin_nested() if is_of_the_connection else session.begin_nested():
            swallowed(session)

    with pytest.raises(PoisonedTransactionError):
        work.run(body)
    assert sqlite.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK"]


@pytest.mark.parametrize("is_nested_call", [True, False])
def test_savepoint_whose_release_failed_does_not_heal(work: Work, postgres: SyncDatabase, is_nested_call: bool) -> None:
    work.session_factory = postgres.maker

    def call(session: Session) -> None:
        work.run_nested(swallowed, session=session)

    def block(session: Session) -> None:
        with session.begin_nested():
            swallowed(session)

    def body(session: Session) -> None:
        add(session, "ann")
        with pytest.raises(exc.DBAPIError):
            (call if is_nested_call else block)(session)

    with pytest.raises(PoisonedTransactionError):
        work.run(body)
    assert postgres.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK"]
    assert postgres.owners() == []


def test_savepoint_around_one_whose_release_failed_heals(work: Work, postgres: SyncDatabase) -> None:
    work.session_factory = postgres.maker

    def body(session: Session) -> None:
        add(session, "ann")
        with pytest.raises(exc.DBAPIError), session.begin_nested():
            work.run_nested(swallowed, session=session)

    work.run(body)
    assert postgres.owners() == ["ann"]


class Refused(TypeDecorator[str]):
    """A value that is refused before anything is sent."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: object, dialect: object) -> str:
        raise ValueError(value)


@pytest.mark.parametrize("statement", [text("SELECT :missing"), select(literal("x", Refused()))])
def test_statement_that_was_never_sent_does_not_poison_the_unit(
    work: Work, database: SyncDatabase, statement: Executable
) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with suppress(exc.StatementError):
            session.execute(statement)

    work.run(body)
    assert database.owners() == ["ann"]


def test_statement_error_that_leaves_the_body_is_unchanged(work: Work, database: SyncDatabase) -> None:
    with pytest.raises(exc.DBAPIError) as caught:
        work.run(lambda session: session.execute(text("SELECT nothing FROM nowhere")))
    assert not getattr(caught.value, "__notes__", [])
    assert database.recorder.events == UNDONE


def test_statement_error_in_a_given_session_is_the_callers_business(work: Work, database: SyncDatabase) -> None:
    with database.maker() as session:
        work.run(swallowed, session=session)
        assert database.recorder.events == JOINED


def test_error_outside_of_units_is_no_ones_business(database: SyncDatabase) -> None:
    with database.engine.connect() as connection, pytest.raises(exc.DBAPIError):
        connection.execute(text("SELECT nothing FROM nowhere"))


def test_async_swallowed_statement_error_is_not_committed(awork: AsyncWork, async_database: AsyncDatabase) -> None:
    async def body(session: AsyncSession) -> None:
        await aadd(session, "ann")
        with suppress(exc.DBAPIError):
            await session.execute(text("SELECT nothing FROM nowhere"))

    async def scenario() -> None:
        with pytest.raises(PoisonedTransactionError):
            await awork.run(body)

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE
    assert async_database.owners() == []


def test_async_savepoint_that_is_rolled_back_heals(awork: AsyncWork, async_database: AsyncDatabase) -> None:
    async def body(session: AsyncSession) -> None:
        await aadd(session, "ann")
        with pytest.raises(exc.DBAPIError):
            async with session.begin_nested():
                await session.execute(text("SELECT nothing FROM nowhere"))

    async_database.run(awork.run(body))
    assert async_database.recorder.transactions == ["BEGIN", "SAVEPOINT", "ROLLBACK TO", "COMMIT"]
    assert async_database.owners() == ["ann"]


def test_lost_connection_is_not_healed_by_a_savepoint(work: Work, postgres: SyncDatabase) -> None:
    work.session_factory = postgres.maker

    def body(session: Session) -> None:
        add(session, "ann")
        savepoint = session.begin_nested()
        swallowed(session, "SELECT pg_terminate_backend(pg_backend_pid())")
        with suppress(exc.SQLAlchemyError):
            savepoint.rollback()

    with pytest.raises(PoisonedTransactionError) as caught:
        work.run(body)
    assert isinstance(caught.value.__cause__, exc.OperationalError)
    assert postgres.owners() == []


# One connection for two sessions


def test_unit_inside_a_unit_on_the_same_connection_gives_it_back(database: SyncDatabase) -> None:
    with database.engine.connect() as connection, connection.begin():
        maker = sessionmaker(connection, join_transaction_mode="create_savepoint")

        class Here(Accounts, session_factory=maker):
            @auto_session_func(propagation=Propagation.REQUIRES_NEW)
            def anew(self, *, session: Session = NEW_SESSION) -> None:
                add(session, "bob")

            def both(self, *, session: Session = NEW_SESSION) -> None:
                add(session, "ann")
                self.anew()
                swallowed(session)

            def heals(self, *, session: Session = NEW_SESSION) -> None:
                self.anew()
                with suppress(exc.DBAPIError), session.begin_nested():
                    session.execute(text("SELECT nothing FROM nowhere"))

        with pytest.raises(PoisonedTransactionError):
            Here().both()
        assert connection.scalars(select(Account.owner)).all() == []
        Here().heals()
        assert connection.scalars(select(Account.owner)).all() == ["bob"]
        connection.rollback()


def test_first_of_two_units_to_commit_a_shared_transaction_ends_that_of_the_other(database: SyncDatabase) -> None:
    with database.engine.connect() as connection:
        connection.begin()

        class Here(Accounts, session_factory=sessionmaker(connection, join_transaction_mode="control_fully")):
            """Has streams that overlap."""

        first, second = iter(Here().stream("ann")), iter(Here().stream("bob"))
        next(first)
        next(second)
        assert list(first) == []
        with pytest.raises(SessionOwnershipError):
            next(second)
        assert "session_aware" not in vars(connection)
    assert database.owners() == ["ann", "bob"]


def test_savepoint_of_a_connection_whose_unit_is_over_is_no_ones_business(database: SyncDatabase) -> None:
    with database.engine.connect() as connection, connection.begin():

        class Here(Accounts, session_factory=sessionmaker(connection, join_transaction_mode="create_savepoint")):
            def heals(self, *, session: Session = NEW_SESSION) -> None:
                with suppress(exc.DBAPIError), session.connection().begin_nested():
                    session.execute(text("SELECT nothing FROM nowhere"))

        Here().heals()
        connection.begin_nested().rollback()
    assert database.recorder.transactions == [
        "BEGIN",
        *("SAVEPOINT", "SAVEPOINT", "ROLLBACK TO", "RELEASE"),
        *("SAVEPOINT", "ROLLBACK TO"),
        "COMMIT",
    ]


# Errors on the driver's own connection


def on_the_driver(name: str) -> str:
    return (
        f"{name}: an error on the driver's own connection (a cursor, COPY) was swallowed by the body, and PostgreSQL has "
        "aborted the transaction. It would answer COMMIT with ROLLBACK and no error, so the unit was rolled back. Let the "
        "error propagate, or wrap the part that may fail in 'with session.begin_nested():'."
    )


def copy(session: Session, rows: str) -> None:
    raw: Any = session.connection().connection
    with raw.cursor() as cursor:
        if hasattr(cursor, "copy_expert"):
            cursor.copy_expert("COPY account (owner, balance) FROM STDIN", io.StringIO(rows))
        else:
            with cursor.copy("COPY account (owner, balance) FROM STDIN") as copying:
                copying.write(rows)


def execute_on_cursor(session: Session, _rows: str) -> None:
    raw: Any = session.connection().connection
    with raw.cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")


@pytest.mark.parametrize("load", [copy, execute_on_cursor])
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_error_that_was_swallowed_on_the_drivers_connection_commits_nothing(
    databases: Databases, driver: str, load: Callable[[Session, str], None]
) -> None:
    database = databases.sync(driver)

    class Here(Accounts, session_factory=database.maker):
        def load(self, *, session: Session = NEW_SESSION) -> str:
            add(session, "ann")
            with suppress(Exception):
                load(session, "ann\t1\nann\t2\n")
            return "loaded"

        def load_apart(self, *, session: Session = NEW_SESSION) -> None:
            add(session, "ann")
            with suppress(Exception), session.begin_nested():
                load(session, "ann\t1\nann\t2\n")
            copy(session, "bob\t2\n")

    with pytest.raises(PoisonedTransactionError) as caught:
        Here().load()
    assert str(caught.value) == on_the_driver("Here.load")
    assert caught.value.__cause__ is None
    with pytest.raises(PoisonedTransactionError), auto_session_ctx(session_factory=database.maker) as session:
        Here().load(session=session)
    assert database.owners() == []
    Here().load_apart()
    assert database.owners() == ["ann", "bob"]


async def acopy(session: AsyncSession, rows: list[tuple[str, int]]) -> None:
    raw: Any = await (await session.connection()).get_raw_connection()
    if hasattr(raw.driver_connection, "copy_records_to_table"):
        await raw.driver_connection.copy_records_to_table("account", records=rows, columns=["owner", "balance"])
        return
    async with raw.driver_connection.cursor() as cursor, cursor.copy("COPY account (owner, balance) FROM STDIN") as copying:
        for row in rows:
            await copying.write_row(row)


async def aexecute_on_driver(session: AsyncSession, _rows: list[tuple[str, int]]) -> None:
    raw: Any = await (await session.connection()).get_raw_connection()
    await raw.driver_connection.execute("SELECT nothing FROM nowhere")


@pytest.mark.parametrize("load", [acopy, aexecute_on_driver])
def test_error_that_was_swallowed_on_an_async_drivers_connection_commits_nothing(
    async_postgres: AsyncDatabase, load: Callable[[AsyncSession, list[tuple[str, int]]], Awaitable[None]]
) -> None:
    twice = [("ann", 1), ("ann", 2)]

    class Here(AsyncAccounts):
        async_session_factory = async_postgres.maker

        async def load(self, *, session: AsyncSession = NEW_SESSION) -> str:
            await aadd(session, "ann")
            with suppress(Exception):
                await load(session, twice)
            return "loaded"

        async def load_alone(self, *, session: AsyncSession = NEW_SESSION) -> None:
            await (await session.connection()).execute(text("SELECT 1"))
            with suppress(Exception):
                await load(session, twice)

        async def load_apart(self, *, session: AsyncSession = NEW_SESSION) -> None:
            await aadd(session, "ann")
            with suppress(Exception):
                async with session.begin_nested():
                    await load(session, twice)
            await acopy(session, [("bob", 2)])

    with pytest.raises(PoisonedTransactionError) as caught:
        async_postgres.run(Here().load())
    assert str(caught.value) == on_the_driver("Here.load")
    with pytest.raises(PoisonedTransactionError):
        async_postgres.run(Here().load_alone())
    assert async_postgres.owners() == []
    async_postgres.run(Here().load_apart())
    assert async_postgres.owners() == ["ann", "bob"]


def test_connection_that_is_lost_when_it_is_asked_is_tried_again(databases: Databases, postgresql: PostgreSQL) -> None:
    database = databases.asynchronous("asyncpg")
    attempts: list[int] = []

    class Here(AsyncAccounts, retry=Retry(wait_initial=0, wait_max=0)):
        async_session_factory = database.maker

        async def lose(self, *, session: AsyncSession = NEW_SESSION) -> None:
            attempts.append(len(attempts))
            await aadd(session, "ann")
            pid = await (await session.connection()).scalar(text("SELECT pg_backend_pid()"))
            if len(attempts) == 1:  # without a turn of the loop, in which the driver would notice
                postgresql.execute(f"SELECT pg_terminate_backend({pid}, 5000)")

    database.run(Here().lose())
    assert len(attempts) == 2
    assert database.owners() == ["ann"]


def test_server_is_asked_about_no_unit_whose_connection_stayed_where_it_was(databases: Databases) -> None:
    database = databases.asynchronous("asyncpg")
    sent: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *args: sent.append(args[2].partition(" ")[0]))

    class Here(AsyncAccounts):
        async_session_factory = database.maker

        async def look(self, *, session: AsyncSession = NEW_SESSION) -> None:
            connection = await session.connection()
            await connection.execute(text("VALUES (1)"))

    database.run(Here().open("ann"))
    assert sent == ["INSERT"]
    database.run(Here().look())
    assert sent == ["INSERT", "VALUES", "SELECT"]
