"""What a database error says about the work, as tables by phase and code.

Codes are read from the driver's attributes, never from a message: SQLSTATE (``sqlstate``, psycopg2's ``pgcode``) for the
PostgreSQL family, the error number (``errno``, else ``args[0]``) for the MySQL family, the primary result code
(``sqlite_errorcode``) for SQLite, the gRPC status for Spanner. The errors were provoked on real servers with psycopg 3,
psycopg2, asyncpg, pymysql, mysqlclient, mariadb, asyncmy, aiomysql, sqlite3 and aiosqlite; those marked D come from
documentation.
"""

from __future__ import annotations

import errno
import sys
from typing import Final, TypeGuard

from session_aware.exceptions import PoisonedTransactionError

__all__ = ["Code", "code_of", "is_lost", "is_not_applied", "is_routing_error", "is_transient"]

Code = str | int | None
"""SQLSTATE, MySQL error number, SQLite result code as ``sqlite:5``, gRPC status as ``grpc:ABORTED``, or None."""

# The server has ended the transaction and said so: it is certainly not applied, even at COMMIT. The whole class 40 must not
# be in here, because 40003 means that the outcome is unknown.
ABORTED: Final[frozenset[Code]] = frozenset({
    "40001",  # serialization failure; also CockroachDB, YugabyteDB, Aurora DSQL, and conflicts on a hot standby
    "40P01",  # deadlock
    1213,  # deadlock; Galera's certification failure at COMMIT; OceanBase, with SQLSTATE HY000
    3101,  # MySQL's group replication: another member's transaction was first (D)
    "sqlite:5",  # SQLITE_BUSY, with 261 (recovery, D) and 517 (snapshot)
    "grpc:ABORTED",  # Spanner (D)
})  # fmt: skip

# The same, but these occur only before COMMIT.
ABORTED_IN_BODY: Final[frozenset[Code]] = frozenset({
    1020,  # record has changed since last read (MariaDB's snapshot isolation)
    6235,  # OceanBase: a serializable transaction cannot continue
    8002, 8022, 8028, 9007,  # TiDB: write conflicts and a changed schema (D)
})  # fmt: skip

# The connection was lost or never made. Before COMMIT was sent nothing was applied; at COMMIT the outcome is unknown.
LOST: Final[frozenset[Code]] = frozenset({
    "08000", "08001", "08003", "08004", "08006",  # connection exceptions (08003 measured, the others D)
    "57P01", "57P02", "57P03",  # an administrator, a crash, a starting server (57P01 measured, the others D)
    "25P03", "25P04", "57P05",  # the server's time limits for an idle or long transaction and an idle session
    "53300",  # too many connections
    2002, 2003, 2006, 2013,  # MySQL: cannot connect, gone away, lost
    1040, 1226,  # MySQL: too many connections (D), the user's limit
    1927,  # MariaDB: the connection was killed; not flagged by SQLAlchemy
    5066,  # OceanBase: not flagged by SQLAlchemy
    "grpc:UNAVAILABLE",  # Spanner (D)
})  # fmt: skip

# At COMMIT these are certain as well. The first ones are raised while the server runs deferred constraints and triggers,
# which is before it commits; another attempt would fail too. The time limits end a session that waits for a command, or a
# transaction that has not begun to commit: in tests none of them ended a transaction whose COMMIT waited for a standby.
REFUSED_AT_COMMIT: Final[frozenset[Code]] = frozenset({
    "0A000", "25006", "40002", "55P03",  # of a trigger: not supported, read-only, a constraint, a lock that is not free
    "25P03", "25P04", "57P05",  # the server's time limits
    "sqlite:13",  # the disk is full
    "sqlite:19",  # a constraint
})  # fmt: skip
REFUSED_AT_COMMIT_CLASSES: Final = (  # of SQLSTATE
    "21", "22", "23", "27", "2F", "38", "39", "42", "44",  # what statements and constraints of a trigger raise
    "P0",  # what PL/pgSQL raises by itself, P0001 for RAISE
)  # fmt: skip

# A write where only reading is possible: a hot standby, a READ ONLY transaction, a read-only server or file.
ROUTING: Final[frozenset[Code]] = frozenset({"25006", 1290, 1792, "sqlite:8"})

# MySQL: no such savepoint. ROLLBACK TO fails with this after a deadlock in the savepoint; the deadlock is its context.
_SAVEPOINT_GONE: Final = 1305

REFUSED_KEY: Final = "_session_aware_refused"
"""An attribute that ``events`` sets on SQLAlchemy's error if connecting failed, because psycopg gives no code then."""

_SOCKET: Final = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EPIPE, None}
)
_SQLSTATE_LENGTH: Final = 5


def code_of(error: BaseException) -> Code:
    """Return the code that the driver gave, or None if this is not a database error."""
    original = getattr(error, "orig", None) or error
    number = getattr(original, "errno", None)
    if not isinstance(number, int) or isinstance(original, OSError):
        number = next(iter(original.args), None)
    if type(number) is int and _is_dbapi(original):
        return number
    if isinstance(result := getattr(original, "sqlite_errorcode", None), int):
        return f"sqlite:{result & 0xFF}"
    for state in (getattr(original, "sqlstate", None), getattr(original, "pgcode", None)):
        if isinstance(state, str) and len(state) == _SQLSTATE_LENGTH:
            return state
    if type(original).__name__ == "RetryAborted":  # Spanner's driver, after attempts of its own; it has no attribute
        return "grpc:ABORTED"
    status = getattr(getattr(original, "__cause__", None) or original, "grpc_status_code", None)
    return None if status is None else f"grpc:{getattr(status, 'name', status)}"


def _is_dbapi(error: BaseException) -> bool:
    """Say whether a driver raised this: PEP 249 names their base ``Error``. ``KeyError(1213)`` is not a deadlock."""
    return any(base.__name__ in {"Error", "MySQLError"} for base in type(error).__mro__)


def is_transient(exc: BaseException) -> bool:
    """Say whether another attempt at the whole unit may succeed and the first one was certainly not applied.

    True for a serialization failure, a deadlock, SQLite's "database is locked", a lost or refused connection before COMMIT
    and an exhausted connection pool; for a ``PoisonedTransactionError`` caused by one of these; and for an exception group
    if all of its leaves are transient. False for everything else, including ``CommitOutcomeUnknown`` and lock timeouts
    (55P03 and 1205, whose retry is safe but a matter of taste). This is the default of ``Retry(on=...)``; write
    ``on=lambda exc: is_transient(exc) or ...`` to add to it. It reads codes from the driver's attributes, never messages.

    Args:
        exc: The exception that left the body: SQLAlchemy's, a driver's own, or any other.

    Example:
        Retry(on=lambda exc: is_transient(exc) or isinstance(exc, httpx.ConnectError))
    """
    if isinstance(exc, BaseExceptionGroup):
        return all(is_transient(leaf) for leaf in exc.exceptions)
    if isinstance(exc, PoisonedTransactionError):
        return exc.__cause__ is not None and is_transient(exc.__cause__)
    if not isinstance(exc, Exception):
        return False
    if (code := code_of(exc)) == _SAVEPOINT_GONE:
        return exc.__context__ is not None and is_transient(exc.__context__)
    return code in ABORTED | ABORTED_IN_BODY or is_lost(exc) or _is_pool_timeout(exc)


is_transient.__module__ = "session_aware"


def is_lost(exc: BaseException) -> bool:
    """Say whether the connection was lost or never made."""
    code = code_of(exc)
    is_refused = code is None and hasattr(exc, REFUSED_KEY)
    return code in LOST or is_refused or getattr(exc, "connection_invalidated", False) is True or _is_socket_error(exc)


def is_not_applied(exc: BaseException) -> bool:
    """Say whether an error **at COMMIT** means that nothing was applied. After any other one the outcome is unknown."""
    code = code_of(exc)
    is_refused = isinstance(code, str) and code.startswith(REFUSED_AT_COMMIT_CLASSES)
    return is_refused or code in ABORTED or code in REFUSED_AT_COMMIT


def is_routing_error(exc: BaseException) -> bool:
    """Say whether a write was sent to a server or transaction that can only read."""
    return code_of(exc) in ROUTING


def _is_pool_timeout(exc: BaseException) -> bool:
    module = sys.modules.get("sqlalchemy.exc")
    return module is not None and isinstance(exc, module.TimeoutError)


def _is_socket_error(exc: BaseException) -> TypeGuard[OSError]:
    """Recognize a refused connection that the driver does not wrap (asyncpg); a missing file is an OSError too."""
    return isinstance(exc, ConnectionError) or (type(exc) is OSError and exc.errno in _SOCKET)
