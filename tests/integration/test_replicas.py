"""Read-only work on a hot standby: where it goes, at which level, what a write says, conflicts, and promotion."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, Retry, SessionAwareService, auto_session_func, configure, is_transient
from session_aware._database.faults import code_of
from tests.ledger import Account, Base
from tests.servers.postgresql import PostgreSQL, Standby

AT_ONCE = Retry(attempts=3, wait_initial=0, wait_max=0)


class Accounts(SessionAwareService):
    """Writes on the primary, reads on the standby."""

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        session.add(Account(owner=owner))

    @auto_session_func(read_only=True, isolation_level="REPEATABLE READ")
    def look(self, *, session: Session = NEW_SESSION) -> tuple[list[str], bool, str]:
        owners = list(session.scalars(select(Account.owner).order_by(Account.owner)))
        is_standby = session.scalar(text("SELECT pg_is_in_recovery()")) is True
        return owners, is_standby, str(session.scalar(text("SHOW transaction_isolation")))

    @auto_session_func(read_only=True, isolation_level="SERIALIZABLE")
    def look_serializable(self, *, session: Session = NEW_SESSION) -> None:
        session.scalars(select(Account.owner)).all()

    @auto_session_func(read_only=True)
    def misplaced(self, *, session: Session = NEW_SESSION) -> None:
        session.execute(insert(Account).values(owner="eve", balance=0))

    @auto_session_func(read_only=True, isolation_level="REPEATABLE READ")
    def twice(self, between: Callable[[], object], *, session: Session = NEW_SESSION) -> int:
        session.scalars(select(Account.owner)).all()
        between()
        return len(session.scalars(select(Account.owner)).all())

    @auto_session_func(read_only=True, isolation_level="REPEATABLE READ")
    async def alook(self, *, session: AsyncSession = NEW_SESSION) -> tuple[list[str], bool]:
        owners = list(await session.scalars(select(Account.owner).order_by(Account.owner)))
        return owners, await session.scalar(text("SELECT pg_is_in_recovery()")) is True

    @auto_session_func(read_only=True, isolation_level="AUTOCOMMIT")
    def glance(self, *, session: Session = NEW_SESSION) -> tuple[list[str], bool]:
        owners = list(session.scalars(select(Account.owner).order_by(Account.owner)))
        return owners, session.scalar(text("SELECT pg_is_in_recovery()")) is True

    @auto_session_func(read_only=True, isolation_level="AUTOCOMMIT")
    async def aglance(self, *, session: AsyncSession = NEW_SESSION) -> list[str]:
        return list(await session.scalars(select(Account.owner).order_by(Account.owner)))

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        session.add(Account(owner=owner))


class Pair:
    """A primary, its standby, and a service that knows both."""

    def __init__(self, primary: PostgreSQL, standby: Standby) -> None:
        self.primary, self.standby = primary, standby
        self.engines: list[Engine] = []
        self.accounts = Accounts()
        self.accounts.session_factory = sessionmaker(self.engine(primary))
        self.accounts.read_session_factory = sessionmaker(self.engine(standby))

    def engine(self, server: PostgreSQL) -> Engine:
        engine = create_engine(server.url())
        self.engines.append(engine)
        return engine

    def close(self) -> None:
        for engine in self.engines:
            assert engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
            engine.dispose()


@pytest.fixture
def pair(servers: None) -> Iterator[Pair]:
    with PostgreSQL() as primary:
        engine = create_engine(primary.url())
        Base.metadata.create_all(engine)
        engine.dispose()
        with primary.standby({"max_standby_streaming_delay": "0"}) as standby:
            made = Pair(primary, standby)
            yield made
            made.close()


def test_reading_on_the_standby_and_what_it_refuses(pair: Pair) -> None:
    accounts = pair.accounts
    accounts.open("ann")
    pair.standby.wait_until_caught_up()
    assert accounts.look() == (["ann"], True, "repeatable read")
    assert accounts.glance() == (["ann"], True)

    with pytest.raises(DBAPIError) as caught:
        accounts.misplaced()
    assert code_of(caught.value) == "25006"
    assert caught.value.__notes__ == [
        "session-aware: Accounts.misplaced is read_only, and this was a write. Remove read_only=True, or write in a method "
        "without it."
    ]

    configure(retry=AT_ONCE)
    with pytest.raises(DBAPIError) as caught:
        accounts.look_serializable()
    assert code_of(caught.value) == "0A000"
    assert not getattr(caught.value, "__notes__", [])  # it was not tried again


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_reading_on_the_standby(pair: Pair, driver: str) -> None:
    async def scenario() -> None:
        engines = [create_async_engine(server.url(driver)) for server in (pair.primary, pair.standby)]
        pair.accounts.async_session_factory, pair.accounts.async_read_session_factory = map(async_sessionmaker, engines)
        await pair.accounts.aopen("ann")
        await asyncio.to_thread(pair.standby.wait_until_caught_up)
        assert await pair.accounts.alook() == (["ann"], True)
        assert await pair.accounts.aglance() == ["ann"]
        for engine in engines:
            await engine.dispose()

    asyncio.run(scenario())


def test_conflict_with_recovery_is_tried_again(pair: Pair) -> None:
    def empty() -> None:
        calls.append(1)
        if len(calls) == 1:
            pair.primary.execute("TRUNCATE account CASCADE")  # needs the lock that the reader on the standby holds
            pair.accounts.open("cleo")
            pair.standby.wait_until_caught_up()

    calls: list[int] = []
    pair.accounts.open("ann")
    pair.accounts.open("bob")
    pair.standby.wait_until_caught_up()
    errors: list[BaseException] = []

    def note(error: BaseException) -> bool:
        errors.append(error)
        return is_transient(error)

    configure(retry=Retry(wait_initial=0, wait_max=0, on=note))
    assert pair.accounts.twice(empty) == 1
    assert [code_of(error) for error in errors] == ["40001"]


def test_service_goes_on_through_a_promotion(pair: Pair) -> None:
    def promote(error: BaseException) -> bool:
        errors.append(error)
        pair.standby.promote()
        current.append(promoted)
        return is_transient(error)

    errors: list[BaseException] = []
    promoted = pair.engine(pair.standby)
    current = [pair.engine(pair.primary)]
    pair.accounts.session_factory = lambda: Session(current[-1])
    pair.accounts.open("ann")
    pair.standby.wait_until_caught_up()
    pair.primary.stop()
    configure(retry=Retry(wait_initial=0, wait_max=0, on=promote))
    assert pair.accounts.look() == (["ann"], True, "repeatable read")  # reading needs no primary
    pair.accounts.open("bob")
    assert [type(error) for error in errors] == [OperationalError]
    configure(retry=None)
    assert pair.accounts.look() == (["ann", "bob"], False, "repeatable read")
