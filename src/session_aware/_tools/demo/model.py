"""The ledger's tables and values. Money is counted in cents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = [
    "BANK",
    "NAME_LENGTH",
    "PREFIX",
    "TEXT_LENGTH",
    "Account",
    "Base",
    "Entry",
    "LedgerError",
    "Line",
    "Order",
    "OverdraftError",
    "Totals",
    "Transfer",
    "UnknownAccountError",
    "money",
]

PREFIX: Final = "session_aware_demo_"
"""How the name of every table of the demo starts, so that it meets no other table of the database."""

BANK: Final = "bank"
"""The account that money comes from: it alone may be overdrawn, and its first transfer to a name opens that account."""

NAME_LENGTH: Final = 40
TEXT_LENGTH: Final = 80


class Base(DeclarativeBase):
    """The demo's own metadata."""


class Account(Base):
    """Somebody's money."""

    __tablename__ = f"{PREFIX}account"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    balance: Mapped[int] = mapped_column(BigInteger)


class Entry(Base):
    """One side of a transfer: what it added to an account, or took from it."""

    __tablename__ = f"{PREFIX}entry"

    transfer_id: Mapped[int] = mapped_column(ForeignKey(f"{PREFIX}transfer.id"), primary_key=True)
    account_name: Mapped[str] = mapped_column(ForeignKey(Account.name), primary_key=True, index=True)
    cents: Mapped[int] = mapped_column(BigInteger)


class Transfer(Base):
    """Two entries that add up to nothing."""

    __tablename__ = f"{PREFIX}transfer"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(TEXT_LENGTH))
    entries: Mapped[list[Entry]] = relationship()


@dataclass(frozen=True, slots=True)
class Order:
    """A transfer that somebody asks for.

    Attributes:
        line: Where it stands in its file.
        sender: The account that pays.
        receiver: The account that is paid.
        cents: How much, at least 1.
        text: What for.
    """

    line: int
    sender: str
    receiver: str
    cents: int
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an account's statement, with the balance after it."""

    text: str
    cents: int
    balance: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What the whole ledger adds up to.

    Attributes:
        accounts: How many there are, the bank's included.
        transfers: How many were made.
        lent: What the bank has paid out.
        balances: The sum of all balances, the bank's included: 0.
        entries: The sum of all entries: 0.
        mismatches: How many balances differ from the sum of their entries: 0.
    """

    accounts: int
    transfers: int
    lent: int
    balances: int
    entries: int
    mismatches: int


class LedgerError(Exception):
    """The ledger refuses a transfer. It has changed nothing by then."""


class UnknownAccountError(LedgerError):
    """There is no account of that name."""


class OverdraftError(LedgerError):
    """The sender has not got that much."""


def money(cents: int) -> str:
    """Write cents as an amount: 123456 is ``1,234.56``."""
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100:,}.{abs(cents) % 100:02}"
