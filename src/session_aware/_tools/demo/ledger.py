"""A ledger: its tables, and the service that books on them. Money is counted in cents.

Every method of the service declares a ``session`` and none of them ends a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, Executable, ForeignKey, String, Text, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload, sessionmaker

from session_aware import NEW_SESSION, SessionAwareService, auto_session_func

__all__ = ["BANK", "NAME_LENGTH", "PREFIX", "Account", "Base", "Ledger", "LedgerError", "Line", "Order", "Transfer", "money"]

PREFIX: Final = "session_aware_demo_"
"""How the name of every table of the demo starts, so that it meets no other table of the database."""

BANK: Final = "bank"
"""The account that money comes from: it alone may be overdrawn, and its first transfer to a name opens that account."""

NAME_LENGTH: Final = 40


class Base(DeclarativeBase):
    """The demo's own metadata."""


class Account(Base):
    """Somebody's money."""

    __tablename__ = f"{PREFIX}account"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    balance: Mapped[int] = mapped_column(BigInteger)
    entries: Mapped[list[Entry]] = relationship()


class Entry(Base):
    """One side of a transfer: what it added to an account, or took from it."""

    __tablename__ = f"{PREFIX}entry"

    account_name: Mapped[str] = mapped_column(ForeignKey(Account.name), primary_key=True)
    transfer_id: Mapped[int] = mapped_column(ForeignKey(f"{PREFIX}transfer.id"), primary_key=True)
    cents: Mapped[int] = mapped_column(BigInteger)


class Transfer(Base):
    """Two entries that add up to nothing."""

    __tablename__ = f"{PREFIX}transfer"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)
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

    def __str__(self) -> str:
        return f"line {self.line}, {self.sender} sends {money(self.cents)} to {self.receiver}"


class Line(NamedTuple):
    """One line of an account's statement, with the balance after it."""

    text: str
    cents: int
    balance: int


class LedgerError(Exception):
    """The ledger refuses a transfer. It has changed nothing by then."""


class UnknownAccountError(LedgerError):
    """There is no account of that name."""


class OverdraftError(LedgerError):
    """The sender has not got that much."""


class Ledger(SessionAwareService):
    """Accounts, double-entry transfers and statements.

    Args:
        session_factory: Opens the sessions of the calls that are given none. None: every call must be given one.
    """

    def __init__(self, session_factory: sessionmaker[Session] | None = None) -> None:
        self.session_factory = session_factory

    def open(self, name: str, *, session: Session = NEW_SESSION) -> Account:
        """Open an empty account."""
        account = Account(name=name, balance=0)
        session.add(account)
        return account

    def transfer(self, order: Order, *, session: Session = NEW_SESSION, is_commit: bool = True) -> Transfer:
        """Move money from one account to another.

        Args:
            order: How much, from whom to whom.
            session: The caller's. Without one the call has a transaction of its own.
            is_commit: False makes a call without a session a dry run: the library rolls it back.

        Raises:
            UnknownAccountError: The sender or the receiver has no account.
            OverdraftError: The sender has not got that much.
        """
        sender, receiver = self._lock(order, session=session)
        if sender.balance < order.cents and sender.name != BANK:
            msg = f"{sender.name} has {money(sender.balance)} and cannot send {money(order.cents)}"
            raise OverdraftError(msg)
        sender.balance -= order.cents
        receiver.balance += order.cents
        entries = [Entry(account_name=sender.name, cents=-order.cents), Entry(account_name=receiver.name, cents=order.cents)]
        transfer = Transfer(text=order.text, entries=entries)
        session.add(transfer)
        return transfer

    @auto_session_func(read_only=True)
    def statement(self, name: str, *, session: Session = NEW_SESSION) -> Iterator[Line]:
        """Stream an account's entries, oldest first; the session stays open until the last one was read."""
        balance = 0
        for text, cents in session.execute(self.entries_of(name)):
            balance += cents
            yield Line(text, cents, balance)

    @auto_session_func(read_only=True)
    def accounts(self, *, session: Session = NEW_SESSION) -> Sequence[Account]:
        """Give all accounts with their entries, which stay readable when the session is closed."""
        return session.scalars(select(Account).options(selectinload(Account.entries))).all()

    def entries_of(self, name: str) -> Executable:
        """Select the text and the cents of an account's entries, to be fetched a hundred at a time."""
        entries = select(Transfer.text, Entry.cents).join(Transfer.entries).where(Entry.account_name == name)
        return entries.order_by(Transfer.id).execution_options(yield_per=100)

    def _lock(self, order: Order, *, session: Session = NEW_SESSION) -> tuple[Account, Account]:
        """Read both accounts for an update, in the order of their names: two opposite transfers cannot deadlock."""
        names = (order.sender, order.receiver)
        found = session.scalars(select(Account).where(Account.name.in_(names)).order_by(Account.name).with_for_update())
        accounts = {account.name: account for account in found}
        if order.sender == BANK and order.receiver not in accounts:
            accounts[order.receiver] = self.open(order.receiver, session=session)
        for name in names:
            if name not in accounts:
                msg = f"there is no account {name!r}"
                raise UnknownAccountError(msg)
        return accounts[order.sender], accounts[order.receiver]


def money(cents: int) -> str:
    """Write cents as an amount: 123456 is ``1,234.56``."""
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100:,}.{abs(cents) % 100:02}"
