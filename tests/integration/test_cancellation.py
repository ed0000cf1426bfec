"""Cancellation: what ends a unit is shielded from it, awaited, and the caller is told how it went."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.util import await_only

from session_aware import NEW_SESSION, CommitOutcomeUnknown, auto_session_ctx
from session_aware._unit import shield
from tests.databases import AsyncDatabase
from tests.faults.stage import wait_until
from tests.ledger import Entry
from tests.servers.postgresql import PostgreSQL
from tests.services import OWNED, UNDONE, AsyncAccounts, Failure, aadd

COMMITTED = "session-aware: Work.run had already committed when this was raised."


TASKS: dict[str, Any] = {"lazy": None}  # start at the loop's next turn
if sys.version_info >= (3, 12):
    TASKS["eager"] = asyncio.eager_task_factory  # at once


@pytest.fixture(autouse=True, params=TASKS)
def _tasks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AsyncDatabase, "task_factory", TASKS[request.param])


class Work(AsyncAccounts):
    """Runs what a test hands over as the body."""

    async def run(self, body: Callable[[AsyncSession], Awaitable[Any]], *, session: AsyncSession = NEW_SESSION) -> Any:
        return await body(session)


def work_on(database: AsyncDatabase) -> Work:
    made = Work()
    made.async_session_factory = database.maker
    return made


@pytest.fixture
def _slow_commit(postgresql: PostgreSQL, postgresql_witness: Engine) -> Iterator[None]:
    """Let every COMMIT of an account take 0.4 seconds, in the server."""
    engine = create_engine(postgresql.url("psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END'"
        )
        connection.exec_driver_sql(
            "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON account DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION linger()"
        )
    yield
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP TRIGGER linger ON account")
        connection.exec_driver_sql("DROP FUNCTION linger")
    engine.dispose()


class Sent:
    """Is set when COMMIT is sent."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._event = asyncio.Event()
        event.listen(database.engine.sync_engine, "commit", lambda _: self._event.set())

    async def wait(self) -> None:
        await self._event.wait()
        await asyncio.sleep(0)  # the driver has written it


@pytest.mark.usefixtures("_slow_commit")
def test_cancellation_during_commit_waits_and_says_that_the_unit_committed(async_postgres: AsyncDatabase) -> None:
    async def scenario() -> None:
        sent = Sent(async_postgres)
        task = asyncio.create_task(work_on(async_postgres).run(lambda session: aadd(session, "ann")))
        await sent.wait()
        assert async_postgres.owners() == []
        task.cancel("because")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("because",)
        assert caught.value.__notes__ == [COMMITTED]

    async_postgres.run(scenario())
    assert async_postgres.recorder.events == OWNED
    assert async_postgres.owners() == ["ann"]


@pytest.mark.usefixtures("_slow_commit")
def test_waiting_for_commit_under_anyio_does_not_spin(
    async_postgres: AsyncDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        loop: Any = asyncio.get_running_loop()
        sent = Sent(async_postgres)
        turns = 0
        turn = loop._run_once

        def count() -> None:
            nonlocal turns
            turns += 1
            turn()

        async with anyio.create_task_group() as group:

            async def work() -> None:
                with pytest.raises(asyncio.CancelledError) as caught:
                    await work_on(async_postgres).run(lambda session: aadd(session, "ann"))
                assert caught.value.__notes__ == [COMMITTED]
                raise caught.value

            group.start_soon(work)
            await sent.wait()
            monkeypatch.setattr(loop, "_run_once", count)
            group.cancel_scope.cancel()
        monkeypatch.undo()
        assert turns < 30

    async_postgres.run(scenario())
    assert async_postgres.owners() == ["ann"]


@pytest.mark.parametrize("is_cancelled_by_anyio", [True, False])
def test_cancellation_of_the_body_goes_to_who_cancelled(async_postgres: AsyncDatabase, is_cancelled_by_anyio: bool) -> None:
    async def scenario() -> None:
        started = asyncio.Event()

        async def body(session: AsyncSession) -> None:
            await aadd(session, "ann")
            started.set()
            await asyncio.sleep(20)

        async def call() -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await work_on(async_postgres).run(body)

        scopes: list[anyio.CancelScope] = []
        task = asyncio.create_task(call())
        await started.wait()
        (scopes[0] if is_cancelled_by_anyio else task).cancel()
        await asyncio.wait((task,))
        assert task.cancelled() is not is_cancelled_by_anyio  # anyio's scope takes its own cancellation, and no other

    async_postgres.run(scenario())
    assert async_postgres.recorder.events == UNDONE
    assert async_postgres.owners() == []


@pytest.mark.usefixtures("_slow_commit")
def test_timeout_during_commit_is_a_timeout_after_the_commit(async_postgres: AsyncDatabase) -> None:
    async def scenario() -> None:
        sent = Sent(async_postgres)
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(None) as deadline:

                async def expire() -> None:
                    await sent.wait()
                    deadline.reschedule(asyncio.get_running_loop().time())

                expiring = asyncio.create_task(expire())
                await work_on(async_postgres).run(lambda session: aadd(session, "ann"))
        await expiring
        assert caught.value.__cause__ is not None
        assert caught.value.__cause__.__notes__ == [COMMITTED]

    async_postgres.run(scenario())
    assert async_postgres.owners() == ["ann"]


@pytest.mark.usefixtures("_slow_commit")
def test_commit_that_outlasts_the_grace_period_is_unknown_and_leaks_nothing(
    async_postgres: AsyncDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shield, "GRACE_SECONDS", 0.05)

    async def scenario() -> None:
        sent = Sent(async_postgres)
        task = asyncio.create_task(work_on(async_postgres).run(lambda session: aadd(session, "ann")))
        await sent.wait()
        task.cancel()
        with pytest.raises(CommitOutcomeUnknown) as caught:
            await task
        cancelled = caught.value.__cause__
        assert isinstance(cancelled, asyncio.CancelledError)
        assert cancelled.__notes__ == [
            "session-aware: the database did not answer within 0.05 s of the cancellation; the connection was given up."
        ]
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    async_postgres.run(scenario())
    assert async_postgres.checked_out == 0
    assert async_postgres.recorder.events[:3] == ["CHECKOUT", "BEGIN", "COMMIT"]
    assert async_postgres.recorder.events[-1] == "CHECKIN"


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
            await aadd(session, "ann")

    async def scenario() -> None:
        SlowCommit.started = asyncio.Event()
        maker = async_sessionmaker(aiosqlite.engine, class_=SlowCommit)
        work = work_on(aiosqlite)
        work.async_session_factory = maker
        task = asyncio.create_task(block(maker) if is_block else work.open("ann"))
        await SlowCommit.started.wait()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert any("had already committed" in note for note in caught.value.__notes__)

    aiosqlite.run(scenario())
    assert aiosqlite.owners() == ["ann"]


def test_session_of_a_commit_that_was_given_up_is_closed(
    aiosqlite: AsyncDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shield, "GRACE_SECONDS", 0.01)

    async def scenario() -> None:
        started = asyncio.Event()

        @event.listens_for(aiosqlite.engine.sync_engine, "commit")
        def _hang(_connection: object) -> None:
            started.set()
            try:
                await_only(asyncio.Event().wait())
            finally:  # as drivers that say goodbye
                await_only(asyncio.sleep(0.01))

        task = asyncio.create_task(work_on(aiosqlite).open("ann"))
        await started.wait()
        task.cancel()
        with pytest.raises(CommitOutcomeUnknown) as caught:
            await task
        assert not any("failed as well" in note for note in getattr(caught.value, "__notes__", ()))
        assert aiosqlite.checked_out == 0

    aiosqlite.run(scenario())
    assert "could not be invalidated" not in caplog.text


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


def test_cancelled_commit_that_fails_says_so_and_rolls_back(async_postgres: AsyncDatabase) -> None:
    async def body(session: AsyncSession) -> None:
        session.add(Entry(account_id=404))
        await session.flush()

    async def scenario() -> None:
        sent = Sent(async_postgres)
        task = asyncio.create_task(work_on(async_postgres).run(body))
        await sent._event.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert len(caught.value.__notes__) == 1
        assert caught.value.__notes__[0].startswith("session-aware: ending the unit failed as well (IntegrityError: ")

    async_postgres.run(scenario())
    assert async_postgres.recorder.events == ["CHECKOUT", "BEGIN", "COMMIT", "CHECKIN"]


@pytest.mark.parametrize("is_block", [False, True])
def test_cancellation_in_the_body_rolls_back(async_database: AsyncDatabase, is_block: bool) -> None:
    async def scenario() -> None:
        reached = asyncio.Event()

        async def body(session: AsyncSession) -> None:
            await aadd(session, "ann")
            reached.set()
            await asyncio.Event().wait()

        async def block() -> None:
            async with auto_session_ctx(async_session_factory=async_database.maker) as session:
                await body(session)

        task = asyncio.create_task(block() if is_block else work_on(async_database).run(body))
        await reached.wait()
        task.cancel("because")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("because",)
        assert not getattr(caught.value, "__notes__", [])

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE
    assert async_database.owners() == []


def test_cancellation_during_a_statement_rolls_back_or_gives_the_connection_up(
    async_postgres: AsyncDatabase, postgresql: PostgreSQL
) -> None:
    def is_asleep() -> bool:
        return bool(postgresql.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))

    async def scenario() -> None:
        async def body(session: AsyncSession) -> None:
            await session.execute(text("SELECT pg_sleep(10)"))

        task = asyncio.create_task(work_on(async_postgres).run(body))
        assert await asyncio.to_thread(wait_until, is_asleep, seconds=10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await work_on(async_postgres).run(lambda session: aadd(session, "ann"))

    async_postgres.run(scenario())
    assert "COMMIT" not in async_postgres.recorder.events[:-4]
    assert async_postgres.owners() == ["ann"]


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


def test_cancellation_during_the_rollback_of_an_error_is_awaited_and_raised(async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        rolling = asyncio.Event()

        class Slow(AsyncSession):
            async def rollback(self) -> None:
                rolling.set()
                await asyncio.sleep(0)
                await super().rollback()

        class Here(AsyncAccounts, async_session_factory=async_sessionmaker(async_database.engine, class_=Slow)):
            pass

        task = asyncio.create_task(Here().open("bad"))
        await rolling.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE


def test_task_group_that_fails_rolls_its_siblings_back(async_postgres: AsyncDatabase) -> None:
    async def scenario() -> None:
        reached = asyncio.Event()

        async def waits(session: AsyncSession) -> None:
            await aadd(session, "ann")
            reached.set()
            await asyncio.Event().wait()

        async def fails() -> None:
            await reached.wait()
            raise LookupError

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(work_on(async_postgres).run(waits))
                group.create_task(fails())
        assert [type(error) for error in caught.value.exceptions] == [LookupError]

    async_postgres.run(scenario())
    assert async_postgres.recorder.events == UNDONE
    assert async_postgres.owners() == []
