"""What SQLAlchemy tells us about owned units: listeners that cost a plain session one dictionary look-up.

The listeners stand on the classes, so they hear every session and engine of the process; a session that no unit owns
is left alone. ``handle_error`` and ``after_soft_rollback`` run only when something failed.

Why a failed statement must be remembered (measured, FAULTS): PostgreSQL answers the COMMIT of a failed transaction with
ROLLBACK and no error, and after a swallowed deadlock MariaDB commits only what came later. Both look like success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, SessionTransaction

from session_aware.exceptions import PolicyConflictError, SessionOwnershipError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ExceptionContext
    from sqlalchemy.orm import UOWTransaction

    from session_aware._observe import Outcome

__all__ = ["INFO_KEY", "FailedStatement", "Owner", "watch"]

INFO_KEY: Final = "session_aware"
"""Where ``session.info`` holds the unit that owns the session, for users' own SQLAlchemy events."""


class Owner(Protocol):
    """What the listeners need of a unit."""

    name: str
    session: Session
    is_ending: bool
    is_read_only: bool
    failed: list[FailedStatement]
    connections: list[Connection]
    outcome: Outcome


class FailedStatement:
    """A statement error, and the savepoints that were open around it: rolling one of them back heals it."""

    __slots__ = ("error", "savepoints")

    def __init__(self, error: BaseException, savepoints: tuple[SessionTransaction, ...]) -> None:
        self.error = error
        self.savepoints = savepoints


# Weak on both sides: a session leads to its connections and back, through its transaction and through tracebacks.
_sessions: WeakKeyDictionary[Connection, ref[Session]] = WeakKeyDictionary()

# MySQL and MariaDB end the whole transaction at these, savepoints included (Source: FAULTS; MySQL error reference).
_ENDS_TRANSACTION: Final = frozenset({1213, 1020})


def watch(connection: Connection, owner: Owner) -> None:
    """Tell ``owner`` of the statement errors on a connection that its session had before it was owned."""
    _sessions[connection] = ref(owner.session)
    if connection not in owner.connections:  # each savepoint begins on it again
        owner.connections.append(connection)


def _owner(session: Session) -> Owner | None:
    return session.info.get(INFO_KEY)


@event.listens_for(Session, "after_begin")
def _remember_connection(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    if (owner := _owner(session)) is not None:
        watch(connection, owner)


@event.listens_for(Engine, "handle_error")
def _remember_failure(context: ExceptionContext) -> None:
    found = None if context.connection is None else _sessions.get(context.connection)
    session = None if found is None else found()
    if session is None or (owner := _owner(session)) is None:
        return
    savepoints: list[SessionTransaction] = []
    transaction = session.get_nested_transaction()
    if not context.is_disconnect and _code(context.original_exception) not in _ENDS_TRANSACTION:
        while transaction is not None:
            savepoints.append(transaction)
            transaction = transaction.parent
    owner.failed.append(FailedStatement(context.sqlalchemy_exception or context.original_exception, tuple(savepoints)))


def _code(error: BaseException) -> object:
    return getattr(error, "errno", None) or next(iter(error.args), None)


@event.listens_for(Session, "after_soft_rollback")
def _forget_healed(session: Session, ended: SessionTransaction) -> None:
    owner = _owner(session)
    if owner is not None and ended.nested and owner.failed:
        owner.failed[:] = [failed for failed in owner.failed if ended not in failed.savepoints]


@event.listens_for(Session, "before_commit")
def _refuse_commit(session: Session) -> None:
    owner = _owner(session)
    if owner is None or owner.is_ending or session.in_nested_transaction():
        return
    msg = (
        f"{owner.name}: the body commits a session that it does not own. The library opened it, commits it when the body "
        "returns and rolls it back when it raises; a commit in the middle would leave half of the work applied. Remove "
        "the commit(). To send statements early write 'session.flush()', for a part that may fail "
        "'with session.begin_nested():'."
    )
    raise SessionOwnershipError(msg)


@event.listens_for(Session, "after_commit", insert=True)
def _note_commit(session: Session) -> None:
    """Before any other listener: one that fails is no failure of the unit."""
    if (owner := _owner(session)) is not None and not session.in_nested_transaction():
        owner.outcome = "committed"


@event.listens_for(Session, "before_flush")
def _refuse_flush(session: Session, _context: UOWTransaction, _instances: object) -> None:
    owner = _owner(session)
    if owner is None or not owner.is_read_only:
        return
    changed = [*session.new, *session.deleted, *(one for one in session.dirty if session.is_modified(one))]
    if not changed:
        return
    msg = (
        f"{owner.name}: it is read_only, but its session has {len(changed)} changed object(s), the first a "
        f"{type(changed[0]).__name__}, which would never be committed. Remove read_only=True, or change objects in a method "
        "without it."
    )
    raise PolicyConflictError(msg)
