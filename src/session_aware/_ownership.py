"""What is checked before COMMIT: that the transaction is still the unit's own, and whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from session_aware.exceptions import PoisonedTransactionError, SessionOwnershipError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

    from session_aware._hooks import Begun

__all__ = ["check", "refuse_poisoned"]


def check(session: Session, transaction: SessionTransaction, begun: Begun, name: str) -> None:
    """Refuse a transaction that the body ended, also behind the session's back.

    One that a failed flush ended is left to SQLAlchemy, which reports it at the next statement.

    Raises:
        SessionOwnershipError: The transaction is over.
    """
    if session.get_transaction() is not transaction:
        msg = (
            f"{name}: the body ended the transaction that the library had opened for it, with rollback() or close(), "
            "so its work is gone and nothing was committed. Raise an exception to roll back; for a part that may fail write "
            "'with session.begin_nested():'."
        )
        raise SessionOwnershipError(msg)
    for connection, (root, _) in begun.items() if begun else ():
        if root is not None and not root.is_active and not connection.invalidated and session.is_active:
            _refuse_ended_connection(name)


def _refuse_ended_connection(name: str) -> NoReturn:
    msg = (
        f"{name}: the body ended the transaction of its session's connection, with commit(), rollback() or close() of "
        "'session.connection()'. What it committed there stays committed, and the rest was rolled back. Leave both to the "
        "library; for a part that may fail write 'with session.begin_nested():'."
    )
    raise SessionOwnershipError(msg)


def refuse_poisoned(cause: BaseException, *, name: str) -> NoReturn:
    """Refuse to commit after a swallowed statement error.

    Raises:
        PoisonedTransactionError: Always.
    """
    msg = (
        f"{name}: a statement failed ({type(cause).__name__}) and the body swallowed the error. A COMMIT would now "
        "lose work without an error on PostgreSQL and commit half of it on MySQL, so the unit was rolled back. Let the "
        "error propagate, or wrap the part that may fail in 'with session.begin_nested():'."
    )
    raise PoisonedTransactionError(msg) from cause
