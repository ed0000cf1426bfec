"""``after_commit``: in both modes, once, in order, and only for what stays committed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from sqlalchemy import delete, event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import (
    NEW_SESSION,
    NestedSessionWarning,
    Propagation,
    SessionAwareService,
    after_commit,
    auto_session_func,
    configure,
)
from tests.databases import AsyncDatabase, SyncDatabase
from tests.ledger import Account, Entry
from tests.services import Failure, aadd, add


class Work(SessionAwareService):
    """Registers what it is told, with the rows that are committed when the callback runs."""

    def __init__(self, database: SyncDatabase | AsyncDatabase) -> None:
        self._database = database
        self.seen: list[tuple[str, list[str]]] = []
        if isinstance(database, AsyncDatabase):
            self.async_session_factory = database.maker
        else:
            self.session_factory = database.maker

    def note(self, name: str) -> Callable[[], None]:
        return lambda: self.seen.append((name, self._database.owners()))

    def anote(self, name: str) -> Callable[[], Any]:
        async def callback() -> None:
            self.note(name)()

        return callback

    def open(self, owner: str, *, is_commit: bool = True, session: Session = NEW_SESSION) -> None:
        after_commit(session, self.note(owner))
        add(session, owner)

    @auto_session_func(propagation=Propagation.NESTED)
    def open_nested(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        after_commit(session, self.note(owner))
        add(session, owner)

    def look(self, *, session: Session = NEW_SESSION) -> None:
        after_commit(session, self.note("look"))

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        after_commit(session, self.anote(owner))
        after_commit(session, self.note(f"{owner}, plain"))
        await aadd(session, owner)


def test_runs_after_the_librarys_commit(database: SyncDatabase) -> None:
    work = Work(database)
    work.open("ann")
    assert work.seen == [("ann", ["ann"])]
    assert database.checked_out == 0


def test_runs_after_the_callers_commit(database: SyncDatabase) -> None:
    work = Work(database)
    with database.maker() as session:
        work.open("ann", session=session)
        work.open("bob", session=session)
        assert work.seen == []
        session.commit()
    assert work.seen == [("ann", ["ann", "bob"]), ("bob", ["ann", "bob"])]


def test_runs_after_the_listeners_of_the_transactions_end(sqlite: SyncDatabase) -> None:
    ended: list[str] = []

    @event.listens_for(sqlite.maker, "after_transaction_end")
    def _ended(*_: object) -> None:
        ended.append("listener")

    with sqlite.maker.begin() as session:
        after_commit(session, lambda: ended.append("callback"))
    assert ended == ["listener", "callback"]


def test_runs_once_although_the_session_goes_on(database: SyncDatabase) -> None:
    work = Work(database)
    with database.maker() as session:
        work.open("ann", session=session)
        session.commit()
        add(session, "bob")
        session.commit()
        work.open("cleo", session=session)
        session.commit()
    assert [name for name, _ in work.seen] == ["ann", "cleo"]


def test_is_dropped_with_the_transaction(database: SyncDatabase) -> None:
    work = Work(database)
    with pytest.raises(Failure):
        work.open("bad")
    with database.maker() as session:
        work.open("ann", session=session)
        session.rollback()
        add(session, "bob")
        session.commit()
    with database.maker() as session:
        work.open("cleo", session=session)  # and closed without a commit
    assert work.seen == []


def test_is_dropped_where_the_commit_fails(database: SyncDatabase) -> None:
    work = Work(database)
    with pytest.raises(Exception, match=r"(?i)foreign key"), database.maker.begin() as session:
        work.open("ann", session=session)
        session.add(Entry(account_id=404))
    assert work.seen == []


def test_is_dropped_with_a_dry_run(database: SyncDatabase) -> None:
    work = Work(database)
    work.open("ann", is_commit=False)
    assert work.seen == []


def test_is_dropped_with_a_read_only_unit(sqlite: SyncDatabase) -> None:
    work = Work(sqlite)
    configure(read_only=True)
    work.look()
    assert work.seen == []


def test_is_dropped_with_its_savepoint_only(database: SyncDatabase) -> None:
    work = Work(database)
    with database.maker() as session:
        work.open("before", session=session)
        with session.begin_nested():
            work.open("kept", session=session)
            with pytest.raises(Failure), session.begin_nested():
                work.open("inner", session=session)
                raise Failure
        with pytest.raises(Failure):
            work.open_nested("bad", session=session)
        with pytest.raises(Failure), session.begin_nested():
            with session.begin_nested():
                work.open("released and undone around", session=session)
            raise Failure
        work.open_nested("nested", session=session)
        assert work.seen == []
        session.commit()
    owners = sorted(["before", "kept", "nested"])
    assert work.seen == [("before", owners), ("kept", owners), ("nested", owners)]


def failing_flush(session: Session, owner: str) -> None:
    """Add an account whose owner exists: the flush fails, and not a statement."""
    session.add(Account(owner=owner))
    session.flush()


def test_flush_that_fails_in_a_savepoint_drops_what_was_registered_in_it_alone(database: SyncDatabase) -> None:
    class Flushing(Work):
        def open_both(self, *, session: Session = NEW_SESSION) -> None:
            after_commit(session, self.note("outside"))
            add(session, "ann")
            with session.begin_nested():
                after_commit(session, self.note("in the one around"))
                with pytest.raises(IntegrityError), session.begin_nested():
                    after_commit(session, self.note("in the failed one"))
                    failing_flush(session, "ann")
                add(session, "bob")
            after_commit(session, self.note("afterwards"))

    def names(owners: list[str]) -> list[tuple[str, list[str]]]:
        return [("outside", owners), ("in the one around", owners), ("afterwards", owners)]

    work = Flushing(database)
    work.open_both()
    assert work.seen == names(["ann", "bob"])
    with database.maker() as session:
        session.execute(delete(Account))
        session.commit()
        work.seen.clear()
        work.open_both(session=session)
        assert work.seen == []
        session.commit()
    assert work.seen == names(["ann", "bob"])


def test_flush_that_fails_in_the_savepoint_of_a_nested_call_drops_its_callbacks_alone(database: SyncDatabase) -> None:
    class Flushing(Work):
        @auto_session_func(propagation=Propagation.NESTED)
        def fail(self, *, session: Session = NEW_SESSION) -> None:
            after_commit(session, self.note("nested"))
            failing_flush(session, "ann")

        def open_both(self, *, session: Session = NEW_SESSION) -> None:
            self.open("ann", session=session)
            with pytest.raises(IntegrityError):
                self.fail(session=session)

    work = Flushing(database)
    work.open_both()
    assert work.seen == [("ann", ["ann"])]


def test_flush_that_fails_in_a_savepoint_of_an_async_session_drops_the_same(async_database: AsyncDatabase) -> None:
    class Flushing(Work):
        async def open_both(self, *, session: AsyncSession = NEW_SESSION) -> None:
            await self.aopen("ann", session=session)
            with pytest.raises(IntegrityError):
                async with session.begin_nested():
                    after_commit(session, self.anote("failed"))
                    session.add(Account(owner="ann"))
                    await session.flush()

    work = Flushing(async_database)
    async_database.run(work.open_both())
    assert work.seen == [("ann", ["ann"]), ("ann, plain", ["ann"])]


def test_flush_that_fails_outside_of_savepoints_drops_all(database: SyncDatabase) -> None:
    work = Work(database)
    with database.maker() as session:
        work.open("ann", session=session)
        with pytest.raises(IntegrityError):
            failing_flush(session, "ann")
        session.rollback()
        add(session, "bob")
        session.commit()
    assert work.seen == []


def test_error_is_logged_and_neither_undoes_nor_stops(database: SyncDatabase, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise Failure

    class Nameless:
        def __call__(self) -> None:
            raise Failure

        def __repr__(self) -> str:
            return "<nameless>"

    work = Work(database)
    with database.maker() as session:
        after_commit(session, fail)
        after_commit(session, Nameless())
        work.open("ann", session=session)
        session.commit()
    assert work.seen == [("ann", ["ann"])]
    messages = [record.getMessage() for record in caplog.records]
    name = f"{test_error_is_logged_and_neither_undoes_nor_stops.__qualname__}.<locals>.fail"
    assert messages == [f"after_commit: {what} failed; the transaction is committed" for what in (name, "<nameless>")]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_order_to_stop_passes_through_after_the_commit(database: SyncDatabase) -> None:
    class Stops(SessionAwareService, session_factory=database.maker):
        def open(self, *, session: Session = NEW_SESSION) -> None:
            after_commit(session, stop)
            add(session, "ann")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        Stops().open()
    assert caught.value.__notes__ == ["session-aware: Stops.open had already committed when this was raised."]
    assert database.owners() == ["ann"]
    assert database.checked_out == 0


def test_callback_may_open_units_and_register_more(database: SyncDatabase) -> None:
    work = Work(database)

    def again() -> None:
        work.open("bob")

    with database.maker() as session:
        add(session, "ann")
        after_commit(session, again)
        session.commit()
    assert work.seen == [("bob", ["ann", "bob"])]


def test_callback_may_use_the_session_again(database: SyncDatabase) -> None:
    work = Work(database)
    with database.maker() as session:

        def again() -> None:
            work.open("bob", session=session)

        after_commit(session, again)
        add(session, "ann")
        session.commit()
        assert work.seen == []
        session.commit()
    assert work.seen == [("bob", ["ann", "bob"])]


def test_begins_where_nothing_has_begun(database: SyncDatabase) -> None:
    work = Work(database)
    with database.maker() as session:
        after_commit(session, work.note("first"))
        assert session.in_transaction()
        session.commit()
    assert work.seen == [("first", [])]


def test_async_callbacks_are_awaited_in_order(async_database: AsyncDatabase) -> None:
    work = Work(async_database)
    async_database.run(work.aopen("ann"))
    assert work.seen == [("ann", ["ann"]), ("ann, plain", ["ann"])]
    assert async_database.checked_out == 0


def test_async_callbacks_run_after_the_callers_commit(async_database: AsyncDatabase) -> None:
    work = Work(async_database)

    async def scenario() -> None:
        async with async_database.maker() as session:
            await work.aopen("ann", session=session)
            assert work.seen == []
            await session.commit()

    async_database.run(scenario())
    assert [name for name, _ in work.seen] == ["ann", "ann, plain"]


def test_context_variables_that_async_callbacks_and_listeners_set_stay_set(async_database: AsyncDatabase) -> None:
    by_callback: ContextVar[str] = ContextVar("by_callback", default="unset")
    by_listener: ContextVar[str] = ContextVar("by_listener")

    class Setting(SessionAwareService, async_session_factory=async_database.maker):
        async def open(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
            await aadd(session, owner)
            event.listen(session.sync_session, "before_commit", lambda _: by_listener.set(f"{owner} commits"))
            after_commit(session, self.callback)

        async def callback(self) -> None:
            by_callback.set(f"{by_callback.get()}, then set")

    async def scenario() -> None:
        by_callback.set("set before")
        await Setting().open("ann")
        assert (by_callback.get(), by_listener.get()) == ("set before, then set", "ann commits")

    async_database.run(scenario())


def test_context_variables_that_other_tasks_set_meanwhile_stay_set(async_database: AsyncDatabase) -> None:
    shared: ContextVar[str] = ContextVar("shared", default="unset")

    class Setting(SessionAwareService, async_session_factory=async_database.maker):
        async def open(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
            await aadd(session, owner)
            after_commit(session, self.let_the_other_task_run)

        async def let_the_other_task_run(self) -> None:
            committed.set()
            await seen.wait()

    async def other() -> None:
        await committed.wait()
        shared.set("by another task")
        seen.set()

    async def scenario() -> None:
        shared.set("before")
        context = copy_context()
        tasks = [asyncio.create_task(work, context=context) for work in (Setting().open("ann"), other())]
        await asyncio.gather(*tasks)
        assert context[shared] == "by another task"

    committed, seen = asyncio.Event(), asyncio.Event()
    async_database.run(scenario())


def test_forgotten_session_after_an_inner_unit_ran_callbacks_still_warns(async_database: AsyncDatabase) -> None:
    class Calling(Work):
        async def outer(self, *, session: AsyncSession = NEW_SESSION) -> None:
            await self.inner()
            await self.aopen("bob")

        @auto_session_func(propagation=Propagation.REQUIRES_NEW)
        async def inner(self, *, session: AsyncSession = NEW_SESSION) -> None:
            after_commit(session, lambda: self.aopen("cid"))  # which runs in another task

    with pytest.warns(NestedSessionWarning, match=r"^Work\.aopen was called without 'session=' inside .*Calling\.outer"):
        async_database.run(Calling(async_database).outer())


def test_async_callbacks_are_dropped_with_the_transaction(async_database: AsyncDatabase) -> None:
    work = Work(async_database)
    with pytest.raises(Failure):
        async_database.run(work.aopen("bad"))
    assert work.seen == []


def test_error_of_an_async_callback_is_logged(async_database: AsyncDatabase, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise Failure

    async def scenario() -> None:
        async with async_database.maker() as session:
            await aadd(session, "ann")
            after_commit(session, fail)
            await session.commit()

    async_database.run(scenario())
    assert len(caplog.records) == 1
    assert async_database.owners() == ["ann"]


def test_what_cannot_be_called_is_refused(sqlite: SyncDatabase) -> None:
    nothing: Any = None
    with sqlite.maker() as session, pytest.raises(TypeError) as caught:
        after_commit(session, nothing)
    assert str(caught.value) == "after_commit: None cannot be called. Write 'after_commit(session, lambda: ...)'."


def test_what_is_no_session_is_refused() -> None:
    other: Any = "session"
    with pytest.raises(TypeError) as caught:
        after_commit(other, list)
    assert str(caught.value) == "after_commit: the first argument is a str. Write 'after_commit(session, callback)'."


def test_coroutine_function_needs_an_async_session(sqlite: SyncDatabase) -> None:
    async def mail() -> None:
        pass

    with sqlite.maker() as session, pytest.raises(TypeError) as caught:
        after_commit(session, mail)
    assert str(caught.value) == (
        f"after_commit: {mail.__qualname__!r} is a coroutine function, but a Session cannot await it. Write a plain "
        "function, or use an AsyncSession."
    )
