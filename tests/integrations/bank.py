"""The service module that the applications share: accounts, and transfers between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

from sqlalchemy import CheckConstraint, ForeignKey, String, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from session_aware import NEW_SESSION, SessionAwareService, auto_session_func

__all__ = ["Account", "Bank", "Base", "Transfer", "UnknownAccountError"]


class Base(DeclarativeBase):
    """The metadata of the bank."""


class Account(Base):
    """An account, which is never overdrawn."""

    __tablename__ = "bank_account"
    __table_args__ = (CheckConstraint("balance >= 0"),)

    owner: Mapped[str] = mapped_column(String(50), primary_key=True)
    balance: Mapped[int]


class Transfer(Base):
    """A transfer; PostgreSQL looks at COMMIT whether its accounts exist."""

    __tablename__ = "bank_transfer"

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(ForeignKey(Account.owner, deferrable=True, initially="DEFERRED"))
    target: Mapped[str] = mapped_column(ForeignKey(Account.owner, deferrable=True, initially="DEFERRED"))
    amount: Mapped[int]
    note: Mapped[str]

    def __str__(self) -> str:
        return f"{self.id} {self.source} {self.target} {self.amount} {self.note}\n"


class UnknownAccountError(LookupError):
    """There is no account of that owner."""


class Bank(SessionAwareService):
    """Moves money. The applications name the session factories with ``configure``."""

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        session.add(Account(owner=owner, balance=0))
        session.flush()

    def change(self, owner: str, amount: int, *, session: Session = NEW_SESSION) -> None:
        account = update(Account).where(Account.owner == owner)
        changed = session.scalars(account.values(balance=Account.balance + amount).returning(Account.owner))
        if changed.one_or_none() is None:
            raise UnknownAccountError(owner)

    def record(self, source: str, target: str, amount: int, note: str = "", *, session: Session = NEW_SESSION) -> int:
        transfer = Transfer(source=source, target=target, amount=amount, note=note)
        session.add(transfer)
        session.flush()
        return transfer.id

    def move(self, source: str, target: str, amount: int, *, session: Session = NEW_SESSION) -> int:
        for owner, change in sorted({source: -amount, target: amount}.items()):  # the same order for all: no deadlock
            self.change(owner, change, session=session)
        return self.record(source, target, amount, session=session)

    @auto_session_func(read_only=True)
    def transfers(self, *, session: Session = NEW_SESSION) -> Generator[str]:
        yield from map(str, session.scalars(select(Transfer).order_by(Transfer.id).execution_options(yield_per=100)))

    # The bodies above, for callers with an event loop.

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        await session.run_sync(lambda given: self.open(owner, session=given))

    async def arecord(self, source: str, target: str, amount: int, *, session: AsyncSession = NEW_SESSION) -> int:
        return await session.run_sync(lambda given: self.record(source, target, amount, session=given))

    async def amove(self, source: str, target: str, amount: int, *, session: AsyncSession = NEW_SESSION) -> int:
        return await session.run_sync(lambda given: self.move(source, target, amount, session=given))

    @auto_session_func(read_only=True)
    async def atransfers(self, *, session: AsyncSession = NEW_SESSION) -> AsyncGenerator[str]:
        query = select(Transfer).order_by(Transfer.id).execution_options(yield_per=100)
        async for one in await session.stream_scalars(query):
            yield str(one)
