"""Find out the outcome of an unknown COMMIT: PostgreSQL remembers what became of a transaction.

The transaction gets its id before COMMIT, whether it has written by then or not: a listener may still write, NOTIFY is sent
by COMMIT itself, and what postgres_fdw writes elsewhere needs no id here. The fault tests (``tests/faults``) end with no
unknown outcome and no duplicate, although they terminate backends and lose answers.

Only the server that ran the transaction may answer. A standby may not have received it yet. A promoted standby, and a copy
that was recovered from a backup, are on another timeline, and may have given its id to another transaction.

After a crash of the server a few outcomes stay unknown. PostgreSQL gives the id of a transaction that had not reached the
disk to another one, whose "committed" would then be taken for ours. A crash resets the statistics (``stats_reset``), which
an orderly restart keeps, so after a reset "aborted" is believed and "committed" is not. In the fault tests the first unit
after an immediate restart got the id of the last one before it 5 times out of 5 (PostgreSQL 18).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.util import concurrency

from session_aware._database import faults
from session_aware.exceptions import CommitOutcomeUnknown

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["RESOLVE_SECONDS", "Outcome", "Transaction", "identify", "unknown"]

Outcome: TypeAlias = Literal["committed", "discarded", "rolled back", "unknown"]
"""What became of a unit."""

RESOLVE_SECONDS: Final = 10.0
"""How long to keep asking a server that does not answer, or still runs the transaction, before giving up."""

_PAUSE_SECONDS: Final = 0.1
_PRIMARYS: Final = "CASE WHEN NOT pg_is_in_recovery() THEN {} END"
_TIMELINE: Final = _PRIMARYS.format("substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)")
_LIFE: Final = "(SELECT CAST(extract(epoch FROM stats_reset) AS text) FROM pg_stat_bgwriter)"
_IDENTIFY: Final = text(f"SELECT {_PRIMARYS.format('CAST(pg_current_xact_id() AS text)')}, {_TIMELINE}, {_LIFE}")
_SERVER: Final = text(f"SELECT {_TIMELINE}, {_LIFE}")
_STATUS: Final = text("SELECT pg_xact_status(CAST(CAST(:id AS text) AS xid8))")
_FUTURE: Final = "22023"  # "transaction ID is in the future": lost in a crash, and not given to another transaction yet


class Transaction(NamedTuple):
    """A transaction that the server can be asked about later.

    Attributes:
        engine: The engine that makes the new connection.
        id: Its id; None on a standby, which gives none.
        timeline: The server's timeline, which changes with a promotion or a recovery from a backup; None on a standby.
        life: A value that changes when the server crashes.
    """

    engine: Engine
    id: str | None
    timeline: str | None
    life: str | None

    def is_committed(self) -> bool | None:
        """Ask on a new connection until the server knows; None if it does not, or does not answer in time."""
        if self.id is None:
            return None
        deadline = time.monotonic() + RESOLVE_SECONDS
        while time.monotonic() < deadline:
            try:
                with self.engine.connect() as connection:
                    status, life = self._ask(connection)
            except (SQLAlchemyError, OSError):
                pass  # the server is restarting, or the pool still holds lost connections
            else:
                if status == "committed":
                    return True if life == self.life is not None else None
                if status != "in progress":
                    return False if status == "aborted" else None
            _pause(is_async=self.engine.dialect.is_async)
        return None

    def _ask(self, connection: Connection) -> tuple[object, object]:
        """Return the status and the server's life. The status is None if the server cannot know it, or has forgotten it."""
        timeline, life = connection.execute(_SERVER).one()
        if timeline is None:
            connection.invalidate()  # a standby; if the URL names several hosts, the next one may be the primary
            return "in progress", life
        if timeline != self.timeline:
            return None, life
        try:
            return connection.scalar(_STATUS, {"id": self.id}), life
        except DBAPIError as error:
            if faults.code_of(error) == _FUTURE:
                return "aborted", life
            raise


def _pause(*, is_async: bool) -> None:
    if is_async:  # the event loop has other work to do
        concurrency.await_only(asyncio.sleep(_PAUSE_SECONDS))
    else:
        time.sleep(_PAUSE_SECONDS)


def identify(connections: list[Connection]) -> Transaction | None:
    """Return the transaction of a unit's only connection, if its server can tell of it later."""
    if len(connections) != 1 or connections[0].dialect.name != "postgresql":
        return None
    return Transaction(connections[0].engine, *connections[0].execute(_IDENTIFY).one())


def unknown(name: str, cause: BaseException, *, databases: int, is_resolving: bool, is_asked: bool) -> CommitOutcomeUnknown:
    """Return the error that says what is known about a COMMIT with an unknown outcome.

    Args:
        name: Qualified name of the callable.
        cause: The error that was raised instead of an answer.
        databases: How many connections were to be committed.
        is_resolving: Whether the policy has ``resolve_commit``.
        is_asked: Whether PostgreSQL was asked and could not tell.
    """
    asked = " PostgreSQL was asked, but could not tell." if is_asked else ""
    hint = "" if is_resolving else ", or write resolve_commit=True on PostgreSQL"
    return CommitOutcomeUnknown(
        f"{name}: {_circumstances(cause, databases)}.{asked} It was not retried. Look for something that the unit itself "
        f"writes, such as a request's id, before repeating it{hint}."
    )


def _circumstances(cause: BaseException, databases: int) -> str:
    kind = type(cause).__name__
    if isinstance(cause, asyncio.CancelledError):
        return f"it was cancelled while COMMIT was under way ({kind}), and no answer tells whether its work is applied"
    if databases > 1:
        return f"COMMIT failed on one of its {databases} connections ({kind}), so all, part or none of its work is applied"
    if faults.is_lost(cause):
        lost = f"the connection failed while COMMIT was under way ({kind}), so its work may or may not be applied"
        return f"{lost}: the database may have committed and only its answer got lost"
    code = faults.code_of(cause)
    if code is None:
        return f"COMMIT ended in {kind}, which does not tell whether its work is applied"
    return f"the database answered COMMIT with an error ({kind}, {code}) that does not tell whether its work is applied"
