"""Auto mode: begin, body, commit; rolled back on any exception, which is re-raised as it is; always closed."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import event, exc, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, CommitOutcomeUnknown, SessionAwareError, auto_session_ctx
from session_aware._database.events import OWNER_KEY
from tests.databases import AsyncDatabase, SyncDatabase
from tests.ledger import Account, Entry
from tests.servers.postgresql import PostgreSQL
from tests.services import JOINED, NOTHING, OWNED, UNDONE, Accounts, AsyncAccounts, Failure, aadd, add

COMMIT_FAILED = ["CHECKOUT", "BEGIN", "COMMIT", "CHECKIN"]  # SQLAlchemy's pool rolls back at the check-in
GIVEN_UP = ["CHECKOUT", "BEGIN", "ROLLBACK", "INVALIDATE", "CHECKIN"]


class Work(Accounts):
    """Runs what a test hands over as the body."""

    def run(self, body: Callable[[Session], Any], *, session: Session = NEW_SESSION) -> Any:
        return body(session)

    run_sync = run


class AsyncWork(AsyncAccounts):
    """The same, awaited."""

    async def run(self, body: Callable[[AsyncSession], Any], *, session: AsyncSession = NEW_SESSION) -> Any:
        return await body(session)

    async def run_sync(self, body: Callable[[Session], Any], *, session: AsyncSession = NEW_SESSION) -> Any:
        return await session.run_sync(body)


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


@pytest.fixture
def any_work(any_database: SyncDatabase | AsyncDatabase) -> Work | AsyncWork:
    made: Work | AsyncWork
    if isinstance(any_database, AsyncDatabase):
        made = AsyncWork()
        made.async_session_factory = any_database.maker
    else:
        made = Work()
        made.session_factory = any_database.maker
    return made


# 1. A new session from the factory, whose objects stay readable


def test_factory_is_called_once_for_each_call(database: SyncDatabase) -> None:
    made: list[Session] = []

    def factory() -> Session:
        made.append(database.maker())
        return made[-1]

    class Here(Work, session_factory=factory):
        """Counts its sessions."""

    seen = [Here().run(lambda session: session) for _ in range(3)]
    assert seen == made
    assert len(set(map(id, made))) == 3


def test_result_stays_readable_after_the_return(any_work: Any, any_database: Any) -> None:
    account = any_database.run(any_work.open("ann"))
    assert (account.owner, account.balance, account.id > 0) == ("ann", 0, True)
    assert any_database.recorder.events == OWNED


def test_changes_that_the_body_did_not_flush_are_committed(work: Work, database: SyncDatabase) -> None:
    work.run(lambda session: session.add(Account(owner="ann")))
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann"]


def test_body_without_a_statement_takes_no_connection(any_work: Any, any_database: Any) -> None:
    assert any_database.run(any_work.run_sync(Session.in_transaction)) is True
    assert any_database.recorder.events == NOTHING


def test_session_is_closed_after_the_return(work: Work) -> None:
    session = work.run(lambda session: session)
    assert not session.in_transaction()
    assert list(session) == []
    assert OWNER_KEY not in session.info


def test_session_of_the_users_own_class_keeps_its_overrides(async_database: AsyncDatabase) -> None:
    called: list[str] = []

    class Traced(AsyncSession):
        async def commit(self) -> None:
            called.append("commit")
            await super().commit()

        async def rollback(self) -> None:
            called.append("rollback")
            await super().rollback()

        async def close(self) -> None:
            called.append("close")
            await super().close()

    class Here(AsyncWork, async_session_factory=async_sessionmaker(async_database.engine, class_=Traced)):
        """Has sessions of its own class."""

    async def scenario() -> None:
        await Here().open("ann")
        with pytest.raises(Exception, match="bad"):
            await Here().open("bad")

    async_database.run(scenario())
    assert called == ["commit", "close", "rollback", "close"]
    assert async_database.recorder.events == OWNED + UNDONE


# 2. Any BaseException: roll back, re-raise unchanged


class Bare(BaseException):
    """No Exception."""


LEAVING = [
    ValueError,
    KeyboardInterrupt,
    SystemExit,
    asyncio.CancelledError,
    GeneratorExit,
    Bare,
    StopIteration,
    MemoryError,
]


@pytest.mark.parametrize("kind", LEAVING)
def test_any_exception_rolls_back_and_is_the_same_object(
    work: Work, database: SyncDatabase, kind: type[BaseException]
) -> None:
    error = kind("reason")
    cause = RuntimeError("cause")

    def body(session: Session) -> None:
        add(session, "ann")
        raise error from cause

    with pytest.raises(kind) as caught:
        work.run(body)
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.args == ("reason",)
    assert not getattr(error, "__notes__", [])
    assert database.recorder.events == UNDONE
    assert database.owners() == []


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError, GeneratorExit, Bare, MemoryError])
def test_any_async_exception_rolls_back_and_is_the_same_object(
    awork: AsyncWork, async_database: AsyncDatabase, kind: type[BaseException]
) -> None:
    error = kind("reason")

    async def body(session: AsyncSession) -> None:
        await aadd(session, "ann")
        raise error

    async def scenario() -> None:
        with pytest.raises(kind) as caught:
            await awork.run(body)
        assert caught.value is error
        assert not getattr(error, "__notes__", [])

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE
    assert async_database.owners() == []


def test_error_of_the_database_is_not_translated(work: Work, database: SyncDatabase) -> None:
    work.open("ann")
    database.recorder.take()
    with pytest.raises(exc.IntegrityError) as caught:
        work.open("ann")
    assert type(caught.value) is exc.IntegrityError
    assert database.recorder.events == UNDONE


def test_group_of_exceptions_is_the_same_object(work: Work, database: SyncDatabase) -> None:
    error = BaseExceptionGroup("both", [ValueError(), KeyboardInterrupt()])

    def body(session: Session) -> None:
        add(session, "ann")
        raise error

    with pytest.raises(BaseExceptionGroup) as caught:
        work.run(body)
    assert caught.value is error
    assert database.recorder.events == UNDONE


def test_frames_of_the_body_stay_in_the_traceback(work: Work) -> None:
    def body(_session: Session) -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$") as caught:
        work.run(body)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "body"


def test_statement_error_that_the_factory_causes_is_raised(database: SyncDatabase) -> None:
    error = LookupError("no tenant")

    def factory() -> Session:
        raise error

    class Here(Work, session_factory=factory):
        """Has a factory that fails."""

    with pytest.raises(LookupError) as caught:
        Here().open("ann")
    assert caught.value is error
    assert not getattr(error, "__notes__", [])
    assert database.recorder.events == NOTHING


def test_factory_that_fails_is_raised_from_async_calls(async_database: AsyncDatabase) -> None:
    def factory() -> AsyncSession:
        raise LookupError

    class Here(AsyncWork, async_session_factory=factory):
        """Has a factory that fails."""

    async def scenario() -> None:
        with pytest.raises(LookupError):
            await Here().open("ann")
        with pytest.raises(LookupError):
            async for _ in Here().stream("ann"):
                pass
        with pytest.raises(LookupError):
            async with Here().opened("ann"):
                pass
        with pytest.raises(LookupError):
            async with auto_session_ctx(async_session_factory=factory):
                pass

    async_database.run(scenario())
    assert async_database.recorder.events == NOTHING


# 3. Clean up: roll back, and where that fails invalidate instead of close


@contextmanager
def failing(database: SyncDatabase | AsyncDatabase, verb: str, error: BaseException) -> Iterator[None]:
    """Let ``do_commit`` or ``do_rollback`` of the engine's driver fail, as a lost connection does."""
    engine = database.engine if isinstance(database, SyncDatabase) else database.engine.sync_engine

    def fail(_connection: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        # From the first BEGIN on: the dialect itself rolls back when it connects for the first time.
        event.listen(engine, "begin", lambda _: patch.setattr(engine.dialect, f"do_{verb}", fail), once=True)
        yield


def test_failed_rollback_gives_the_connection_up(any_work: Any, any_database: Any) -> None:
    dead = OSError("line is dead")
    with failing(any_database, "rollback", dead), pytest.raises(Exception, match="bad") as caught:
        any_database.run(any_work.open("bad"))
    name = "AsyncAccounts" if isinstance(any_database, AsyncDatabase) else "Accounts"
    assert caught.value.__notes__ == [
        f"session-aware: rolling back {name}.open failed as well (OSError: line is dead); its connection was invalidated, "
        "and the database rolls back what it had begun."
    ]
    assert any_database.recorder.events == GIVEN_UP
    assert any_database.checked_out == 0
    assert any_database.owners() == []


def test_interrupt_during_the_rollback_gives_the_connection_up_and_goes_on(work: Work, database: SyncDatabase) -> None:
    with failing(database, "rollback", KeyboardInterrupt()), pytest.raises(KeyboardInterrupt) as caught:
        work.open("bad")
    assert str(caught.value.__context__) == "bad"
    assert database.recorder.events == GIVEN_UP
    assert database.checked_out == 0


def test_commit_that_fails_without_a_verdict_is_unknown(work: Work, database: SyncDatabase) -> None:
    dead = OSError("line is dead")
    with failing(database, "commit", dead), pytest.raises(CommitOutcomeUnknown) as caught:
        work.open("ann")
    assert caught.value.__cause__ is dead
    assert database.recorder.events == COMMIT_FAILED
    assert database.owners() == []


def test_constraint_that_is_checked_at_commit_is_raised_and_rolled_back(any_work: Any, any_database: Any) -> None:
    with pytest.raises(exc.IntegrityError):
        any_database.run(any_work.run_sync(lambda session: session.add(Entry(account_id=404))))
    assert any_database.recorder.events == COMMIT_FAILED


class Unclosable(Session):
    """A session whose close fails after it has given its connection back."""

    def close(self) -> None:
        super().close()
        raise OSError("cannot close")


def test_failed_close_after_the_commit_is_reported_and_not_raised(
    database: SyncDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    class Here(Work, session_factory=sessionmaker(database.engine, class_=Unclosable)):
        """Has sessions that cannot be closed."""

    assert Here().open("ann").owner == "ann"
    assert [record.getMessage() for record in caplog.records] == [
        "Accounts.open: committed, but its session could not be closed"
    ]
    assert caplog.records[0].exc_info is not None
    assert database.owners() == ["ann"]


class Uncloseable(Unclosable):
    """And cannot be invalidated either."""

    def invalidate(self) -> None:
        super().invalidate()
        raise OSError("cannot invalidate")


def test_connection_that_cannot_be_invalidated_is_reported(database: SyncDatabase, caplog: pytest.LogCaptureFixture) -> None:
    class Here(Work, session_factory=sessionmaker(database.engine, class_=Uncloseable)):
        """Has sessions that cannot be ended at all."""

    with pytest.raises(Exception, match="bad") as caught:
        Here().open("bad")
    assert caught.value.__notes__ == [
        "session-aware: closing the session of Accounts.open failed as well (OSError: cannot close)."
    ]
    assert [record.getMessage() for record in caplog.records] == ["Accounts.open: its connection could not be invalidated"]


def test_async_session_that_overrides_invalidate_is_invalidated_through_it(async_database: AsyncDatabase) -> None:
    called: list[str] = []

    class Traced(AsyncSession):
        async def invalidate(self) -> None:
            called.append("invalidate")
            await super().invalidate()

    class Here(AsyncWork, async_session_factory=async_sessionmaker(async_database.engine, class_=Traced)):
        """Has sessions of its own class."""

    async def scenario() -> None:
        with failing(async_database, "rollback", OSError("line is dead")), pytest.raises(Exception, match="bad"):
            await Here().open("bad")

    async_database.run(scenario())
    assert called == ["invalidate"]
    assert async_database.recorder.events == GIVEN_UP


def test_error_after_the_commit_says_that_the_unit_committed(database: SyncDatabase) -> None:
    class Interrupted(Session):
        def close(self) -> None:
            super().close()
            raise KeyboardInterrupt

    class Here(Work, session_factory=sessionmaker(database.engine, class_=Interrupted)):
        """Is interrupted while it closes."""

    with pytest.raises(KeyboardInterrupt) as caught:
        Here().open("ann")
    assert caught.value.__notes__ == ["session-aware: Accounts.open had already committed when this was raised."]
    assert database.owners() == ["ann"]


# 10. Each call has its own session


def test_calls_of_one_object_in_many_threads_have_their_own_sessions(work: Work, database: SyncDatabase) -> None:
    def one(number: int) -> int:
        session = work.run(lambda session: (session, add(session, f"owner {number}"))[0])
        return id(session.info)

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(one, range(12)))
    assert len(seen) == 12
    assert len(database.owners()) == 12
    assert sorted(database.recorder.events) == sorted(OWNED * 12)


def test_sibling_tasks_have_their_own_sessions(awork: AsyncWork, async_database: AsyncDatabase) -> None:
    sessions: list[AsyncSession] = []

    async def body(session: AsyncSession) -> None:
        sessions.append(session)
        await aadd(session, f"owner {len(sessions)}")

    async def scenario() -> None:
        await asyncio.gather(*(awork.run(body) for _ in range(4)))

    async_database.run(scenario())
    assert len({id(session) for session in sessions}) == 4
    assert sorted(async_database.recorder.events) == sorted(OWNED * 4)


def test_fork_goes_on_with_connections_of_its_own(postgresql: PostgreSQL) -> None:
    program = """
        import os, sys
        from sqlalchemy import create_engine, text
        from sqlalchemy.orm import Session, sessionmaker
        from session_aware import NEW_SESSION, auto_session_func

        engine = create_engine(sys.argv[1])

        @auto_session_func(session_factory=sessionmaker(engine))
        def backend(*, session: Session = NEW_SESSION) -> int:
            return session.scalar(text("SELECT pg_backend_pid()"))

        parents = backend()
        if (child := os.fork()) == 0:
            engine.dispose(close=False)
            os._exit(backend() == parents)
        assert os.waitpid(child, 0)[1] == 0, "the child used its parent's connection"
        assert backend() == parents
        engine.dispose()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), postgresql.url()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_stored_on_the_object_or_its_class(work: Work) -> None:
    before = dict(vars(work)), set(vars(Work))
    work.open("ann")
    assert (dict(vars(work)), set(vars(Work))) == before


@pytest.mark.parametrize("owner", ["ann", "bad"])
def test_units_leave_nothing_in_memory(work: Work, database: SyncDatabase, owner: str) -> None:
    left: list[weakref.ref[Any]] = []

    def body(session: Session) -> None:
        left.append(weakref.ref(session))
        add(session, owner if owner == "bad" else f"{owner} {len(left)}")

    for _ in range(3):
        with suppress(Failure):
            work.run(body)
    gc.collect()
    assert [reference() for reference in left] == [None] * 3
    assert database.recorder.events


def test_statement_error_leaves_nothing_in_memory(work: Work) -> None:
    left: list[weakref.ref[Any]] = []

    def body(session: Session) -> None:
        left.append(weakref.ref(session.connection()))
        session.execute(text("no statement"))

    for _ in range(3):
        with pytest.raises(exc.DBAPIError):
            work.run(body)
    gc.collect()
    assert [reference() for reference in left] == [None] * 3


def test_session_is_not_touched_by_the_library_if_no_unit_owns_it(database: SyncDatabase) -> None:
    with database.maker() as session:
        Accounts().open("ann", session=session)
        assert session.info == {}
        assert session.expire_on_commit is True
        session.commit()
    assert database.recorder.events == [*JOINED, "COMMIT", "CHECKIN"]


def test_unit_can_be_found_in_session_info_while_it_lasts(work: Work) -> None:
    seen: list[str] = []

    def remember(session: Session, _flush: object) -> None:
        seen.append(session.info[OWNER_KEY].name)

    event.listen(Session, "after_flush", remember)
    try:
        work.open("ann")
    finally:
        event.remove(Session, "after_flush", remember)
    assert seen == ["Accounts.open"]


def test_calls_warn_of_nothing(work: Work) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        work.open("ann")
        work.open("bob")


# Results that still have rows to give


class Results(AsyncAccounts):
    async def streamed(self, *, session: AsyncSession = NEW_SESSION) -> Any:
        await aadd(session, "ann")
        return await session.stream(select(Account))

    async def buffered(self, *, session: AsyncSession = NEW_SESSION) -> Any:
        await aadd(session, "ann")
        return await session.execute(select(Account))

    async def exhausted(self, *, session: AsyncSession = NEW_SESSION) -> Any:
        result = await session.stream_scalars(select(Account))
        assert [account async for account in result] == []
        return result

    async def updated(self, *, session: AsyncSession = NEW_SESSION) -> Any:
        return await session.execute(update(Account).values(balance=1))


def test_async_result_with_rows_is_refused(async_database: AsyncDatabase) -> None:
    results = Results()
    results.async_session_factory = async_database.maker
    for call in (results.streamed, results.buffered):
        with pytest.raises(SessionAwareError, match="it returned a Result with rows"):
            async_database.run(call())
        assert async_database.recorder.take() == UNDONE
    async_database.run(results.exhausted())
    assert async_database.run(results.updated()).rowcount == 0
    assert async_database.recorder.events == OWNED * 2
