"""A session that is used after its unit warns, names the unit, and works as SQLAlchemy has it."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Query, Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    EndedSessionWarning,
    Retry,
    SessionAwareService,
    after_commit,
    auto_session_ctx,
    auto_session_func,
    configure,
)
from tests.databases import AsyncDatabase, SyncDatabase
from tests.ledger import Account
from tests.services import Failure, aadd, add

COUNT = select(func.count()).select_from(Account)


class Leaking(SessionAwareService):
    """Hands its session out."""

    def hand_out(self, *, fails: bool = False, session: Session = NEW_SESSION) -> Session:
        self.session = session
        add(session, "bad" if fails else "ann")
        return session

    def query(self, *, session: Session = NEW_SESSION) -> list[Query[Account]]:
        return [session.query(Account)]

    async def ahand_out(self, *, session: AsyncSession = NEW_SESSION) -> AsyncSession:
        await aadd(session, "ann")
        return session


@pytest.fixture
def leaking(database: SyncDatabase) -> Leaking:
    made = Leaking()
    made.session_factory = database.maker
    return made


def ended(name: str) -> str:
    return (
        f"{name}: its session is used after the call has ended its transaction and closed it. This begins another one, "
        "which nobody commits and nobody ends. Read what is needed before the body returns, such as 'list(...)' of a query, "
        "or let the caller open the session, and pass it."
    )


def warned(caught: pytest.WarningsRecorder) -> list[tuple[str, str]]:
    return [(str(one.message), Path(one.filename).name) for one in caught]


def test_session_used_after_its_unit_warns_at_the_first_statement(leaking: Leaking) -> None:
    session = leaking.hand_out()
    with pytest.warns(EndedSessionWarning) as caught:
        session.add(Account(owner="bob"))
        assert session.scalar(COUNT) == 2
        session.close()
    assert warned(caught) == [(ended("Leaking.hand_out"), "test_ended_session.py")]


def test_session_used_after_a_failed_unit_warns(leaking: Leaking) -> None:
    with pytest.raises(Failure):
        leaking.hand_out(fails=True)
    with pytest.warns(EndedSessionWarning, match="Leaking.hand_out"):
        assert leaking.session.scalar(COUNT) == 0
    leaking.session.close()


def test_query_that_was_handed_out_warns_where_it_is_read(leaking: Leaking) -> None:
    leaking.hand_out()
    [query] = leaking.query()
    with pytest.warns(EndedSessionWarning) as caught:
        assert [account.owner for account in query] == ["ann"]
    query.session.close()
    assert warned(caught) == [(ended("Leaking.query"), "test_ended_session.py")]


def test_async_session_used_after_its_unit_warns_where_it_is_awaited(async_database: AsyncDatabase) -> None:
    async def scenario() -> pytest.WarningsRecorder:
        leaking = Leaking()
        leaking.async_session_factory = async_database.maker
        session = await leaking.ahand_out()
        with pytest.warns(EndedSessionWarning) as caught:
            assert await session.scalar(COUNT) == 1
        await session.close()
        return caught

    assert warned(async_database.run(scenario())) == [(ended("Leaking.ahand_out"), "test_ended_session.py")]


def test_session_kept_by_a_thread_warns_there(leaking: Leaking) -> None:
    session = leaking.hand_out()
    caught: list[Any] = []

    def use() -> None:
        with session:
            caught.append(session.scalar(COUNT))

    with pytest.warns(EndedSessionWarning):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(10)
    assert caught == [1]


def test_callback_that_uses_the_session_of_its_unit_warns(database: SyncDatabase) -> None:
    @auto_session_func(session_factory=database.maker)
    def open_and_count(*, session: Session = NEW_SESSION) -> None:
        add(session, "ann")
        after_commit(session, lambda: add(session, "lost"))

    with pytest.warns(EndedSessionWarning) as caught:
        open_and_count()
    assert warned(caught) == [
        (
            "open_and_count: its session was used between its COMMIT and its end, in an after_commit callback or a listener."
            " That work is rolled back. Let a callback that needs the database call a method without 'session='.",
            "test_ended_session.py",
        )
    ]
    assert database.owners() == ["ann"]


class Tidy(Session):
    """Works on the connection before it closes, and once more after its commit."""

    def commit(self) -> None:
        super().commit()
        self.execute(select(1))
        super().commit()

    def close(self) -> None:
        self.execute(select(1))
        super().close()


def test_session_that_tidies_up_by_itself_does_not_warn(database: SyncDatabase) -> None:
    leaking = Leaking()
    leaking.session_factory = sessionmaker(database.engine, class_=Tidy)
    leaking.hand_out()
    assert database.owners() == ["ann"]


def test_session_of_a_fixture_and_a_begun_one_do_not_warn(database: SyncDatabase) -> None:
    leaking = Leaking()
    with database.engine.connect() as connection, connection.begin():
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            leaking.session_factory = lambda: session
            assert leaking.hand_out().scalar(COUNT) == 1
        connection.rollback()
    leaking.session_factory = database.maker
    session = leaking.hand_out()
    with session.begin():
        assert session.scalar(COUNT) == 1
    assert database.owners() == ["ann"]


def test_block_and_attempts_are_named(database: SyncDatabase) -> None:
    with auto_session_ctx(session_factory=database.maker) as session:
        add(session, "ann")
    with pytest.warns(EndedSessionWarning, match="auto_session_ctx in test_block_and_attempts_are_named: its session"):
        session.scalar(COUNT)
    session.close()


def test_session_that_its_factory_hands_out_again_is_owned_anew(sqlite: SyncDatabase) -> None:
    again = sqlite.maker()
    configure(session_factory=lambda: again, retry=Retry(wait_initial=0, wait_max=0, on=lambda _: True))
    runs: list[int] = []

    @auto_session_func
    def count(*, session: Session = NEW_SESSION) -> object:
        runs.append(len(runs))
        found = session.scalar(COUNT)
        if len(runs) == 1:
            raise Failure
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count() == count() == 0
    assert runs == [0, 1, 2]


def test_given_session_and_others_do_not_warn(database: SyncDatabase) -> None:
    leaking = Leaking()
    with database.maker() as session:
        leaking.hand_out(session=session)
        session.commit()
        assert session.scalar(COUNT) == 1
