"""What a review of the core found broken, each as its smallest reproduction."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, insert, literal, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.types import String, TypeDecorator
from sqlalchemy.util import await_only

from session_aware import (
    NEW_SESSION,
    CommitOutcomeUnknown,
    NestedSessionWarning,
    PoisonedTransactionError,
    Propagation,
    SessionAwareService,
    SessionOwnershipError,
    auto_session_ctx,
    auto_session_func,
)
from session_aware._unit import shield
from tests.ledger import Account
from tests.services import add

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.databases import AsyncDatabase, SyncDatabase


class Service(SessionAwareService):
    """Runs what a test hands over."""

    def run(self, body: Callable[[Session], object], *, session: Session = NEW_SESSION) -> None:
        body(session)

    def dry(self, body: Callable[[Session], object], *, is_commit: bool = True, session: Session = NEW_SESSION) -> None:
        body(session)

    @auto_session_func(read_only=True)
    def read(self, body: Callable[[Session], object], *, session: Session = NEW_SESSION) -> None:
        body(session)

    @auto_session_func(propagation=Propagation.NESTED)
    def nested(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        add(session, owner)

    async def arun(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        session.add(Account(owner=owner))

    @auto_session_func(propagation=Propagation.NESTED)
    async def anested(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        session.add(Account(owner=owner))

    async def wait_for_another(self, *, session: AsyncSession = NEW_SESSION) -> None:
        await asyncio.wait_for(self.arun("inner"), timeout=10)  # the caller's line


def on(database: SyncDatabase) -> Service:
    service = Service()
    service.session_factory = database.maker
    return service


def swallow_error(session: Session) -> None:
    with suppress(DBAPIError):
        session.execute(text("SELECT nothing FROM nowhere"))


class Refused(TypeDecorator[str]):
    """A value that is refused before anything is sent."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: object, dialect: object) -> str:
        raise ValueError(value)


def test_flush_that_fails_in_a_rolled_back_savepoint_does_not_poison_the_unit(database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with suppress(IntegrityError), session.begin_nested():
            add(session, "ann")
        add(session, "bob")

    on(database).run(body)
    assert database.owners() == ["ann", "bob"]


def test_flush_that_fails_two_savepoints_deep_does_not_poison_the_unit(database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with session.begin_nested():
            with suppress(IntegrityError), session.begin_nested():
                add(session, "ann")
            add(session, "bob")

    on(database).run(body)
    assert database.owners() == ["ann", "bob"]


def test_flush_error_swallowed_inside_a_savepoint_fails_the_unit(database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with suppress(IntegrityError):
            add(session, "ann")

    with pytest.raises(PoisonedTransactionError):
        on(database).run(body)
    assert database.owners() == []


def test_error_in_a_rolled_back_savepoint_of_the_connection_does_not_poison_the_unit(database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with suppress(IntegrityError), session.connection().begin_nested():
            session.connection().execute(insert(Account).values(owner="ann", balance=0))
        add(session, "bob")

    on(database).run(body)
    assert database.owners() == ["ann", "bob"]


def test_error_swallowed_inside_a_released_savepoint_of_the_connection_poisons_the_unit(sqlite: SyncDatabase) -> None:
    def body(session: Session) -> None:
        with session.connection().begin_nested():
            swallow_error(session)

    with pytest.raises(PoisonedTransactionError):
        on(sqlite).run(body)


@pytest.mark.parametrize("statement", [text("SELECT :missing"), select(literal("x", Refused()))])
def test_statement_that_was_never_sent_does_not_poison_the_unit(database: SyncDatabase, statement: object) -> None:
    def body(session: Session) -> None:
        add(session, "ann")
        with suppress(StatementError):
            session.execute(statement)  # type: ignore[call-overload]

    on(database).run(body)
    assert database.owners() == ["ann"]


def test_read_only_body_may_handle_an_error(database: SyncDatabase) -> None:
    on(database).read(swallow_error)


@pytest.mark.parametrize("verb", ["commit", "rollback", "close"])
def test_body_that_ends_the_transaction_of_its_connection_is_refused(database: SyncDatabase, verb: str) -> None:
    def body(session: Session) -> None:
        session.execute(select(Account))
        getattr(session.connection(), verb)()

    service = on(database)
    with pytest.warns(match="transaction already deassociated"), pytest.raises(SessionOwnershipError):
        service.run(body)
    with pytest.warns(match="transaction already deassociated"), pytest.raises(SessionOwnershipError):
        service.dry(body, is_commit=False)


def test_unit_on_a_shared_connection_hears_of_its_errors_after_another_unit(sqlite: SyncDatabase) -> None:
    with sqlite.engine.connect() as connection, connection.begin():
        service = Service()
        service.session_factory = lambda: Session(connection, join_transaction_mode="create_savepoint")

        def body(session: Session) -> None:
            add(session, "ann")
            with pytest.warns(NestedSessionWarning):
                service.run(lambda other: add(other, "bob"))
            swallow_error(session)

        with pytest.raises(PoisonedTransactionError):
            service.run(body)


def test_block_that_nobody_leaves_gives_its_connection_back_when_it_is_collected(database: SyncDatabase) -> None:
    block = auto_session_ctx(session_factory=database.maker)
    add(block.__enter__(), "ann")
    assert database.checked_out == 1
    del block
    gc.collect()
    assert database.checked_out == 0
    assert database.owners() == []


def test_given_scoped_session_gets_a_savepoint(sqlite: SyncDatabase) -> None:
    registry = scoped_session(sqlite.maker)
    on(sqlite).nested("ann", session=registry)  # type: ignore[arg-type]
    registry.commit()
    registry.remove()
    assert sqlite.owners() == ["ann"]


def test_given_async_scoped_session_gets_a_savepoint(aiosqlite: AsyncDatabase) -> None:
    async def main() -> None:
        registry = async_scoped_session(aiosqlite.maker, asyncio.current_task)
        await Service().anested("ann", session=registry)  # type: ignore[arg-type]
        await registry.commit()
        await registry.remove()

    aiosqlite.run(main())
    assert aiosqlite.owners() == ["ann"]


class SlowCommit(AsyncSession):
    """Says when COMMIT begins."""

    started: asyncio.Event

    async def commit(self) -> None:
        self.started.set()
        await asyncio.sleep(0)
        await super().commit()


@pytest.mark.parametrize("is_block", [False, True])
def test_cancellation_says_that_the_unit_committed_however_often_it_comes(aiosqlite: AsyncDatabase, is_block: bool) -> None:
    async def block(maker: async_sessionmaker[SlowCommit]) -> None:
        async with auto_session_ctx(async_session_factory=maker) as session:
            session.add(Account(owner="ann"))

    async def main() -> None:
        SlowCommit.started = asyncio.Event()
        maker = async_sessionmaker(aiosqlite.engine, class_=SlowCommit)
        service = Service()
        service.async_session_factory = maker
        task = asyncio.create_task(block(maker) if is_block else service.arun("ann"))
        await SlowCommit.started.wait()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert any("had already committed" in note for note in caught.value.__notes__)

    aiosqlite.run(main())
    assert aiosqlite.owners() == ["ann"]


def test_session_of_a_commit_that_was_given_up_is_closed(
    aiosqlite: AsyncDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shield, "GRACE_SECONDS", 0.01)

    async def main() -> None:
        service = Service()
        service.async_session_factory = aiosqlite.maker
        started = asyncio.Event()

        @event.listens_for(aiosqlite.engine.sync_engine, "commit")
        def _hang(_connection: object) -> None:
            started.set()
            try:
                await_only(asyncio.Event().wait())
            finally:  # as drivers that say goodbye
                await_only(asyncio.sleep(0.01))

        task = asyncio.create_task(service.arun("ann"))
        await started.wait()
        task.cancel()
        with pytest.raises(CommitOutcomeUnknown) as caught:
            await task
        assert not any("failed as well" in note for note in getattr(caught.value, "__notes__", ()))
        assert aiosqlite.checked_out == 0

    aiosqlite.run(main())
    assert "could not be invalidated" not in caplog.text


@pytest.mark.skipif(sys.version_info < (3, 12), reason="wait_for runs in a task of its own, which is exempt")
def test_warning_points_through_wait_for_to_the_callers_line(aiosqlite: AsyncDatabase) -> None:
    service = Service()
    service.async_session_factory = aiosqlite.maker
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NestedSessionWarning)
        aiosqlite.run(service.wait_for_another())
    assert [os.path.basename(one.filename) for one in caught] == ["test_review.py"]  # noqa: PTH119 - a name, no path
