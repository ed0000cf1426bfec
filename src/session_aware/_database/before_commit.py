"""The checks before COMMIT: the transaction must still be the unit's own, and no error may have been swallowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from sqlalchemy.exc import DBAPIError

from session_aware._database import driver, faults
from session_aware.exceptions import PoisonedTransactionError, SessionOwnershipError

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from session_aware._database.events import Begun

__all__ = ["check_connections", "check_drivers", "refuse_ended", "refuse_poisoned"]

_IN_FAILED_TRANSACTION: Final = "25P02"


def refuse_ended(name: str) -> NoReturn:
    """Refuse a transaction that the body ended.

    Raises:
        SessionOwnershipError: Always.
    """
    msg = (
        f"{name}: the body ended the transaction that the library had opened for it, with rollback() or close(), "
        "so its work is gone and nothing was committed. Raise an exception to roll back; for a part that may fail write "
        "'with session.begin_nested():'."
    )
    raise SessionOwnershipError(msg)


def check_connections(session: Session, begun: Begun, name: str) -> None:
    """Refuse a transaction that the body ended behind the session's back.

    A transaction that a failed flush has ended is left to SQLAlchemy, which reports it at the next statement.

    Raises:
        SessionOwnershipError: The transaction of one of the connections is over.
    """
    for connection, (root, _) in begun.items():
        if root is not None and not root.is_active and not connection.invalidated and session.is_active:
            _refuse_ended_connection(name)


def _refuse_ended_connection(name: str) -> NoReturn:
    msg = (
        f"{name}: the body ended the transaction of its session's connection, with commit(), rollback() or close() of "
        "'session.connection()'. What it committed there stays committed, and the rest was rolled back. Leave both to the "
        "library; for a part that may fail write 'with session.begin_nested():'."
    )
    raise SessionOwnershipError(msg)


def check_drivers(begun: Begun, *, is_handed_out: bool, name: str) -> None:
    """Refuse a transaction that failed on the driver's own connection without SQLAlchemy's knowledge.

    Args:
        begun: The unit's connections.
        is_handed_out: Whether the body asked for a connection. Only then is the server asked if its driver does not tell.
        name: Qualified name of the callable, for the message.

    Raises:
        PoisonedTransactionError: PostgreSQL has aborted the transaction of one of the connections.
        DBAPIError: One of the connections is closed, and its driver knows. COMMIT would not always report that: asyncpg
            does nothing there if its last error was swallowed, and the work would be lost.
        PendingRollbackError: One of the connections was invalidated.
    """
    for connection in begun:
        is_postgresql = connection.dialect.name == "postgresql"
        if connection.invalidated or (is_postgresql and driver.is_closed(connection)):
            connection.exec_driver_sql("SELECT 1")  # raises without sending anything, before any connection has committed
        has_failed = is_postgresql and driver.has_failed(connection)
        if has_failed or (has_failed is None and is_handed_out and _is_aborted(connection)):
            msg = (
                f"{name}: an error on the driver's own connection (a cursor, COPY) was swallowed by the body, and "
                "PostgreSQL has aborted the transaction. It would answer COMMIT with ROLLBACK and no error, so the unit was "
                "rolled back. Let the error propagate, or wrap the part that may fail in 'with session.begin_nested():'."
            )
            raise PoisonedTransactionError(msg)


def _is_aborted(connection: Connection) -> bool:
    try:
        connection.exec_driver_sql("SELECT 1")
    except DBAPIError as error:
        if faults.code_of(error) == _IN_FAILED_TRANSACTION:
            return True
        raise
    return False


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
