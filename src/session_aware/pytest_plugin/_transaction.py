"""The outer transaction of a test, and the check at its rollback that nothing has committed it."""

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
    "session_aware: the outer transaction of the test was ended during the test, so what it wrote before that may be left "
    "in the database. It is ended by a commit() of 'session.connection()', a COMMIT sent as SQL, an engine in AUTOCOMMIT, "
    "and on MySQL and MariaDB by every CREATE, ALTER, DROP and TRUNCATE. Create tables before the test; test the rest "
    "against a database that may be changed."
)


class Outer(NamedTuple):
    """The transaction that is never committed, and the outermost savepoint.

    If something commits, the savepoint is missing at the end. SQLite needs it as well: by default sqlite3 begins only at the
    first INSERT, so the first savepoint begins the transaction, and its RELEASE would commit. This one is never released.
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
            IntegrityError: Data that was committed in the test violates a deferred constraint.
            ExceptionGroup: ``after_commit`` callbacks that ran at once have failed.
        """
        connection = binding.connection
        try:
            binding.turns.wait()
            notes = list(binding.turns.notes)  # without notes about what the end of the test itself rolls back
            binding.own.close()
            if not connection.invalidated and binding.turns.problem is None:  # otherwise a missing savepoint proves nothing
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
            except DBAPIError:  # a statement of the test failed, so there is nothing to check
                pass
        try:
            self.floor.close()
        except DBAPIError as error:
            raise SessionAwareError(_COMMITTED) from error
