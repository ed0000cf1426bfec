"""Retry: owned calls only, a fresh session for each attempt, and never what may be committed."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    CommitOutcomeUnknown,
    PoisonedTransactionError,
    Propagation,
    Retry,
    SessionAwareService,
    auto_session_ctx,
    configure,
)
from session_aware._unit import policy
from tests.databases import AsyncDatabase, SyncDatabase
from tests.ledger import Account
from tests.services import OWNED, UNDONE, Failure, aadd, add

AT_ONCE = Retry(attempts=3, wait_initial=0, wait_max=0)
CONFLICT, DUPLICATE = "40001", "23505"


def raising(code: str) -> Any:
    """Make the statement that the server refuses with this SQLSTATE."""
    return text(f"DO $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$")


class Work(SessionAwareService):
    """Runs what a test hands over as the body, and counts the sessions it was given."""

    def __init__(self) -> None:
        self.sessions: list[Session | AsyncSession] = []

    def run(self, body: Callable[[Session], Any], *, session: Session = NEW_SESSION) -> Any:
        self.sessions.append(session)
        return body(session)

    async def arun(self, body: Callable[[AsyncSession], Awaitable[Any]], *, session: AsyncSession = NEW_SESSION) -> Any:
        self.sessions.append(session)
        return await body(session)

    def stream(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
        self.sessions.append(session)
        yield 1
        session.execute(raising(CONFLICT))

    async def astream(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
        self.sessions.append(session)
        yield 1
        await session.execute(raising(CONFLICT))

    @contextmanager
    def block(self, *, session: Session = NEW_SESSION) -> Iterator[None]:
        self.sessions.append(session)
        yield
        session.execute(raising(CONFLICT))

    @asynccontextmanager
    async def ablock(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[None]:
        self.sessions.append(session)
        yield
        await session.execute(raising(CONFLICT))


def work_on(database: SyncDatabase | AsyncDatabase, retry: Retry | None = AT_ONCE) -> Work:
    configure(retry=retry)
    made = Work()
    if isinstance(database, AsyncDatabase):
        made.async_session_factory = database.maker
    else:
        made.session_factory = database.maker
    return made


def failing(times: int, code: str = CONFLICT) -> Callable[[Session], Account]:
    """Make a body that adds an account, and fails after that the first times."""
    left = iter(range(times))

    def body(session: Session) -> Account:
        account = add(session, "ann")
        if next(left, None) is not None:
            session.execute(raising(code))
        return account

    return body


def afailing(times: int, code: str = CONFLICT) -> Callable[[AsyncSession], Awaitable[Account]]:
    left = iter(range(times))

    async def body(session: AsyncSession) -> Account:
        account = await aadd(session, "ann")
        if next(left, None) is not None:
            await session.execute(raising(code))
        return account

    return body


def call(database: SyncDatabase | AsyncDatabase, work: Work, times: int, **given: Any) -> Account:
    """Call the method of the database's kind with a body that fails the first times."""
    if isinstance(database, AsyncDatabase):
        return cast("Account", database.run(work.arun(afailing(times), **given)))
    return cast("Account", work.run(failing(times), **given))


def test_conflict_is_tried_again_with_a_fresh_session(any_postgres: Any) -> None:
    work = work_on(any_postgres)
    assert call(any_postgres, work, 2).owner == "ann"
    assert any_postgres.recorder.events == [*UNDONE, *UNDONE, *OWNED]
    assert len({id(session) for session in work.sessions}) == 3
    assert any_postgres.owners() == ["ann"]


def test_last_error_is_raised_with_a_note_when_attempts_are_used_up(any_postgres: Any) -> None:
    work = work_on(any_postgres)
    with pytest.raises(DBAPIError, match="refused") as caught:
        call(any_postgres, work, 5)
    [note] = caught.value.__notes__
    name = "arun" if isinstance(any_postgres, AsyncDatabase) else "run"
    assert note.startswith(f"session-aware: Work.{name} gave up after 3 attempts in ")
    assert note.endswith(f" s; the first one ended in {type(caught.value).__name__}.")
    assert len(work.sessions) == 3
    assert any_postgres.owners() == []


def test_given_session_is_never_tried_again(any_postgres: Any) -> None:
    work = work_on(any_postgres)
    session = any_postgres.maker()
    with pytest.raises(DBAPIError):
        call(any_postgres, work, 1, session=session)
    any_postgres.run(session.close())
    assert work.sessions == [session]


def test_no_attempt_is_started_after_the_timeout(postgres: SyncDatabase) -> None:
    # The wait that would come next is counted too.
    work = work_on(postgres, Retry(attempts=50, timeout=1e-9))
    with pytest.raises(DBAPIError):
        work.run(failing(50))
    assert len(work.sessions) == 1


def test_no_attempt_is_started_that_would_begin_after_the_timeout(async_postgres: AsyncDatabase) -> None:
    # It could be waited for only much longer than the timeout, so it is not.
    work = work_on(async_postgres, Retry(attempts=50, timeout=60, wait_initial=1e9, wait_max=1e9))

    async def scenario() -> None:
        with pytest.raises(DBAPIError):
            await asyncio.wait_for(work.arun(afailing(50)), 20)

    async_postgres.run(scenario())
    assert len(work.sessions) == 1


def test_first_attempt_counts_for_the_timeout(sqlite: SyncDatabase) -> None:
    def slow(_: Session) -> None:
        time.sleep(0.06)
        raise ConnectionError

    work = work_on(sqlite, Retry(attempts=5, timeout=0.05, wait_initial=0, wait_max=0))
    with pytest.raises(ConnectionError):
        work.run(slow)
    assert len(work.sessions) == 1


def test_one_attempt_leaves_no_note(postgres: SyncDatabase) -> None:
    with pytest.raises(DBAPIError) as caught:
        work_on(postgres, Retry(attempts=1)).run(failing(1))
    assert not getattr(caught.value, "__notes__", [])


@pytest.mark.parametrize("error", [Failure("x"), LookupError(1213), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_other_exception_is_not_tried_again(postgres: SyncDatabase, error: BaseException) -> None:
    def body(session: Session) -> None:
        raise error

    work = work_on(postgres)
    with pytest.raises(type(error)) as caught:
        work.run(body)
    assert caught.value is error
    assert len(work.sessions) == 1


@pytest.mark.parametrize(
    "error",
    [
        CommitOutcomeUnknown("x"),
        ExceptionGroup("of tasks", [Failure("x"), ExceptionGroup("of others", [CommitOutcomeUnknown("x")])]),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
def test_on_cannot_ask_for_another_attempt_at_what_may_be_committed_or_was_stopped(
    postgres: SyncDatabase, error: BaseException
) -> None:
    def body(session: Session) -> None:
        raise error

    work = work_on(postgres, Retry(wait_initial=0, wait_max=0, on=lambda _: True))
    with pytest.raises(type(error)):
        work.run(body)
    assert len(work.sessions) == 1


@pytest.mark.parametrize(
    ("code", "retry"),
    [(DUPLICATE, AT_ONCE), (CONFLICT, dataclasses.replace(AT_ONCE, on=lambda error: DUPLICATE in str(error)))],
    ids=["by default", "on"],
)
def test_error_that_is_worth_no_attempt_is_raised_at_once(postgres: SyncDatabase, code: str, retry: Retry) -> None:
    work = work_on(postgres, retry)
    with pytest.raises(DBAPIError):
        work.run(failing(1, code))
    assert len(work.sessions) == 1


def test_error_whose_text_fails_is_tried_again_and_raised(sqlite: SyncDatabase) -> None:
    class Mute(Exception):  # noqa: N818 - likewise
        def __str__(self) -> str:
            raise LookupError

    def body(session: Session) -> None:
        raise error

    error = Mute()
    work = work_on(sqlite, Retry(attempts=2, wait_initial=0, wait_max=0, on=lambda _: True))
    with pytest.raises(Mute) as caught:
        work.run(body)
    assert caught.value is error
    assert len(work.sessions) == 2


def test_cancellation_is_not_tried_again(async_postgres: AsyncDatabase) -> None:
    work = work_on(async_postgres, Retry(wait_initial=0, wait_max=0, on=lambda _: True))

    async def scenario() -> None:
        reached = asyncio.Event()

        async def body(session: AsyncSession) -> None:
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(work.arun(body))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_postgres.run(scenario())
    assert len(work.sessions) == 1


def test_cancellation_between_attempts_ends_them(async_postgres: AsyncDatabase) -> None:
    failed = asyncio.Event()

    def notice(_: BaseException) -> bool:
        failed.set()
        return True

    work = work_on(async_postgres, Retry(wait_initial=60, wait_max=60, timeout=600, on=notice))

    async def scenario() -> None:
        task = asyncio.create_task(work.arun(afailing(5)))
        await failed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_postgres.run(scenario())
    assert len(work.sessions) == 1
    assert async_postgres.checked_out == 0


def test_savepoint_is_never_tried_again(postgres: SyncDatabase) -> None:
    work = work_on(postgres)
    configure(propagation=Propagation.NESTED)
    with postgres.maker() as session:
        with pytest.raises(DBAPIError):
            work.run(failing(1), session=session)
        session.rollback()
    configure(propagation=None)
    assert len(work.sessions) == 1


def test_stream_and_block_are_never_tried_again(postgres: SyncDatabase) -> None:
    work = work_on(postgres)
    with pytest.raises(DBAPIError):
        list(work.stream())
    with pytest.raises(DBAPIError), work.block():
        pass
    with pytest.raises(DBAPIError), auto_session_ctx(session_factory=postgres.maker) as session:
        session.execute(raising(CONFLICT))
    assert len(work.sessions) == 2


def test_async_stream_and_block_are_never_tried_again(async_postgres: AsyncDatabase) -> None:
    work = work_on(async_postgres)

    async def scenario() -> None:
        with pytest.raises(DBAPIError):
            [_ async for _ in work.astream()]
        with pytest.raises(DBAPIError):
            async with work.ablock():
                pass

    async_postgres.run(scenario())
    assert len(work.sessions) == 2


def test_swallowed_conflict_is_tried_again(postgres: SyncDatabase) -> None:
    work = work_on(postgres)

    def body(session: Session) -> None:
        add(session, "ann")
        try:
            session.execute(raising(CONFLICT))
        except DBAPIError:
            pass

    with pytest.raises(PoisonedTransactionError):
        work.run(body)
    assert len(work.sessions) == 3


FAILING_ONCE = Retry(attempts=3, wait_initial=0, wait_max=0, on=lambda error: isinstance(error, Failure))
NOT_AGAIN = (
    "session-aware: Work.{name} was not tried again: the body had attached a detached object (of class Account), whose "
    "changes the rollback undid, so that another attempt would commit without them. Load the object in the body, or write "
    "'session.merge(...)' instead of 'session.add(...)'."
)


def ann_of(database: SyncDatabase) -> Account:
    """Return a detached account, changed."""
    with database.maker(expire_on_commit=False) as session:
        account = add(session, "ann")
        session.commit()
    account.balance = 7
    return account


@pytest.mark.parametrize("attach", [Session.add, Session.delete, lambda session, ann: session.add_all([ann])])
def test_attempt_that_attached_an_object_of_the_caller_is_the_last(
    database: SyncDatabase, attach: Callable[[Session, Account], None]
) -> None:
    def body(session: Session) -> None:
        attach(session, ann)
        session.flush()
        raise error

    ann, error = ann_of(database), Failure("x")
    work = work_on(database, FAILING_ONCE)
    with pytest.raises(Failure) as caught:
        work.run(body)
    assert caught.value is error
    assert error.__notes__ == [NOT_AGAIN.format(name="run")]
    assert len(work.sessions) == 1
    assert database.balances() == {"ann": 0}


def test_async_attempt_that_attached_an_object_of_the_caller_is_the_last(async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        async with async_database.maker(expire_on_commit=False) as session:
            ann = await aadd(session, "ann")
            await session.commit()
        ann.balance = 7

        async def body(session: AsyncSession) -> None:
            session.add(ann)
            await session.flush()
            raise error

        with pytest.raises(Failure):
            await work.arun(body)

    error = Failure("x")
    work = work_on(async_database, FAILING_ONCE)
    async_database.run(scenario())
    assert error.__notes__ == [NOT_AGAIN.format(name="arun")]
    assert len(work.sessions) == 1
    assert async_database.balances() == {"ann": 0}


def test_attempt_that_attached_one_by_cascade_is_the_last(database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        session.add_all([Account(owner="bob"), ann, cid])
        raise Failure

    ann = ann_of(database)
    with database.maker(expire_on_commit=False) as session:
        cid = add(session, "cid")
        session.commit()
        session.expunge(cid)
        session.add(cid)  # a session that no unit owns may
    work = work_on(database, FAILING_ONCE)
    with pytest.raises(Failure):
        work.run(body)
    assert len(work.sessions) == 1


def test_attempt_that_added_new_objects_or_merged_is_tried_again(database: SyncDatabase) -> None:
    def body(session: Session) -> None:
        session.add(bob)
        session.merge(cid, load=False)
        session.merge(ann)
        session.flush()
        if len(work.sessions) < 3:
            raise Failure

    ann, bob = ann_of(database), Account(owner="bob", balance=3)
    with database.maker(expire_on_commit=False) as session:  # as a cache keeps it
        cid = add(session, "cid")
        session.commit()
    work = work_on(database, FAILING_ONCE)
    work.run(body)
    assert len(work.sessions) == 3
    assert database.balances() == {"ann": 7, "bob": 3, "cid": 0}


def test_error_that_is_worth_no_attempt_bears_no_note_of_what_was_attached(sqlite: SyncDatabase) -> None:
    def body(session: Session) -> None:
        session.add(ann)
        raise LookupError

    ann = ann_of(sqlite)
    with pytest.raises(LookupError) as caught:
        work_on(sqlite, FAILING_ONCE).run(body)
    assert not hasattr(caught.value, "__notes__")


def test_on_cannot_ask_for_another_attempt_at_what_is_committed(
    sqlite: SyncDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unclosable(Session):
        def close(self) -> None:
            super().close()
            raise LookupError

    def refuse(_: logging.LogRecord) -> bool:  # what is logged is that the session could not be closed
        raise Failure

    monkeypatch.setattr(logging.getLogger("session_aware"), "filters", [refuse])
    work = work_on(sqlite, Retry(wait_initial=0, wait_max=0, on=lambda _: True))
    work.session_factory = sessionmaker(sqlite.engine, class_=Unclosable)
    with pytest.raises(Failure):
        work.run(lambda session: add(session, "ann"))
    assert len(work.sessions) == 1
    assert sqlite.owners() == ["ann"]


def test_real_serialization_failure_is_cured(postgres: SyncDatabase) -> None:
    def credit(session: Session) -> None:
        account = session.query(Account).one()
        if len(work.sessions) == 2:  # another unit changes the row between our reading and writing
            configure(isolation_level=None)
            with auto_session_ctx(session_factory=postgres.maker, propagation=Propagation.REQUIRES_NEW) as other:
                other.query(Account).update({"balance": Account.balance + 10})
        account.balance += 1

    work = work_on(postgres)
    work.run(lambda session: add(session, "ann"))
    configure(isolation_level="REPEATABLE READ")
    try:
        work.run(credit)
    finally:
        configure(isolation_level=None)
    assert len(work.sessions) == 3
    assert postgres.balances() == {"ann": 11}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"attempts": 2.0}, TypeError, "Retry: attempts=2.0 is not a number. Write attempts=3, for example."),
        ({"attempts": True}, TypeError, "Retry: attempts=True is not a number. Write attempts=3, for example."),
        ({"timeout": "30"}, TypeError, "Retry: timeout='30' is not a number. Write timeout=2.0, for example."),
        (
            {"on": None},
            TypeError,
            "Retry: on=None cannot be called. Write on=is_transient, or a function of the exception.",
        ),
    ],
)
def test_value_of_the_wrong_type_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Retry(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"timeout": 0},
        {"wait_initial": -0.1},
        {"wait_initial": 3.0},
        {"wait_max": float("inf")},
        {"timeout": float("nan")},
        {"wait_initial": float("nan")},
    ],
    ids=str,
)
def test_value_out_of_bounds_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"out of bounds\. Write attempts >= 1 \(calls in all\), timeout > 0 and"):
        Retry(**options)


def test_message_names_the_extra_where_tenacity_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        Retry()
    assert caught.value.name == "tenacity"
    assert str(caught.value) == "Retry needs tenacity, which is not installed. Write: pip install 'session-aware[retry]'"


def test_policy_takes_nothing_else_for_a_retry() -> None:
    number: Any = 3
    with pytest.raises(TypeError) as caught:
        configure(retry=number)
    assert str(caught.value) == "retry=3 is not a Retry. Write retry=Retry(attempts=3)."
