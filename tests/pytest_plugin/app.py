"""The application that the inner test runs call: services on the tables of the ledger, and what they do after a commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import event, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from session_aware import NEW_SESSION, Propagation, SessionAwareService, after_commit, auto_session_func
from tests.ledger import Account, Entry

__all__ = ["Accounts", "AsyncAccounts", "welcomed"]

welcomed: list[str] = []


class Accounts(SessionAwareService):
    def open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        session.add(Account(owner=owner))
        session.flush()
        after_commit(session, lambda: welcomed.append(owner))

    def fail(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        self.open(owner, session=session)
        raise LookupError(owner)

    @auto_session_func(read_only=True)
    def count(self, *, session: Session = NEW_SESSION) -> int:
        return session.scalars(select(func.count(Account.id))).one()

    @auto_session_func(read_only=True)
    def write_read_only(self, *, session: Session = NEW_SESSION) -> None:
        session.execute(text("INSERT INTO account (owner, balance) VALUES ('sly', 0)"))

    def stream(self, *, session: Session = NEW_SESSION) -> Iterator[str]:
        yield from session.scalars(select(Account.owner).order_by(Account.owner)).all()

    def dangle(self, *, session: Session = NEW_SESSION) -> None:
        session.add(Entry(account_id=4711))

    def forget(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        session.execute(text("SELECT 1"))
        self.open(owner)

    @auto_session_func(propagation=Propagation.REQUIRES_NEW)
    def log(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        self.open(owner, session=session)

    def log_and_fail(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        session.execute(text("SELECT 1"))
        self.log(owner)
        raise LookupError(owner)

    def log_and_open(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        session.execute(text("SELECT 1"))
        self.log(f"{owner}'s log")
        self.open(owner, session=session)

    @auto_session_func(isolation_level="SERIALIZABLE")
    def open_serializable(self, owner: str, *, session: Session = NEW_SESSION) -> None:
        self.verify_serializable(session=session)
        self.open(owner, session=session)

    @auto_session_func(isolation_level="SERIALIZABLE")
    def verify_serializable(self, *, session: Session = NEW_SESSION) -> None:
        session.execute(text("SELECT 1"))

    @auto_session_func(read_only=True, isolation_level="AUTOCOMMIT")
    def read(self, body: Any, *, session: Session = NEW_SESSION) -> list[str]:
        body(session)
        return list(session.scalars(select(Account.owner)))

    @auto_session_func(isolation_level="READ UNCOMMITTED")
    def mix_levels(self, *, session: Session = NEW_SESSION) -> None:
        self.verify_serializable(session=session)

    def swallow(self, *, session: Session = NEW_SESSION) -> None:
        try:
            session.execute(text("SELECT nothing FROM nowhere"))
        except Exception:  # noqa: BLE001, S110 - the fault that is tested
            pass


class AsyncAccounts(SessionAwareService):
    async def open(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        session.add(Account(owner=owner))
        await session.flush()

        async def welcome() -> None:
            welcomed.append(owner)

        after_commit(session, welcome)

    async def fail(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        await self.open(owner, session=session)
        raise LookupError(owner)

    @auto_session_func(read_only=True)
    async def count(self, *, session: AsyncSession = NEW_SESSION) -> int:
        return (await session.scalars(select(func.count(Account.id)))).one()

    @auto_session_func(propagation=Propagation.REQUIRES_NEW)
    async def log(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        await self.open(owner, session=session)

    async def log_and_open(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        await session.execute(text("SELECT 1"))
        await self.log(f"{owner}'s log")
        await self.open(owner, session=session)

    @auto_session_func(propagation=Propagation.REQUIRES_NEW)
    async def log_at_commit(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        session.add(Account(owner=owner))  # sent by the flush inside COMMIT

    @auto_session_func(propagation=Propagation.REQUIRES_NEW)
    async def log_at_each_commit(self, owner: str, depth: int, *, session: AsyncSession = NEW_SESSION) -> None:
        session.add(Account(owner=f"{owner} {depth}"))
        if depth:
            once = [lambda: await_only(self.log_at_each_commit(owner, depth - 1))]
            event.listen(session.sync_session, "before_commit", lambda _: once.pop()() if once else None)
            await session.flush()

    async def log_at_commit_and_open(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        await self.open(owner, session=session)
        await self.log_at_commit(f"{owner}'s log")

    @auto_session_func(isolation_level="SERIALIZABLE")
    async def open_serializable(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
        await self.open(owner, session=session)
