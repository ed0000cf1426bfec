"""The ledger service for an ``AsyncSession``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from session_aware import NEW_SESSION, SessionAwareService, auto_session_func
from session_aware._tools.demo.ledger import Account, Ledger, Line, Order, Transfer

__all__ = ["AsyncLedger"]


class AsyncLedger(SessionAwareService):
    """The same ledger for asyncio.

    An ``AsyncSession`` has its transaction from the ``Session`` below it, so the methods of ``Ledger`` join that one and
    nothing is written twice.

    Args:
        async_session_factory: Opens the sessions of the calls that are given none.
    """

    def __init__(self, async_session_factory: async_sessionmaker[AsyncSession]) -> None:
        self.async_session_factory = async_session_factory
        self._ledger = Ledger()

    async def open(self, name: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        """Open an empty account."""
        return await session.run_sync(lambda joined: self._ledger.open(name, session=joined))

    async def transfer(self, order: Order, *, session: AsyncSession = NEW_SESSION, is_commit: bool = True) -> Transfer:
        """Move money from one account to another; see ``Ledger.transfer``."""
        return await session.run_sync(lambda joined: self._ledger.transfer(order, session=joined, is_commit=is_commit))

    @auto_session_func(read_only=True)
    async def statement(self, name: str, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[Line]:
        """Stream an account's entries, oldest first; the session stays open until the last one was read."""
        balance = 0
        async for text, cents in await session.stream(self._ledger.entries_of(name)):
            balance += cents
            yield Line(text, cents, balance)

    @auto_session_func(read_only=True)
    async def accounts(self, *, session: AsyncSession = NEW_SESSION) -> Sequence[Account]:
        """Give all accounts with their entries; see ``Ledger.accounts``."""
        return await session.run_sync(lambda joined: self._ledger.accounts(session=joined))
