"""Who calls the ledger with asyncio. One loop lives as long as the caller, and each call runs in it to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from session_aware._tools.demo.async_ledger import AsyncLedger
from session_aware._tools.demo.caller import existing_tables
from session_aware._tools.demo.model import BANK, Base, LedgerError, Line, Order, Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import URL, Connection

__all__ = ["AsyncCaller"]


class AsyncCaller:
    """Calls the ledger with an ``AsyncSession``, or without one."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(url)
        self.engine = self._engine.sync_engine
        self._sessions = async_sessionmaker(self._engine)
        self._ledger = AsyncLedger(self._sessions)
        self._runner = asyncio.Runner()

    def existing_tables(self) -> list[str]:
        async def ask() -> list[str]:
            async with self._engine.connect() as connection:
                return await connection.run_sync(existing_tables)

        return self._runner.run(ask())

    def create_tables(self) -> None:
        self._define(lambda connection: Base.metadata.create_all(connection, checkfirst=False))

    def drop_tables(self) -> None:
        self._define(Base.metadata.drop_all)

    def open_bank(self) -> None:
        self._runner.run(self._ledger.open(BANK))

    def transfer(self, order: Order) -> None:
        self._runner.run(self._ledger.transfer(order))

    def transfer_dry(self, order: Order) -> list[int]:
        transfer = self._runner.run(self._ledger.transfer(order, is_commit=False))
        return [entry.cents for entry in transfer.entries]

    def transfer_together(self, orders: Sequence[Order]) -> list[LedgerError]:
        async def work() -> list[LedgerError]:
            refusals = []
            async with self._sessions.begin() as session:
                for order in orders:
                    try:
                        await self._ledger.transfer(order, session=session)
                    except LedgerError as refusal:  # it has changed nothing, so the transaction goes on
                        refusals.append(refusal)
            return refusals

        return self._runner.run(work())

    def statement(self, name: str) -> list[Line]:
        async def read() -> list[Line]:
            return [line async for line in self._ledger.statement(name)]

        return self._runner.run(read())

    def totals(self) -> Totals:
        return self._runner.run(self._ledger.totals())

    def close(self) -> None:
        with self._runner:
            self._runner.run(self._engine.dispose())

    def _define(self, change: Callable[[Connection], None]) -> None:
        async def work() -> None:
            async with self._engine.begin() as connection:
                await connection.run_sync(change)

        self._runner.run(work())
