"""Who calls the ledger: what the demo asks for, and its synchronous answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from session_aware._tools.demo.ledger import Ledger
from session_aware._tools.demo.model import BANK, Base, LedgerError, Line, Order, Totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import URL, Connection, Engine

__all__ = ["Caller", "SyncCaller", "existing_tables"]


class Caller(Protocol):
    """What the demo asks for, whether it is done with or without asyncio."""

    engine: Engine

    def existing_tables(self) -> list[str]:
        """Connect, and name the demo's tables that the database has already."""
        ...

    def create_tables(self) -> None:
        """Create the demo's tables."""

    def drop_tables(self) -> None:
        """Drop them."""

    def open_bank(self) -> None:
        """Open the bank's account."""

    def transfer(self, order: Order) -> None:
        """Auto mode: one transfer in its own transaction."""

    def transfer_dry(self, order: Order) -> list[int]:
        """Auto mode without a commit: return the booked entries, which stay readable."""
        ...

    def transfer_together(self, orders: Sequence[Order]) -> list[LedgerError]:
        """Manual mode: many transfers in one transaction of the caller's; return the refusals."""
        ...

    def statement(self, name: str) -> list[Line]:
        """Auto mode, a generator: read a statement to its end."""
        ...

    def totals(self) -> Totals:
        """Auto mode: add everything up."""
        ...

    def close(self) -> None:
        """Close every connection."""


class SyncCaller:
    """Calls the ledger with a ``Session``, or without one."""

    def __init__(self, url: URL) -> None:
        self.engine = create_engine(url)
        self._sessions = sessionmaker(self.engine)
        self._ledger = Ledger(self._sessions)

    def existing_tables(self) -> list[str]:
        with self.engine.connect() as connection:
            return existing_tables(connection)

    def create_tables(self) -> None:
        Base.metadata.create_all(self.engine, checkfirst=False)

    def drop_tables(self) -> None:
        Base.metadata.drop_all(self.engine)

    def open_bank(self) -> None:
        self._ledger.open(BANK)

    def transfer(self, order: Order) -> None:
        self._ledger.transfer(order)

    def transfer_dry(self, order: Order) -> list[int]:
        transfer = self._ledger.transfer(order, is_commit=False)
        return [entry.cents for entry in transfer.entries]

    def transfer_together(self, orders: Sequence[Order]) -> list[LedgerError]:
        refusals = []
        with self._sessions.begin() as session:
            for order in orders:
                try:
                    self._ledger.transfer(order, session=session)
                except LedgerError as refusal:  # it has changed nothing, so the transaction goes on
                    refusals.append(refusal)
        return refusals

    def statement(self, name: str) -> list[Line]:
        return list(self._ledger.statement(name))

    def totals(self) -> Totals:
        return self._ledger.totals()

    def close(self) -> None:
        self.engine.dispose()


def existing_tables(connection: Connection) -> list[str]:
    """Name the demo's tables that the database has already, in the order in which they can be dropped."""
    return [
        table.name for table in reversed(Base.metadata.sorted_tables) if connection.dialect.has_table(connection, table.name)
    ]
