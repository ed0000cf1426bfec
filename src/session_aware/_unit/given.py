"""The units that run in a given session, whose caller keeps it: a checked join, or a SAVEPOINT around the body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import SessionTransaction

from session_aware._database import connections
from session_aware._unit.request import refuse_other_session
from session_aware._unit.results import is_deferred, refuse_deferred
from session_aware._unit.unit import Unit
from session_aware.exceptions import SessionOwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from session_aware._unit.request import Request
    from session_aware._unit.unit import Handle

__all__ = ["Joined", "Savepoint"]


class Joined(Unit):
    """A unit that joins the given session, after checking its isolation level if the policy names one."""

    __slots__ = ("_stop_checking",)

    def __init__(self, request: Request, given: Any) -> None:  # noqa: ANN401 - a session, or a stand-in for one
        super().__init__(request, given)
        self._stop_checking: Callable[[], None] | None = None

    def acquire(self, kind: type[Any], registry: type[Any]) -> Any:  # noqa: ANN401 - of that kind
        """Return the given session."""
        source = self.source
        session = source() if isinstance(source, registry) else source
        if not isinstance(session, kind):
            refuse_other_session(self.request, session, kind.__name__)
        return session

    def needs_io_to_begin(self, _session: Session) -> bool:
        """Say whether the database has to be asked for its isolation level."""
        return self.request.policy.isolation_level is not None

    def begin(self, session: Session, _handle: Handle, /) -> None:
        """Check the level, now and on each connection that the session takes later."""
        if (wanted := self.request.policy.isolation_level) is not None:
            self._stop_checking = connections.verify_levels(session, wanted, self.name)

    def end(self) -> None:
        """Leave everything to the caller."""
        self._stop()

    def abort(self, _error: BaseException, /) -> None:
        """Leave everything to the caller."""
        self._stop()

    def report(self, _error: BaseException | None, /) -> None:
        """Report nothing: the transaction is its caller's."""

    def unknown_outcome(self, _cause: BaseException, /) -> None:
        """Return None: no COMMIT is sent."""

    def _stop(self) -> None:
        """Stop checking levels; a second call does nothing."""
        if self._stop_checking is not None:
            self._stop_checking()
            self._stop_checking = None


class Savepoint(Joined):
    """A unit that sets a SAVEPOINT in the given session around the body and leaves everything else to the caller."""

    __slots__ = ("_savepoint", "_session")

    _session: Session

    def __init__(self, request: Request, given: Any) -> None:  # noqa: ANN401 - likewise
        super().__init__(request, given)
        self._savepoint: SessionTransaction | None = None

    def needs_io_to_begin(self, _session: Session) -> bool:
        """Return True, because SAVEPOINT is a statement."""
        return True

    def begin(self, session: Session, handle: Handle, /) -> None:
        """Check the level and set the savepoint."""
        super().begin(session, handle)
        self._session = session
        self._savepoint = session.begin_nested()

    def end(self) -> None:
        """Release the savepoint."""
        if is_deferred(self.result):
            refuse_deferred(self.result, self.name)
        if self._savepoint is None or not self._is_open():
            msg = (
                f"{self.name}: the body ended the savepoint that its propagation NESTED had set around it. Raise "
                "an exception to roll it back, and leave commit() and rollback() to the caller."
            )
            raise SessionOwnershipError(msg)
        self._stop()
        self._savepoint.commit()

    def abort(self, error: BaseException, /) -> None:
        """Roll back to the savepoint, unless it is gone with its transaction."""
        self._stop()
        if self._savepoint is None or not self._is_open():
            return
        try:
            self._savepoint.rollback()
        except Exception as failure:  # noqa: BLE001 - the body's error is the one to report
            error.add_note(
                f"session-aware: rolling back the savepoint of {self.name} failed as well "
                f"({type(failure).__name__}: {failure}); roll back the given session."
            )

    def _is_open(self) -> bool:
        transaction = self._session.get_nested_transaction()
        while isinstance(transaction, SessionTransaction) and transaction is not self._savepoint:
            transaction = transaction.parent
        return transaction is not None  # a mock's transactions are of another class, and their parents have no end
