"""Carry a plan out with an ``AsyncSession``: the twin of ``_sync``, imported at the first async use.

Begin needs no I/O as a rule and then no hop; commit and close share one hop into the greenlet. Whatever ends a unit runs in
a task of its own, shielded: a cancellation waits for it, and is raised afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.util import await_only

from session_aware._marker import CURRENT
from session_aware._plan import OPEN
from session_aware._request import refuse_other_result, refuse_other_session
from session_aware._shield import shielded
from session_aware._signature import Kind
from session_aware.exceptions import CommitOutcomeUnknown

if TYPE_CHECKING:
    from session_aware._marker import Marker, NoMarker
    from session_aware._request import Handle, Request, Unit

__all__ = ["DRIVERS", "RETRYING", "enter", "leave"]


def acquire(request: Request, source: Any) -> AsyncSession:  # noqa: ANN401 - told apart here
    """Return the given session, or a new one from the factory."""
    session: object = source() if request.plan is OPEN or isinstance(source, async_scoped_session) else source
    if not isinstance(session, AsyncSession):
        refuse_other_session(request, session, "AsyncSession")
    return session


async def begin(unit: Unit, session: AsyncSession) -> None:
    """Begin the unit; in the greenlet only if that takes I/O."""
    if unit.needs_io_to_begin(session.sync_session):
        await session.run_sync(unit.begin, _handle(session))
    else:
        unit.begin(session.sync_session, _handle(session))


async def end(unit: Unit, session: AsyncSession, result: object) -> None:
    """End the unit in one shielded hop and tell of it. A cancellation must not hide that its outcome is unknown."""
    try:
        await shielded(session.run_sync(lambda _: unit.end(result)), kept=CURRENT)
    except asyncio.CancelledError as cancelled:
        if (unknown := unit.doubt(cancelled)) is not None:
            raise unknown from cancelled
        raise
    unit.report(None)


async def abort(unit: Unit, session: AsyncSession | None, error: BaseException) -> None:
    """Clean the unit up in one shielded hop."""
    if session is None:  # there is nothing to clean up, only to report
        unit.abort(error)
        return
    try:
        await shielded(session.run_sync(lambda _: unit.abort(error)), kept=CURRENT)
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


async def enter(unit: Unit, request: Request, source: object) -> AsyncSession:
    """Begin a block: what ``auto_session_ctx`` does on entry."""
    session = None
    try:
        session = acquire(request, source)
        await begin(unit, session)
    except BaseException as error:
        await abort(unit, session, error)
        raise
    unit.marker.__enter__()
    return session


async def leave(unit: Unit, session: AsyncSession, error: BaseException | None) -> None:
    """End a block, with the exception that left it if there is one."""
    unit.marker.__exit__()
    if error is not None:
        await abort(unit, session, error)
        return
    try:
        await end(unit, session, None)
    except BaseException as failure:
        await abort(unit, session, failure)
        raise


async def call(
    request: Request, source: object, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """Run a coroutine function as one unit."""
    unit = request.new_unit(request, source)
    session = None
    try:
        session = acquire(request, source)
        await begin(unit, session)
        with unit.marker:
            kwargs["session"] = session  # made for this call by wrapt, so nobody else has it
            awaitable = function(*args, **kwargs)
            if not isinstance(awaitable, Awaitable):
                refuse_other_result(awaitable, "an async def", request.name)
            result: object = await awaitable
        await end(unit, session, result)
    except BaseException as error:
        await abort(unit, session, error)
        raise
    return result


async def call_again(
    request: Request, source: object, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """Run a coroutine function as one unit, in several attempts if need be."""
    from session_aware._retry import Attempts  # noqa: PLC0415 - needs tenacity, which is an extra

    attempts = Attempts(request)
    try:
        result: object = await attempts.asynchronous()(call, attempts.request, source, function, args, kwargs)
    except BaseException as error:
        attempts.failed(error)
        raise
    attempts.succeeded()
    return result


async def generate(
    request: Request, source: object, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> AsyncGenerator[object, object]:
    """Run an async generator as one unit, from its first item to its end; between items nothing of it is current."""
    unit = request.new_unit(request, source)
    session = None
    try:
        session = acquire(request, source)
        await begin(unit, session)
        items = function(*args, **{**kwargs, "session": session})
        if not isinstance(items, AsyncGenerator):
            refuse_other_result(items, "an async generator", request.name)
        step = items.__anext__()
        while True:
            with unit.marker:
                try:
                    item = await step
                except StopAsyncIteration:
                    break
            try:
                sent = yield item
            except GeneratorExit:
                with unit.marker:
                    await items.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - the body decides what becomes of it
                step = items.athrow(error)
            else:
                step = items.asend(sent)
        await end(unit, session, None)
    except BaseException as error:
        await abort(unit, session, error)
        raise


@contextlib.asynccontextmanager
async def hold(
    request: Request, source: object, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> AsyncGenerator[object]:
    """Run an async context manager as one unit: the session stays open for the ``async with`` block."""
    unit = request.new_unit(request, source)
    session = None
    try:
        session = acquire(request, source)
        await begin(unit, session)
        with unit.marker:
            manager = function(*args, **{**kwargs, "session": session})
        if not isinstance(manager, AbstractAsyncContextManager):
            refuse_other_result(manager, "an async context manager", request.name)
        async with _Ends(manager, unit.marker) as value:
            yield value
        await end(unit, session, None)
    except BaseException as error:
        await abort(unit, session, error)
        raise


class _Ends:
    """An async context manager whose both ends run under the unit's marker; the block between them is the caller's."""

    __slots__ = ("_manager", "_marker")

    def __init__(self, manager: AbstractAsyncContextManager[object, bool | None], marker: Marker | NoMarker) -> None:
        self._manager = manager
        self._marker = marker

    async def __aenter__(self) -> object:
        with self._marker:
            return await self._manager.__aenter__()

    async def __aexit__(self, *error: Any) -> bool | None:  # noqa: ANN401, PYI036 - the triple of the protocol
        with self._marker:
            return await self._manager.__aexit__(*error)


DRIVERS: Final[dict[Kind, Callable[..., object]]] = {
    Kind.COROUTINE: call,
    Kind.ASYNC_GENERATOR: generate,
    Kind.ASYNC_CONTEXT: hold,
}

RETRYING: Final[dict[Kind, Callable[..., object]]] = {**DRIVERS, Kind.COROUTINE: call_again}
"""The drivers where the policy has a ``Retry``."""
