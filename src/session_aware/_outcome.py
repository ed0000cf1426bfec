"""Turn an unknown COMMIT into a known one: PostgreSQL remembers what became of a transaction.

Source: FAULTS. 0 unknown and 0 duplicates through terminated backends, lost answers and immediate restarts. Not valid across
a failover to an asynchronous standby, which may never have heard of the transaction.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.util import concurrency

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["RESOLVE_SECONDS", "Transaction", "identify"]

RESOLVE_SECONDS: Final = 10.0
"""How long to ask a server that does not answer, or that still runs the transaction, before the outcome stays unknown."""

_PAUSE_SECONDS: Final = 0.1
_IDENTIFY: Final = text("SELECT CAST(pg_current_xact_id_if_assigned() AS text)")
_STATUS: Final = text("SELECT pg_xact_status(CAST(CAST(:id AS text) AS xid8))")


class Transaction(NamedTuple):
    """A transaction that the server can be asked about later. No id: it has written nothing."""

    engine: Engine
    id: str | None

    def is_committed(self) -> bool | None:
        """Ask on a new connection until the server knows; None if it does not, or does not answer in time."""
        if self.id is None:
            return False
        deadline = time.monotonic() + RESOLVE_SECONDS
        while time.monotonic() < deadline:
            status: str | None = "unreachable"
            try:
                with self.engine.connect() as connection:
                    status = connection.execute(_STATUS, {"id": self.id}).scalar()
            except (SQLAlchemyError, OSError):  # the server restarts, or the pool still holds connections that it lost
                pass
            if status not in {"in progress", "unreachable"}:
                return {"committed": True, "aborted": False}.get(status or "")
            _pause()
        return None


def _pause() -> None:
    if "greenlet" in sys.modules and concurrency.in_greenlet():  # an async unit: the event loop has other work to do
        concurrency.await_only(asyncio.sleep(_PAUSE_SECONDS))
    else:
        time.sleep(_PAUSE_SECONDS)


def identify(connections: list[Connection]) -> Transaction | None:
    """Return the transaction of a unit's only connection, if its server can tell of it later."""
    if len(connections) != 1 or connections[0].dialect.name != "postgresql":
        return None
    return Transaction(connections[0].engine, connections[0].execute(_IDENTIFY).scalar())
