"""The outer transaction of a test: begun, and rolled back with a proof that nothing had committed it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from session_aware.exceptions import SessionAwareError

if TYPE_CHECKING:
    from sqlalchemy import Connection, NestedTransaction, RootTransaction

    from session_aware.pytest_plugin._binding import Binding

__all__ = ["Outer"]

_COMMITTED = (
    "session_aware: the outer transaction of the test was ended on the way, so what it wrote before that may be left in the "
    "database. This does a commit() of 'session.connection()', a COMMIT sent as SQL, an engine in AUTOCOMMIT, and on MySQL "
    "and MariaDB every CREATE, ALTER, DROP and TRUNCATE. Create tables before the test; test the rest against a database "
    "that may be dirtied."
)


class Outer(NamedTuple):
    """The transaction that is never committed, and the savepoint beneath all others.

    The savepoint is there to be missed if something commits, and for SQLite: by default sqlite3 begins at the first INSERT
    only, so the first savepoint is what begins, and its RELEASE would commit. This one is never released.
    """

    root: RootTransaction
    floor: NestedTransaction

    @classmethod
    def begin(cls, connection: Connection) -> Outer:
        """Begin on a connection without a transaction.

        Raises:
            SessionAwareError: The database keeps no transaction open.
        """
        root = connection.begin()
        try:
            return cls(root, connection.begin_nested())
        except DBAPIError as error:
            msg = (
                f"session_aware: SAVEPOINT failed ({type(error).__name__}), which every session of the test needs. Use an "
                "engine without isolation_level='AUTOCOMMIT', on a database that has savepoints."
            )
            raise SessionAwareError(msg) from error

    def end(self, binding: Binding) -> None:
        """Roll back; on PostgreSQL check the deferred constraints first, as a COMMIT would.

        Raises:
            SessionAwareError: Something had ended the transaction, or another thread or task still uses it.
            IntegrityError: What was committed in the test breaks a deferred constraint.
            ExceptionGroup: ``after_commit`` callbacks failed that were to run at once.
        """
        connection = binding.connection
        try:
            binding.turns.wait()
            notes = list(binding.turns.notes)  # not of what the end of the test itself rolls back
            binding.own.close()
            if not connection.invalidated and binding.turns.problem is None:  # else savepoints are gone, and prove nothing
                self._roll_back(connection)
        finally:
            self.root.close()
        for note in notes:
            warnings.warn(note, pytest.PytestWarning, stacklevel=2)
        binding.after_commit.raise_errors()

    def _roll_back(self, connection: Connection) -> None:
        if not self.root.is_active:
            raise SessionAwareError(_COMMITTED)
        if connection.dialect.name == "postgresql":
            try:
                connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
            except IntegrityError:
                raise
            except DBAPIError:  # the test left a failed statement behind: there is nothing to check
                pass
        try:
            self.floor.close()
        except DBAPIError as error:
            raise SessionAwareError(_COMMITTED) from error
