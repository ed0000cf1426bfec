"""Propagation, read-only, isolation level and dry runs, on real transactions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, event, exc, insert, inspect, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import Session, SessionTransaction, scoped_session, sessionmaker

from session_aware import (
    NEW_SESSION,
    NestedSessionWarning,
    PoisonedTransactionError,
    PolicyConflictError,
    Propagation,
    PropagationError,
    SessionAwareService,
    SessionFactoryError,
    SessionOwnershipError,
    auto_session_ctx,
    auto_session_func,
    configure,
)
from session_aware._call import wrapper
from session_aware._call.wrapper import Dispatcher
from session_aware._database.events import OWNER_KEY
from tests.databases import AsyncDatabase, Databases, SyncDatabase
from tests.ledger import Account, Entry
from tests.services import JOINED, NOTHING, OWNED, UNDONE, Accounts, AsyncAccounts, Failure, aadd, add

SERIALIZABLE = "SERIALIZABLE"


class Required(Accounts, propagation=Propagation.REQUIRED):
    """Joins or owns."""


class RequiresNew(Accounts, propagation=Propagation.REQUIRES_NEW):
    """Always owns."""


class Nested(Accounts, propagation=Propagation.NESTED):
    """A savepoint, or owns."""


class Mandatory(Accounts, propagation=Propagation.MANDATORY):
    """Never owns."""


class AsyncNested(AsyncAccounts, propagation=Propagation.NESTED):
    """A savepoint, or owns."""


class AsyncMandatory(AsyncAccounts, propagation=Propagation.MANDATORY):
    """Never owns."""


def on(database: SyncDatabase, service: type[Accounts]) -> Accounts:
    made = service()
    made.session_factory = database.maker
    return made


# Propagation


@pytest.mark.parametrize("service", [Required, RequiresNew, Nested])
def test_every_propagation_but_mandatory_owns_without_a_session(service: type[Accounts], database: SyncDatabase) -> None:
    on(database, service).open("ann")
    assert database.recorder.events == OWNED


def test_mandatory_without_a_session_is_refused_before_anything_happens(database: SyncDatabase) -> None:
    accounts = on(database, Mandatory)
    for call in (accounts.open, accounts.static, accounts.of_class):
        with pytest.raises(PropagationError):
            call("ann")
    with pytest.raises(PropagationError):
        list(accounts.stream("ann"))
    with pytest.raises(PropagationError):
        accounts.opened("ann")
    assert database.recorder.events == NOTHING


@pytest.mark.parametrize("service", [Required, Mandatory])
def test_required_and_mandatory_join_a_given_session(service: type[Accounts], database: SyncDatabase) -> None:
    with database.maker() as session:
        on(database, service).open("ann", session=session)
        assert database.recorder.events == JOINED


def test_requires_new_with_a_session_is_refused_before_anything_happens(database: SyncDatabase) -> None:
    with database.maker() as session, pytest.raises(PropagationError):
        on(database, RequiresNew).open("ann", session=session)
    assert database.recorder.events == NOTHING


def test_nested_sets_a_savepoint_in_a_given_session(database: SyncDatabase) -> None:
    accounts = on(database, Nested)
    with database.maker.begin() as session:
        assert accounts.open("ann", session=session) in session
    assert database.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]
    assert database.owners() == ["ann"]


def test_nested_that_fails_undoes_its_part_only(database: SyncDatabase) -> None:
    accounts = on(database, Nested)
    with database.maker.begin() as session:
        add(session, "ann")
        with pytest.raises(Failure):
            accounts.open("bad", session=session)
        accounts.open("bob", session=session)
    assert database.recorder.transactions == [
        "BEGIN",
        *("SAVEPOINT", "ROLLBACK TO"),
        *("SAVEPOINT", "RELEASE"),
        "COMMIT",
    ]
    assert database.owners() == ["ann", "bob"]


def test_nested_inside_nested_has_its_own_savepoint(database: SyncDatabase) -> None:
    class Here(Nested):
        def both(self, *, session: Session = NEW_SESSION) -> None:
            self.open("ann", session=session)
            with pytest.raises(Failure):
                self.open("bad", session=session)

    with database.maker.begin() as session:
        Here().both(session=session)
    assert database.recorder.transactions == [
        "BEGIN",
        "SAVEPOINT",
        *("SAVEPOINT", "RELEASE"),
        *("SAVEPOINT", "ROLLBACK TO"),
        "RELEASE",
        "COMMIT",
    ]
    assert database.owners() == ["ann"]


def test_nested_does_not_end_the_transaction_that_it_begins(database: SyncDatabase) -> None:
    with database.maker() as session:
        on(database, Nested).open("ann", session=session)
        assert session.in_transaction()
        assert not session.in_nested_transaction()
    assert database.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK"]
    assert database.owners() == []


def test_nested_whose_rollback_fails_says_so_on_the_error(database: SyncDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_connection: object, _name: str) -> None:
        raise OSError("line is dead")

    with database.maker() as session:
        monkeypatch.setattr(database.engine.dialect, "do_rollback_to_savepoint", fail)
        with pytest.raises(Failure) as caught:
            Nested().open("bad", session=session)
    assert caught.value.__notes__ == [
        "session-aware: rolling back the savepoint of Accounts.open failed as well (OSError: line is dead); roll back the "
        "given session."
    ]


def test_nested_call_from_an_owned_body_is_a_savepoint_of_its_transaction(database: SyncDatabase) -> None:
    class Here(Accounts, session_factory=database.maker):
        def both(self, *, session: Session = NEW_SESSION) -> None:
            add(session, "ann")
            with pytest.raises(Failure):
                Nested().open("bad", session=session)

    Here().both()
    assert database.recorder.transactions == ["BEGIN", "SAVEPOINT", "ROLLBACK TO", "COMMIT"]
    assert database.owners() == ["ann"]


def test_given_scoped_session_is_joined_and_gets_a_savepoint(sqlite: SyncDatabase) -> None:
    scoped: Any = scoped_session(sqlite.maker)
    Accounts().open("ann", session=scoped)
    Nested().open("bob", session=scoped)
    scoped.commit()
    scoped.remove()
    assert sqlite.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]
    assert sqlite.owners() == ["ann", "bob"]


def test_given_async_scoped_session_is_joined_and_gets_a_savepoint(aiosqlite: AsyncDatabase) -> None:
    async def scenario() -> None:
        scoped: Any = async_scoped_session(aiosqlite.maker, asyncio.current_task)
        await AsyncAccounts().open("ann", session=scoped)
        await AsyncNested().open("bob", session=scoped)
        await scoped.commit()
        await scoped.remove()

    aiosqlite.run(scenario())
    assert aiosqlite.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]
    assert aiosqlite.owners() == ["ann", "bob"]


def test_async_propagation(async_database: AsyncDatabase) -> None:
    accounts = AsyncNested()
    accounts.async_session_factory = async_database.maker

    async def scenario() -> None:
        async with async_database.maker.begin() as session:
            await accounts.open("ann", session=session)
            with pytest.raises(Failure):
                await accounts.open("bad", session=session)
        with pytest.raises(PropagationError):
            await AsyncMandatory().open("bob")

    async_database.run(scenario())
    assert async_database.recorder.transactions == [
        "BEGIN",
        *("SAVEPOINT", "RELEASE"),
        *("SAVEPOINT", "ROLLBACK TO"),
        "COMMIT",
    ]
    assert async_database.owners() == ["ann"]


def test_policy_of_the_method_comes_before_the_class_and_the_class_before_configure(database: SyncDatabase) -> None:
    class Here(Mandatory):
        @auto_session_func(propagation=Propagation.REQUIRED)
        def free(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

    configure(propagation=Propagation.REQUIRES_NEW, session_factory=database.maker)
    Here().free("ann")
    with pytest.raises(PropagationError, match="MANDATORY"):
        Here().open("bob")
    with database.maker() as session, pytest.raises(PropagationError, match="REQUIRES_NEW"):
        Accounts().open("bob", session=session)
    assert database.owners() == ["ann"]


def test_class_that_says_nothing_inherits_the_policy_of_its_bases(database: SyncDatabase) -> None:
    class Below(Mandatory, session_factory=database.maker):
        """Says nothing of propagation."""

    class Again(Below, propagation=Propagation.REQUIRED):
        """Takes it back."""

    with pytest.raises(PropagationError):
        Below().open("ann")
    assert Again().open("ann").owner == "ann"


def test_policy_is_that_of_the_class_through_which_a_static_method_is_reached(database: SyncDatabase) -> None:
    configure(session_factory=database.maker)
    with pytest.raises(PropagationError):
        Mandatory.static("ann")
    assert Accounts.static("ann").owner == "ann"


def test_configured_policy_is_taken_back(database: SyncDatabase) -> None:
    accounts = on(database, Accounts)
    configure(propagation=Propagation.MANDATORY)
    with pytest.raises(PropagationError):
        accounts.open("ann")
    configure(propagation=None)
    accounts.open("ann")
    assert database.recorder.events == OWNED


# Read-only


class Reading(Accounts, read_only=True):
    """Reads; what writes is refused."""

    def count(self, *, session: Session = NEW_SESSION) -> int:
        return len(session.scalars(select(Account)).all())

    def all(self, *, session: Session = NEW_SESSION) -> list[Account]:
        return list(session.scalars(select(Account)))

    def core(self, *, session: Session = NEW_SESSION) -> None:
        session.execute(insert(Account).values(owner="ann"))

    def core_update(self, *, session: Session = NEW_SESSION) -> None:
        session.execute(update(Account).values(balance=1))

    def unflushed(self, *, session: Session = NEW_SESSION) -> None:
        session.add(Account(owner="ann"))

    def ends(self, verb: str, *, session: Session = NEW_SESSION) -> None:
        session.scalars(select(Account)).all()
        getattr(session, verb)()

    def numbers(self, *, session: Session = NEW_SESSION) -> Iterator[str]:
        yield from session.scalars(select(Account.owner))


def test_read_only_reads_and_never_commits(database: SyncDatabase) -> None:
    on(database, Accounts).open("ann")
    database.recorder.take()
    reading = on(database, Reading)
    assert [account.owner for account in reading.all()] == ["ann"]  # type: ignore[attr-defined] # of Reading
    assert database.recorder.events == UNDONE


def test_flush_of_changes_in_a_read_only_unit_is_refused(database: SyncDatabase) -> None:
    reading = Reading()
    reading.session_factory = database.maker
    for call in (lambda: reading.open("ann"), reading.unflushed):
        with pytest.raises(PolicyConflictError):
            call()
        assert database.recorder.take() == NOTHING  # refused before a connection was needed
    assert database.owners() == []


def test_read_only_body_may_swallow_the_error_of_a_statement(database: SyncDatabase) -> None:
    class Here(Reading, session_factory=database.maker):
        def look(self, *, session: Session = NEW_SESSION) -> None:
            with pytest.raises(exc.DBAPIError):
                session.execute(text("SELECT nothing FROM nowhere"))

    Here().look()
    assert database.recorder.events == UNDONE


def test_changed_and_deleted_objects_are_refused_and_untouched_ones_are_not(database: SyncDatabase) -> None:
    on(database, Accounts).open("ann")

    class Here(Reading, session_factory=database.maker):
        def touch(self, *, session: Session = NEW_SESSION) -> None:
            account = session.scalars(select(Account)).one()
            account.owner = "ann"  # the same value
            session.flush()

        def change(self, *, session: Session = NEW_SESSION) -> None:
            session.scalars(select(Account)).one().owner = "bob"

        def delete(self, *, session: Session = NEW_SESSION) -> None:
            session.delete(session.scalars(select(Account)).one())

    Here().touch()
    for call in (Here().change, Here().delete):
        with pytest.raises(PolicyConflictError):
            call()
    assert database.owners() == ["ann"]


def test_statements_that_write_are_refused_by_the_database(database: SyncDatabase) -> None:
    reading = Reading()
    reading.session_factory = database.maker
    for call in (reading.core, reading.core_update):
        with pytest.raises(exc.DBAPIError, match=r"read-?only"):
            call()
    assert database.owners() == []


def test_connection_can_write_again_after_a_read_only_unit(database: SyncDatabase) -> None:
    reading = Reading()
    reading.session_factory = database.maker
    reading.count()
    with pytest.raises(exc.DBAPIError):
        reading.core()
    with pytest.raises(PolicyConflictError):
        reading.open("bob")
    assert list(reading.numbers()) == []
    on(database, Accounts).open("ann")
    assert database.owners() == ["ann"]


@pytest.mark.parametrize("verb", ["rollback", "close", "invalidate"])
def test_connection_can_write_again_after_the_body_ended_the_transaction(database: SyncDatabase, verb: str) -> None:
    reading = Reading()
    reading.session_factory = database.maker
    with pytest.raises(SessionOwnershipError) as caught:
        reading.ends(verb)
    assert not getattr(caught.value, "__notes__", [])
    on(database, Accounts).open("ann")
    assert database.owners() == ["ann"]


def test_connection_that_its_engine_made_for_reading_stays_so(sqlite: SyncDatabase) -> None:
    event.listen(sqlite.engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only = 1").close())

    @auto_session_func(session_factory=sqlite.maker, read_only=True)
    def read(*, session: Session = NEW_SESSION) -> None:
        session.execute(text("SELECT 1"))

    read()
    with sqlite.engine.connect() as connection:
        assert connection.scalar(text("PRAGMA query_only")) == 1


def test_session_that_a_factory_hands_out_again_may_write_in_a_writing_unit(sqlite: SyncDatabase) -> None:
    again = sqlite.maker()

    @auto_session_func(session_factory=lambda: again, read_only=True)
    def read(*, session: Session = NEW_SESSION) -> None:
        session.execute(text("SELECT 1"))

    @auto_session_func(session_factory=lambda: again)
    def write(*, session: Session = NEW_SESSION) -> None:
        add(session, "ann")

    read()
    write()
    assert sqlite.owners() == ["ann"]


def test_connection_can_write_again_after_an_interrupt_at_the_worst_moment(sqlite: SyncDatabase) -> None:
    @event.listens_for(sqlite.engine, "after_cursor_execute")
    def _interrupt(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement == "PRAGMA query_only = 1":
            raise KeyboardInterrupt

    reading = Reading()
    reading.session_factory = sqlite.maker
    with pytest.raises(KeyboardInterrupt):
        reading.count()
    on(sqlite, Accounts).open("ann")
    assert sqlite.owners() == ["ann"]


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


# Several connections


class TwoBinds(NamedTuple):
    """Two databases, and every way of a session to be on both: accounts in the one, entries in the other."""

    one: SyncDatabase
    two: SyncDatabase

    def makers(self) -> dict[str, Callable[[], Session]]:
        one, two = self.one.engine, self.two.engine

        class Routing(Session):
            def get_bind(self, mapper: Any = None, **_: Any) -> Any:
                return two if mapper is not None and mapper.class_ is Entry else one

        def sharded() -> Session:
            return ShardedSession(
                shards={"one": one, "two": two},
                shard_chooser=lambda mapper, *_: "two" if mapper is not None and mapper.class_ is Entry else "one",
                identity_chooser=lambda *_, **__: ["one", "two"],
                execute_chooser=lambda state: ["two" if state.bind_mapper is inspect(Entry) else "one"],
            )

        binds: dict[Any, Any] = {Account: one, Entry: two}
        return {
            "binds": sessionmaker(binds=binds),
            "default and binds": sessionmaker(one, binds={Entry: two}),
            "get_bind": sessionmaker(class_=Routing),
            "shards": sharded,
        }


WAYS = ["binds", "default and binds", "get_bind", "shards"]


@pytest.fixture(params=["sqlite", "psycopg"])
def two_binds(request: pytest.FixtureRequest, databases: Databases) -> TwoBinds:
    return TwoBinds(*(databases.sync(request.param, name=name) for name in ("one", "two")))


def levels(session: Session) -> list[str]:
    return [session.connection(bind_arguments={"mapper": inspect(cls)}).get_isolation_level() for cls in (Account, Entry)]


@pytest.mark.parametrize("way", WAYS)
def test_read_only_holds_on_every_connection(two_binds: TwoBinds, way: str) -> None:
    @auto_session_func(session_factory=two_binds.makers()[way], read_only=True)
    def read_and_write(written: Any, *, session: Session = NEW_SESSION) -> None:
        assert [*session.scalars(select(Account)), *session.scalars(select(Entry))] == []
        session.execute(insert(written).values(VALUES[written]))

    for written in (Account, Entry):
        with pytest.raises(exc.DBAPIError, match=r"read-?only"):
            read_and_write(written)
    write = auto_session_ctx(session_factory=two_binds.makers()[way])
    with write as session:
        session.add_all([Account(**VALUES[Account]), Account(owner="bob")])
    assert two_binds.one.owners() == ["ann", "bob"]


VALUES: dict[Any, dict[str, Any]] = {Account: {"owner": "ann", "balance": 0}, Entry: {"account_id": 1, "amount": 0}}


@pytest.mark.parametrize("way", WAYS[:3])  # a ShardedSession has a connection for a shard, not for a mapper
def test_level_holds_on_every_connection_and_goes_with_the_unit(databases: Databases, way: str) -> None:
    two_binds = TwoBinds(databases.sync("psycopg"), databases.sync("psycopg"))
    maker = two_binds.makers()[way]
    with auto_session_ctx(session_factory=maker, isolation_level=SERIALIZABLE) as session:
        assert levels(session) == [SERIALIZABLE] * 2
        assert levels(session) == [SERIALIZABLE] * 2
        session.add(Account(owner="ann"))
    with auto_session_ctx(session_factory=maker) as session:
        assert levels(session) == ["READ COMMITTED"] * 2
    assert two_binds.one.owners() == ["ann"]
    assert two_binds.one.recorder.events == two_binds.two.recorder.events == OWNED * 2


@pytest.mark.parametrize("way", WAYS[:3])
def test_joining_checks_every_connection_before_its_first_statement(databases: Databases, way: str) -> None:
    two_binds = TwoBinds(databases.sync("psycopg"), databases.sync("psycopg"))
    strict = two_binds.one.engine.execution_options(isolation_level=SERIALIZABLE)
    makers = TwoBinds(SyncDatabase(strict, strict), two_binds.two).makers()
    ran: list[str] = []

    @auto_session_func(isolation_level=SERIALIZABLE)
    def join(*, session: Session = NEW_SESSION) -> None:
        session.execute(select(Account))
        ran.append("the first")
        session.execute(select(Entry))
        ran.append("the second")

    with makers[way]() as session:
        with pytest.raises(PolicyConflictError) as caught:
            join(session=session)
        assert str(caught.value).startswith("join: its isolation level is SERIALIZABLE, but the given session's transaction")
        assert ran == ["the first"]
        with pytest.raises(PolicyConflictError):  # now both are there at the beginning
            join(session=session)
        assert ran == ["the first"]
        session.rollback()
        session.execute(select(Entry))  # and who looked has gone


@pytest.mark.parametrize("propagation", [Propagation.REQUIRED, Propagation.NESTED])
def test_connections_are_not_checked_once_a_joined_call_has_returned(databases: Databases, propagation: Propagation) -> None:
    strict = databases.sync("psycopg").engine.execution_options(isolation_level=SERIALIZABLE)

    @auto_session_func(isolation_level=SERIALIZABLE, propagation=propagation)
    def join(*, session: Session = NEW_SESSION) -> None:
        session.execute(select(Account))

    with Session(binds={Account: strict, Entry: databases.sync("psycopg").engine}) as session:
        join(session=session)
        session.execute(select(Entry))


def test_nested_joining_checks_every_connection(databases: Databases) -> None:
    two_binds = TwoBinds(databases.sync("psycopg"), databases.sync("psycopg"))

    @auto_session_func(isolation_level=SERIALIZABLE, propagation=Propagation.NESTED)
    def join(*, session: Session = NEW_SESSION) -> None:
        session.execute(select(Entry))

    with two_binds.makers()["binds"]() as session:
        with pytest.raises(PolicyConflictError):
            join(session=session)
        session.rollback()
        session.execute(select(Entry))


def test_policies_are_checked_on_every_connection_that_the_factory_began(databases: Databases) -> None:
    two_binds = TwoBinds(databases.sync("psycopg"), databases.sync("psycopg"))

    def factory() -> Session:
        session = two_binds.makers()["binds"]()
        session.execute(select(Account))
        session.execute(select(Entry))
        return session

    with pytest.raises(PolicyConflictError), auto_session_ctx(session_factory=factory, isolation_level=SERIALIZABLE):
        pytest.fail("the block was entered")
    with (
        pytest.raises(exc.DBAPIError, match="read-only"),
        auto_session_ctx(session_factory=factory, read_only=True) as session,
    ):
        session.execute(insert(Entry).values(VALUES[Entry]))


def test_async_policies_hold_on_every_connection(async_postgres: AsyncDatabase, databases: Databases) -> None:
    driver = async_postgres.engine.dialect.driver
    other = databases.asynchronous(driver)

    async def scenario() -> None:
        try:
            maker = async_sessionmaker(binds={Account: async_postgres.engine, Entry: other.engine})
            async with auto_session_ctx(async_session_factory=maker, isolation_level=SERIALIZABLE) as session:
                assert await session.run_sync(levels) == [SERIALIZABLE] * 2
            with pytest.raises(exc.DBAPIError, match="read-only"):
                async with auto_session_ctx(async_session_factory=maker, read_only=True) as session:
                    await session.execute(select(Account))
                    await session.execute(insert(Entry).values(VALUES[Entry]))
        finally:
            await other.engine.dispose()

    async_postgres.run(scenario())


def test_methods_that_a_session_was_given_are_asked_and_stay(databases: Databases) -> None:
    database = databases.sync("psycopg")
    asked: list[str] = []

    def get_bind(*_: Any, **__: Any) -> Any:
        asked.append("get_bind")
        return database.engine

    def connection(*args: Any, **kwargs: Any) -> Any:
        asked.append("connection")
        return Session.connection(again, *args, **kwargs)

    again = Session()
    given: dict[str, Any] = {"get_bind": get_bind, "connection": connection}
    vars(again).update(given)
    for _ in range(2):
        with auto_session_ctx(session_factory=lambda: again, read_only=True) as session:
            session.connection()
        assert asked[:2] == ["connection", "get_bind"]
        assert {name: vars(again)[name] for name in given} == given
        asked.clear()


def test_session_chooses_its_engine_itself_again_after_the_unit(sqlite: SyncDatabase) -> None:
    again = sqlite.maker()
    with auto_session_ctx(session_factory=lambda: again, read_only=True) as session:
        assert session.get_bind() is not sqlite.engine
        assert session.connection(bind_arguments={"bind": session.get_bind()}) is session.connection()
    assert again.get_bind() is sqlite.engine
    assert "get_bind" not in vars(again)


@pytest.mark.parametrize("end", ["rollback", "close"])
def test_connection_of_an_engine_with_options_can_write_again(sqlite: SyncDatabase, end: str) -> None:
    @auto_session_func(session_factory=sessionmaker(sqlite.engine.execution_options(label="x")), read_only=True)
    def read(*, session: Session = NEW_SESSION) -> None:
        session.execute(text("SELECT 1"))
        getattr(session, end)()

    with pytest.raises(SessionOwnershipError):
        read()
    with sqlite.engine.connect() as connection:
        assert connection.scalar(text("PRAGMA query_only")) == 0


def test_read_only_joins_a_writing_session_without_touching_it(database: SyncDatabase) -> None:
    with database.maker() as session:
        Reading().core(session=session)
        session.commit()
    assert database.owners() == ["ann"]


def test_read_only_begins_in_a_transaction_that_the_factory_began(database: SyncDatabase) -> None:
    def factory() -> Session:
        session = database.maker()
        session.execute(text("SELECT 1"))
        return session

    class Here(Reading, session_factory=factory):
        """Begins in its factory."""

    assert Here().count() == 0
    with pytest.raises(exc.DBAPIError, match=r"read-?only"):
        Here().core()
    with pytest.raises(PolicyConflictError):
        Here().open("ann")
    on(database, Accounts).open("ann")
    assert database.owners() == ["ann"]


def test_read_factory_serves_read_only_units(databases: Databases) -> None:
    primary, replica = databases.sync("sqlite", name="primary"), databases.sync("sqlite", name="replica")

    class Here(Accounts, session_factory=primary.maker, read_session_factory=replica.maker):
        @auto_session_func(read_only=True)
        def owners(self, *, session: Session = NEW_SESSION) -> list[str]:
            return list(session.scalars(select(Account.owner)))

    Here().open("ann")
    assert Here().owners() == []
    assert primary.recorder.events == OWNED
    assert replica.recorder.events == UNDONE


class AsyncReading(AsyncAccounts, read_only=True):
    """Reads; what writes is refused."""

    async def owners(self, *, session: AsyncSession = NEW_SESSION) -> list[str]:
        return list(await session.scalars(select(Account.owner)))

    async def core(self, *, session: AsyncSession = NEW_SESSION) -> None:
        await session.execute(insert(Account).values(owner="ann"))

    async def ends(self, *, session: AsyncSession = NEW_SESSION) -> None:
        await session.execute(select(Account))
        await session.rollback()


def test_async_read_only(async_database: AsyncDatabase) -> None:
    reading = AsyncReading()
    reading.async_session_factory = async_database.maker

    async def scenario() -> None:
        assert await reading.owners() == []
        assert async_database.recorder.take() == UNDONE
        with pytest.raises(exc.DBAPIError, match=r"read-?only"):
            await reading.core()
        with pytest.raises(PolicyConflictError):
            await reading.open("ann")
        with pytest.raises(SessionOwnershipError):
            await reading.ends()
        writing = AsyncAccounts()
        writing.async_session_factory = async_database.maker
        await writing.open("ann")

    async_database.run(scenario())
    assert async_database.owners() == ["ann"]


def test_async_read_factory_serves_read_only_units(databases: Databases) -> None:
    replica = databases.asynchronous("aiosqlite", name="replica")

    class Here(AsyncReading, async_read_session_factory=replica.maker):
        """Has a replica alone."""

    assert replica.run(Here().owners()) == []
    assert replica.recorder.events == UNDONE


POLICIES: list[dict[str, Any]] = [{"read_only": True}, {"isolation_level": SERIALIZABLE}]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_unit_keeps_its_connection_if_the_engine_gets_options_meanwhile(policy: Any, database: SyncDatabase) -> None:
    with auto_session_ctx(session_factory=database.maker, **policy) as session:
        connection = session.connection()
        database.engine.update_execution_options(mine=1)
        assert session.connection() is connection
        assert database.checked_out == 1


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_units_keep_their_connections_if_they_are_an_engines_first_at_once(policy: Any, database: SyncDatabase) -> None:
    preparing, begun = threading.Barrier(2), threading.Barrier(2)

    @auto_session_func(session_factory=database.maker, **policy)
    def keep(*, session: Session = NEW_SESSION) -> bool:
        connection = session.connection()
        begun.wait(30)
        return session.connection() is connection

    event.listen(database.engine, "set_engine_execution_options", lambda *_: preparing.wait(30))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(keep), pool.submit(keep)
        assert (first.result(), second.result()) == (True, True)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_engine_that_is_told_to_echo_does_so_for_units_with_a_policy(
    policy: Any, database: SyncDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    def sent() -> bool:
        caplog.clear()
        with auto_session_ctx(session_factory=database.maker, **policy) as session:
            session.execute(text("SELECT 17"))
        return "SELECT 17" in caplog.messages

    echoes = []
    for value in (False, True, False):
        database.engine.echo = value
        echoes.append(sent())
    assert echoes == [False, True, False]


# Isolation level


class Strict(Accounts, isolation_level=SERIALIZABLE):
    """Runs serializable."""

    def level(self, *, session: Session = NEW_SESSION) -> str:
        return str(session.connection().get_isolation_level())


def test_owned_transaction_runs_at_its_level_and_the_next_one_at_the_engines(postgres: SyncDatabase) -> None:
    class Loose(Strict):
        @auto_session_func
        def default(self, *, session: Session = NEW_SESSION) -> str:
            return str(session.connection().get_isolation_level())

    class Other(Accounts, session_factory=postgres.maker):
        def level(self, *, session: Session = NEW_SESSION) -> str:
            return str(session.connection().get_isolation_level())

    strict = Strict()
    strict.session_factory = postgres.maker
    assert strict.level() == SERIALIZABLE
    assert Other().level() == "READ COMMITTED"
    assert postgres.recorder.events == OWNED * 2


def test_method_of_two_classes_is_decided_once_for_each(sqlite: SyncDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    class Base(SessionAwareService, session_factory=sqlite.maker):
        def level(self, *, session: Session = NEW_SESSION) -> bool:
            return session.info[OWNER_KEY].is_read_only is True

    class Reading(Base, read_only=True):
        pass

    decided: list[object] = []
    decide = Dispatcher._decide

    def counting(self: Dispatcher, *args: Any) -> Any:
        decided.append(args)
        return decide(self, *args)

    monkeypatch.setattr(Dispatcher, "_decide", counting)
    assert [(Base().level(), Reading().level()) for _ in range(5)] == [(False, True)] * 5
    assert len(decided) == 2
    monkeypatch.setattr(wrapper, "_LIMIT", 1)  # more classes than are kept: right, though not fast
    configure(resolve_commit=False)
    assert [(Base().level(), Reading().level()) for _ in range(2)] == [(False, True)] * 2
    assert len(decided) == 2 + 4


def level_and_option(session: Session) -> tuple[str, object]:
    connection = session.connection()
    return connection.get_isolation_level(), connection.get_execution_options().get("mine")


def test_level_of_the_policy_wins_over_that_of_the_engines_options(postgres: SyncDatabase) -> None:
    maker = sessionmaker(postgres.engine.execution_options(isolation_level="REPEATABLE READ", mine=1))

    @auto_session_func(session_factory=maker, isolation_level=SERIALIZABLE)
    def look(*, session: Session = NEW_SESSION) -> tuple[str, object]:
        return level_and_option(session)

    with maker() as session:
        assert [look(), look(), level_and_option(session)] == [(SERIALIZABLE, 1)] * 2 + [("REPEATABLE READ", 1)]


def test_async_level_wins_over_that_of_the_engines_options(async_postgres: AsyncDatabase) -> None:
    maker = async_sessionmaker(async_postgres.engine.execution_options(isolation_level="REPEATABLE READ", mine=1))

    @auto_session_func(async_session_factory=maker, isolation_level=SERIALIZABLE)
    async def look(*, session: AsyncSession = NEW_SESSION) -> tuple[str, object]:
        return await session.run_sync(level_and_option)

    assert async_postgres.run(look()) == (SERIALIZABLE, 1)


def test_level_works_on_sqlite(sqlite: SyncDatabase) -> None:
    strict = Strict()
    strict.session_factory = sqlite.maker
    assert strict.level() == SERIALIZABLE
    strict.open("ann")
    assert sqlite.owners() == ["ann"]


def test_joining_a_transaction_of_another_level_is_a_conflict(postgres: SyncDatabase) -> None:
    with postgres.maker() as session:
        with pytest.raises(PolicyConflictError):
            Strict().open("ann", session=session)
        session.rollback()
        session.connection(execution_options={"isolation_level": SERIALIZABLE})
        assert Strict().open("ann", session=session) in session
        session.commit()
    assert postgres.owners() == ["ann"]


def test_joining_checks_every_kind_of_callable(postgres: SyncDatabase) -> None:
    with postgres.maker() as session:
        with pytest.raises(PolicyConflictError):
            list(Strict().stream("ann", session=session))
        with pytest.raises(PolicyConflictError), Strict().opened("ann", session=session):
            pytest.fail("the block was entered")
        with pytest.raises(PolicyConflictError), auto_session_ctx(session, isolation_level=SERIALIZABLE):
            pytest.fail("the block was entered")
    assert postgres.recorder.transactions == ["BEGIN", "ROLLBACK"]


def test_joining_at_the_same_level_is_left_to_the_caller(postgres: SyncDatabase) -> None:
    with postgres.maker() as session:
        session.connection(execution_options={"isolation_level": SERIALIZABLE})
        with pytest.raises(Failure):
            Strict().open("bad", session=session)
        assert [account.owner for account in Strict().stream("ann", session=session)] == ["ann"]
        assert postgres.recorder.events == JOINED


def test_nested_checks_the_level_before_the_savepoint(postgres: SyncDatabase) -> None:
    class Here(Strict, propagation=Propagation.NESTED):
        """Both."""

    with postgres.maker() as session:
        with pytest.raises(PolicyConflictError):
            Here().open("ann", session=session)
        assert postgres.recorder.transactions == ["BEGIN"]


def test_factory_that_begins_at_another_level_is_a_conflict(postgres: SyncDatabase) -> None:
    def factory() -> Session:
        session = postgres.maker()
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        return session

    class Here(Strict, session_factory=factory):
        """Begins in its factory."""

    class There(Accounts, session_factory=factory, isolation_level="REPEATABLE READ"):
        """Agrees with its factory."""

    with pytest.raises(PolicyConflictError):
        Here().open("ann")
    assert postgres.recorder.take() == UNDONE
    There().open("ann")
    assert postgres.recorder.events == OWNED


def test_async_level(async_postgres: AsyncDatabase) -> None:
    class Here(AsyncAccounts, isolation_level=SERIALIZABLE, async_session_factory=async_postgres.maker):
        async def level(self, *, session: AsyncSession = NEW_SESSION) -> str:
            return str(await (await session.connection()).get_isolation_level())

        async def names(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[str]:
            yield "ann"

    async def scenario() -> None:
        assert await Here().level() == SERIALIZABLE
        async with async_postgres.maker() as session:
            with pytest.raises(PolicyConflictError):
                await Here().level(session=session)
            with pytest.raises(PolicyConflictError):
                [name async for name in Here().names(session=session)]

    async_postgres.run(scenario())
    assert async_postgres.recorder.transactions == ["BEGIN", "COMMIT", "BEGIN", "ROLLBACK"]


# Dry runs


class Rehearsed(Accounts):
    """Can be run without a commit."""

    def deposit(self, owner: str, *, is_commit: bool = True, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    def rehearse(self, owner: str, *, is_commit: bool = False, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    def tell(self, *, is_commit: bool = True, session: Session = NEW_SESSION) -> bool:
        return is_commit

    def deposits(self, *owners: str, is_commit: bool = True, session: Session = NEW_SESSION) -> Iterator[Account]:
        for owner in owners:
            yield add(session, owner)

    def late(self, *, is_commit: bool = True, session: Session = NEW_SESSION) -> Account:
        account = Account(owner="ann")
        session.add(account)
        return account


@pytest.fixture
def rehearsed(database: SyncDatabase) -> Rehearsed:
    made = Rehearsed()
    made.session_factory = database.maker
    return made


def test_dry_run_is_rolled_back_and_its_result_is_readable(rehearsed: Rehearsed, database: SyncDatabase) -> None:
    account = rehearsed.deposit("ann", is_commit=False)
    assert (account.owner, account.balance, account.id > 0) == ("ann", 0, True)
    assert database.recorder.events == UNDONE
    assert database.owners() == []


def test_dry_run_sends_what_the_body_did_not_flush(rehearsed: Rehearsed, database: SyncDatabase) -> None:
    assert rehearsed.late(is_commit=False).id > 0
    assert database.recorder.events == UNDONE
    rehearsed.late()
    with pytest.raises(exc.IntegrityError):
        rehearsed.late(is_commit=False)
    assert database.owners() == ["ann"]


def test_commit_is_what_the_default_says(rehearsed: Rehearsed, database: SyncDatabase) -> None:
    rehearsed.deposit("ann")
    rehearsed.rehearse("bob")
    rehearsed.rehearse("cid", is_commit=True)
    assert database.owners() == ["ann", "cid"]


def test_is_commit_arrives_in_the_body_in_both_modes(rehearsed: Rehearsed, database: SyncDatabase) -> None:
    with database.maker() as session:
        for value in (True, False):
            assert rehearsed.tell(is_commit=value) is value
            assert rehearsed.tell(is_commit=value, session=session) is value


def test_dry_run_in_a_given_session_is_left_to_its_caller(rehearsed: Rehearsed, database: SyncDatabase) -> None:
    with database.maker() as session:
        rehearsed.deposit("ann", is_commit=False, session=session)
        session.commit()
    assert database.owners() == ["ann"]


def test_dry_run_of_a_stream_is_rolled_back(rehearsed: Rehearsed, database: SyncDatabase) -> None:
    assert [account.owner for account in rehearsed.deposits("ann", "bob", is_commit=False)] == ["ann", "bob"]
    assert database.recorder.events == UNDONE


def test_dry_run_that_fails_is_rolled_back(rehearsed: Rehearsed, database: SyncDatabase) -> None:
    with pytest.raises(Failure):
        rehearsed.deposit("bad", is_commit=False)
    assert database.recorder.events == UNDONE


def test_async_dry_run(async_database: AsyncDatabase) -> None:
    class Here(AsyncAccounts, async_session_factory=async_database.maker):
        async def deposit(self, owner: str, *, is_commit: bool = True, session: AsyncSession = NEW_SESSION) -> Account:
            return await aadd(session, owner)

    account = async_database.run(Here().deposit("ann", is_commit=False))
    assert (account.owner, account.balance) == ("ann", 0)
    assert async_database.recorder.events == UNDONE


# What users' factories do


def test_factory_that_sets_a_tenant_has_begun_already(postgres: SyncDatabase) -> None:
    def factory() -> Session:
        session = postgres.maker()
        session.execute(text("SET LOCAL application_name = 'tenant 7'"))
        return session

    class Here(Accounts, session_factory=factory):
        def tenant(self, *, session: Session = NEW_SESSION) -> Any:
            return session.scalar(text("SHOW application_name"))

        def swallow(self, *, session: Session = NEW_SESSION) -> None:
            with pytest.raises(exc.DBAPIError):
                session.execute(text("SELECT nothing"))

    assert Here().tenant() == "tenant 7"
    assert postgres.recorder.take() == OWNED
    with pytest.raises(Failure):
        Here().open("bad")
    assert postgres.recorder.take() == UNDONE
    with pytest.raises(Exception, match="swallowed"):
        Here().swallow()
    assert postgres.recorder.events == UNDONE


def test_async_factory_that_has_begun_already(async_database: AsyncDatabase) -> None:
    def factory() -> AsyncSession:
        session = async_database.maker()
        session.sync_session.begin()
        return session

    class Here(AsyncAccounts, async_session_factory=factory):
        """Begins in its factory."""

    async def scenario() -> None:
        await Here().open("ann")
        with pytest.raises(Failure):
            await Here().open("bad")

    async_database.run(scenario())
    assert async_database.recorder.events == OWNED + UNDONE


@pytest.fixture
def outer(database: SyncDatabase) -> Iterator[Connection]:
    with database.engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


def test_session_of_an_outer_connection_keeps_to_a_savepoint_of_it(outer: Connection, database: SyncDatabase) -> None:
    class Here(Accounts, session_factory=sessionmaker(outer, join_transaction_mode="create_savepoint")):
        """Runs in a test's own transaction."""

    Here().open("ann")
    with pytest.raises(Failure):
        Here().open("bad")
    assert outer.scalars(select(Account.owner)).all() == ["ann"]
    assert database.recorder.events == [
        *JOINED,
        *("SAVEPOINT", "RELEASE"),
        *("SAVEPOINT", "ROLLBACK TO"),
    ]
    assert database.owners() == []


def test_policies_hold_in_a_session_of_an_outer_connection(outer: Connection) -> None:
    maker = sessionmaker(outer, join_transaction_mode="create_savepoint")

    class Here(Reading, session_factory=maker):
        """Reads in a test's own transaction."""

    class Writing(Accounts, session_factory=maker):
        """Writes in it."""

    level = outer.get_isolation_level()

    class There(Accounts, session_factory=maker, isolation_level=level):
        """Has its level."""

    class Elsewhere(Accounts, session_factory=maker, isolation_level="READ UNCOMMITTED"):
        """Has another."""

    assert Here().count() == 0
    with pytest.raises(exc.DBAPIError, match=r"read-?only"):
        Here().core()
    Writing().open("ann")
    There().open("bob")
    with pytest.raises(PolicyConflictError):
        Elsewhere().open("cid")
    assert outer.scalars(select(Account.owner).order_by(Account.owner)).all() == ["ann", "bob"]


def test_session_with_two_engines_commits_and_rolls_back_both(databases: Databases) -> None:
    one, two = databases.sync("sqlite", name="one"), databases.sync("sqlite", name="two")

    class Here(Accounts, session_factory=sessionmaker(binds={Account: one.engine})):
        def both(self, owner: str, *, session: Session = NEW_SESSION) -> None:
            add(session, owner)
            session.execute(
                text("INSERT INTO account (owner, balance) VALUES (:owner, 0)"),
                {"owner": owner},
                bind_arguments={"bind": two.engine},
            )

        def swallow(self, *, session: Session = NEW_SESSION) -> None:
            self.both("bob", session=session)
            with pytest.raises(exc.DBAPIError):
                session.execute(text("SELECT nothing"), bind_arguments={"bind": two.engine})

    Here().both("ann")
    assert (one.owners(), two.owners()) == (["ann"], ["ann"])
    with pytest.raises(Failure):
        Here().both("bad")
    with pytest.raises(Exception, match="swallowed"):
        Here().swallow()
    assert (one.owners(), two.owners()) == (["ann"], ["ann"])
    assert one.recorder.transactions == ["BEGIN", "COMMIT", "BEGIN", "ROLLBACK", "BEGIN", "ROLLBACK"]


def test_factory_that_begins_without_a_default_engine_is_taken(sqlite: SyncDatabase) -> None:
    maker = sessionmaker(binds={Account: sqlite.engine})

    def factory() -> Session:
        session = maker()
        session.begin()
        return session

    class Here(Accounts, session_factory=factory):
        """Has no default engine."""

    Here().open("ann")
    assert sqlite.recorder.events == OWNED


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
            with pytest.raises(exc.DBAPIError):
                session.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(PoisonedTransactionError):
        Here().swallow()


def test_shared_session_is_refused_and_left_alone(database: SyncDatabase) -> None:
    shared = database.maker()

    class Here(Accounts, session_factory=lambda: shared):
        def twice(self, *, session: Session = NEW_SESSION) -> None:
            add(session, "ann")
            with pytest.warns(NestedSessionWarning), pytest.raises(SessionFactoryError, match="twice is using"):
                self.open("bob")

    Here().twice()
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann"]


def test_users_own_events_see_the_owned_session(database: SyncDatabase) -> None:
    class Traced(Session):
        """Has events of its own."""

    seen: list[str] = []
    maker = sessionmaker(database.engine, class_=Traced)
    event.listen(maker.class_, "after_commit", lambda _: seen.append("commit"))
    event.listen(maker.class_, "after_rollback", lambda _: seen.append("rollback"))

    class Here(Accounts, session_factory=maker):
        """Has sessions of its own class."""

    Here().open("ann")
    with pytest.raises(Failure):
        Here().open("bad")
    assert seen == ["commit", "rollback"]
