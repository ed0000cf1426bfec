"""The unit that owns its session: begin, commit or roll back, close.

It is written synchronously; ``asynchronous`` runs it in the greenlet of its session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from sqlalchemy import Connection, event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from session_aware._database import after_commit, before_commit, connections, driver, events, faults, outcome
from session_aware._database.events import OWNER_KEY
from session_aware._database.listeners import hear, listen, put_back
from session_aware._unit import observe
from session_aware._unit.nesting import outer_sessions, warn_if_same_database
from session_aware._unit.policy import NO_POLICY, Propagation
from session_aware._unit.request import refuse_other_session
from session_aware._unit.results import is_deferred, is_unread, refuse_deferred, refuse_rows
from session_aware._unit.unit import Unit
from session_aware.exceptions import CommitOutcomeUnknown, SessionFactoryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import SessionTransaction

    from session_aware._database.outcome import Outcome
    from session_aware._unit.nesting import Outer
    from session_aware._unit.request import Request
    from session_aware._unit.unit import Handle

__all__ = ["Owned"]

_REQUIRES_NEW: Final = Propagation.REQUIRES_NEW  # see request.OPEN
_NOT_CLOSED: Final = "%s: %s, but its session could not be closed%s"

_NEEDS_TRANSACTION: Final = "25P01"  # PostgreSQL's no_active_sql_transaction
_INVALIDATED: Final = "; its connection was invalidated"
_AND_UNDONE: Final = ", and the database rolls back what it had begun"


class Owned(Unit):
    """A unit that owns its session: begin, commit or roll back, close.

    Attributes:
        session: The (synchronous) session, from ``begin`` on.
        is_ending: Whether the library itself is committing, or the unit is over.
        outcome: What is known of its outcome.
        is_attempt: Whether ``Attempts`` reports it.
        is_autocommit: Whether it has no transaction, so that statements that write are refused.
        is_over: Whether nothing is left for ``abort`` to clean up.
        begun: The session's connections, each with its transaction and the unit that had it before.
        failed: The statement errors that no rollback to a savepoint has undone.
        refused: The error of each connection on which no further statement may be sent.
        attached: The class of the first detached object that the body attached, or None.
    """

    __slots__ = (
        "_given_up",
        "_hand_out_by",
        "_handle",
        "_has_listeners",
        "_is_checked",
        "_is_ended",
        "_is_handed_out",
        "_is_released",
        "_listening",
        "_outer",
        "_preparation",
        "_started",
        "_transaction",
        "_watches_commit",
        "attached",
        "begun",
        "failed",
        "is_attempt",
        "is_autocommit",
        "is_ending",
        "is_over",
        "outcome",
        "refused",
        "session",
    )

    session: Session
    _handle: Handle
    _transaction: SessionTransaction

    def __init__(self, request: Request, factory: Callable[[], object]) -> None:
        super().__init__(request, factory)
        self.is_ending = False
        self.outcome: Outcome = "rolled back"  # until COMMIT is sent
        self.begun: events.Begun = {}
        self._started: float | None = None
        self.is_attempt = False
        self._outer: list[Outer] = []
        self._is_released = False
        self._is_handed_out = False
        self._is_checked = False
        self._given_up = ""
        self._is_ended = False  # committed or rolled back
        self._watches_commit = False
        self._listening: list[tuple[object, str, Callable[..., None]]] = []
        self._has_listeners = False
        self._hand_out_by: Callable[..., Connection] | None = None
        self.is_autocommit = request.policy.isolation_level == "AUTOCOMMIT"
        self.is_over = True  # until there is a session to clean up
        self.failed: list[events.FailedStatement] = []
        self.refused: dict[Connection, Exception] = {}
        self.attached: str | None = None
        self._preparation: connections.Preparation | None = None

    @property
    def is_read_only(self) -> bool:
        """Say whether a flush of changes is refused."""
        return self.request.policy.read_only is True

    @property
    def is_suspendable(self) -> bool:
        """Say whether it may be garbage-collected before its body has ended."""
        return self.request.is_suspendable

    @property
    def is_committed(self) -> bool:
        """Say whether the unit is known to be committed."""
        return self.outcome == "committed"

    def acquire(self, kind: type[Any], _registry: type[Any]) -> Any:  # noqa: ANN401 - of that kind
        """Return a new session from the factory."""
        if not self.is_attempt:
            self._started = observe.start()
        if self.request.policy.propagation is not _REQUIRES_NEW:
            self._outer = outer_sessions(self)
        session = self.source()
        if not isinstance(session, kind):
            refuse_other_session(self.request, session, kind.__name__)
        return session

    def needs_io_to_begin(self, session: Session) -> bool:
        """Say whether ``begin`` talks to the database; an ordinary begin only marks the session."""
        return session.in_transaction() or isinstance(session.bind, Connection)

    def begin(self, session: Session, handle: Handle) -> None:
        """Take over the new session and begin, unless the factory has already begun."""
        info = session.info
        if (other := info.get(OWNER_KEY)) is not None:
            _refuse_shared(self.name, other.name)
        hear(session)
        self.session = session
        self._handle = handle
        self.is_over = False
        info[OWNER_KEY] = self
        info.pop(events.ENDED_KEY, None)
        if self._outer:
            found, self._outer = self._outer, []
            warn_if_same_database(self, session, found)
        # It is closed right after the commit: expiry could only turn what the body returns into DetachedInstanceError.
        session.expire_on_commit = False
        if (bind := session.bind) is None or driver.may_be_silent(bind.dialect):
            self._hand_out_by = session.connection
            vars(session)["connection"] = self._hand_out
        dispatch: Any = session.dispatch
        if len(dispatch.after_begin) > 1 and not self.is_autocommit:  # the library's own listener is the first
            self._has_listeners = True
            event.listen(session, "after_begin", self._check_last)
        transaction = session.get_transaction()
        is_joined = transaction is None and connections.check_bound_connection(session, self.name)
        self._transaction = session.begin() if transaction is None else transaction
        policy = self.request.policy
        if policy is not NO_POLICY and (self.is_read_only or policy.isolation_level is not None):
            self._preparation = connections.Preparation(
                session,
                isolation_level=policy.isolation_level,
                read_only=self.is_read_only,
                name=self.name,
                is_begun=transaction is not None,
            )
            if is_joined:
                session.connection()  # so that it is checked now and not at the first statement
        if transaction is not None:
            for connection in connections.connections_of(session):
                self.take(connection)
                if not self.is_autocommit:
                    connections.check_autocommit(connection, self.name)

    def take(self, connection: Connection) -> None:
        """Take over a connection on which the session has begun, before its first statement there.

        Raises:
            SessionFactoryError: The connection is in AUTOCOMMIT, or in a transaction that the unit's COMMIT would not end.
            PolicyConflictError: Its transaction runs at another level than the policy's.
        """
        if connection in self.begun:
            return
        events.watch(connection, self)
        try:
            connections.check_taken_connection(self.session, self._transaction, connection, self.name)
            # Another listener of SQLite may send BEGIN: see _check_last
            if not (self.is_autocommit or (self._has_listeners and connection.dialect.name == "sqlite")):
                connections.check_autocommit(connection, self.name)
            if self._preparation is not None:
                self._preparation.take(connection)
        except Exception as error:
            self._refuse(connection, error)
            raise
        if self._watches_commit:
            self._watch_commit(connection)

    def _check_last(self, _session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
        """Check the connection after the other listeners of ``after_begin``, because one of them may send BEGIN."""
        try:
            connections.check_autocommit(connection, self.name)
        except Exception as error:
            self._refuse(connection, error)
            raise

    def _refuse(self, connection: Connection, error: Exception) -> None:
        """Refuse further statements on the connection, and COMMIT, in case the body swallows the error."""
        self.refused[connection] = error
        events.refuse_statements(connection)
        self.failed.append(events.FailedStatement(error, ()))

    def _hand_out(self, *args: Any, **kwargs: Any) -> Connection:  # noqa: ANN401 - as SQLAlchemy has them
        """Replace ``session.connection`` to note that the body has a connection, and may use that of the driver."""
        assert self._hand_out_by is not None  # noqa: S101 - set together with this replacement
        self._is_handed_out = True
        return self._hand_out_by(*args, **kwargs)

    def end(self) -> None:
        """Commit, or roll back a dry run or read-only unit and keep its objects readable; then close.

        Raises:
            SessionAwareError: The result is deferred or unread, so it would run or be read after the close.
            SessionOwnershipError: The body has ended the transaction.
            PoisonedTransactionError: The body swallowed a statement error, perhaps on the driver's own connection.
            CommitOutcomeUnknown: No answer to COMMIT tells whether it was applied.
        """
        if is_deferred(self.result):
            refuse_deferred(self.result, self.name)
        if is_unread(self.result, self.session, self.begun):
            refuse_rows(self.result, self.name)
        if self.session.get_transaction() is not self._transaction:
            before_commit.refuse_ended(self.name)
        if self.begun:
            before_commit.check_connections(self.session, self.begun, self.name)
        if self.failed and not self.is_read_only:  # a read-only unit has nothing to lose
            before_commit.refuse_poisoned(self.failed[0].error, name=self.name)
        # From here on this method cleans up: if its task is given up in the middle, nothing else can.
        self.is_over = True
        witness = None
        try:
            self.session.flush()  # what fails here has certainly not been committed
            if self.begun and not self.is_read_only:
                self._check()
            if self.request.commits:
                witness = outcome.identify([*self.begun]) if self.request.policy.resolve_commit else None
                self._commit()
            else:
                self.session.expunge_all()  # a rollback expires what the session still holds
                self.outcome = "discarded"
        except BaseException as error:  # noqa: BLE001 - _fail raises it, unless the unit is committed after all
            self._fail(error, witness)
        if not self._is_released and (failure := self._release()) is not None:
            observe.logger.warning(_NOT_CLOSED, self.name, self.outcome, self._given_up, exc_info=failure)

    def _commit(self) -> None:
        self.is_ending = True
        if self._must_watch_commit():
            self._watches_commit = True
            for connection in self.begun:
                self._watch_commit(connection)
        else:
            self.outcome = "unknown"
        self._handle.commit()
        self.outcome = "committed"
        if self.session.in_transaction():
            events.warn_of_use_after_commit(self.name)

    def _must_watch_commit(self) -> bool:
        """Say whether anything but COMMIT may fail, be swallowed, or be cleaned up while the session commits.

        If not, there is nothing left to flush, and an error means that COMMIT was sent.
        """
        session = self.session
        dispatch: Any = session.dispatch
        return (
            len(dispatch.before_commit) > 1  # the library's own only checks who commits
            or len(dispatch.after_flush) > 0  # the commit flushes what these listeners add
            or len(dispatch.after_flush_postexec) > 0
            or session.twophase
            or self._handle is not session
            or type(session).commit is not Session.commit
            or isinstance(session.bind, Connection)  # its commit may release a savepoint and commit nothing
        )

    def _fail(self, error: BaseException, witness: outcome.Transaction | None) -> None:
        """Clean up after a failed end, and raise an error that says what is known; return if it is committed after all."""
        if self.is_committed and isinstance(error, Exception):
            observe.logger.warning("%s: committed, but what came after COMMIT failed", self.name, exc_info=error)
            return
        if self.outcome == "unknown" and self._is_certain(error):
            self.outcome = "rolled back"
        databases = len(self.begun)
        if databases > 1:
            witness = None  # it knows of one database only
        self._undo(error)
        if self.outcome != "unknown" or not isinstance(error, Exception):
            raise error
        if witness is None or (is_committed := witness.is_committed()) is None:
            raise self._unknown(error, databases=databases, is_asked=witness is not None) from error
        self.outcome = "committed" if is_committed else "rolled back"
        if not is_committed:
            error.add_note(f"session-aware: {self.name}: PostgreSQL says that its transaction was not committed.")
            raise error
        after_commit.run_dropped(self.session)

    def _check(self) -> None:
        """Refuse to commit after a swallowed failure, or on a connection that is closed."""
        if self.failed:
            before_commit.refuse_poisoned(self.failed[0].error, name=self.name)
        before_commit.check_drivers(self.begun, is_handed_out=self._is_handed_out, name=self.name)

    def _watch_commit(self, connection: Connection) -> None:
        """Listen for PREPARE and COMMIT. Each unit has its own listeners: another one may use the same Connection."""
        listeners: dict[str, Callable[..., None]] = {
            "prepare_twophase": self._at_prepare,
            "commit_twophase": self._at_commit,
            "commit": self._at_commit,
        }
        for name, listener in listeners.items():
            self._listening.append((listen(connection, name, listener), name, listener))

    def _at_prepare(self, connection: Connection, _xid: object) -> None:
        """Check again before the first PREPARE or COMMIT is sent, because listeners may have sent statements meanwhile."""
        if connection in self.begun and not self._is_checked:
            self._is_checked = True
            self._check()

    def _at_commit(self, connection: Connection, xid: object = None, _is_prepared: object = None) -> None:
        """Record that COMMIT is about to be sent."""
        self._at_prepare(connection, xid)
        if connection in self.begun:  # pragma: no branch - before SQLAlchemy 2.0.38 it may be another connection, see listen
            self.outcome = "unknown"

    def _is_certain(self, error: BaseException) -> bool:
        """Say whether certainly nothing was applied: COMMIT was not sent, or the only database that got it said so."""
        if not self._watches_commit and self._transaction.is_active:
            return True
        is_answer = any(failed.error is error for failed in self.failed)  # to this COMMIT, not to a statement of a listener
        return len(self.begun) == 1 and is_answer and faults.is_not_applied(error)

    def unknown_outcome(self, cause: BaseException) -> CommitOutcomeUnknown | None:
        """Return the error to raise if COMMIT was sent and its outcome is unknown; None otherwise."""
        return self._unknown(cause) if self.outcome == "unknown" else None

    def _unknown(self, cause: BaseException, *, databases: int = 1, is_asked: bool = False) -> CommitOutcomeUnknown:
        is_resolving = self.request.policy.resolve_commit is True
        return outcome.unknown(self.name, cause, databases=databases, is_resolving=is_resolving, is_asked=is_asked)

    def abort(self, error: BaseException) -> None:
        """Roll back and close, or invalidate where that fails. The caller re-raises ``error``, which only gets a note."""
        if self.outcome in {"committed", "unknown"} and not isinstance(error, CommitOutcomeUnknown):
            verdict = "had already committed" if self.is_committed else "was sending COMMIT, so its outcome is unknown,"
            error.add_note(f"session-aware: {self.name} {verdict} when this was raised.")
        if not self.is_over:
            self._undo(error)
        if isinstance(error, InvalidRequestError) and str(error).startswith("A transaction is already begun"):
            error.add_note(
                f"session-aware: {self.name}: its transaction is begun when the body starts and committed when it returns. "
                "Remove 'session.begin()', or write 'with session.begin_nested():' for a SAVEPOINT."
            )
        if self.is_read_only and faults.is_routing_error(error):
            error.add_note(
                f"session-aware: {self.name} is read_only, and this was a write. Remove read_only=True, or write in a "
                "method without it."
            )
        if self.is_autocommit and faults.code_of(error) == _NEEDS_TRANSACTION:
            error.add_note(
                f"session-aware: {self.name} is in AUTOCOMMIT, and this needs a transaction, as a server-side cursor "
                '(yield_per, stream) does. Remove isolation_level="AUTOCOMMIT" from it.'
            )
        self.report(error)

    def _undo(self, error: BaseException) -> None:
        failure = self._release()
        if failure is not None and not self.is_committed:
            undone = _AND_UNDONE if self._given_up == _INVALIDATED and self.outcome == "rolled back" else ""
            what = "closing the session of" if self._is_ended else "rolling back"
            error.add_note(
                f"session-aware: {what} {self.name} failed as well ({type(failure).__name__}: {failure})"
                f"{self._given_up}{undone}."
            )

    def report(self, error: BaseException | None) -> None:
        """Report the unit; a second call does nothing."""
        if self._started is not None:
            started, self._started = self._started, None
            observe.report(self.name, self.outcome, started, error)

    def _release(self) -> Exception | None:
        """Roll back unless committed, and close; if that fails, invalidate **instead** and return the failure.

        A close after a failed rollback leaves the connection checked out for ever, as on a Galera node without quorum.
        """
        self.is_ending = self.is_over = self._is_released = True
        try:
            self._put_back()
            if self.outcome != "committed":
                self._roll_back()
            self._is_ended = True
            if isinstance(self.session.bind, Connection):
                events.leave_alone(self.session.bind)
            if self._preparation is not None:
                self._preparation.undo_on_connection()
            self._handle.close()
        except BaseException as failure:
            # A failed rollback has closed its connection, which the pool then discards.
            is_held = not self._is_ended or not all(connection.closed for connection in self.begun)
            self._invalidate(has_connection=is_held and bool(self.begun))
            if not isinstance(failure, Exception):
                raise
            return failure
        finally:
            self.session.info.pop(OWNER_KEY, None)
            self.session.info[events.ENDED_KEY] = self.name
            if self.begun:
                events.unwatch(self)
        return None

    def _put_back(self) -> None:
        """Undo the changes to the session and, while they are still in a transaction, to its connections."""
        if self._hand_out_by is not None:
            put_back(self.session, "connection", self._hand_out_by)
        while self._listening:
            event.remove(*self._listening.pop())
        if self._has_listeners:
            event.remove(self.session, "after_begin", self._check_last)
        if self._preparation is not None:
            self._preparation.undo()

    def _roll_back(self) -> None:
        for connection, (root, _) in self.begun.items():
            if connections.is_half_ended(connection, root):
                connection.dialect.do_rollback(connection.connection)
        self._handle.rollback()

    def _invalidate(self, *, has_connection: bool) -> None:
        try:
            self._handle.invalidate()
        except Exception:  # noqa: BLE001 - the connection is lost either way, and the first error is the one to report
            observe.logger.warning("%s: its connection could not be invalidated", self.name, exc_info=True)
        else:
            self._given_up = _INVALIDATED if has_connection else ""


def _refuse_shared(name: str, other: str) -> NoReturn:
    """Refuse a session that the factory returned although another unit is using it.

    Raises:
        SessionFactoryError: Always.
    """
    msg = (
        f"{name}: the session factory returned a session that {other} is using. Each call needs a session of its own. Write "
        "'session_factory=sessionmaker(engine)', not a function that returns a shared session."
    )
    raise SessionFactoryError(msg)
