"""What happens rarely: shared connections, listeners that fail, sessions in wrappings, tasks that cannot be given up."""

from __future__ import annotations

import abc
import asyncio
import copy
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest
from sqlalchemy import event, exc, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, SessionTransaction, scoped_session, sessionmaker

from session_aware import (
    NEW_SESSION,
    CommitOutcomeUnknown,
    PoisonedTransactionError,
    Propagation,
    SessionAwareService,
    SessionFactoryError,
    SessionOwnershipError,
    auto_session_func,
    configure,
    override_session_factory,
)
from session_aware._unit import shield
from tests.databases import AsyncDatabase, SyncDatabase
from tests.ledger import Account
from tests.services import OWNED, UNDONE, Accounts, AsyncAccounts, Failure, Opener, aadd, add


class Nested(Accounts, propagation=Propagation.NESTED):
    """A savepoint in a given session."""


class AsyncNested(AsyncAccounts, propagation=Propagation.NESTED):
    """The same, awaited."""


def test_given_scoped_session_is_joined(sqlite: SyncDatabase) -> None:
    scoped: Any = scoped_session(sqlite.maker)
    Accounts().open("ann", session=scoped)
    Nested().open("bob", session=scoped)
    scoped.commit()
    scoped.remove()
    assert sqlite.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]
    assert sqlite.owners() == ["ann", "bob"]


def test_given_async_scoped_session_is_joined(aiosqlite: AsyncDatabase) -> None:
    async def scenario() -> None:
        scoped: Any = async_scoped_session(aiosqlite.maker, asyncio.current_task)
        await AsyncNested().open("ann", session=scoped)
        await scoped.commit()
        await scoped.remove()

    aiosqlite.run(scenario())
    assert aiosqlite.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]


# Policies


def test_mysql_is_told_that_the_transaction_is_read_only(sqlite: SyncDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite.engine.dialect, "name", "mysql")

    @auto_session_func(session_factory=sqlite.maker, read_only=True)
    def read(*, session: Session = NEW_SESSION) -> None:
        session.execute(select(Account))
        pytest.fail("it was sent")

    with pytest.raises(exc.OperationalError) as caught:  # from SQLite, which does not know the statement
        read()
    assert caught.value.statement == "SET TRANSACTION READ ONLY"
    assert sqlite.recorder.events == UNDONE


# Factories


def test_override_without_the_asyncio_extension_is_a_sync_one(sqlite: SyncDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sqlalchemy.ext.asyncio")
    with override_session_factory(Accounts, sqlite.maker):
        Accounts().open("ann")
    assert sqlite.recorder.events == OWNED


def test_override_by_what_makes_no_session_is_refused(sqlite: SyncDatabase) -> None:
    with pytest.raises(SessionFactoryError), override_session_factory(None, cast("Any", sqlite.engine)):
        pytest.fail("the block was entered")
    with override_session_factory(None, cast("Any", lambda: 3)), pytest.raises(SessionFactoryError):
        Accounts().open("ann")


def test_configured_factory_is_checked_without_the_asyncio_extension(
    sqlite: SyncDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sqlalchemy.ext.asyncio")
    with pytest.raises(SessionFactoryError):
        configure(session_factory=cast("Any", sqlite.engine))
    configure(session_factory=sqlite.maker)
    Accounts().open("ann")
    assert sqlite.recorder.events == OWNED


def test_callable_object_with_a_policy_knows_its_class(sqlite: SyncDatabase) -> None:
    class Here(Accounts, session_factory=sqlite.maker):
        marked_opener = auto_session_func(Opener())

    cast("Any", Here()).marked_opener("ann")
    assert sqlite.recorder.events == OWNED


def test_abstract_method_of_a_mixin_is_left_to_its_implementation(sqlite: SyncDatabase) -> None:

    class Contract(abc.ABC):
        @abc.abstractmethod
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account: ...

    class Unfinished(SessionAwareService, Contract):
        """Implements nothing."""

    class Finished(Accounts, Contract, session_factory=sqlite.maker):
        """Inherits an implementation."""

    assert Unfinished.__abstractmethods__ == {"open"}
    Finished().open("ann")
    assert sqlite.recorder.events == OWNED


# Copies of what has no lane


@auto_session_func
@contextmanager
def module_block(*, session: Session = NEW_SESSION) -> Iterator[None]:
    yield


def test_function_without_a_lane_survives_pickle_and_copy() -> None:
    assert copy.copy(module_block) is copy.deepcopy(module_block) is module_block
    assert pickle.loads(pickle.dumps(module_block)) is module_block


def test_bound_method_without_a_lane_is_copied_with_its_object() -> None:
    accounts = Accounts()
    assert copy.copy(accounts.opened) is not None
    deep = cast("Any", copy.deepcopy(accounts.opened))
    assert type(deep.__self__) is Accounts
    assert deep.__self__ is not accounts


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
                with suppress(exc.DBAPIError):
                    session.execute(text("SELECT nothing FROM nowhere"))

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


# Errors of other kinds


def test_wrong_parameter_that_the_body_swallows_was_never_sent(database: SyncDatabase) -> None:
    class Here(Accounts, session_factory=database.maker):
        def swallow(self, *, session: Session = NEW_SESSION) -> None:
            add(session, "ann")
            with suppress(exc.StatementError):
                session.execute(text("SELECT :missing"), {})

    Here().swallow()
    assert database.owners() == ["ann"]


def test_commit_on_the_sessions_connection_is_refused(database: SyncDatabase) -> None:
    class Here(Accounts, session_factory=database.maker):
        def commit(self, *, session: Session = NEW_SESSION) -> None:
            add(session, "ann")
            cast("Any", session.connection().get_transaction()).commit()

    with pytest.raises(SessionOwnershipError, match="the transaction of its session's connection"):
        Here().commit()
    assert database.owners() == ["ann"]  # as the message says


def test_savepoint_that_cannot_be_rolled_back_says_so_on_the_error(
    database: SyncDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_connection: object, _name: str) -> None:
        message = "line is dead"
        raise OSError(message)

    with database.maker() as session:
        monkeypatch.setattr(database.engine.dialect, "do_rollback_to_savepoint", fail)
        with pytest.raises(Failure) as caught:
            Nested().open("bad", session=session)
    assert caught.value.__notes__ == [
        "session-aware: rolling back the savepoint of Accounts.open failed as well (OSError: line is dead); roll back the "
        "given session."
    ]


def test_session_class_that_fails_to_begin_is_unchanged_and_runs_no_body(database: SyncDatabase) -> None:
    class Picky(Session):
        def begin(self, nested: bool = False) -> SessionTransaction:
            super().begin(nested=nested)
            raise error

    class Here(Accounts, session_factory=sessionmaker(database.engine, class_=Picky)):
        """Cannot begin."""

    error = exc.NoResultFound("no such tenant")  # an InvalidRequestError, as SQLAlchemy's own about a begun session
    with pytest.raises(exc.NoResultFound) as caught:
        Here().open("ann")
    assert caught.value is error
    assert database.owners() == []
    assert database.checked_out == 0


def test_begun_session_whose_class_begins_again_without_an_error_is_watched(database: SyncDatabase) -> None:
    class Lenient(Session):
        def begin(self, nested: bool = False) -> SessionTransaction:
            return self.get_transaction() or super().begin(nested=nested)

    def begun() -> Session:
        session = Lenient(database.engine)
        session.execute(text("SELECT 1"))
        return session

    class Here(Accounts, session_factory=begun):
        def swallow(self, *, session: Session = NEW_SESSION) -> None:
            with suppress(exc.DBAPIError):
                session.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(PoisonedTransactionError):
        Here().swallow()


def test_listener_that_refuses_the_commit_is_unchanged_and_rolled_back(database: SyncDatabase) -> None:
    class Picky(Session):
        """Has a listener."""

    error = Failure()

    @event.listens_for(Picky, "before_commit")
    def _refuse(_session: Session) -> None:
        raise error

    class Here(Accounts, session_factory=sessionmaker(database.engine, class_=Picky)):
        """Cannot commit."""

    with pytest.raises(Failure) as caught:
        Here().open("ann")
    assert caught.value is error
    assert not getattr(error, "__notes__", [])
    assert database.recorder.events == UNDONE


def test_listener_that_fails_after_the_commit_does_not_undo_it(
    database: SyncDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    class Talkative(Session):
        """Has a listener."""

    @event.listens_for(Talkative, "after_commit")
    def _fail(_session: Session) -> None:
        raise Failure

    class Here(Accounts, session_factory=sessionmaker(database.engine, class_=Talkative)):
        """Commits, and then something fails."""

    assert Here().open("ann").owner == "ann"
    assert [record.getMessage() for record in caplog.records] == [
        "Accounts.open: committed, but what came after COMMIT failed"
    ]
    assert database.owners() == ["ann"]


# Tasks that cannot be given up


def test_rollback_that_is_cancelled_twice_is_awaited(async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        added, rolling, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

        class Slow(AsyncSession):
            async def rollback(self) -> None:
                rolling.set()
                await go_on.wait()
                await super().rollback()

        class Here(AsyncAccounts, async_session_factory=async_sessionmaker(async_database.engine, class_=Slow)):
            async def wait(self, *, session: AsyncSession = NEW_SESSION) -> None:
                await aadd(session, "ann")
                added.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(Here().wait())
        await added.wait()  # not in the INSERT: aiosqlite never ends the close of a connection cancelled there
        task.cancel()
        await rolling.wait()
        task.cancel()
        await asyncio.sleep(0)  # it has been cancelled twice now, and waits for the rollback still
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_database.run(scenario())
    assert async_database.owners() == []


def test_commit_that_ends_with_an_error_after_it_was_given_up_is_not_reported_by_the_loop(
    aiosqlite: AsyncDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shield, "GRACE_SECONDS", 0.02)

    async def scenario() -> None:
        sent = asyncio.Event()

        class Stubborn(AsyncSession):
            async def commit(self) -> None:
                sent.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise Failure from None

        class Here(AsyncAccounts, async_session_factory=async_sessionmaker(aiosqlite.engine, class_=Stubborn)):
            """Cannot be given up quietly."""

        task = asyncio.create_task(Here().open("ann"))
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    aiosqlite.run(scenario())
    assert aiosqlite.recorder.events == UNDONE


def test_commit_that_cancels_itself_is_a_cancellation(aiosqlite: AsyncDatabase) -> None:
    async def scenario() -> None:
        class Odd(AsyncSession):
            async def commit(self) -> None:
                raise asyncio.CancelledError

        class Here(AsyncAccounts, async_session_factory=async_sessionmaker(aiosqlite.engine, class_=Odd)):
            """Is cancelled from within."""

        with pytest.raises((asyncio.CancelledError, CommitOutcomeUnknown)):
            await Here().open("ann")

    aiosqlite.run(scenario())
    assert aiosqlite.recorder.events == UNDONE
