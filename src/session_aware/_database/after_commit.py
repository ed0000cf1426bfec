"""``after_commit``: run something once the work is committed, and only then."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast, overload

from sqlalchemy.orm import Session

from session_aware._database.listeners import hear, hear_last, heard, savepoint_around

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import SessionTransaction

__all__ = ["TAKER_KEY", "after_commit", "call", "run_dropped"]

_logger: Final = logging.getLogger("session_aware")
_KEY: Final = "session_aware.after_commit"

TAKER_KEY: Final = "session_aware.after_commit.taker"
"""Where ``session.info`` may hold a function that gets each callback instead of ``call``; the pytest plugin sets one."""


class _Registered(NamedTuple):
    callback: Callable[[], object]
    savepoints: tuple[SessionTransaction, ...]


class _Callbacks:
    """The callbacks that wait for the end of one session's transaction, in order.

    Those that its rollback has dropped are kept until another one is registered: a COMMIT that failed may be applied.
    """

    __slots__ = ("dropped", "is_committed", "waiting")

    def __init__(self) -> None:
        self.waiting: list[_Registered] = []
        self.dropped: list[_Registered] = []
        self.is_committed = False


@overload
def after_commit(session: Session, callback: Callable[[], object]) -> None: ...
@overload
def after_commit(session: AsyncSession, callback: Callable[[], Awaitable[object] | object]) -> None: ...
def after_commit(session: Any, callback: Callable[[], Any]) -> None:
    """Call ``callback`` after the outermost COMMIT of the session's transaction.

    In auto mode the library commits, in manual mode the caller does. The callback is dropped if the transaction, or the
    savepoint in which it was registered, is rolled back, as after a dry run. Several callbacks run in the order of their
    registration. The session's transaction is over by then: a callback that needs the database opens a unit of its own. An
    exception of a callback is logged (logger ``session_aware``, level ERROR); it neither undoes nor repeats the commit, and
    the next callback still runs. Only a ``BaseException`` that is not an ``Exception``, such as KeyboardInterrupt, passes
    through. The callback runs in the thread that commits. An async unit commits in a task of its own, which is not
    cancelled; context variables that a callback sets stay set.

    Args:
        session: The session that the body was given: a ``Session`` or an ``AsyncSession``.
        callback: Is called without arguments. With an ``AsyncSession`` it may be a coroutine function, whose coroutine is
            awaited.

    Raises:
        TypeError: The callback cannot be called, or is a coroutine function and the session a plain one.

    Example:
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
            session.add(Account(owner=owner))
            after_commit(session, lambda: mail.welcome(owner))
    """
    if not callable(cast("object", callback)):
        msg = f"after_commit: {callback!r} cannot be called. Write 'after_commit(session, lambda: ...)'."
        raise TypeError(msg)
    sync_session: Session = getattr(session, "sync_session", session)
    if not isinstance(cast("object", sync_session), Session):
        msg = f"after_commit: the first argument is a {type(session).__name__}. Write 'after_commit(session, callback)'."
        raise TypeError(msg)
    if sync_session is session and inspect.iscoroutinefunction(callback):
        msg = (
            f"after_commit: {getattr(callback, '__qualname__', callback)!r} is a coroutine function, but a Session cannot "
            "await it. Write a plain function, or use an AsyncSession."
        )
        raise TypeError(msg)
    callbacks: _Callbacks | None = sync_session.info.get(_KEY)
    if callbacks is None:
        callbacks = sync_session.info[_KEY] = _Callbacks()
        hear(sync_session)
        hear_last(sync_session, "after_transaction_end", _run)
    if not sync_session.in_transaction():
        sync_session.begin()  # as its next statement would
    savepoints = []
    transaction = sync_session.get_nested_transaction()
    while transaction is not None:
        savepoints.append(transaction)
        transaction = transaction.parent
    callbacks.dropped.clear()
    callbacks.waiting.append(_Registered(callback, tuple(savepoints)))


after_commit.__module__ = "session_aware"


@heard("after_commit")
def _note_commit(session: Session) -> None:
    callbacks: _Callbacks | None = session.info.get(_KEY)
    if callbacks is not None and not session.in_nested_transaction():
        callbacks.is_committed = True


@heard("after_soft_rollback")
def _forget(session: Session, ended: SessionTransaction) -> None:
    """Drop what was registered in a savepoint that is rolled back; ``_run`` sees how the whole transaction ends."""
    callbacks: _Callbacks | None = session.info.get(_KEY)
    if callbacks is not None and (undone := savepoint_around(ended)) is not None:
        callbacks.waiting = [one for one in callbacks.waiting if undone not in one.savepoints]


@heard("after_transaction_end", is_last=True)
def _run(session: Session, ended: SessionTransaction) -> None:
    """Run the waiting callbacks once the outermost transaction has ended, and thus closed its connections."""
    callbacks: _Callbacks | None = session.info.get(_KEY)
    if callbacks is None or ended.parent is not None:
        return
    waiting, is_committed = callbacks.waiting, callbacks.is_committed
    callbacks.waiting, callbacks.is_committed = [], False  # first: a callback may use the session again
    if is_committed:
        _call_all(session, waiting)
    else:
        callbacks.dropped += waiting


def run_dropped(session: Session) -> None:
    """Run the callbacks that a rollback has dropped, because the transaction turned out to be committed."""
    callbacks: _Callbacks | None = session.info.get(_KEY)
    if callbacks is not None:
        dropped, callbacks.dropped = callbacks.dropped, []
        _call_all(session, dropped)


def _call_all(session: Session, waiting: Iterable[_Registered]) -> None:
    take: Callable[[Callable[[], object]], None] = session.info.get(TAKER_KEY, call)
    for registered in waiting:
        try:
            take(registered.callback)
        except Exception:
            name = getattr(registered.callback, "__qualname__", repr(registered.callback))
            _logger.exception("after_commit: %s failed; the transaction is committed", name)


def call(callback: Callable[[], object]) -> None:
    """Call a callback and await its result if that is awaitable: the commit of an async session runs in a greenlet."""
    result = callback()
    if inspect.isawaitable(result):
        _await(result)


def _await(awaitable: Awaitable[object]) -> None:
    from sqlalchemy.util import await_only  # noqa: PLC0415 - needs greenlet, which is an extra

    await_only(awaitable)
