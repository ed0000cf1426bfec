"""The ledger service for an ``AsyncSession``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession  # noqa: TC002 - the library checks the annotations that it can resolve

from session_aware import NEW_SESSION, SessionAwareService, auto_session_func
from session_aware._tools.demo.ledger import Ledger, statement_of
from session_aware._tools.demo.model import Account, Line, Order, Totals, Transfer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import async_sessionmaker

__all__ = ["AsyncLedger"]


class AsyncLedger(SessionAwareService):
    """The same ledger for asyncio.

    An ``AsyncSession`` has its transaction from the ``Session`` beneath it, so the methods of ``Ledger`` join that one and
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
        async for text, cents in await session.stream(statement_of(name)):
            balance += cents
            yield Line(text, cents, balance)

    @auto_session_func(read_only=True)
    async def totals(self, *, session: AsyncSession = NEW_SESSION) -> Totals:
        """Add everything up."""
        return await session.run_sync(lambda joined: self._ledger.totals(session=joined))
