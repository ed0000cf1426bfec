"""An owned call inside the body of another one: the warning, where it points, and who is exempt."""

from __future__ import annotations

import asyncio
import inspect
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, NestedSessionWarning, Propagation, Retry, auto_session_ctx, auto_session_func
from tests.databases import AsyncDatabase, SyncDatabase
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


def test_call_on_another_factory_does_not_warn(outer: Outer, sqlite: SyncDatabase) -> None:
    other = Outer()
    other.session_factory = sessionmaker(sqlite.engine)
    assert outer.calls(other.is_open)


def test_call_from_the_body_of_a_joined_unit_inside_an_owned_one_warns(outer: Outer) -> None:
    def joined(session: Session) -> None:
        outer.calls(outer.is_open, session=session)

    class Here(Outer):
        def run(self, *, session: Session = NEW_SESSION) -> None:
            joined(session)

    here = Here()
    here.session_factory = outer.session_factory
    with pytest.warns(NestedSessionWarning, match="^Outer.is_open was called without 'session=' inside .*Here.run, "):
        here.run()


def test_call_from_the_body_of_a_given_session_does_not_warn(outer: Outer, sqlite: SyncDatabase) -> None:
    with sqlite.maker() as session:
        assert outer.calls(outer.is_open, session=session)


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


def test_sync_call_inside_an_async_one_has_another_factory(
    aouter: AsyncOuter, outer: Outer, aiosqlite: AsyncDatabase
) -> None:
    async def inner() -> bool:
        return outer.is_open()

    assert aiosqlite.run(aouter.calls(inner))


def test_warning_as_an_error_leaks_nothing(outer: Outer, sqlite: SyncDatabase) -> None:
    with pytest.raises(NestedSessionWarning):
        outer.forgets()
    with pytest.raises(NestedSessionWarning):
        list(outer.forgetful_numbers())
    block, inner = (auto_session_ctx(session_factory=sqlite.maker) for _ in range(2))
    with pytest.raises(NestedSessionWarning), block, inner:
        pytest.fail("the block was entered")
    assert sqlite.recorder.events == NOTHING
    assert outer.open("ann").owner == "ann"
    assert sqlite.recorder.events == OWNED


def test_async_warning_as_an_error_leaks_nothing(aouter: AsyncOuter, aiosqlite: AsyncDatabase) -> None:
    async def scenario() -> None:
        with pytest.raises(NestedSessionWarning):
            await aouter.forgets()
        await aouter.open("ann")

    aiosqlite.run(scenario())
    assert aiosqlite.recorder.events == OWNED
