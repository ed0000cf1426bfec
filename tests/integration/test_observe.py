"""The logger, the observer, and ``session.info``: one record for each owned unit, and free when nobody listens."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import (
    NEW_SESSION,
    CommitOutcomeUnknown,
    Retry,
    SessionAwareService,
    SessionFactoryError,
    UnitRecord,
    auto_session_ctx,
    configure,
)
from tests.databases import AsyncDatabase, SyncDatabase
from tests.services import Failure, aadd, add

CONFLICT = text("DO $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '40001'; END $$")


class Work(SessionAwareService):
    def open(self, owner: str, *, is_commit: bool = True, session: Session = NEW_SESSION) -> None:
        add(session, owner)

    def stream(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
        yield from (1, 2)

    def fail(self, times: list[int], *, session: Session = NEW_SESSION) -> None:
        session.execute(CONFLICT if times and times.pop() else text("SELECT 1"))

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        await aadd(session, owner)

    async def afail(self, times: list[int], *, session: AsyncSession = NEW_SESSION) -> None:
        if times and times.pop():
            await session.execute(CONFLICT)


def work_on(database: SyncDatabase | AsyncDatabase) -> Work:
    made = Work()
    if isinstance(database, AsyncDatabase):
        made.async_session_factory = database.maker
    else:
        made.session_factory = database.maker
    return made


@pytest.fixture
def records() -> list[UnitRecord]:
    seen: list[UnitRecord] = []
    configure(observer=seen.append)
    return seen


def short(records: list[UnitRecord]) -> list[tuple[str, str, int]]:
    return [(record.name, record.outcome, record.attempts) for record in records]


def test_observer_hears_of_each_owned_unit(database: SyncDatabase, records: list[UnitRecord]) -> None:
    work = work_on(database)
    began = time.perf_counter()
    work.open("ann")
    with pytest.raises(Failure) as caught:
        work.open("bad")
    work.open("dry", is_commit=False)
    list(work.stream())
    took = time.perf_counter() - began
    assert short(records) == [
        ("Work.open", "committed", 1),
        ("Work.open", "rolled back", 1),
        ("Work.open", "discarded", 1),
        ("Work.stream", "committed", 1),
    ]
    assert [record.error for record in records] == [None, caught.value, None, None]
    assert 0 < sum(record.seconds for record in records) <= took


def test_clock_of_a_unit_starts_when_its_body_does(async_database: AsyncDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    work = work_on(async_database)
    now = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(now)))
    coroutine = work.aopen("ann")
    records: list[UnitRecord] = []
    configure(observer=records.append)  # also of a coroutine that was made before
    for _ in range(100):
        next(now)
    async_database.run(coroutine)
    assert [record.seconds for record in records] == [1.0]


def test_observer_hears_of_each_owned_async_unit(async_database: AsyncDatabase, records: list[UnitRecord]) -> None:
    work = work_on(async_database)
    async_database.run(work.aopen("ann"))
    with pytest.raises(Failure) as caught:
        async_database.run(work.aopen("bad"))
    assert short(records) == [("Work.aopen", "committed", 1), ("Work.aopen", "rolled back", 1)]
    assert records[1].error is caught.value


def test_observer_hears_of_a_factory_that_fails(records: list[UnitRecord]) -> None:
    def fail() -> Any:
        raise Failure

    work = Work()
    work.session_factory = work.async_session_factory = fail
    with pytest.raises(Failure):
        work.open("ann")
    with pytest.raises(Failure):
        asyncio.run(work.aopen("ann"))
    assert short(records) == [("Work.open", "rolled back", 1), ("Work.aopen", "rolled back", 1)]


def test_observer_hears_of_blocks_and_read_only_units(sqlite: SyncDatabase, records: list[UnitRecord]) -> None:
    with auto_session_ctx(session_factory=sqlite.maker):
        pass
    with auto_session_ctx(session_factory=sqlite.maker, read_only=True):
        pass
    assert [record.outcome for record in records] == ["committed", "discarded"]


def test_observer_hears_of_all_attempts_at_once(postgres: SyncDatabase, records: list[UnitRecord]) -> None:
    configure(retry=Retry(wait_initial=0, wait_max=0))
    work = work_on(postgres)
    work.fail([0, 1, 1])
    with pytest.raises(DBAPIError) as caught:
        work.fail([1, 1, 1])
    assert short(records) == [("Work.fail", "committed", 3), ("Work.fail", "rolled back", 3)]
    assert [record.error for record in records] == [None, caught.value]


def test_observer_hears_of_all_async_attempts_at_once(async_postgres: AsyncDatabase, records: list[UnitRecord]) -> None:
    configure(retry=Retry(wait_initial=0, wait_max=0))
    work = work_on(async_postgres)
    async_postgres.run(work.afail([0, 1, 1]))
    assert short(records) == [("Work.afail", "committed", 3)]


def test_observer_hears_once_of_a_unit_that_commits_while_its_task_is_cancelled(
    async_database: AsyncDatabase, records: list[UnitRecord]
) -> None:
    async def scenario(retry: Retry | None) -> None:
        configure(retry=retry)
        task = asyncio.create_task(work.aopen("ann" if retry is None else "bob"))
        tasks.append(task)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        errors.append(caught.value)

    @event.listens_for(async_database.engine.sync_engine, "commit")
    def _cancel(_: object) -> None:
        tasks.pop().cancel()

    work = work_on(async_database)
    tasks: list[asyncio.Task[None]] = []
    errors: list[BaseException] = []
    async_database.run(scenario(None))
    async_database.run(scenario(Retry()))
    assert short(records) == [("Work.aopen", "committed", 1)] * 2
    assert [record.error for record in records] == errors
    assert async_database.owners() == ["ann", "bob"]


@pytest.mark.parametrize("retry", [None, Retry(wait_initial=0, wait_max=0, on=lambda _: True)], ids=["once", "retry"])
def test_unit_that_is_interrupted_after_its_commit_is_committed(
    sqlite: SyncDatabase, records: list[UnitRecord], retry: Retry | None
) -> None:
    @event.listens_for(sqlite.maker, "after_commit")
    def _interrupt(_: Session) -> None:
        raise KeyboardInterrupt

    configure(retry=retry)
    with pytest.raises(KeyboardInterrupt) as caught:
        work_on(sqlite).open("ann")
    assert short(records) == [("Work.open", "committed", 1)]
    assert records[0].error is caught.value
    assert sqlite.owners() == ["ann"]


def test_listener_that_was_there_before_the_library_may_fail_after_the_commit(tmp_path: Path) -> None:
    program = f"""
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session, sessionmaker

@event.listens_for(Session, "after_commit")
def fail(session):
    raise LookupError

import session_aware

records = []
session_aware.configure(observer=records.append)
engine = create_engine("sqlite:///{tmp_path}/listened.sqlite")
with session_aware.auto_session_ctx(session_factory=sessionmaker(engine)) as session:
    session.execute(text("CREATE TABLE t (n)"))
    session.execute(text("INSERT INTO t VALUES (1)"))
print([record.outcome for record in records])
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "['committed']\n", done.stderr


def test_outcome_of_a_retried_unit_is_that_of_its_last_attempt(postgres: SyncDatabase, records: list[UnitRecord]) -> None:
    @event.listens_for(postgres.engine, "commit")
    def _leave(_: object) -> None:
        raise LookupError

    configure(retry=Retry(wait_initial=0, wait_max=0))
    work = work_on(postgres)
    with pytest.raises(CommitOutcomeUnknown):
        work.fail([0, 1])
    configure(session_factory=None, retry=Retry(on=lambda _: True))
    with pytest.raises(SessionFactoryError):
        Work().fail([])
    assert short(records) == [("Work.fail", "unknown", 2)]


def test_retried_dry_run_is_discarded(sqlite: SyncDatabase, records: list[UnitRecord]) -> None:
    configure(retry=Retry())
    work_on(sqlite).open("ann", is_commit=False)
    assert short(records) == [("Work.open", "discarded", 1)]


def test_given_session_is_nobodys_unit(sqlite: SyncDatabase, records: list[UnitRecord]) -> None:
    with sqlite.maker.begin() as session:
        work_on(sqlite).open("ann", session=session)
    assert records == []


def test_observer_that_is_interrupted_is_not_called_again(sqlite: SyncDatabase) -> None:
    def interrupt(record: UnitRecord) -> None:
        seen.append(record)
        raise KeyboardInterrupt

    seen: list[UnitRecord] = []
    configure(observer=interrupt)
    with pytest.raises(KeyboardInterrupt):
        work_on(sqlite).open("ann")
    assert short(seen) == [("Work.open", "committed", 1)]
    assert sqlite.owners() == ["ann"]


def test_error_of_the_observer_goes_no_further(sqlite: SyncDatabase, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: UnitRecord) -> None:
        raise Failure

    configure(observer=fail)
    work_on(sqlite).open("ann")
    assert sqlite.owners() == ["ann"]
    [record] = caplog.records
    assert record.getMessage().startswith(
        "the observer failed on UnitRecord(name='Work.open', outcome='committed', attempts=1, "
    )
    assert record.name == "session_aware"
    assert record.levelno == logging.ERROR


def test_logger_tells_of_each_unit_at_debug(postgres: SyncDatabase, caplog: pytest.LogCaptureFixture) -> None:
    configure(retry=Retry(wait_initial=0, wait_max=0))
    with caplog.at_level(logging.DEBUG, "session_aware"):
        work_on(postgres).fail([0, 1])
    first, last = caplog.messages
    assert first == "Work.fail: attempt 1 failed with OperationalError"
    assert last.startswith("Work.fail: committed, attempts 2, ")
    assert last.endswith(" s")


def test_nobody_asks_the_clock_when_nobody_listens(sqlite: SyncDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> float:
        pytest.fail("asked for the time")

    monkeypatch.setattr("session_aware._unit.observe.time.perf_counter", asked)
    work_on(sqlite).open("ann")


def test_observer_set_while_a_unit_runs_hears_of_the_next(sqlite: SyncDatabase) -> None:
    seen: list[UnitRecord] = []
    with auto_session_ctx(session_factory=sqlite.maker):
        configure(observer=seen.append)
    assert seen == []
    work_on(sqlite).open("ann")
    assert len(seen) == 1


def test_observer_taken_back_while_a_unit_runs_hears_nothing(sqlite: SyncDatabase) -> None:
    seen: list[UnitRecord] = []
    configure(observer=seen.append)
    with auto_session_ctx(session_factory=sqlite.maker):
        configure(observer=None)
    assert seen == []


def test_record_is_frozen() -> None:
    record = UnitRecord(name="x", outcome="unknown", attempts=1, seconds=0.1, error=None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.name = "y"  # type: ignore[misc] # this is the point


def test_session_info_names_the_unit_for_users_own_events(database: SyncDatabase) -> None:
    names: list[Any] = []

    def listen(session: Session, *_: object) -> None:
        names.append(session.info["session_aware"].name if "session_aware" in session.info else None)

    event.listen(Session, "after_flush", listen)
    try:
        work_on(database).open("ann")
        with database.maker.begin() as session:
            work_on(database).open("bob", session=session)
    finally:
        event.remove(Session, "after_flush", listen)
    assert names == ["Work.open", None]
