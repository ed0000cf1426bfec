"""What a body may return: nothing that would run, or be read, after its session is closed."""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from sqlalchemy.engine import CursorResult, FilterResult, Result
from sqlalchemy.exc import InvalidRequestError, ResourceClosedError
from sqlalchemy.orm import Query

from session_aware.exceptions import SessionAwareError

if TYPE_CHECKING:
    from collections.abc import Container

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

__all__ = ["is_deferred", "is_unread", "refuse_deferred", "refuse_other_result", "refuse_rows"]

_DEFERRED: Final = frozenset({AsyncGeneratorType, CoroutineType, GeneratorType})
"""The types that a body must not return un-run."""

_UNREAD: Final = frozenset({Result, FilterResult, Query})
"""The classes that a body must not return unread. They are looked up in the MRO, because ``isinstance`` is slow here."""


def refuse_deferred(result: object, name: str) -> NoReturn:
    """Refuse an un-run result: a coroutine, generator or async generator would run after the close.

    Raises:
        SessionAwareError: Always.
    """
    if isinstance(result, CoroutineType | GeneratorType):
        result.close()  # otherwise Python would warn of a coroutine that was never awaited
    what = type(result).__name__.replace("_", " ")
    msg = (
        f"{name}: it returned the {what} {getattr(result, '__name__', '?')!r}, whose body would run after the session is "
        "closed; nothing was committed. Write the method itself as 'async def' or as a generator, or await or exhaust it "
        "inside the body."
    )
    raise SessionAwareError(msg)


def refuse_rows(result: object, name: str) -> NoReturn:
    """Refuse an unread result: a query, or a result that has rows left to fetch.

    Raises:
        SessionAwareError: Always.
    """
    what = "a Query, which would be sent" if isinstance(result, Query) else "a Result with rows that would be read"
    msg = (
        f"{name}: it returned {what} after the session is closed; nothing was committed. Write '.all()' after it, or yield "
        "the rows."
    )
    raise SessionAwareError(msg)


def is_deferred(result: object) -> bool:
    """Say whether a result is an un-run coroutine, generator or async generator."""
    try:
        return type(result) in _DEFERRED
    except Exception:  # noqa: BLE001 - the metaclass of a user's class can fail here, and then it is none of these
        return False


def is_unread(result: Any, session: Session, connections: Container[Connection]) -> bool:  # noqa: ANN401 - sync or async
    """Say whether a result is a query, or has rows left to fetch, and needs the session or connections of the unit.

    Args:
        result: What the body returned. An unread result is closed.
        session: The session of the unit.
        connections: The connections of the unit.
    """
    try:
        is_candidate = not _UNREAD.isdisjoint(type(result).__mro__)
    except Exception:  # noqa: BLE001 - see is_deferred
        return False
    if not is_candidate:
        return False
    if isinstance(result, Query):
        return result.session is session
    source = getattr(result, "_real_result", None) or result  # what scalars(), mappings() and the async classes wrap
    cursor = getattr(source, "raw", source)  # what a result of the ORM wraps; None for rows in memory
    return isinstance(cursor, CursorResult) and cursor.connection in connections and _has_rows(result)


def _has_rows(result: Any) -> bool:  # noqa: ANN401 - sync or async
    try:
        rows = _awaited(result.fetchmany(1))
    except ResourceClosedError:  # closed, or the answer to an UPDATE, which has no rows
        return False
    except InvalidRequestError:  # it demands unique(), for example
        rows = True
    if rows:
        _awaited(result.close())  # otherwise the driver would warn of an open cursor
    return bool(rows)


def _awaited(made: object) -> object:
    """Await what an async result returns, which is possible because an async unit ends in a greenlet."""
    if not isinstance(made, CoroutineType):
        return made
    from sqlalchemy.util import await_only  # noqa: PLC0415 - needs greenlet, which is an extra

    found: object = await_only(made)
    return found


def refuse_other_result(result: object, kind: str, name: str) -> NoReturn:
    """Report a decorator that does not return the kind of result that its function promises."""
    msg = (
        f"{name}: it wraps {kind}, but calling it returned {type(result).__name__!r}. A decorator between session-aware and "
        "the function must pass the deferred result through. Apply that decorator above @auto_session_func, or write its "
        f"wrapper as {kind}."
    )
    raise SessionAwareError(msg)
