"""What the driver of a connection knows of its transaction and SQLAlchemy does not ask; nothing here sends anything.

A driver that cannot tell is taken for one that has nothing to report.
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

    None is no, for this transaction alone, which somebody has begun by SQL where the driver begins nothing.

    Args:
        connection: In a transaction, as SQLAlchemy sees it, and its listeners have run: the usual cure for sqlite3's default
            is to have the driver begin nothing, and to send BEGIN in a listener.
    """
    if connection.dialect.name == "sqlite":
        return _is_sqlite_autocommit(connection.connection.driver_connection)
    # MySQL's drivers have a method to ask, and one called "autocommit" that sets it; with asyncpg SQLAlchemy itself knows.
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
    """Say whether ``has_failed`` may get no answer from the driver of a session's default bind, or of another one."""
    return dialect.is_async or (dialect.name == "postgresql" and dialect.driver not in _TELLING)


def has_failed(connection: Connection) -> bool | None:
    """Say whether PostgreSQL has aborted the transaction, so that it would answer COMMIT with ROLLBACK and no error.

    libpq reads that in each answer. None of asyncpg, which reads the same and keeps it to itself.
    """
    info = getattr(connection.connection.driver_connection, "info", None)  # psycopg, psycopg2
    status: object = getattr(info, "transaction_status", None)
    return None if status is None else status == _IN_ERROR


def _is_sqlite_autocommit(driver_connection: Any) -> bool | None:  # noqa: ANN401 - of any driver
    if getattr(driver_connection, "isolation_level", _UNKNOWN) is None:
        return None if driver_connection.in_transaction else True
    return _sqlite_switch(driver_connection) is True


def _sqlite_switch(driver_connection: Any) -> object:  # noqa: ANN401 - of any driver
    """Return sqlite3's ``autocommit``: True, False, or the number that stands for its default; None before Python 3.12."""
    inner, run = getattr(driver_connection, "_conn", None), getattr(driver_connection, "_execute", None)
    if inner is None or run is None or not hasattr(type(inner), "autocommit"):
        return getattr(driver_connection, "autocommit", None)
    # aiosqlite has no such attribute, and sqlite3 answers in the thread that made the connection alone.
    switch: object = await_only(run(getattr, inner, "autocommit"))
    return switch
