"""The tables of the integration tests: accounts, and entries that refer to them."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = ["Account", "Base", "Entry"]


class Base(DeclarativeBase):
    """The metadata of the tests."""


class Account(Base):
    """An account; its owner is unique, so a second one of a name is a statement error."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(50), unique=True)  # MariaDB wants a length
    balance: Mapped[int] = mapped_column(default=0)


class Entry(Base):
    """An entry; its account is checked at COMMIT, so an entry without one is a commit error."""

    __tablename__ = "entry"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", deferrable=True, initially="DEFERRED"))
    amount: Mapped[int] = mapped_column(default=0)
