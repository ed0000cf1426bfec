"""SQLAlchemy's events for owned units. Sessions that no unit owns have no listener of this module.

Those of units are heard, see ``listeners.hear``. One listener is on all engines, for ``handle_error``, which runs only after
a failure. It has to come before those of other code, which may raise, and so hide the failure from later ones. A session may
choose other engines later, and a connection that is refused belongs to no unit. SQLAlchemy has no such event for single
connections, so each statement of the process costs up to 3 % more for it.

No class of connections has a listener, and a connection has one only if other code may work or clean up while the unit
commits: after the first such listener SQLAlchemy prepares all events on each new connection. That costs every unit with a
statement, also one written by hand, 16 % of its instructions (SQLAlchemy 2.1.9).

A failed statement must be remembered because, as measured on the servers, PostgreSQL answers the COMMIT of a failed
transaction with ROLLBACK and no error, and MariaDB commits after a swallowed deadlock only what came later. Both look like
success.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from sqlalchemy import Connection, Engine, NestedTransaction, RootTransaction, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, SessionTransaction, SessionTransactionOrigin
from sqlalchemy.schema import ExecutableDDLElement, Sequence
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import ReleaseSavepointClause, SavepointClause
from sqlalchemy.sql.functions import next_value
from sqlalchemy.sql.selectable import GenerativeSelect

from session_aware._database import faults
from session_aware._database.listeners import hear_last, heard, listen, savepoint_around, unlisten
from session_aware._database.stack import warn
from session_aware.exceptions import EndedSessionWarning, PolicyConflictError, SessionOwnershipError

if TYPE_CHECKING:
    from sqlalchemy import PoolProxiedConnection
    from sqlalchemy.engine.interfaces import ExceptionContext, ExecutionContext
    from sqlalchemy.orm import InstanceState, UOWTransaction

    from session_aware._database.outcome import Outcome

__all__ = [
    "ENDED_KEY",
    "OWNER_KEY",
    "Begun",
    "FailedStatement",
    "Owner",
    "allow_writes",
    "leave_alone",
    "owner_of",
    "refuse_flushes",
    "refuse_statements",
    "refuse_writes",
    "refuses_writes",
    "unwatch",
    "warn_of_use_after_commit",
    "watch",
]

OWNER_KEY: Final = "session_aware"
"""Where ``session.info`` holds the unit that owns the session, for users' own SQLAlchemy events."""

ENDED_KEY: Final = "session_aware.ended"
"""Where ``session.info`` holds the name of the last unit that owned the session, once that unit is over."""


_PART_KEY: Final = "_session_aware_part"
_REFUSES_KEY: Final = "_session_aware_refuses"
_BY_ITSELF: Final = SessionTransactionOrigin.AUTOBEGIN

Begun: TypeAlias = "dict[Connection, tuple[RootTransaction | None, Owner | None]]"
"""A unit's connections, each with the transaction that runs there and the unit that had it before."""


class Owner(Protocol):
    """The attributes of a unit that the listeners need."""

    name: str
    session: Session
    is_autocommit: bool
    is_ending: bool
    outcome: Outcome
    failed: list[FailedStatement]
    attached: str | None
    refused: dict[Connection, Exception]
    begun: Begun

    def take(self, connection: Connection, /) -> None: ...
    @property
    def is_read_only(self) -> bool: ...
    @property
    def is_suspendable(self) -> bool: ...


class FailedStatement:
    """A statement error, and the savepoints that were open around it: a rollback to one of them undoes it."""

    __slots__ = ("error", "savepoints")

    def __init__(self, error: BaseException, savepoints: tuple[SessionTransaction | NestedTransaction, ...]) -> None:
        self.error = error
        self.savepoints = savepoints


# The owner of a connection is kept in the connection's own dictionary. A registry would keep a unit that never ends, such as
# one whose event loop is gone, for ever, and a weak registry costs more than everything else here.

# MySQL and MariaDB end the whole transaction at these errors, savepoints included.
_ENDS_TRANSACTION: Final = frozenset({1213, 1020})


# If a stream is in a reference cycle, the garbage collector calls the pool's weak reference before it closes the generator,
# and the rollback would reach a connection that other code may have by then. So the pooled connections are kept here, by the
# id of the unit, since a reference to the unit itself would keep it from being collected.
_kept: Final[dict[int, list[PoolProxiedConnection]]] = {}


def watch(connection: Connection, owner: Owner) -> None:
    """Record the statement errors of a connection for ``owner``, and remember the transaction that runs there."""
    own = connection.__dict__
    owner.begun[connection] = connection.get_transaction(), own.get(OWNER_KEY)
    own[OWNER_KEY] = owner
    if owner.is_suspendable:
        _kept.setdefault(id(owner), []).append(connection.connection)


def unwatch(owner: Owner) -> None:
    """Give the connections back to the units that had them before: sessions bound to one ``Connection`` share it."""
    for connection, (_, before) in owner.begun.items():
        own = connection.__dict__
        if before is not None and not before.is_ending:
            own[OWNER_KEY] = before
        elif own.get(OWNER_KEY) is owner:
            del own[OWNER_KEY]
    owner.begun.clear()
    if owner.is_suspendable:
        _kept.pop(id(owner), None)


def owner_of(connection: Connection) -> Owner | None:
    """Return the unit that watches a connection."""
    return vars(connection).get(OWNER_KEY)


@heard("after_begin")
def _remember_connection(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    info = session.info
    owner: Owner | None = info.get(OWNER_KEY)
    if owner is not None:
        if owner.outcome != "committed":
            owner.take(connection)
    elif ENDED_KEY in info:
        _warn_of_use_after_end(session, info[ENDED_KEY])


def _warn_of_use_after_end(session: Session, name: str) -> None:
    transaction = session.get_transaction()
    if isinstance(session.bind, Connection) or transaction is None or transaction.origin is not _BY_ITSELF:
        return  # the code that has the Connection, or has called begin(), is going to end it
    msg = (
        f"{name}: its session is used after the call has ended its transaction and closed it. This begins another one, "
        "which nobody commits and nobody ends. Read what is needed before the body returns, such as 'list(...)' of a "
        "query, or let the caller open the session, and pass it."
    )
    warn(msg, EndedSessionWarning)


def warn_of_use_after_commit(name: str) -> None:
    """Warn that a callback of ``after_commit``, or a listener, has used the session of its own unit."""
    msg = (
        f"{name}: its session was used between its COMMIT and its end, in an after_commit callback or a listener. That "
        "work is rolled back. Let a callback that needs the database call a method without 'session='."
    )
    warn(msg, EndedSessionWarning)


def refuse_statements(connection: Connection) -> None:
    """Refuse every statement on a connection that a unit has refused."""
    listen(connection, "before_cursor_execute", _refuse_statement)


def _refuse_statement(connection: Connection, *_: object) -> None:
    owner = owner_of(connection)
    if owner is not None and (error := owner.refused.get(connection)) is not None:
        raise error


def refuse_writes(target: Connection | Engine) -> None:
    """Refuse constructs that write or lock, in units without a transaction.

    Args:
        target: A connection, or an engine whose connections are all in AUTOCOMMIT.
    """
    if isinstance(target, Engine):
        target.update_execution_options(**{_REFUSES_KEY: True})  # an engine that is made from this one has them, too
    listen(target, "before_execute", _refuse_write)
    listen(target, "before_cursor_execute", _refuse_inner_write)


def refuses_writes(connection: Connection) -> bool:
    """Say whether ``refuse_writes`` was called for the connection's engine, and no other level is set since."""
    options = connection.get_execution_options()
    return _REFUSES_KEY in options and options.get("isolation_level", "AUTOCOMMIT") == "AUTOCOMMIT"


def allow_writes(connection: Connection) -> None:
    """Undo ``refuse_writes`` for a connection that outlives the unit."""
    unlisten(connection, "before_execute", _refuse_write)
    unlisten(connection, "before_cursor_execute", _refuse_inner_write)


def _refuse_write(connection: Connection, statement: Any, *_: object) -> None:  # noqa: ANN401 - whatever SQLAlchemy executes
    # As early as that, because the defaults of an INSERT may be asked of the server before it is sent.
    if _writes(statement) or (isinstance(statement, SavepointClause) and refuses_writes(connection)):
        _refuse_part(connection, statement)


def _refuse_inner_write(
    connection: Connection, _cursor: object, _text: object, _parameters: object, context: ExecutionContext, *_: object
) -> None:
    compiled: Any = context.compiled  # None if the driver gets the text as it is
    if compiled is None:
        return
    own = vars(compiled)  # SQLAlchemy keeps it for the next statement of this form
    if _PART_KEY not in own:
        constructs = (compiled.statement, *(getattr(compiled, "ctes", None) or ()))  # the latter with those of criteria
        parts = chain.from_iterable(map(visitors.iterate, constructs))
        own[_PART_KEY] = next((part for part in parts if _writes(part) or _locks(part)), None)
    if own[_PART_KEY] is not None:
        _refuse_part(connection, own[_PART_KEY])


def _writes(construct: object) -> bool:
    return isinstance(construct, UpdateBase | ExecutableDDLElement | Sequence | next_value)


def _locks(construct: object) -> bool:
    # SQLAlchemy has no public name for it.
    return isinstance(construct, GenerativeSelect) and construct._for_update_arg is not None  # noqa: SLF001


def _refuse_part(connection: Connection, part: Any) -> None:  # noqa: ANN401 - see above
    owner = owner_of(connection)
    is_without = not refuses_writes(connection) if owner is None else not owner.is_autocommit
    if is_without:
        return  # the listener is on a Connection of other code, or before SQLAlchemy 2.0.38 on the whole engine, see listen
    name = "session.get_bind()" if owner is None else owner.name
    if _writes(part):
        kind = "sequence" if isinstance(part, next_value) else part.__visit_name__.replace("_", " ")
        msg = (
            f"{name}: it is read_only, in AUTOCOMMIT, where nothing could be rolled back, and this statement writes "
            f"({kind.upper()}). It was not sent. Remove both, or write in a method "
            "without them."
        )
    elif _locks(part):
        msg = (
            f"{name}: it is in AUTOCOMMIT, without a transaction, so the lock of with_for_update() would be released at "
            "once. The statement was not sent. Lock rows in the method that writes them."
        )
    else:
        msg = (
            f"{name}: it is in AUTOCOMMIT, without a transaction, so it can have no SAVEPOINT. Remove begin_nested(), or "
            'NESTED from the method that is called with its session; or isolation_level="AUTOCOMMIT".'
        )
    raise PolicyConflictError(msg)


def leave_alone(connection: Connection) -> None:
    """Allow statements again on a Connection that outlives the unit."""
    unlisten(connection, "before_cursor_execute", _refuse_statement)


@event.listens_for(Engine, "handle_error")
def _remember_failure(context: ExceptionContext) -> None:
    if context.connection is None:
        if isinstance(context.sqlalchemy_exception, OperationalError):
            setattr(context.sqlalchemy_exception, faults.REFUSED_KEY, True)
        return
    if (owner := owner_of(context.connection)) is None:
        return
    if context.execution_context is None and context.statement is not None and not context.is_disconnect:
        return  # a wrong parameter, found before anything was sent
    savepoints: list[SessionTransaction | NestedTransaction] = []
    transaction = owner.session.get_nested_transaction()
    if transaction is not None and _is_release(context):
        # SQLAlchemy sends no ROLLBACK TO for a savepoint whose RELEASE failed, so the end of this one undoes nothing.
        _forget_savepoint(owner, transaction)
        transaction = transaction.parent
    if not context.is_disconnect and _code(context.original_exception) not in _ENDS_TRANSACTION:
        while transaction is not None:
            savepoints.append(transaction)
            transaction = transaction.parent
        if (innermost := context.connection.get_nested_transaction()) is not None:
            savepoints.append(innermost)  # of connection.begin_nested(), which the session does not know
            listen(context.connection, "rollback_savepoint", _forget_healed_by_connection)
    owner.failed.append(FailedStatement(context.sqlalchemy_exception or context.original_exception, tuple(savepoints)))


def _is_release(context: ExceptionContext) -> bool:
    compiled = getattr(context.execution_context, "compiled", None)
    return isinstance(getattr(compiled, "statement", None), ReleaseSavepointClause)


def _forget_savepoint(owner: Owner, savepoint: SessionTransaction) -> None:
    for failed in owner.failed:
        failed.savepoints = tuple(other for other in failed.savepoints if other is not savepoint)


def _code(error: BaseException) -> object:
    return getattr(error, "errno", None) or next(iter(error.args), None)


@heard("after_soft_rollback")
def _forget_healed(session: Session, ended: SessionTransaction) -> None:
    owner: Owner | None = session.info.get(OWNER_KEY)
    if owner is None or not owner.failed:
        return
    if (savepoint := savepoint_around(ended)) is not None:
        _forget(owner, savepoint)


def _forget_healed_by_connection(connection: Connection, _name: str, _context: object) -> None:
    owner, savepoint = owner_of(connection), connection.get_nested_transaction()
    if owner is not None and savepoint is not None:
        _forget(owner, savepoint)


def _forget(owner: Owner, savepoint: SessionTransaction | NestedTransaction) -> None:
    owner.failed[:] = [failed for failed in owner.failed if savepoint not in failed.savepoints]


@heard("before_commit")
def _refuse_commit(session: Session) -> None:
    owner: Owner | None = session.info.get(OWNER_KEY)
    if owner is None or owner.is_ending or session.in_nested_transaction():
        return
    msg = (
        f"{owner.name}: the body commits a session that it does not own. The library opened it, commits it when the body "
        "returns and rolls it back when it raises; a commit in the middle would leave half of the work applied. Remove "
        "the commit(). To send statements early write 'session.flush()'; for a part that may fail write "
        "'with session.begin_nested():'."
    )
    raise SessionOwnershipError(msg)


@heard("after_commit")
def _notice_commit(session: Session) -> None:
    # This runs before the user's own listeners, whose errors are not failures of the COMMIT.
    owner: Owner | None = session.info.get(OWNER_KEY)
    if owner is not None and owner.is_ending and not session.in_nested_transaction():
        owner.outcome = "committed"


@heard("detached_to_persistent")
def _note_attached(session: Session, state: InstanceState[Any]) -> None:
    owner: Owner | None = session.info.get(OWNER_KEY)
    if owner is None or owner.attached is not None:
        return
    if len(state.dict) > 1 or state.expired:  # otherwise it has no attribute yet: merge(load=False) has made it
        owner.attached = state.class_.__name__


def refuse_flushes(session: Session) -> None:
    """Refuse this session's changes, once the listeners of other code have seen them."""
    hear_last(session, "before_flush", _refuse_flush)


@heard("before_flush", is_last=True)
def _refuse_flush(session: Session, _context: UOWTransaction, _instances: object) -> None:
    owner: Owner | None = session.info.get(OWNER_KEY)
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
