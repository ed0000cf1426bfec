"""``auto_session_ctx``: the block form, for ``with`` and ``async with``."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast
from unittest import mock

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from session_aware import (
    NEW_SESSION,
    PolicyConflictError,
    Propagation,
    PropagationError,
    SessionAwareError,
    SessionFactoryError,
    SessionOwnershipError,
    SessionParameterError,
    UnitRecord,
    auto_session_ctx,
    configure,
)
from session_aware._call import block as _call_block
from session_aware._unit import nesting
from tests.databases import AsyncDatabase, SyncDatabase
from tests.services import JOINED, NOTHING, OWNED, UNDONE, Failure, aadd, add


def test_block_without_a_session_owns(database: SyncDatabase) -> None:
    with auto_session_ctx(session_factory=database.maker) as session:
        account = add(session, "ann")
    assert account.owner == "ann"
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann"]


def test_async_block_without_a_session_owns(async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        async with auto_session_ctx(async_session_factory=async_database.maker) as session:
            account = await aadd(session, "ann")
        assert account.owner == "ann"

    async_database.run(scenario())
    assert async_database.recorder.events == OWNED


def test_block_yields_a_given_session_untouched(database: SyncDatabase) -> None:
    with database.maker() as session:
        with auto_session_ctx(session) as same:
            assert same is session
            add(same, "ann")
        with pytest.raises(Failure), auto_session_ctx(session):
            add(session, "bad")
        assert database.recorder.events == JOINED


@pytest.mark.parametrize("make", [scoped_session, lambda _: mock.Mock(), lambda _: mock.MagicMock(spec=Session)])
def test_block_yields_whatever_is_given_as_it_is(sqlite: SyncDatabase, make: Callable[[Any], Any]) -> None:
    given = make(sqlite.maker)
    block = auto_session_ctx(given)
    for _ in range(2):
        with block as same:
            assert same is given
    with pytest.raises(Failure), block:
        raise Failure
    assert sqlite.recorder.events == NOTHING


@pytest.mark.parametrize("make", [lambda maker: async_scoped_session(maker, asyncio.current_task), lambda _: mock.Mock()])
def test_async_block_yields_whatever_is_given_as_it_is(aiosqlite: AsyncDatabase, make: Callable[[Any], Any]) -> None:
    async def scenario() -> None:
        given = make(aiosqlite.maker)
        async with auto_session_ctx(given) as same:
            assert same is given
        with pytest.raises(Failure):
            async with auto_session_ctx(given):
                raise Failure

    aiosqlite.run(scenario())
    assert aiosqlite.recorder.events == NOTHING


def test_savepoint_in_a_stand_in_ends() -> None:
    given = mock.Mock(spec=Session)
    with auto_session_ctx(given, propagation=Propagation.NESTED) as same:
        assert same is given
    given.begin_nested.assert_called_once_with()


def test_async_block_cannot_be_entered_by_two_tasks_at_once(async_database: AsyncDatabase) -> None:
    class Slow(AsyncSession):
        async def run_sync(self, *args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return await super().run_sync(*args, **kwargs)

    def factory() -> AsyncSession:
        session = Slow(async_database.engine)
        session.sync_session.begin()  # so that the unit takes a turn of the loop to begin
        return session

    async def scenario() -> None:
        async def enter() -> None:
            async with block:
                await asyncio.sleep(0)

        block = auto_session_ctx(async_session_factory=factory)
        results = await asyncio.gather(enter(), enter(), return_exceptions=True)
        assert [type(one) for one in results] == [type(None), SessionAwareError]
        await enter()
        failing = auto_session_ctx(async_session_factory=lambda: cast("Any", None))
        for _ in range(2):
            with pytest.raises(SessionFactoryError):
                await failing.__aenter__()

    async_database.run(scenario())


def test_block_with_a_savepoint_yields_the_given_registry(sqlite: SyncDatabase) -> None:
    given = scoped_session(sqlite.maker)
    with auto_session_ctx(given, propagation=Propagation.NESTED) as same:
        assert same is given
        add(given(), "ann")
    assert sqlite.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE"]
    given.remove()


def test_async_block_yields_a_given_session_untouched(async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        async with async_database.maker() as session:
            async with auto_session_ctx(session) as same:
                assert same is session
                await aadd(same, "ann")
            assert async_database.recorder.events == JOINED

    async_database.run(scenario())


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_any_exception_rolls_back_and_is_the_same_object(database: SyncDatabase, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, auto_session_ctx(session_factory=database.maker) as session:
        add(session, "ann")
        raise error
    assert caught.value is error
    assert database.recorder.events == UNDONE


@pytest.mark.parametrize("error", [ValueError(), asyncio.CancelledError()])
def test_any_async_exception_rolls_back_and_is_the_same_object(async_database: AsyncDatabase, error: BaseException) -> None:
    async def scenario() -> None:
        with pytest.raises(type(error)) as caught:
            async with auto_session_ctx(async_session_factory=async_database.maker) as session:
                await aadd(session, "ann")
                raise error
        assert caught.value is error

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE


def test_configured_factories_serve_both_kinds(sqlite: SyncDatabase, aiosqlite: AsyncDatabase) -> None:
    configure(session_factory=sqlite.maker, async_session_factory=aiosqlite.maker)

    async def scenario() -> None:
        async with auto_session_ctx() as session:
            assert isinstance(session, AsyncSession)

    with auto_session_ctx() as session:
        assert isinstance(session, Session)
    aiosqlite.run(scenario())


def test_new_session_in_a_variable_means_omitted(sqlite: SyncDatabase) -> None:
    given: Session = NEW_SESSION
    with auto_session_ctx(given, session_factory=sqlite.maker) as session:
        add(session, "ann")
    assert sqlite.recorder.events == OWNED


def test_block_without_a_factory_is_refused_on_entry() -> None:
    block = auto_session_ctx()
    with pytest.raises(SessionFactoryError), block:
        pytest.fail("the block was entered")


def test_dry_run_is_rolled_back_and_its_objects_stay_readable(database: SyncDatabase) -> None:
    with auto_session_ctx(session_factory=database.maker, is_commit=False) as session:
        account = add(session, "ann")
    assert (account.owner, account.balance) == ("ann", 0)
    assert database.recorder.events == UNDONE


def test_read_only_block_never_commits(database: SyncDatabase) -> None:
    with pytest.raises(PolicyConflictError), auto_session_ctx(session_factory=database.maker, read_only=True) as session:
        add(session, "ann")
    assert database.recorder.events == NOTHING  # refused before a connection was needed


def test_propagation_of_a_block(database: SyncDatabase) -> None:
    with database.maker.begin() as session:
        with auto_session_ctx(session, propagation=Propagation.NESTED):
            add(session, "ann")
        with pytest.raises(Failure), auto_session_ctx(session, propagation=Propagation.NESTED):
            add(session, "bad")
        with pytest.raises(PropagationError), auto_session_ctx(session, propagation=Propagation.REQUIRES_NEW):
            pytest.fail("the block was entered")
    with pytest.raises(PropagationError), auto_session_ctx(propagation=Propagation.MANDATORY):
        pytest.fail("the block was entered")
    assert database.recorder.transactions == [
        "BEGIN",
        *("SAVEPOINT", "RELEASE"),
        *("SAVEPOINT", "ROLLBACK TO"),
        "COMMIT",
    ]


def test_async_propagation_of_a_block(async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        async with async_database.maker.begin() as session:
            with pytest.raises(Failure):
                async with auto_session_ctx(session, propagation=Propagation.NESTED):
                    await aadd(session, "bad")

    async_database.run(scenario())
    assert async_database.recorder.transactions == ["BEGIN", "SAVEPOINT", "ROLLBACK TO", "COMMIT"]


def test_context_can_be_entered_again_and_not_twice_at_once(database: SyncDatabase) -> None:
    block = auto_session_ctx(session_factory=database.maker)
    for owner in ("ann", "bob"):
        with block as session:
            add(session, owner)
            with pytest.raises(SessionAwareError, match="it is open already"), block:
                pytest.fail("the block was entered")
    assert database.recorder.events == OWNED * 2


def test_context_that_is_interrupted_on_entry_can_be_entered_again(
    database: SyncDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = auto_session_ctx(session_factory=database.maker)
    with monkeypatch.context() as patch:

        def interrupted(opening: Any) -> None:
            nesting.note_start(opening)
            raise KeyboardInterrupt

        patch.setattr(_call_block, "note_start", interrupted)
        with pytest.raises(KeyboardInterrupt), block:
            pytest.fail("the block was entered")
    with block as session:
        add(session, "ann")
    assert database.recorder.events == OWNED


def test_block_may_be_entered_where_nothing_is_above_it_on_the_stack(database: SyncDatabase) -> None:
    block: Any = auto_session_ctx(session_factory=database.maker)
    session = import_module("greenlet").greenlet(block.__enter__).switch()
    add(session, "ann")
    block.__exit__(None, None, None)
    assert database.recorder.events == OWNED


def test_block_that_is_over_keeps_no_session(database: SyncDatabase) -> None:
    block = auto_session_ctx(session_factory=database.maker)
    with block as session:
        gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None


def test_policy_of_a_block_comes_before_that_of_configure(database: SyncDatabase) -> None:
    configure(read_only=True, propagation=Propagation.NESTED)
    with auto_session_ctx(session_factory=database.maker, read_only=False) as session:
        add(session, "ann")
    assert database.recorder.events == OWNED
    with database.maker() as session, auto_session_ctx(session, propagation=Propagation.REQUIRED):
        add(session, "bob")
        assert not session.in_nested_transaction()


def test_context_that_was_not_entered_cannot_be_left() -> None:
    with pytest.raises(SessionAwareError, match="without having been entered"):
        auto_session_ctx().__exit__(None, None, None)


def test_context_that_failed_on_entry_can_be_entered_again(database: SyncDatabase) -> None:
    failures = [LookupError()]

    def factory() -> Session:
        if failures:
            raise failures.pop()
        return database.maker()

    block = auto_session_ctx(session_factory=factory)
    with pytest.raises(LookupError), block:
        pytest.fail("the block was entered")
    with block as session:
        add(session, "ann")
    assert database.recorder.events == OWNED


@pytest.fixture
def records() -> list[UnitRecord]:
    seen: list[UnitRecord] = []
    configure(observer=seen.append)
    return seen


def test_block_that_cannot_begin_gives_its_connection_back(postgres: SyncDatabase, records: list[UnitRecord]) -> None:
    made: list[Session] = []  # kept, so that nothing is left to the garbage collector

    def factory() -> Session:
        made.append(postgres.maker())
        made[-1].execute(text("SELECT 1"))
        return made[-1]

    with (
        pytest.raises(PolicyConflictError) as caught,
        auto_session_ctx(session_factory=factory, isolation_level="SERIALIZABLE"),
    ):
        pytest.fail("the block was entered")
    assert postgres.checked_out == 0
    assert not made[0].in_transaction()
    assert [(record.outcome, record.error) for record in records] == [("rolled back", caught.value)]


def test_async_block_that_cannot_begin_gives_its_connection_back(
    async_postgres: AsyncDatabase, records: list[UnitRecord]
) -> None:
    async def scenario() -> None:
        session = async_postgres.maker()
        await session.execute(text("SELECT 1"))
        with pytest.raises(PolicyConflictError):
            async with auto_session_ctx(async_session_factory=lambda: session, isolation_level="SERIALIZABLE"):
                pytest.fail("the block was entered")
        assert async_postgres.checked_out == 0
        assert not session.in_transaction()

    async_postgres.run(scenario())
    assert [record.outcome for record in records] == ["rolled back"]


@pytest.mark.parametrize("goes_on", [False, True])
def test_block_that_cannot_commit_gives_its_connection_back(
    database: SyncDatabase, records: list[UnitRecord], goes_on: bool
) -> None:
    with (
        pytest.raises(SessionOwnershipError) as caught,
        auto_session_ctx(session_factory=database.maker) as session,
    ):
        add(session, "ann")
        session.rollback()
        if goes_on:
            add(session, "ann")
    assert database.recorder.events == UNDONE * (1 + goes_on)
    assert database.checked_out == 0
    assert not session.in_transaction()
    assert database.owners() == []
    assert [(record.outcome, record.error) for record in records] == [("rolled back", caught.value)]


@pytest.mark.parametrize("goes_on", [False, True])
def test_async_block_that_cannot_commit_gives_its_connection_back(
    async_database: AsyncDatabase, records: list[UnitRecord], goes_on: bool
) -> None:
    async def scenario() -> None:
        with pytest.raises(SessionOwnershipError):
            async with auto_session_ctx(async_session_factory=async_database.maker) as session:
                await aadd(session, "ann")
                await session.rollback()
                if goes_on:
                    await aadd(session, "ann")
        assert async_database.recorder.events == UNDONE * (1 + goes_on)
        assert async_database.checked_out == 0
        assert not session.in_transaction()

    async_database.run(scenario())
    assert async_database.owners() == []
    assert [record.outcome for record in records] == ["rolled back"]


def test_block_that_nobody_leaves_gives_its_connection_back_when_it_is_collected(database: SyncDatabase) -> None:
    block = auto_session_ctx(session_factory=database.maker)
    add(block.__enter__(), "ann")
    assert database.checked_out == 1
    del block
    gc.collect()
    assert database.checked_out == 0
    assert database.owners() == []


def test_session_of_the_other_kind_is_refused(sqlite: SyncDatabase, aiosqlite: AsyncDatabase) -> None:
    async def scenario() -> None:
        with sqlite.maker() as session, pytest.raises(SessionParameterError):
            async with auto_session_ctx(session):  # type: ignore[attr-defined] # the point
                pytest.fail("the block was entered")
        async with aiosqlite.maker() as asession:
            block = cast("Any", auto_session_ctx(asession))
            with pytest.raises(SessionParameterError), block:
                pytest.fail("the block was entered")

    aiosqlite.run(scenario())
