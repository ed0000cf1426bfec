"""The asynchronous half of a unit, and the runners of what is awaited; imported at the first async use.

Begin needs no I/O as a rule and then no hop; commit and close share one hop into the greenlet. Whatever ends a unit runs in
a task of its own, shielded: a cancellation waits for it, and is raised afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.util import await_only

from session_aware._request import refuse_other_result
from session_aware._shield import shielded
from session_aware._signature import Kind
from session_aware.exceptions import CommitOutcomeUnknown

if TYPE_CHECKING:
    from session_aware._owned import Owned
    from session_aware._request import Handle
    from session_aware._unit import Unit

__all__ = ["RETRYING", "RUNNERS", "enter", "leave"]


async def enter(unit: Unit) -> Any:  # noqa: ANN401 - an AsyncSession
    """Open and begin; in the greenlet only if that takes I/O."""
    try:
        session = unit.entered = unit.acquire(AsyncSession, async_scoped_session)
        if unit.needs_io_to_begin(session.sync_session):
            await session.run_sync(unit.begin, _handle(session))
        else:
            unit.begin(session.sync_session, _handle(session))
    except BaseException as error:
        await _abort(unit, error)
        raise
    return session


async def leave(unit: Unit, error: BaseException | None) -> None:
    """Commit, or roll back after ``error``, and close."""
    if error is not None:
        await _abort(unit, error)
        return
    try:
        await _end(unit)
    except BaseException as failure:
        await _abort(unit, failure)
        raise


async def _end(unit: Unit) -> None:
    """End the unit in one shielded hop and tell of it. A cancellation must not hide that its outcome is unknown."""
    try:
        await shielded(unit.entered.run_sync(lambda _: unit.end()))
    except asyncio.CancelledError as cancelled:
        if (unknown := unit.doubt(cancelled)) is not None:
            raise unknown from cancelled
        raise
    unit.report(None)


async def _abort(unit: Unit, error: BaseException) -> None:
    """Clean the unit up in one shielded hop."""
    if unit.entered is None:  # there is nothing to clean up, only to report
        unit.abort(error)
        return
    try:
        await shielded(unit.entered.run_sync(lambda _: unit.abort(error)))
    except asyncio.CancelledError:
        if not isinstance(error, asyncio.CancelledError | CommitOutcomeUnknown):
            raise
        # cancelled again: what is raised already is the cancellation, or what one must not hide


class _Awaited:
    """The four verbs of an async session whose class overrides one, awaited from within the greenlet."""

    __slots__ = ("_session",)

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def commit(self) -> None:
        await_only(self._session.commit())

    def rollback(self) -> None:
        await_only(self._session.rollback())

    def close(self) -> None:
        await_only(self._session.close())

    def invalidate(self) -> None:
        await_only(self._session.invalidate())


_VERBS: Final = tuple((verb, getattr(AsyncSession, verb)) for verb in ("commit", "rollback", "close", "invalidate"))


def _handle(session: AsyncSession) -> Handle:
    cls = type(session)
    if cls is AsyncSession or all(getattr(cls, verb) is original for verb, original in _VERBS):
        return session.sync_session
    return _Awaited(session)


async def coroutine(unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Run a coroutine function as one unit."""
    async with unit as kwargs["session"]:  # made for this call by wrapt, so nobody else has it
        awaitable = function(*args, **kwargs)
        if not isinstance(awaitable, Awaitable):
            refuse_other_result(awaitable, "an async def", unit.name)
        unit.result = result = await awaitable
        return result


async def again(unit: Owned, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Run a coroutine function, in several attempts if need be, each of which is one unit."""
    from session_aware._retry import Attempts  # noqa: PLC0415 - needs tenacity, which is an extra

    async def attempt() -> object:
        return await coroutine(attempts.begin(), function, args, kwargs)

    with Attempts(unit) as attempts:
        return await attempts.asynchronous()(attempt)


async def stream(
    unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
) -> AsyncGenerator[object, object]:
    """Run an async generator as one unit, from its first item to its end."""
    async with unit as session:
        items = function(*args, **{**kwargs, "session": session})
        if not isinstance(items, AsyncGenerator):
            refuse_other_result(items, "an async generator", unit.name)
        step = items.__anext__()
        while True:
            try:
                item = await step
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except GeneratorExit:
                await items.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - the body decides what becomes of it
                step = items.athrow(error)
            else:
                step = items.asend(sent)


@asynccontextmanager
async def scope(
    unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
) -> AsyncGenerator[object]:
    """Run an async context manager as one unit: the session stays open for the ``async with`` block."""
    async with unit as session:
        manager = function(*args, **{**kwargs, "session": session})
        if not isinstance(manager, AbstractAsyncContextManager):
            refuse_other_result(manager, "an async context manager", unit.name)
        async with manager as value:
            yield value


RUNNERS: Final[dict[Kind, Callable[..., object]]] = {
    Kind.COROUTINE: coroutine,
    Kind.ASYNC_GENERATOR: stream,
    Kind.ASYNC_CONTEXT: scope,
}

RETRYING: Final[dict[Kind, Callable[..., object]]] = {**RUNNERS, Kind.COROUTINE: again}
"""The runners where the policy has a ``Retry``."""
