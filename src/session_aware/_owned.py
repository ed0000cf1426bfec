"""The unit that owns its session: begin, commit or roll back, close.

The synchronous thinking of both drivers: ``_sync`` calls it directly, ``_async`` inside one greenlet hop, so neither
repeats the other. A unit never outlives its call and is used by one thread or task at a time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from session_aware import _database, _hooks
from session_aware._marker import Marker, warn_if_nested
from session_aware._policy import Propagation
from session_aware._request import refuse_deferred
from session_aware.exceptions import PoisonedTransactionError, SessionFactoryError, SessionOwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session, SessionTransaction

    from session_aware._request import Handle, Request

__all__ = ["Owned"]

_logger: Final = logging.getLogger("session_aware")


class Owned:
    """A unit that owns its session: begin, commit or roll back, close.

    Attributes:
        name: Qualified name of the callable.
        session: The (synchronous) session, from ``begin`` on.
        is_read_only: Whether a flush of changes is refused.
        is_ending: Whether the library itself commits now, or the unit is over.
        is_committed: Whether COMMIT returned.
        is_over: Whether nothing is left for ``abort`` to clean up.
        failed: Statement errors that no savepoint healed.
    """

    __slots__ = (
        "_handle",
        "_request",
        "_restore",
        "_transaction",
        "failed",
        "is_committed",
        "is_ending",
        "is_over",
        "is_read_only",
        "marker",
        "name",
        "session",
    )

    session: Session
    _handle: Handle
    _transaction: SessionTransaction

    def __init__(self, request: Request) -> None:
        self.name = request.name
        if request.policy.propagation is not Propagation.REQUIRES_NEW:
            warn_if_nested(request.name, request.factory)
        self._request = request
        self.is_read_only = request.policy.read_only is True
        self.is_ending = False
        self.is_committed = False
        self.is_over = True  # until there is a session to clean up
        self.failed: list[_hooks.FailedStatement] = []
        self.marker = Marker(request.name, request.factory)
        self._restore: Callable[[], None] | None = None

    def needs_io_to_begin(self, session: Session) -> bool:
        """Say whether ``begin`` talks to the database; an ordinary begin only marks the session."""
        return session.in_transaction() or _database.needs_connection(self._request.policy)

    def begin(self, session: Session, handle: Handle) -> None:
        """Take the new session over and begin, unless the factory already has."""
        if (other := session.info.get(_hooks.INFO_KEY)) is not None:
            msg = (
                f"{self.name}: the session factory returned a session that {other.name} is using. Each call needs a session "
                "of its own. Write 'session_factory=sessionmaker(engine)', not a function that returns a shared session."
            )
            raise SessionFactoryError(msg)
        self.session = session
        self._handle = handle
        self.is_over = False
        session.info[_hooks.INFO_KEY] = self
        # It is closed right after the commit: expiry could only turn what the body returns into DetachedInstanceError.
        session.expire_on_commit = False
        transaction = session.get_transaction()
        is_begun = transaction is not None
        if is_begun and (connection := _database.connection_of(session)) is not None:
            _hooks.watch(connection, self)
        self._transaction = session.begin() if transaction is None else transaction
        if _database.needs_connection(self._request.policy):
            self._restore = _database.prepare(session, self._request.policy, name=self.name, is_begun=is_begun)

    def end(self, result: object) -> None:
        """Commit, or roll a dry run and a read-only unit back with its objects kept readable; then close.

        Raises:
            SessionAwareError: The result is deferred: its body would run after the close.
            SessionOwnershipError: The body has ended the transaction.
            PoisonedTransactionError: The body swallowed a statement error.
        """
        refuse_deferred(result, self.name)
        self._check_ownership()
        if self.failed:
            self._refuse_poisoned(self.failed[0].error)
        # From here on it cleans up itself: its task may be given up in the middle, and then nobody else can.
        self.is_ending = self.is_over = True
        try:
            if self._request.commits:
                self._handle.commit()
                self.is_committed = True
            else:
                self.session.flush()
                self.session.expunge_all()  # a rollback expires what the session still holds
        except BaseException as error:
            self._undo(error)
            raise
        if (failure := self._release()) is not None:
            verdict = "committed" if self.is_committed else "done and rolled back, as it should be"
            _logger.warning(
                "%s: %s, but its session could not be closed; its connection was invalidated",
                self.name,
                verdict,
                exc_info=failure,
            )

    def abort(self, error: BaseException) -> None:
        """Roll back and close, or invalidate where that fails. The caller re-raises ``error``, which only gets a note."""
        if self.is_over:
            if self.is_committed:
                error.add_note(f"session-aware: {self.name} had already committed when this was raised.")
            return
        self._undo(error)

    def _undo(self, error: BaseException) -> None:
        if (failure := self._release()) is not None:
            error.add_note(
                f"session-aware: rolling back {self.name} failed as well ({type(failure).__name__}: {failure}); its "
                "connection was invalidated, and the database rolls back what it had begun."
            )

    def _release(self) -> Exception | None:
        """Roll back what is not committed and close; where that fails invalidate **instead**, and return the failure.

        A close after a failed rollback leaves the connection checked out for ever (Source: FAULTS, Galera without quorum).
        """
        self.is_ending = self.is_over = True
        self.marker.is_active = False
        try:
            if self._restore is not None:
                self._restore()
            if not self.is_committed:
                self._handle.rollback()
            self._handle.close()
        except BaseException as failure:
            self._invalidate()
            if not isinstance(failure, Exception):
                raise
            return failure
        finally:
            self.session.info.pop(_hooks.INFO_KEY, None)
        return None

    def _invalidate(self) -> None:
        try:
            self._handle.invalidate()
        except Exception:
            _logger.warning("%s: its connection could not be invalidated", self.name, exc_info=True)

    def _check_ownership(self) -> None:
        if self.session.get_transaction() is self._transaction:
            return
        msg = (
            f"{self.name}: the body ended the transaction that the library had opened for it, with rollback() or close(), "
            "so its work is gone and nothing was committed. Raise an exception to roll back; for a part that may fail write "
            "'with session.begin_nested():'."
        )
        raise SessionOwnershipError(msg)

    def _refuse_poisoned(self, cause: BaseException) -> None:
        msg = (
            f"{self.name}: a statement failed ({type(cause).__name__}) and the body swallowed the error. A COMMIT would now "
            "lose work without an error on PostgreSQL and commit half of it on MySQL, so the unit was rolled back. Let the "
            "error propagate, or wrap the part that may fail in 'with session.begin_nested():'."
        )
        raise PoisonedTransactionError(msg) from cause
