"""The units that run in a given session, which stays its caller's: a SAVEPOINT around the body, or a checked join."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.orm import SessionTransaction

from session_aware import _database
from session_aware._marker import NO_MARKER
from session_aware._request import is_deferred, refuse_deferred
from session_aware.exceptions import SessionOwnershipError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from session_aware._request import Handle, Request

__all__ = ["Joined", "Savepoint"]


class Savepoint:
    """A unit inside a given session: a SAVEPOINT around the body; the session stays its caller's."""

    __slots__ = ("_request", "_savepoint", "_session", "_stop_checking")
    marker = NO_MARKER

    def __init__(self, request: Request, _given: object) -> None:
        self._request = request
        self._savepoint: SessionTransaction | None = None
        self._stop_checking: Callable[[], None] | None = None

    def doubt(self, _cause: BaseException) -> None:
        """Leave the outcome to the caller, whose COMMIT it is."""

    def needs_io_to_begin(self, _session: Session) -> bool:
        """Say yes: SAVEPOINT is a statement."""
        return True

    def begin(self, session: Session, _handle: Handle) -> None:
        """Check the level and set the savepoint."""
        self._stop_checking = _verify_level(self._request, session)
        self._session = session
        self._savepoint = session.begin_nested()

    def end(self, result: object) -> None:
        """Release the savepoint."""
        if is_deferred(result):
            refuse_deferred(result, self._request.name)
        if self._savepoint is None or not self._is_open():
            msg = (
                f"{self._request.name}: the body ended the savepoint that its propagation NESTED had set around it. Raise "
                "an exception to roll it back, and leave commit() and rollback() to the caller."
            )
            raise SessionOwnershipError(msg)
        _stop(self)
        self._savepoint.commit()

    def report(self, _error: BaseException | None) -> None:
        """Leave it out: what a given session does is nobody's unit."""

    def abort(self, error: BaseException) -> None:
        """Roll back to the savepoint, unless it is gone with its transaction."""
        _stop(self)
        if self._savepoint is None or not self._is_open():
            return
        try:
            self._savepoint.rollback()
        except Exception as failure:  # noqa: BLE001 - the body's error is the one to report
            error.add_note(
                f"session-aware: rolling back the savepoint of {self._request.name} failed as well "
                f"({type(failure).__name__}: {failure}); roll back the given session."
            )

    def _is_open(self) -> bool:
        transaction = self._session.get_nested_transaction()
        while isinstance(transaction, SessionTransaction) and transaction is not self._savepoint:
            transaction = transaction.parent
        return transaction is not None  # a test's stand-in has transactions of its own kind, without an end


class Joined:
    """A unit that joins, once the isolation level of the given transaction was checked if one is wanted."""

    __slots__ = ("_request", "_stop_checking")
    marker = NO_MARKER

    def __init__(self, request: Request, _given: object) -> None:
        self._request = request
        self._stop_checking: Callable[[], None] | None = None

    def doubt(self, _cause: BaseException) -> None:
        """Leave the outcome to the caller, whose COMMIT it is."""

    def needs_io_to_begin(self, _session: Session) -> bool:
        """Say whether the database is asked for its level."""
        return self._request.policy.isolation_level is not None

    def begin(self, session: Session, _handle: Handle) -> None:
        """Check the level."""
        self._stop_checking = _verify_level(self._request, session)

    def end(self, _result: object) -> None:
        """Leave everything to the caller."""
        _stop(self)

    def abort(self, _error: BaseException) -> None:
        """Leave everything to the caller."""
        _stop(self)

    def report(self, _error: BaseException | None) -> None:
        """Leave it out, likewise."""


def _verify_level(request: Request, session: Session) -> Callable[[], None] | None:
    wanted = request.policy.isolation_level
    return None if wanted is None else _database.verify_levels(session, wanted, request.name)


def _stop(unit: Savepoint | Joined) -> None:
    """End what watches over the levels of a given session, once."""
    if unit._stop_checking is not None:  # noqa: SLF001 - both are of this module
        unit._stop_checking()  # noqa: SLF001 - likewise
        unit._stop_checking = None  # noqa: SLF001 - likewise
