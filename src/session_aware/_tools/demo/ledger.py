"""The ledger service: every method declares a ``session`` and none of them ends a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session  # noqa: TC002 - the library checks the annotations that it can resolve

from session_aware import NEW_SESSION, SessionAwareService, auto_session_func
from session_aware._tools.demo.model import (
    BANK,
    Account,
    Entry,
    Line,
    OverdraftError,
    Totals,
    Transfer,
    UnknownAccountError,
    money,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Executable
    from sqlalchemy.orm import sessionmaker

    from session_aware._tools.demo.model import Order

__all__ = ["Ledger", "statement_of"]


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

    def transfer(
        self,
        order: Order,
        *,
        session: Session = NEW_SESSION,
        is_commit: bool = True,  # noqa: ARG002 - for the library: False makes the call a dry run
    ) -> Transfer:
        """Move money from one account to another.

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
        for text, cents in session.execute(statement_of(name)):
            balance += cents
            yield Line(text, cents, balance)

    @auto_session_func(read_only=True)
    def totals(self, *, session: Session = NEW_SESSION) -> Totals:
        """Add everything up."""
        booked = func.coalesce(func.sum(Entry.cents), 0)
        mismatched = (
            select(Account.name).outerjoin(Entry).group_by(Account.name, Account.balance).having(Account.balance != booked)
        )
        bank = select(Account.balance).where(Account.name == BANK)
        return Totals(
            accounts=session.scalars(select(func.count()).select_from(Account)).one(),
            transfers=session.scalars(select(func.count()).select_from(Transfer)).one(),
            lent=-session.scalars(bank).one(),
            # The sum of integers is a Decimal on PostgreSQL and MariaDB, which SQLAlchemy's types do not say.
            # pyrefly: ignore[unnecessary-type-conversion]
            balances=int(session.scalars(select(func.coalesce(func.sum(Account.balance), 0))).one()),
            # pyrefly: ignore[unnecessary-type-conversion]
            entries=int(session.scalars(select(booked)).one()),
            mismatches=session.scalars(select(func.count()).select_from(mismatched.subquery())).one(),
        )

    def _lock(self, order: Order, *, session: Session = NEW_SESSION) -> tuple[Account, Account]:
        """Read both accounts for an update, in the order of their names: two opposite transfers cannot deadlock."""
        names = (order.sender, order.receiver)
        found = session.scalars(select(Account).where(Account.name.in_(names)).order_by(Account.name).with_for_update())
        accounts = {account.name: account for account in found}
        if order.sender == BANK and order.receiver not in accounts:
            accounts[order.receiver] = self.open(order.receiver, session=session)
        if unknown := [name for name in names if name not in accounts]:
            msg = f"there is no account {unknown[0]!r}"
            raise UnknownAccountError(msg)
        return accounts[order.sender], accounts[order.receiver]


def statement_of(name: str) -> Executable:
    """Select an account's entries, to be fetched a hundred at a time."""
    entries = select(Transfer.text, Entry.cents).join(Transfer.entries).where(Entry.account_name == name)
    return entries.order_by(Transfer.id).execution_options(yield_per=100)
