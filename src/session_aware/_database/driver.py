"""What the driver of a connection knows of its transaction, and SQLAlchemy does not ask. Nothing here sends anything.

If a driver cannot tell, it is assumed to have nothing to report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.util import await_only

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect

__all__ = ["has_failed", "is_autocommit", "is_closed", "may_be_silent"]

_UNKNOWN: Final = object()
_IN_ERROR: Final = 3  # libpq's PQTRANS_INERROR
_TELLING: Final = frozenset({"psycopg", "psycopg2"})


def is_autocommit(connection: Connection) -> bool | None:
    """Say whether each statement is committed at once, by whatever switch: SQLAlchemy's, the driver's or a setting's.

    None means no for this transaction alone, which was begun by SQL because the driver begins none.

    Args:
        connection: A connection that is in a transaction for SQLAlchemy, after the listeners of that event: the usual
            remedy for sqlite3's default is to let the driver begin nothing and to send BEGIN in a listener.
    """
    if connection.dialect.name == "sqlite":
        return _is_sqlite_autocommit(connection.connection.driver_connection)
    # MySQL's drivers have this method, and another one called "autocommit" that sets it. For asyncpg SQLAlchemy knows.
    asked = getattr(connection.connection.driver_connection, "get_autocommit", None)
    value = asked() if callable(asked) else getattr(connection.connection.dbapi_connection, "autocommit", False)
    return value is True


def is_closed(connection: Connection) -> bool:
    """Say whether the driver knows that its connection is closed, so that it will send nothing more."""
    driver_connection: Any = connection.connection.driver_connection
    asked = getattr(driver_connection, "is_closed", None)  # asyncpg
    value = asked() if callable(asked) else getattr(driver_connection, "closed", False)
    return isinstance(value, int) and value != 0


def may_be_silent(dialect: Dialect) -> bool:
    """Say whether ``has_failed`` may return None for a connection of this dialect."""
    return dialect.is_async or (dialect.name == "postgresql" and dialect.driver not in _TELLING)


def has_failed(connection: Connection) -> bool | None:
    """Say whether PostgreSQL has aborted the transaction, so that it would answer COMMIT with ROLLBACK and no error.

    libpq reads that in each answer. The result is None for asyncpg, which reads the same but does not expose it.
    """
    info = getattr(connection.connection.driver_connection, "info", None)  # psycopg, psycopg2
    status: object = getattr(info, "transaction_status", None)
    return None if status is None else status == _IN_ERROR


def _is_sqlite_autocommit(driver_connection: Any) -> bool | None:  # noqa: ANN401 - of any driver
    if getattr(driver_connection, "isolation_level", _UNKNOWN) is None:
        return None if driver_connection.in_transaction else True
    return _sqlite_switch(driver_connection) is True


def _sqlite_switch(driver_connection: Any) -> object:  # noqa: ANN401 - of any driver
    """Return sqlite3's ``autocommit``: True, False, or a number for its default; None before Python 3.12."""
    inner, run = getattr(driver_connection, "_conn", None), getattr(driver_connection, "_execute", None)
    if inner is None or run is None or not hasattr(type(inner), "autocommit"):
        return getattr(driver_connection, "autocommit", None)
    # aiosqlite has no such attribute, and sqlite3 answers only in the thread that made the connection.
    switch: object = await_only(run(getattr, inner, "autocommit"))
    return switch
