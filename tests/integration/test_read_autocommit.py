"""``read_only=True, isolation_level="AUTOCOMMIT"``: reads without a transaction; ``test_round_trips`` counts them."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Engine,
    Integer,
    MetaData,
    Sequence,
    Table,
    create_engine,
    delete,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker, with_loader_criteria
from sqlalchemy.schema import DDL, CreateTable
from sqlalchemy.sql.compiler import Compiled

from session_aware import (
    NEW_SESSION,
    PolicyConflictError,
    Propagation,
    SessionAwareService,
    SessionFactoryError,
    SessionParameterError,
    auto_session_ctx,
    auto_session_func,
    configure,
)
from session_aware._database.driver import is_autocommit
from tests.databases import AsyncDatabase, SyncDatabase
from tests.ledger import Account, Entry
from tests.services import add

READS = {"read_only": True, "isolation_level": "AUTOCOMMIT"}


def owners(session: Session) -> list[str]:
    assert is_autocommit(session.connection()) is not False
    return list(session.scalars(select(Account.owner).order_by(Account.owner)))


async def aowners(session: AsyncSession) -> list[str]:
    return await session.run_sync(owners)


class Accounts(SessionAwareService):
    session_factory: Any
    async_session_factory: Any
    read_session_factory: Any
    async_read_session_factory: Any

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        add(session, owner)

    @auto_session_func(read_only=True, isolation_level="AUTOCOMMIT")
    def names(self, *, session: Session = NEW_SESSION) -> list[str]:
        return owners(session)

    @auto_session_func(read_only=True, isolation_level="AUTOCOMMIT")
    def run(self, body: Callable[[Session], object], *, session: Session = NEW_SESSION) -> object:
        return body(session)

    @auto_session_func(read_only=True, isolation_level="AUTOCOMMIT")
    def stream(self, *, session: Session = NEW_SESSION) -> Iterator[str]:
        yield from owners(session)

    @auto_session_func(read_only=True, isolation_level="AUTOCOMMIT")
    async def anames(self, *, session: AsyncSession = NEW_SESSION) -> list[str]:
        return await aowners(session)

    @auto_session_func(read_only=True, isolation_level="AUTOCOMMIT")
    async def arun(self, body: Callable[[Session], object], *, session: AsyncSession = NEW_SESSION) -> object:
        return await session.run_sync(body)

    @auto_session_func(read_only=True, isolation_level="AUTOCOMMIT")
    async def astream(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[str]:
        for owner in await aowners(session):
            yield owner


def accounts_on(maker: Any) -> Accounts:
    accounts = Accounts()
    accounts.session_factory = accounts.async_session_factory = maker
    return accounts


def seeded(database: SyncDatabase) -> Accounts:
    accounts = accounts_on(database.maker)
    accounts.open("ann")
    return accounts


def test_every_place_of_the_policy_reads_without_a_transaction(database: SyncDatabase) -> None:
    accounts = seeded(database)

    class Reading(SessionAwareService, session_factory=database.maker, read_only=True, isolation_level="AUTOCOMMIT"):
        def of_class(self, *, session: Session = NEW_SESSION) -> list[str]:
            return owners(session)

        @auto_session_func(isolation_level="READ COMMITTED" if database.is_postgresql else "SERIALIZABLE")
        def of_another_level(self, *, session: Session = NEW_SESSION) -> object:
            return is_autocommit(session.connection())

    @auto_session_func(session_factory=database.maker, read_only=True, isolation_level="autocommit")
    def function(*, session: Session = NEW_SESSION) -> list[str]:
        return owners(session)

    class Plain(SessionAwareService, session_factory=database.maker):
        def configured(self, *, session: Session = NEW_SESSION) -> list[str]:
            return owners(session)

    with auto_session_ctx(session_factory=database.maker, read_only=True, isolation_level="AUTOCOMMIT") as session:
        assert owners(session) == ["ann"]
    assert Reading().of_class() == function() == accounts.names() == list(accounts.stream()) == ["ann"]
    assert Reading().of_another_level() is not True
    configure(read_only=True, isolation_level="AUTOCOMMIT")
    assert Plain().configured() == ["ann"]
    assert database.checked_out == 0


def test_async_callables_read_without_a_transaction(async_database: AsyncDatabase) -> None:
    accounts = accounts_on(async_database.maker)

    async def read() -> None:
        async with async_database.maker.begin() as session:
            session.add(Account(owner="ann"))
        assert await accounts.anames() == [owner async for owner in accounts.astream()] == ["ann"]
        async with auto_session_ctx(
            async_session_factory=async_database.maker, read_only=True, isolation_level="AUTOCOMMIT"
        ) as session:
            assert await aowners(session) == ["ann"]
        with pytest.raises(PolicyConflictError, match=r"this statement writes \(INSERT\)"):
            await accounts.arun(lambda session: session.execute(insert(Account).values(owner="eve")))

    async_database.run(read())
    assert async_database.owners() == ["ann"]
    assert async_database.checked_out == 0


def test_observer_hears_how_it_ended(database: SyncDatabase) -> None:
    accounts = seeded(database)
    outcomes: list[tuple[str, int]] = []
    configure(observer=lambda record: outcomes.append((record.outcome, record.attempts)))
    accounts.names()
    with pytest.raises(LookupError):
        accounts.run(lambda _: dict[str, int]().pop("nothing"))
    assert outcomes == [("discarded", 1), ("rolled back", 1)]


def test_connection_has_transactions_again_afterwards(database: SyncDatabase) -> None:
    accounts = seeded(database)
    for _ in range(2):
        accounts.names()
        with pytest.raises(RuntimeError), database.maker.begin() as session:
            add(session, "gone")
            raise RuntimeError
    accounts.open("bob")
    assert database.owners() == ["ann", "bob"]
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool


def test_each_statement_sees_what_is_committed_by_then(postgres: SyncDatabase) -> None:
    maker = sessionmaker(postgres.engine.execution_options(isolation_level="REPEATABLE READ"))
    accounts = accounts_on(maker)

    def twice(session: Session) -> list[list[str]]:
        before = owners(session)
        with postgres.maker.begin() as other:
            add(other, "ann")
        return [before, owners(session)]

    assert accounts.run(twice) == [[], ["ann"]]


CREATE: Any = CreateTable
DROP: Any = DDL
WRITES: dict[str, tuple[Callable[[Session], object], str]] = {
    "insert": (lambda s: s.execute(insert(Account).values(owner="eve")), "INSERT"),
    "insert of many": (lambda s: s.execute(insert(Account), [{"owner": "eve"}, {"owner": "bob"}]), "INSERT"),
    "update": (lambda s: s.execute(update(Account).values(owner="eve")), "UPDATE"),
    "delete": (lambda s: s.execute(delete(Account)), "DELETE"),
    "by a common table expression": (
        lambda s: s.execute(select(insert(Account).values(owner="eve").returning(Account.id).cte().c.id)),
        "INSERT",
    ),
    "beside a SELECT": (lambda s: s.execute(select(Account.id).add_cte(delete(Account).cte())), "DELETE"),
    "from a statement": (
        lambda s: s.scalars(select(Account).from_statement(insert(Account).values(owner="eve").returning(Account))).all(),
        "INSERT",
    ),
    "on the connection": (lambda s: s.connection().execute(insert(Account).values(owner="eve")), "INSERT"),
    "in bulk": (lambda s: s.bulk_save_objects([Account(owner="eve")]), "INSERT"),
    "by criteria": (
        lambda s: s.scalars(
            select(Account).options(
                with_loader_criteria(
                    Account, Account.id.in_(select(insert(Account).values(owner="eve").returning(Account.id).cte().c.id))
                )
            )
        ),
        "INSERT",
    ),
    "by a Query": (lambda s: s.query(Account).delete(), "DELETE"),
    "a table": (lambda s: s.execute(CREATE(Account.__table__)), "CREATE TABLE"),
    "a sequence": (lambda s: s.scalar(Sequence("numbers")), "SEQUENCE"),
    "a text of DDL": (lambda s: s.execute(DROP("DROP TABLE account")), "DDL"),
}


if hasattr(Compiled, "_execute_on_connection"):  # until SQLAlchemy 2.1
    WRITES["compiled"] = (
        lambda s: s.connection().execute(cast("Any", insert(Account).values(owner="eve").compile(s.connection()))),
        "INSERT",
    )


@pytest.mark.parametrize("kind", WRITES)
def test_construct_that_writes_is_not_sent(database: SyncDatabase, kind: str) -> None:
    accounts = seeded(database)
    write, verb = WRITES[kind]
    with pytest.raises(PolicyConflictError) as caught:
        accounts.run(write)
    assert str(caught.value) == (
        "Accounts.run: it is read_only, in AUTOCOMMIT, where nothing could be rolled back, and this statement writes "
        f"({verb}). It was not sent. Remove both, or write in a method without them."
    )
    assert database.owners() == ["ann"]


def test_next_value_of_a_sequence_is_not_sent(postgres: SyncDatabase) -> None:
    with pytest.raises(PolicyConflictError, match=r"this statement writes \(SEQUENCE\)"):
        seeded(postgres).run(lambda session: session.scalar(select(Sequence("numbers").next_value())))


def test_defaults_of_a_construct_that_writes_are_not_asked_for(sqlite: SyncDatabase) -> None:
    asked: list[int] = []

    def default() -> int:
        asked.append(1)
        return 1

    table = Table("other", MetaData(), Column("id", Integer, primary_key=True, default=default))
    with pytest.raises(PolicyConflictError, match=r"this statement writes \(INSERT\)"):
        seeded(sqlite).run(lambda session: session.execute(insert(table)))
    assert asked == []


def test_swallowed_refusal_writes_nothing_and_reading_goes_on(database: SyncDatabase) -> None:
    def swallow(session: Session) -> list[str]:
        with pytest.raises(PolicyConflictError):
            session.execute(delete(Account))
        return owners(session)

    assert seeded(database).run(swallow) == ["ann"]


@pytest.mark.parametrize("flushing", [Session.flush, lambda session: None])
def test_flush_is_refused_before_anything_is_sent(database: SyncDatabase, flushing: Callable[[Session], None]) -> None:
    def change(session: Session) -> None:
        session.add(Account(owner="eve"))
        flushing(session)

    with pytest.raises(PolicyConflictError, match="its session has 1 changed object"):
        seeded(database).run(change)
    assert database.owners() == ["ann"]


@pytest.mark.parametrize(
    "locking",
    [
        lambda s: s.get(Account, 1, with_for_update=True),
        lambda s: s.scalars(select(Account).with_for_update()).all(),
        lambda s: s.scalars(select(Account).where(Account.id.in_(select(Account.id).with_for_update(read=True)))).all(),
    ],
)
def test_lock_that_would_be_released_at_once_is_refused(database: SyncDatabase, locking: Callable[[Session], Any]) -> None:
    with pytest.raises(PolicyConflictError) as caught:
        seeded(database).run(locking)
    assert str(caught.value) == (
        "Accounts.run: it is in AUTOCOMMIT, without a transaction, so the lock of with_for_update() would be released at "
        "once. The statement was not sent. Lock rows in the method that writes them."
    )


class Attributes(JSON):
    """Finds what is in a document by any attribute of its column."""

    class Comparator(JSON.Comparator[Any]):
        def __getattr__(self, name: str) -> Any:
            return self.expr[name].as_string()

    comparator_factory = Comparator


def test_column_that_has_every_attribute_is_no_lock(sqlite: SyncDatabase) -> None:
    document: Any = literal_column('\'{"city": "Rome"}\'', Attributes())
    assert seeded(sqlite).run(lambda session: session.scalar(select(Account.owner).where(document.city == "Rome"))) == "ann"


def test_text_is_refused_by_the_server_if_its_default_is_read_only(postgres: SyncDatabase) -> None:
    engine = create_engine(postgres.engine.url, connect_args={"options": "-c default_transaction_read_only=on"})
    accounts = accounts_on(sessionmaker(engine))
    with pytest.raises(DBAPIError, match="read-only transaction") as caught:
        accounts.run(lambda session: session.execute(text("INSERT INTO account (owner, balance) VALUES ('eve', 0)")))
    assert caught.value.__notes__ == [
        "session-aware: Accounts.run is read_only, and this was a write. Remove read_only=True, or write in a method "
        "without it."
    ]
    assert postgres.owners() == accounts.names() == []
    engine.dispose()


def test_text_is_refused_by_sqlite_itself(sqlite: SyncDatabase) -> None:
    with pytest.raises(DBAPIError, match="readonly database"):
        seeded(sqlite).run(lambda session: session.execute(text("DELETE FROM account")))
    accounts_on(sqlite.maker).open("bob")
    assert sqlite.owners() == ["ann", "bob"]


def test_server_side_cursor_says_what_it_needs(postgres: SyncDatabase) -> None:
    with pytest.raises(DBAPIError) as caught:
        seeded(postgres).run(lambda s: s.scalars(select(Account.id).execution_options(stream_results=True)).all())
    assert caught.value.__notes__ == [
        "session-aware: Accounts.run is in AUTOCOMMIT, and this needs a transaction, as a server-side cursor (yield_per, "
        'stream) does. Remove isolation_level="AUTOCOMMIT" from it.'
    ]


def test_savepoint_is_refused(database: SyncDatabase) -> None:
    accounts = seeded(database)

    class Nesting(SessionAwareService):
        @auto_session_func(propagation=Propagation.NESTED)
        def call(self, *, session: Session = NEW_SESSION) -> None:
            session.execute(select(Account))

    for body in (lambda s: (s.begin_nested(), s.connection()), lambda s: (s.connection(), Nesting().call(session=s))):
        with pytest.raises(PolicyConflictError) as caught:
            accounts.run(body)
        assert str(caught.value) == (
            "Accounts.run: it is in AUTOCOMMIT, without a transaction, so it can have no SAVEPOINT. Remove begin_nested(), "
            'or NESTED from the method that is called with its session; or isolation_level="AUTOCOMMIT".'
        )
    assert accounts.names() == ["ann"]


NAMED: dict[str, Callable[[Session], Engine]] = {
    "get_bind": lambda session: cast("Engine", session.get_bind()),
    "with options": lambda session: cast("Engine", session.get_bind()).execution_options(mine=1),
    "of its connection": lambda session: session.connection().engine.execution_options(mine=1),
}


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize(
    "write",
    [
        lambda bind: bind.connect().execute(insert(Account).values(owner="eve")),
        lambda bind: Session(bind).execute(insert(Account).values(owner="eve")),
        lambda bind: Session(bind).bulk_save_objects([Account(owner="eve")]),
        lambda bind: CREATE(Account.__table__)._execute_on_connection(bind.connect(), {}, {}),
    ],
)
def test_engine_that_the_session_names_refuses_as_well(
    database: SyncDatabase, write: Callable[[Any], object], named: str
) -> None:
    def body(session: Session) -> None:
        with pytest.raises(PolicyConflictError, match=r"^session.get_bind\(\): it is read_only, in AUTOCOMMIT"):
            write(NAMED[named](session))
        gc.collect()

    seeded(database).run(body)
    assert database.owners() == ["ann"]


def test_connection_from_the_engine_of_the_session_may_have_a_level_with_transactions(postgres: SyncDatabase) -> None:
    def body(session: Session) -> None:
        engine = cast("Engine", session.get_bind())
        with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
            with Session(connection) as other, other.begin():
                other.add(Account(owner="bob"))
                other.begin_nested().commit()
            connection.commit()

    seeded(postgres).run(body)
    assert postgres.owners() == ["ann", "bob"]


def engines_in_autocommit(database: SyncDatabase) -> list[Engine]:
    url = database.engine.url
    return [
        create_engine(url, isolation_level="AUTOCOMMIT"),
        create_engine(url).execution_options(isolation_level="AUTOCOMMIT"),
    ]


def test_engine_that_is_in_autocommit_itself_serves_these_units_alone(database: SyncDatabase) -> None:
    accounts = seeded(database)
    for engine in engines_in_autocommit(database):
        accounts.read_session_factory = sessionmaker(engine)
        accounts.open("bob")
        assert accounts.names() == ["ann", "bob"]
        with pytest.raises(PolicyConflictError, match="this statement writes"):
            accounts.run(lambda session: session.execute(delete(Account)))
        with pytest.raises(SessionFactoryError, match="is in AUTOCOMMIT"):
            accounts_on(sessionmaker(engine)).open("eve")
        with database.maker.begin() as session:
            session.execute(delete(Account).where(Account.owner == "bob"))
        engine.dispose()


def test_engine_that_changes_its_options_gets_another_twin(postgres: SyncDatabase) -> None:
    engine = create_engine(postgres.engine.url)
    accounts = accounts_on(sessionmaker(engine))
    options: list[Any] = []

    def look(session: Session) -> None:
        options.append(session.connection().get_execution_options().get("mine"))

    accounts.run(look)
    engine.update_execution_options(mine=1)
    accounts.run(look)
    accounts.run(look)
    assert options == [None, 1, 1]
    engine.dispose()


def test_what_a_body_does_to_the_options_of_its_engine_ends_with_it(database: SyncDatabase) -> None:
    def options(session: Session) -> dict[str, Any]:
        return dict(session.connection().get_execution_options())

    accounts = seeded(database)
    before = accounts.run(options)
    accounts.run(lambda session: cast("Engine", session.get_bind()).update_execution_options(mine=1))
    assert accounts.run(options) == before


def test_session_with_several_binds_reads_so_on_each(databases: Any) -> None:
    one, two = databases.sync("psycopg"), databases.sync("psycopg")

    def both(session: Session) -> None:
        for mapped in (Account, Entry):
            connection = session.connection(bind_arguments={"mapper": mapped})
            assert is_autocommit(connection) is True
            with pytest.raises(PolicyConflictError, match="this statement writes"):
                connection.execute(insert(Account).values(owner="eve"))

    accounts_on(lambda: Session(one.engine, binds={Entry: two.engine})).run(both)


# Joining


def test_calls_in_autocommit_join_each_other(database: SyncDatabase) -> None:
    accounts = seeded(database)
    assert accounts.run(lambda session: accounts.names(session=session)) == ["ann"]


def test_joins_a_session_that_is_in_autocommit_and_no_other(postgres: SyncDatabase) -> None:
    accounts = seeded(postgres)
    with postgres.maker.begin() as session, pytest.raises(PolicyConflictError) as caught:
        accounts.names(session=session)
    assert str(caught.value) == (
        "Accounts.names: its isolation level is AUTOCOMMIT, but the given session's transaction runs at READ COMMITTED. A "
        "level cannot change inside a transaction, so it would be ignored. Begin the caller's transaction at AUTOCOMMIT, or "
        "call without 'session=' to own one."
    )

    def joining(session: Session) -> list[str]:
        accounts.open("eve", session=session)
        return accounts.names(session=session)

    assert accounts.run(lambda session: accounts.names(session=session)) == ["ann"]
    with pytest.raises(PolicyConflictError, match=r"^Accounts.run: it is read_only"):
        accounts.run(joining)


@pytest.mark.parametrize("level", ["SERIALIZABLE", "READ COMMITTED"])
def test_transaction_of_a_level_is_not_joined_in_autocommit(postgres: SyncDatabase, level: str) -> None:
    @auto_session_func(isolation_level=level)
    def strict(*, session: Session = NEW_SESSION) -> None: ...

    with pytest.raises(PolicyConflictError, match=f"is {level}, but the given session's transaction runs at AUTOCOMMIT"):
        seeded(postgres).run(lambda session: strict(session=session))


# What contradicts itself


def test_level_without_read_only_is_refused_where_it_shows(sqlite: SyncDatabase) -> None:
    class Half(SessionAwareService, session_factory=sqlite.maker, isolation_level="AUTOCOMMIT"):
        def call(self, *, session: Session = NEW_SESSION) -> str:
            return "called"

        @auto_session_func(read_only=False)
        def other(self, *, session: Session = NEW_SESSION) -> None: ...

        @auto_session_func(read_only=True, propagation=Propagation.REQUIRES_NEW)
        def right(self, *, session: Session = NEW_SESSION) -> list[str]:
            return owners(session)

    for call in (Half().call, Half().other):
        with pytest.raises(PolicyConflictError) as refused:
            call()
        assert str(refused.value) == (
            f"{call.__qualname__.rpartition('<locals>.')[2]}: its isolation level is AUTOCOMMIT, which leaves no "
            "transaction to commit or roll back, and it is not read_only. Write read_only=True beside it, or a level with "
            'transactions, such as "SERIALIZABLE".'
        )
    assert Half().right() == []
    with pytest.raises(PolicyConflictError), auto_session_ctx(session_factory=sqlite.maker, isolation_level="AUTOCOMMIT"):
        pass
    configure(read_only=True)
    assert Half().call() == "called"


def test_session_whose_factory_has_begun_a_transaction_is_refused(postgres: SyncDatabase) -> None:
    def begun() -> Session:
        session = postgres.maker()
        session.execute(text("SET LOCAL search_path = public"))
        return session

    with pytest.raises(PolicyConflictError, match="its isolation level is AUTOCOMMIT, but"):
        accounts_on(begun).names()


def test_session_whose_factory_has_begun_in_autocommit_is_taken(postgres: SyncDatabase) -> None:
    engine = create_engine(postgres.engine.url, isolation_level="AUTOCOMMIT")

    def begun() -> Session:
        session = Session(engine)
        session.connection()
        return session

    accounts = accounts_on(begun)
    assert accounts.names() == []
    with pytest.raises(PolicyConflictError, match="this statement writes"):
        accounts.run(lambda session: session.execute(delete(Account)))
    engine.dispose()


def test_engine_of_the_unit_may_be_passed_in_again(database: SyncDatabase) -> None:
    seen: list[bool] = []
    seeded(database).run(lambda session: seen.append(session.get_bind(bind=session.get_bind()) is session.get_bind()))
    assert seen == [True]


def test_given_session_of_the_other_kind_is_refused(sqlite: SyncDatabase) -> None:
    other: Any = AsyncSession()
    with pytest.raises(SessionParameterError, match="it needs a Session, but 'session' is of type AsyncSession"):
        accounts_on(sqlite.maker).names(session=other)


def test_connection_of_other_code_is_switched_and_switched_back(database: SyncDatabase) -> None:
    seeded(database)
    with database.engine.connect() as connection:
        bound = accounts_on(sessionmaker(connection))
        assert bound.names() == ["ann"]
        with pytest.raises(PolicyConflictError, match="this statement writes"):
            bound.run(lambda session: session.execute(delete(Account)))
        connection.execute(delete(Account))
        connection.rollback()
        assert len(connection.dispatch.before_execute) == len(connection.dispatch.before_cursor_execute) == 0
    assert database.owners() == ["ann"]


def test_async_factory_in_autocommit_serves_reads(async_postgres: AsyncDatabase) -> None:
    engine = async_postgres.engine.execution_options(isolation_level="AUTOCOMMIT")
    accounts = accounts_on(async_postgres.maker)
    accounts.async_read_session_factory = async_sessionmaker(engine)
    assert async_postgres.run(accounts.anames()) == []
