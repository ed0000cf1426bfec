"""What a policy asks of the database: the isolation level and READ ONLY, set before the first statement."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection
from sqlalchemy.exc import UnboundExecutionError

from session_aware import _plan
from session_aware._listen import listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from session_aware._policy import SessionPolicy

__all__ = ["PRETENDED_LEVEL_KEY", "connection_of", "isolation_level", "needs_preparing", "prepare"]

PRETENDED_LEVEL_KEY: Final = "session_aware.pretended_level"
"""In ``session.info`` where units run one after the other inside one transaction, as the pytest plugin makes them.

They are isolated from each other at every level, so the level that a unit asks for is not set but remembered there, and
whoever joins is checked against it. None until a unit asks.
"""


def connection_of(session: Session) -> Connection | None:
    """Return the connection of the session's default bind, or None if it is bound per mapper only."""
    try:
        return session.connection()
    except UnboundExecutionError:
        return None


def isolation_level(session: Session) -> str:
    """Ask the database for the level of the session's transaction. It takes a connection if there is none yet."""
    pretended: str | None = session.info.get(PRETENDED_LEVEL_KEY)
    return session.connection().get_isolation_level() if pretended is None else pretended


def needs_preparing(policy: SessionPolicy) -> bool:
    """Say whether the policy has to be told to the database: that takes a connection before the body asks for one."""
    return policy.read_only is True or policy.isolation_level is not None


def prepare(session: Session, policy: SessionPolicy, *, name: str, is_begun: bool) -> Callable[[], None] | None:
    """Tell the database the level and READ ONLY; return what puts the connection back into its former state, if anything.

    Args:
        session: The owned session, in a transaction.
        policy: The merged policy.
        name: Qualified name of the callable, for the message.
        is_begun: Whether the factory handed the session over in a transaction: its level can then only be checked.

    Raises:
        PolicyConflictError: The transaction already runs at another level.
    """
    bind = session.bind
    if is_begun or (isinstance(bind, Connection) and bind.in_transaction()):
        connection = session.connection()
        if PRETENDED_LEVEL_KEY in session.info:
            session.info[PRETENDED_LEVEL_KEY] = policy.isolation_level
        elif policy.isolation_level is not None:
            _plan.check_isolation_level(policy.isolation_level, connection.get_isolation_level(), name=name)
        if policy.read_only and connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    else:
        options: dict[str, object] = {}
        if policy.isolation_level is not None:
            options["isolation_level"] = policy.isolation_level
        if policy.read_only:  # other dialects ignore the option; it costs no round trip
            options["postgresql_readonly"] = True
        connection = session.connection(execution_options=options)
        if policy.read_only and connection.dialect.name in {"mysql", "mariadb"}:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    if policy.read_only and connection.dialect.name == "sqlite" and not _refuses_writes(connection):
        connection.exec_driver_sql("PRAGMA query_only = 1")
        for end in ("rollback", "commit"):  # a body that ends the transaction hands the connection back to the pool
            listen(connection, end, _allow_writes)
        return partial(_allow_writes, connection)
    return None


def _refuses_writes(connection: Connection) -> bool:
    """Say whether the engine's own connections are for reading, and shall stay so."""
    return bool(_pragma(connection, "PRAGMA query_only"))


def _allow_writes(connection: Connection) -> None:
    """Let the pooled SQLite connection write again, also when the transaction has failed."""
    if not (connection.closed or connection.invalidated):
        _pragma(connection, "PRAGMA query_only = 0")


def _pragma(connection: Connection, statement: str) -> object:
    """Ask beneath SQLAlchemy, whose events are the users'."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement)
        row = cursor.fetchone()
        return row and row[0]
    finally:
        cursor.close()
