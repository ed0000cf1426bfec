"""Tasks of asyncio that are not the default ones: eager, of a factory of the user's, of a task group, under a timeout."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from session_aware import NEW_SESSION, NestedSessionWarning, after_commit, auto_session_ctx
from session_aware._unit import shield
from tests.databases import AsyncDatabase
from tests.services import OWNED, UNDONE, AsyncAccounts, Failure, aadd

Loop = asyncio.AbstractEventLoop
Factory = Callable[..., asyncio.Future[Any]]


def wrapping(loop: Loop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Future[Any]:
    """Wrap what a task runs, as instrumentation does."""

    async def wrapped() -> Any:
        return await coroutine

    return asyncio.Task(wrapped(), loop=loop, **options)


def strict(loop: Loop, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """Know the two arguments that a factory had until Python 3.10."""
    return asyncio.Task(coroutine, loop=loop)


def refusing(_: Loop, coroutine: Coroutine[Any, Any, Any], **_options: Any) -> asyncio.Future[Any]:
    """Start nothing any more, as a server that shuts down."""
    coroutine.close()
    msg = "no tasks any more"
    raise RuntimeError(msg)


FACTORIES: list[Factory | None] = [None, wrapping, strict, refusing]
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)


@pytest.fixture(params=FACTORIES, ids=lambda factory: getattr(factory, "__name__", "default"))
def factory(request: pytest.FixtureRequest) -> Factory | None:
    found: Factory | None = request.param
    return found


async def under(factory: Factory | None, work: Awaitable[Any]) -> Any:
    """Set the factory once the loop has made its own first task."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        return await work
    finally:
        loop.set_task_factory(None)


class Nested(AsyncAccounts):
    """Calls itself, alone and in tasks."""

    async def forgetful(self, *, session: AsyncSession = NEW_SESSION) -> None:
        await aadd(session, "outer")
        await self.open("inner")

    async def grouped(self, *, session: AsyncSession = NEW_SESSION) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.open("ann"))
            group.create_task(self.open("bob"))
        await aadd(session, "eve")


def service(database: AsyncDatabase) -> Nested:
    made = Nested()
    made.async_session_factory = database.maker
    return made


def test_every_kind_of_unit_ends_whatever_makes_the_tasks(async_database: AsyncDatabase, factory: Factory | None) -> None:
    accounts = service(async_database)

    async def scenario() -> None:
        await accounts.open("method")
        with pytest.raises(Failure):
            await accounts.open("bad")
        async with auto_session_ctx(async_session_factory=async_database.maker) as session:
            await aadd(session, "block")
        async with accounts.opened("context"):
            pass
        assert [one.owner async for one in accounts.stream("stream")] == ["stream"]
        broken_off: Any = accounts.stream("lost", "never")
        await anext(broken_off)
        await broken_off.aclose()

    async_database.run(under(factory, scenario()))
    assert async_database.recorder.events == [*OWNED, *UNDONE, *OWNED * 3, *UNDONE]
    assert async_database.owners() == ["block", "context", "method", "stream"]


def test_expired_timeout_rolls_back_whatever_makes_the_tasks(async_database: AsyncDatabase, factory: Factory | None) -> None:
    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as deadline:
                async with auto_session_ctx(async_session_factory=async_database.maker) as session:
                    await aadd(session, "ann")
                    deadline.reschedule(asyncio.get_running_loop().time())
                    await asyncio.sleep(20)

    async_database.run(under(factory, scenario()))
    assert async_database.recorder.events == UNDONE
    assert async_database.owners() == []


def test_units_of_child_tasks_are_their_own(async_postgres: AsyncDatabase, factory: Factory | None) -> None:
    if factory is refusing:
        return  # there are none
    async_postgres.run(under(factory, service(async_postgres).grouped()))  # without a warning, which would be an error
    assert async_postgres.owners() == ["ann", "bob", "eve"]


def test_nothing_is_left_of_tasks_that_end_units(async_database: AsyncDatabase, factory: Factory | None) -> None:
    async def nested() -> None:
        await service(async_database).open("inner")

    async def scenario() -> None:
        async with auto_session_ctx(async_session_factory=async_database.maker) as session:
            after_commit(session, nested)  # whose unit ends in a task that a task of ours waits for
        assert shield._callers == {}

    async_database.run(under(factory, scenario()))
    assert async_database.owners() == ["inner"]


def test_task_for_which_others_work_is_found_through_all_of_them() -> None:
    seen: list[asyncio.Task[Any] | None] = []

    async def inner() -> None:
        await asyncio.sleep(0)
        seen.append(shield.caller_of(asyncio.current_task()))

    async def outer() -> None:
        await shield.shielded(inner())

    async def scenario() -> None:
        await shield.shielded(outer())
        assert seen == [asyncio.current_task()]

    asyncio.run(scenario())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks of Python 3.11 start at the next turn of the loop")
def test_unit_without_a_statement_gives_no_other_task_a_turn(aiosqlite: AsyncDatabase) -> None:
    async def scenario() -> None:
        turns: list[int] = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        async with auto_session_ctx(async_session_factory=aiosqlite.maker):
            pass
        assert turns == []
        await asyncio.sleep(0)
        assert turns == [1]

    aiosqlite.run(scenario())


def test_forgotten_session_is_noticed_whatever_makes_the_tasks(
    async_postgres: AsyncDatabase, factory: Factory | None
) -> None:
    async def scenario() -> None:
        with pytest.warns(
            NestedSessionWarning, match="AsyncAccounts.open was called without 'session=' inside Nested.forgetful"
        ):
            await service(async_postgres).forgetful()

    async_postgres.run(under(factory, scenario()))
    assert async_postgres.owners() == ["inner", "outer"]


def test_after_commit_runs_once_whatever_makes_the_tasks(async_database: AsyncDatabase, factory: Factory | None) -> None:
    seen: list[str] = []

    async def tell() -> None:
        await asyncio.sleep(0)
        seen.append("told")

    async def scenario() -> None:
        async with auto_session_ctx(async_session_factory=async_database.maker) as session:
            after_commit(session, tell)
            await aadd(session, "ann")

    async_database.run(under(factory, scenario()))
    assert seen == ["told"]
    assert async_database.owners() == ["ann"]
