"""An owned call inside the body of another one: the warning, where it points, and who is exempt."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from types import CodeType
from typing import Any, Final, cast
from unittest.mock import Mock

import pytest
from sqlalchemy import create_engine, event, select
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import QueuePool, StaticPool
from sqlalchemy.util import await_only

from session_aware import (
    NEW_SESSION,
    NestedSessionWarning,
    Propagation,
    Retry,
    after_commit,
    auto_session_ctx,
    auto_session_func,
)
from session_aware._unit import nesting
from tests.databases import AsyncDatabase, Databases, SyncDatabase
from tests.ledger import Account
from tests.services import NOTHING, OWNED, Accounts, AsyncAccounts


class Outer(Accounts):
    """Calls others from a body."""

    def calls(self, inner: Callable[[], Any], *, session: Session = NEW_SESSION) -> Any:
        return inner()

    def is_open(self, *, session: Session = NEW_SESSION) -> bool:
        return session.in_transaction()

    def forgets(self, *, session: Session = NEW_SESSION) -> bool:
        return self.is_open()

    def passes_on(self, *, session: Session = NEW_SESSION) -> bool:
        return self.is_open(session=session)

    @auto_session_func(propagation=Propagation.REQUIRES_NEW)
    def is_open_anew(self, *, session: Session = NEW_SESSION) -> bool:
        return session.in_transaction()

    @auto_session_func(retry=Retry())
    def tries(self, *, session: Session = NEW_SESSION) -> bool:
        return session.in_transaction()

    def forgets_to_try(self, *, session: Session = NEW_SESSION) -> bool:
        return self.tries()

    def numbers(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
        yield from (1, 2)

    def forgetful_numbers(self, *, session: Session = NEW_SESSION) -> Iterator[bool]:
        yield self.is_open()

    @contextmanager
    def block(self, *, session: Session = NEW_SESSION) -> Iterator[None]:
        yield


class AsyncOuter(AsyncAccounts):
    """The same, awaited."""

    async def calls(self, inner: Callable[[], Any], *, session: AsyncSession = NEW_SESSION) -> Any:
        return await inner()

    async def is_open(self, *, session: AsyncSession = NEW_SESSION) -> bool:
        return session.in_transaction()

    async def forgets(self, *, session: AsyncSession = NEW_SESSION) -> bool:
        return await self.is_open()

    @auto_session_func(retry=Retry())
    async def tries(self, *, session: AsyncSession = NEW_SESSION) -> bool:
        return session.in_transaction()

    async def forgets_to_try(self, *, session: AsyncSession = NEW_SESSION) -> bool:
        return await self.tries()

    async def numbers(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
        yield 1
        yield 2


@pytest.fixture
def outer(sqlite: SyncDatabase) -> Outer:
    made = Outer()
    made.session_factory = sqlite.maker
    return made


@pytest.fixture
def aouter(aiosqlite: AsyncDatabase) -> AsyncOuter:
    made = AsyncOuter()
    made.async_session_factory = aiosqlite.maker
    return made


def line_of(function: Callable[..., object], offset: int) -> int:
    code: CodeType = inspect.unwrap(function).__code__
    return code.co_firstlineno + offset


def test_forgotten_session_warns_and_points_to_the_call(outer: Outer) -> None:
    with pytest.warns(NestedSessionWarning) as caught:
        assert outer.forgets()
    assert len(caught) == 1
    assert (caught[0].filename, caught[0].lineno) == (__file__, line_of(Outer.forgets, 1))
    assert str(caught[0].message).startswith("Outer.is_open was called without 'session=' inside Outer.forgets, ")


def test_warning_of_a_retried_call_points_to_the_call(outer: Outer, aouter: AsyncOuter, aiosqlite: AsyncDatabase) -> None:
    with pytest.warns(NestedSessionWarning) as caught:
        assert outer.forgets_to_try()
    assert (caught[0].filename, caught[0].lineno) == (__file__, line_of(Outer.forgets_to_try, 1))
    with pytest.warns(NestedSessionWarning) as caught:
        assert aiosqlite.run(aouter.forgets_to_try())
    assert (caught[0].filename, caught[0].lineno) == (__file__, line_of(AsyncOuter.forgets_to_try, 1))


def test_async_forgotten_session_warns_and_points_to_the_call(aouter: AsyncOuter, aiosqlite: AsyncDatabase) -> None:
    with pytest.warns(NestedSessionWarning) as caught:
        assert aiosqlite.run(aouter.forgets())
    assert len(caught) == 1
    assert (caught[0].filename, caught[0].lineno) == (__file__, line_of(AsyncOuter.forgets, 1))


def test_forgotten_session_inside_a_generator_points_to_the_call(outer: Outer) -> None:
    with pytest.warns(NestedSessionWarning) as caught:
        assert list(outer.forgetful_numbers()) == [True]
    assert (caught[0].filename, caught[0].lineno) == (__file__, line_of(Outer.forgetful_numbers, 1))


def test_stream_inside_a_body_points_to_the_line_that_reads_it(outer: Outer) -> None:
    def read() -> list[int]:
        return list(outer.numbers())

    with pytest.warns(NestedSessionWarning) as caught:
        outer.calls(read)
    assert (caught[0].filename, caught[0].lineno) == (__file__, read.__code__.co_firstlineno + 1)


def test_block_inside_a_body_points_to_its_with(outer: Outer, sqlite: SyncDatabase) -> None:
    def method_block() -> None:
        with outer.block():
            pass

    def plain_block() -> None:
        with auto_session_ctx(session_factory=sqlite.maker):
            pass

    for inner in (method_block, plain_block):
        with pytest.warns(NestedSessionWarning) as caught:
            outer.calls(inner)
        assert (caught[0].filename, caught[0].lineno) == (__file__, inner.__code__.co_firstlineno + 1)


def test_call_inside_a_plain_block_warns(outer: Outer, sqlite: SyncDatabase) -> None:
    with auto_session_ctx(session_factory=sqlite.maker), pytest.warns(NestedSessionWarning) as caught:
        outer.is_open()
    assert " inside auto_session_ctx in test_call_inside_a_plain_block_warns, " in str(caught[0].message)


def test_function_inside_a_function_warns(sqlite: SyncDatabase) -> None:
    @auto_session_func(session_factory=sqlite.maker)
    def inner(*, session: Session = NEW_SESSION) -> None: ...

    @auto_session_func(session_factory=sqlite.maker)
    def outer(*, session: Session = NEW_SESSION) -> None:
        inner()

    with pytest.warns(NestedSessionWarning, match="^inner was called without 'session=' inside outer, "):
        outer()


# What is found.


def test_body_that_was_given_its_session_is_found(outer: Outer, sqlite: SyncDatabase) -> None:
    @auto_session_func(session_factory=sqlite.maker)
    def function(*, session: Session = NEW_SESSION) -> None:
        outer.is_open()

    with sqlite.maker.begin() as session:
        for call, name in ((outer.forgets, "Outer.forgets"), (function, "function")):
            with pytest.warns(NestedSessionWarning, match=f"^Outer.is_open was called without 'session=' inside {name}, "):
                call(session=session)


def test_async_body_that_was_given_its_session_is_found(aouter: AsyncOuter, async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        aouter.async_session_factory = async_database.maker
        async with async_database.maker.begin() as session:
            await aouter.forgets(session=session)

    with pytest.warns(
        NestedSessionWarning, match="^AsyncOuter.is_open was called without 'session=' inside AsyncOuter.forg"
    ):
        async_database.run(scenario())


@pytest.mark.parametrize("options", [{}, {"schema_translate_map": {"a": "b"}}], ids=["the engine", "a twin of it"])
def test_another_factory_on_the_same_engine_is_found(outer: Outer, sqlite: SyncDatabase, options: dict[str, Any]) -> None:
    other = Outer()
    other.session_factory = sessionmaker(sqlite.engine.execution_options(**options) if options else sqlite.engine)
    with pytest.warns(NestedSessionWarning):
        outer.calls(other.is_open)


def test_read_factory_on_the_same_engine_is_found(outer: Outer, sqlite: SyncDatabase) -> None:
    @auto_session_func(read_only=True, read_session_factory=sessionmaker(sqlite.engine))
    def count(*, session: Session = NEW_SESSION) -> bool:
        return session.in_transaction()

    with pytest.warns(NestedSessionWarning, match="^count was called"):
        outer.calls(count)


def test_factory_without_an_engine_is_found_by_itself(sqlite: SyncDatabase) -> None:
    outer = Outer()
    outer.session_factory = sessionmaker(binds={Account: sqlite.engine})
    with pytest.warns(NestedSessionWarning):
        outer.forgets()


def test_factory_without_an_engine_that_is_a_method_is_found_by_itself(sqlite: SyncDatabase) -> None:
    class Making(Outer):
        def session_factory(self) -> Session:  # bound anew each time it is looked up
            return Session(binds={Account: sqlite.engine})

    with pytest.warns(NestedSessionWarning):
        Making().forgets()


def test_session_that_a_registry_has_is_found(outer: Outer, sqlite: SyncDatabase) -> None:
    registry = scoped_session(sqlite.maker)
    assert outer.calls(outer.is_open, session=cast("Session", registry))  # it has no session yet
    assert not registry.registry.has()
    registry.connection()
    with pytest.warns(NestedSessionWarning, match=" inside Outer.calls, "):
        outer.calls(outer.is_open, session=cast("Session", registry))
    with auto_session_ctx(registry), pytest.warns(NestedSessionWarning, match=" inside auto_session_ctx in "):
        outer.is_open()
    registry.remove()


@pytest.mark.parametrize("is_used", [True, False])
def test_of_several_binds_those_count_that_the_session_has_used(
    outer: Outer, sqlite: SyncDatabase, databases: Databases, is_used: bool
) -> None:
    other = databases.sync("sqlite", name="other")
    used, default = (sqlite, other) if is_used else (other, sqlite)
    with (
        Session(default.engine, binds={Account: used.engine}) as session,
        warnings.catch_warnings(record=True) as seen,
    ):
        warnings.simplefilter("always")
        session.scalars(select(Account)).all()
        outer.calls(outer.is_open, session=session)
    assert bool(seen) is is_used


def test_factory_that_waits_for_the_outer_connection_is_warned_of_first(tmp_path: Path) -> None:
    engine = create_engine(
        f"sqlite:///{tmp_path / 'one.sqlite'}", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01
    )

    def for_a_tenant() -> Session:
        session = Session(engine)
        session.connection()
        return session

    outer = Outer()
    outer.session_factory = for_a_tenant
    with pytest.warns(NestedSessionWarning), pytest.raises(PoolTimeoutError):
        outer.forgets()
    engine.dispose()


def test_other_blocks_of_a_frame_hide_neither_its_body_nor_its_blocks(
    outer: Outer, sqlite: SyncDatabase, databases: Databases
) -> None:
    other = databases.sync("sqlite", name="other")

    class Hiding(Outer, session_factory=sqlite.maker):
        def hides(self, *, session: Session = NEW_SESSION) -> bool:
            with auto_session_ctx(session_factory=other.maker):
                return self.is_open()

    with pytest.warns(NestedSessionWarning, match=r" inside .*Hiding.hides, "):
        Hiding().hides()
    with auto_session_ctx(session_factory=sqlite.maker), other.maker() as session, auto_session_ctx(session):
        with pytest.warns(NestedSessionWarning, match=" inside auto_session_ctx in test_other_blocks_"):
            outer.is_open()


@pytest.mark.parametrize("method", ["is_open", "tries"])
def test_body_eight_frames_away_is_found_whatever_is_called(outer: Outer, method: str) -> None:
    def deep(left: int) -> Any:
        return deep(left - 1) if left else getattr(outer, method)()

    with pytest.warns(NestedSessionWarning):
        outer.calls(lambda: deep(5))


def test_sync_call_inside_an_async_body_is_found(
    aouter: AsyncOuter, outer: Outer, sqlite: SyncDatabase, aiosqlite: AsyncDatabase
) -> None:
    async def inner() -> bool:
        return outer.is_open()

    async def block() -> bool:
        with auto_session_ctx(session_factory=sessionmaker(sqlite.engine)) as session:
            return session.in_transaction()

    with pytest.warns(
        NestedSessionWarning,
        match=r"^Outer.is_open was called without 'session=' inside AsyncOuter.calls, .* "
        r"Write 'await session.run_sync\(lambda joined: is_open\(..., session=joined\)\)', or give it ",
    ):
        aiosqlite.run(aouter.calls(inner))
    with pytest.warns(
        NestedSessionWarning,
        match=r" Write 'async with auto_session_ctx\(session\)' with the session of AsyncOuter.calls, or give it ",
    ):
        aiosqlite.run(aouter.calls(block))


def test_sync_call_inside_run_sync_is_found_and_points_to_it(
    aouter: AsyncOuter, outer: Outer, aiosqlite: AsyncDatabase
) -> None:
    class Running(AsyncOuter):
        async def run(self, *, session: AsyncSession = NEW_SESSION) -> None:
            await session.run_sync(lambda _: outer.is_open())

    running = Running()
    running.async_session_factory = aiosqlite.maker
    with pytest.warns(
        NestedSessionWarning,
        match=r"^Outer.is_open was called without 'session=' inside .*Running.run, .*'is_open\(..., session=session\)'",
    ) as caught:
        aiosqlite.run(running.run())
    assert (caught[0].filename, caught[0].lineno) == (__file__, line_of(Running.run, 1))


def test_async_call_awaited_inside_run_sync_is_found(aouter: AsyncOuter, aiosqlite: AsyncDatabase) -> None:
    async def through_run_sync(session: AsyncSession) -> None:
        await session.run_sync(lambda _: await_only(aouter.is_open()))

    class Running(AsyncOuter):
        async def run(self, *, session: AsyncSession = NEW_SESSION) -> None:
            await through_run_sync(session)

    running = Running()
    running.async_session_factory = aiosqlite.maker
    with pytest.warns(
        NestedSessionWarning, match="^AsyncOuter.is_open was called without 'session=' inside .*Running.run, "
    ):
        aiosqlite.run(running.run())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="wait_for runs in a task of its own, which is exempt")
def test_warning_points_through_wait_for_to_the_call(aouter: AsyncOuter, aiosqlite: AsyncDatabase) -> None:
    async def inner() -> bool:
        return await asyncio.wait_for(aouter.is_open(), timeout=10)

    with pytest.warns(NestedSessionWarning) as caught:
        aiosqlite.run(aouter.calls(inner))
    assert (caught[0].filename, caught[0].lineno) == (__file__, line_of(inner, 1))


def test_body_behind_plain_functions_is_found(outer: Outer) -> None:
    def helper(deep: int) -> bool:
        return helper(deep - 1) if deep else outer.is_open()

    with pytest.warns(NestedSessionWarning):
        outer.calls(lambda: helper(3))


def test_body_of_a_stream_that_another_body_reads_is_the_nearest(outer: Outer) -> None:
    stream: Any = outer.forgetful_numbers()
    with pytest.warns(NestedSessionWarning) as caught:
        outer.calls(lambda: next(stream))
    assert [str(one.message).partition(", so")[0] for one in caught] == [
        "Outer.forgetful_numbers was called without 'session=' inside Outer.calls",
        "Outer.is_open was called without 'session=' inside Outer.forgetful_numbers",
    ]
    stream.close()


# Blocks.


def test_block_in_a_given_session_is_found(outer: Outer, sqlite: SyncDatabase) -> None:
    with sqlite.maker.begin() as session, auto_session_ctx(session), pytest.warns(NestedSessionWarning) as caught:
        outer.is_open()
    assert " inside auto_session_ctx in test_block_in_a_given_session_is_found, " in str(caught[0].message)


def test_block_in_a_block_is_found_and_the_outer_one_again_after_it(outer: Outer, sqlite: SyncDatabase) -> None:
    with auto_session_ctx(session_factory=sqlite.maker):
        with (
            pytest.warns(
                NestedSessionWarning, match="^auto_session_ctx in test_.* was entered without a session inside auto_"
            ),
            auto_session_ctx(session_factory=sqlite.maker),
        ):
            pass
        with pytest.warns(NestedSessionWarning):
            outer.is_open()


def test_block_on_an_exit_stack_is_found(outer: Outer, sqlite: SyncDatabase) -> None:
    with ExitStack() as stack:
        stack.enter_context(auto_session_ctx(session_factory=sqlite.maker))
        with pytest.warns(NestedSessionWarning, match=" inside auto_session_ctx in test_block_on_an_exit_stack_is_found, "):
            outer.is_open()
    assert outer.is_open()


def test_async_block_is_found_also_on_an_exit_stack(aouter: AsyncOuter, aiosqlite: AsyncDatabase) -> None:
    async def plainly() -> None:
        async with auto_session_ctx(async_session_factory=aiosqlite.maker):
            await aouter.is_open()

    async def on_a_stack() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(auto_session_ctx(async_session_factory=aiosqlite.maker))
            await aouter.is_open()

    for scenario in (plainly, on_a_stack):
        with pytest.warns(NestedSessionWarning, match=rf" inside auto_session_ctx in {scenario.__name__}, "):
            aiosqlite.run(scenario())


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_blocks_of_a_frame_may_end_in_any_order(outer: Outer, sqlite: SyncDatabase, order: tuple[int, ...]) -> None:
    stacks = [ExitStack() for _ in order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NestedSessionWarning)
        for stack in stacks:
            stack.enter_context(auto_session_ctx(session_factory=sqlite.maker))
    for number in order:
        with pytest.warns(NestedSessionWarning, match=" inside auto_session_ctx in "):
            outer.is_open()
        stacks[number].close()
    assert nesting._blocks == {}
    assert outer.is_open()


def test_block_that_is_dropped_hides_no_other_one_of_its_frame(outer: Outer, sqlite: SyncDatabase) -> None:
    with auto_session_ctx(session_factory=sqlite.maker):
        dropped = auto_session_ctx(session_factory=sqlite.maker)
        with pytest.warns(NestedSessionWarning):
            dropped.__enter__()
        del dropped
        gc.collect()
        with pytest.warns(NestedSessionWarning, match=" inside auto_session_ctx in "):
            outer.is_open()
    assert nesting._blocks == {}


def test_blocks_that_end_in_another_order_are_each_found_while_they_are_open(outer: Outer, sqlite: SyncDatabase) -> None:
    one, other = (auto_session_ctx(session_factory=sqlite.maker) for _ in range(2))
    one.__enter__()
    with pytest.warns(NestedSessionWarning):
        other.__enter__()
    one.__exit__(None, None, None)
    with pytest.warns(NestedSessionWarning):
        outer.is_open()
    other.__exit__(None, None, None)
    assert outer.is_open()


# What the warning says.

SO: Final = (
    ", so it opens a second connection and transaction: it does not see the uncommitted work of {outer}, stays committed if "
    "that fails, and can wait for it for ever. {write}, or give it Propagation.REQUIRES_NEW if a transaction of its own is "
    "meant."
)


def said(call: Callable[[], object]) -> str:
    with pytest.warns(NestedSessionWarning) as caught:
        call()
    assert len(caught) == 1
    return str(caught[0].message)


def test_it_says_what_to_write_in_the_call(outer: Outer) -> None:
    so = SO.format(outer="Outer.forgets", write="Write 'is_open(..., session=session)'")
    assert said(outer.forgets) == "Outer.is_open was called without 'session=' inside Outer.forgets" + so


def test_through_super_it_says_what_the_reader_wrote(sqlite: SyncDatabase) -> None:
    class Above(Outer):
        def is_open(self, *, session: Session = NEW_SESSION) -> bool:
            return super().is_open()

    above = Above()
    above.session_factory = sqlite.maker
    message = said(above.is_open)
    assert message.startswith("Outer.is_open was called without 'session=' inside ")
    assert "Write 'is_open(..., session=session)', or" in message


@pytest.mark.parametrize("default", [None, NEW_SESSION])
def test_where_none_was_passed_on_it_does_not_ask_for_what_is_written_there(outer: Outer, default: Any) -> None:
    class Inner(Outer):
        def run(self, *, session: Session = default) -> None:
            pass

    def between(session: Session | None = None) -> None:
        inner.run(session=session)  # type: ignore[arg-type]  # as untyped code does

    inner = Inner()
    inner.session_factory = outer.session_factory
    write = "Pass the session of Outer.calls on to it, and to each call in between"
    expected = "Inner.run was called without a session inside Outer.calls" + SO.format(outer="Outer.calls", write=write)
    assert said(lambda: outer.calls(between)).endswith(expected)


def test_of_a_block_it_says_what_to_write_there(outer: Outer, sqlite: SyncDatabase) -> None:
    def block(session: Session | None = None) -> None:
        with auto_session_ctx(session, session_factory=sqlite.maker):
            pass

    write = "Write 'auto_session_ctx(session)' with the session of Outer.calls"
    expected = "auto_session_ctx in block was entered without a session inside Outer.calls"
    assert said(lambda: outer.calls(block)) == expected + SO.format(outer="Outer.calls", write=write)


# What is exempt.


@pytest.fixture
def _strict() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


pytestmark = pytest.mark.usefixtures("_strict")


def test_session_that_is_passed_on_does_not_warn(outer: Outer) -> None:
    assert outer.passes_on()


def test_new_session_warns_like_an_omitted_one(outer: Outer) -> None:
    with pytest.warns(NestedSessionWarning):
        outer.calls(lambda: outer.is_open(session=NEW_SESSION))


def test_requires_new_is_deliberate(outer: Outer) -> None:
    assert outer.calls(outer.is_open_anew)


def test_calls_one_after_the_other_do_not_warn(outer: Outer) -> None:
    assert outer.is_open()
    assert outer.is_open()


def test_call_from_the_body_of_a_joined_unit_inside_an_owned_one_warns(outer: Outer) -> None:
    def joined(session: Session) -> None:
        outer.calls(outer.is_open, session=session)

    class Here(Outer):
        def run(self, *, session: Session = NEW_SESSION) -> None:
            joined(session)

    here = Here()
    here.session_factory = outer.session_factory
    with pytest.warns(NestedSessionWarning, match="^Outer.is_open was called without 'session=' inside Outer.calls, "):
        here.run()


def test_consumer_of_a_stream_is_not_inside_it(outer: Outer) -> None:
    assert [(number, outer.is_open()) for number in outer.numbers()] == [(1, True), (2, True)]


def test_consumer_of_an_async_stream_is_not_inside_it(aouter: AsyncOuter, aiosqlite: AsyncDatabase) -> None:
    async def scenario() -> list[bool]:
        return [await aouter.is_open() async for _ in aouter.numbers()]

    assert aiosqlite.run(scenario()) == [True, True]


def test_block_of_a_context_manager_method_is_not_inside_it(outer: Outer) -> None:
    with outer.block():
        assert outer.is_open()


def test_call_after_a_failed_one_does_not_warn(outer: Outer) -> None:
    with pytest.raises(ZeroDivisionError):
        outer.calls(lambda: 1 / 0)
    assert outer.is_open()


def test_thread_is_exempt(outer: Outer) -> None:
    def in_thread() -> None:
        thread = threading.Thread(target=outer.is_open)
        thread.start()
        thread.join()

    outer.calls(in_thread)


def test_to_thread_and_tasks_are_exempt(aouter: AsyncOuter, outer: Outer, aiosqlite: AsyncDatabase) -> None:
    async def inner() -> list[bool]:
        return list(await asyncio.gather(aouter.is_open(), aouter.is_open(), asyncio.to_thread(outer.is_open)))

    assert aiosqlite.run(aouter.calls(inner)) == [True, True, True]


def test_warning_as_an_error_leaks_nothing(outer: Outer, sqlite: SyncDatabase) -> None:
    with pytest.raises(NestedSessionWarning):
        outer.forgets()
    with pytest.raises(NestedSessionWarning):
        list(outer.forgetful_numbers())
    block, inner = (auto_session_ctx(session_factory=sqlite.maker) for _ in range(2))
    with pytest.raises(NestedSessionWarning), block, inner:
        pytest.fail("the block was entered")
    with pytest.raises(NestedSessionWarning), sqlite.maker.begin() as session:  # whose engine shows only that of the new one
        outer.calls(outer.is_open, session=session)
    assert sqlite.recorder.events == NOTHING
    made = [made for made in gc.get_objects() if type(made) is Session and made.in_transaction()]
    assert made == []  # what the factory had returned is closed
    assert outer.open("ann").owner == "ann"
    assert sqlite.recorder.events == OWNED


def test_async_warning_as_an_error_leaks_nothing(aouter: AsyncOuter, aiosqlite: AsyncDatabase) -> None:
    async def scenario() -> None:
        with pytest.raises(NestedSessionWarning):
            await aouter.forgets()
        await aouter.open("ann")

    aiosqlite.run(scenario())
    assert aiosqlite.recorder.events == OWNED


def test_other_databases_are_exempt(outer: Outer, databases: Databases, tmp_path: Path) -> None:
    file, other = create_engine(f"sqlite:///{tmp_path / 'other.sqlite'}"), Outer()
    other.session_factory = sessionmaker(file)
    assert outer.calls(other.is_open)
    with databases.sync("sqlite").maker() as session:
        assert outer.calls(other.is_open, session=session)
    file.dispose()


@pytest.mark.parametrize(
    "database", ["", ":memory:", "file::memory:?uri=true", "file:name?mode=memory&cache=shared&uri=true"]
)
def test_a_memory_is_no_database_that_an_async_engine_has_too(database: str) -> None:
    engine, asynchronous = (
        create_engine(f"sqlite:///{database}", poolclass=StaticPool),
        create_async_engine(f"sqlite+aiosqlite:///{database}", poolclass=StaticPool),
    )
    outer, aouter = Outer(), AsyncOuter()
    outer.session_factory, aouter.async_session_factory = sessionmaker(engine), async_sessionmaker(asynchronous)

    async def scenario() -> None:
        async def inner() -> bool:
            return outer.is_open()

        assert await aouter.calls(inner)
        await asynchronous.dispose()

    asyncio.run(scenario())
    engine.dispose()


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("postgresql+psycopg://ann@host/name", "postgresql+asyncpg://bob@host/name", True),
        ("postgresql+psycopg://host:1/name", "postgresql+asyncpg://host:2/name", False),
        ("postgresql+psycopg://host/name", "postgresql+asyncpg://host/other", False),
        ("postgresql+psycopg://host/name", "postgresql+asyncpg://other/name", False),
        ("postgresql+psycopg:///name?host=a", "postgresql+asyncpg:///name?host=b", False),
        ("postgresql+psycopg://ann@host", "postgresql+asyncpg://bob@host", False),
        ("postgresql+psycopg://host/name", "postgresql+psycopg://host/name", False),  # two engines may be two on purpose
        ("sqlite:///name", "sqlite+aiosqlite:///name", True),
        (f"sqlite:///{Path('name').absolute()}", "sqlite+aiosqlite:///name", True),
        ("sqlite:///name", "sqlite:///name", False),
    ],
)
def test_urls_of_a_sync_and_an_async_engine_tell_whether_they_are_one_database(one: str, other: str, is_same: bool) -> None:
    sessions = []
    for url in (one, other):
        is_async = "asyncpg" in url or "aiosqlite" in url
        engine = create_async_engine(url).sync_engine if is_async else create_engine(url)
        sessions.append(Session(engine))
    sessions[1].begin()
    assert nesting._is_same_database(*sessions) is is_same


def test_given_session_that_has_not_begun_is_exempt(outer: Outer, sqlite: SyncDatabase) -> None:
    with sqlite.maker() as session:
        assert outer.calls(outer.is_open, session=session)


def test_function_with_a_positional_session_is_no_body(outer: Outer, sqlite: SyncDatabase) -> None:
    """As in tests, whose fixture it may be, and in routes, which read beside their auto calls."""

    def route(session: Session) -> bool:
        return outer.is_open()

    with sqlite.maker.begin() as session:
        assert route(session)


@pytest.mark.parametrize("stand_in", [Mock(spec=Session), Mock(), object(), Mock(spec=AsyncSession)])
def test_stand_in_for_a_session_is_exempt(outer: Outer, stand_in: Any) -> None:
    assert outer.calls(outer.is_open, session=stand_in)


def test_callbacks_after_a_commit_are_exempt(outer: Outer, sqlite: SyncDatabase) -> None:
    seen: list[bool] = []

    class Committing(Outer):
        def run(self, *, session: Session = NEW_SESSION) -> None:
            after_commit(session, lambda: seen.append(outer.is_open()))

        def by_the_caller(self, *, session: Session) -> None:
            self.run(session=session)
            session.commit()

    committing = Committing()
    committing.session_factory = sqlite.maker
    committing.run()
    with sqlite.maker() as session:
        committing.by_the_caller(session=session)
    with auto_session_ctx(session_factory=sqlite.maker) as session:
        committing.run(session=session)
    assert seen == [True] * 3


def test_listener_before_the_commit_is_exempt(outer: Outer, sqlite: SyncDatabase) -> None:
    def run(session: Session) -> None:
        if not seen:
            seen.append(session)
            assert outer.is_open()

    seen: list[Session] = []
    maker = sessionmaker(sqlite.engine)
    event.listen(maker, "before_commit", run)
    with auto_session_ctx(session_factory=maker):
        pass
    assert len(seen) == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_eager_task_is_exempt_and_what_its_own_body_awaits_is_not(aouter: AsyncOuter, aiosqlite: AsyncDatabase) -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11

        async def inner() -> list[bool]:
            return [await asyncio.create_task(aouter.is_open())]

        assert await aouter.calls(inner) == [True]

        async def deeper() -> bool:
            with pytest.warns(NestedSessionWarning, match=" inside AsyncOuter.forgets, "):
                return await asyncio.create_task(aouter.forgets())

        assert await aouter.calls(deeper)

    aiosqlite.run(scenario())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_task_of_an_async_iterator_is_exempt(aouter: AsyncOuter, aiosqlite: AsyncDatabase) -> None:
    async def items() -> AsyncIterator[bool]:
        yield await aouter.is_open()

    async def inner() -> bool:
        return await asyncio.create_task(cast("Any", anext(items())))

    async def scenario() -> None:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
        assert await aouter.calls(inner)

    aiosqlite.run(scenario())


def test_block_that_is_over_is_exempt_in_a_frame_that_goes_on(outer: Outer, sqlite: SyncDatabase) -> None:
    with auto_session_ctx(session_factory=sqlite.maker):
        pass
    with pytest.raises(ZeroDivisionError), auto_session_ctx(session_factory=sqlite.maker):
        _ = 1 / 0
    assert outer.is_open()


def test_block_in_a_generator_is_exempt_between_its_items(outer: Outer, sqlite: SyncDatabase) -> None:
    def items() -> Iterator[int]:
        with auto_session_ctx(session_factory=sqlite.maker):
            yield from (1, 2)

    assert [outer.is_open() for _ in items()] == [True, True]


def test_block_in_a_generator_that_nobody_holds_is_collected_with_it(sqlite: SyncDatabase) -> None:
    class Holder:
        def __init__(self) -> None:
            self.items = self.read()
            next(self.items)

        def read(self) -> Iterator[int]:
            with auto_session_ctx(session_factory=sqlite.maker) as session:
                session.connection()
                yield 1

    holder = Holder()
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None
    assert nesting._blocks == {}
    assert sqlite.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
