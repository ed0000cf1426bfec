"""The asynchronous half of a unit, imported at the first async use because greenlet is an extra.

Beginning usually needs no I/O, and then no switch into a greenlet; commit and close share one switch. Whatever ends a unit
runs in a shielded task of its own: a cancellation waits for that task and is raised afterwards.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.util import await_only

from session_aware._unit.shield import shielded
from session_aware.exceptions import CommitOutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from session_aware._unit.unit import Handle, Unit

__all__ = ["AsyncUnit", "enter", "leave"]


class AsyncUnit:
    """A unit as an asynchronous context manager."""

    __slots__ = ("_unit",)

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def __aenter__(self) -> Coroutine[Any, Any, Any]:
        return enter(self._unit)

    def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> Coroutine[Any, Any, None]:
        return leave(self._unit, error)


async def enter(unit: Unit) -> Any:  # noqa: ANN401 - an AsyncSession
    """Open and begin, in a greenlet only if that needs I/O."""
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
    """End the unit in one shielded task and report it. A cancellation must not hide that its outcome is unknown."""
    try:
        await shielded(unit.entered.run_sync(lambda _: unit.end()))
    except asyncio.CancelledError as cancelled:
        if (unknown := unit.unknown_outcome(cancelled)) is not None:
            raise unknown from cancelled
        raise
    unit.report(None)


async def _abort(unit: Unit, error: BaseException) -> None:
    """Clean up the unit in one shielded task."""
    if unit.entered is None:  # there is nothing to clean up, only to report
        unit.abort(error)
        return
    try:
        await shielded(unit.entered.run_sync(lambda _: unit.abort(error)))
    except asyncio.CancelledError:
        if not isinstance(error, asyncio.CancelledError | CommitOutcomeUnknown):
            raise
        # Cancelled again: the error that is being raised is a cancellation already, or must not be hidden by one.


class _Awaited:
    """A handle for an async session whose class overrides one of these methods; they are awaited from the greenlet."""

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
