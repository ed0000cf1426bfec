"""Who carries the orders out: the library, code written by hand, and the retry as it is found in public code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

import tenacity
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import NEW_SESSION, Retry, SessionAwareService
from tests.faults.bank import Order, move, trickle

__all__ = ["CLIENTS", "AsyncMaker", "Client", "Handwritten", "Library", "Naive", "SyncMaker"]

SyncMaker = Callable[[], Session]
AsyncMaker = Callable[[], AsyncSession]
RETRY = Retry(attempts=8, timeout=20.0, wait_initial=0.02, wait_max=0.5)


class Client(Protocol):
    """A way to carry orders out, sync or async as the makers are."""

    def transfer(self, order: Order) -> None: ...
    def stream(self, order: Order) -> Iterator[str]: ...
    async def atransfer(self, order: Order) -> None: ...
    def astream(self, order: Order) -> AsyncIterator[str]: ...


async def _atrickle(session: AsyncSession, order: Order) -> AsyncIterator[str]:
    steps = trickle(session.sync_session, order)
    while (step := await session.run_sync(lambda _: next(steps, None))) is not None:
        yield step


class Library(SessionAwareService, retry=RETRY):
    """The library."""

    def __init__(self, maker: SyncMaker | None, async_maker: AsyncMaker | None) -> None:
        self.session_factory = maker
        self.async_session_factory = async_maker

    def transfer(self, order: Order, *, session: Session = NEW_SESSION) -> None:
        move(session, order)

    def stream(self, order: Order, *, session: Session = NEW_SESSION) -> Iterator[str]:
        yield from trickle(session, order)

    async def atransfer(self, order: Order, *, session: AsyncSession = NEW_SESSION) -> None:
        await session.run_sync(move, order)

    async def astream(self, order: Order, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[str]:
        async for step in _atrickle(session, order):
            yield step


class ResolvingLibrary(Library, resolve_commit=True):
    """The library, asking PostgreSQL what became of a COMMIT."""


class Handwritten:
    """``with Session.begin()``, as SQLAlchemy's documentation has it."""

    def __init__(self, maker: SyncMaker | None, async_maker: AsyncMaker | None) -> None:
        self._maker = maker
        self._async_maker = async_maker

    def transfer(self, order: Order) -> None:
        assert self._maker is not None
        with self._maker() as session, session.begin():
            move(session, order)

    def stream(self, order: Order) -> Iterator[str]:
        assert self._maker is not None
        with self._maker() as session, session.begin():
            yield from trickle(session, order)

    async def atransfer(self, order: Order) -> None:
        assert self._async_maker is not None
        async with self._async_maker() as session, session.begin():
            await session.run_sync(move, order)

    async def astream(self, order: Order) -> AsyncIterator[str]:
        assert self._async_maker is not None
        async with self._async_maker() as session, session.begin():
            async for step in _atrickle(session, order):
                yield step


_again = tenacity.retry(
    retry=tenacity.retry_if_exception_type(OperationalError),
    stop=tenacity.stop_after_attempt(8),
    wait=tenacity.wait_random_exponential(multiplier=0.02, max=0.5),
    reraise=True,
)


class Naive(Handwritten):
    """tenacity on OperationalError around ``with Session.begin()``."""

    @_again
    def transfer(self, order: Order) -> None:
        super().transfer(order)

    @_again
    async def atransfer(self, order: Order) -> None:
        await super().atransfer(order)


CLIENTS: dict[str, Callable[[SyncMaker | None, AsyncMaker | None], Client]] = {
    "library": Library,
    "library-resolve": ResolvingLibrary,
    "handwritten": Handwritten,
    "naive": Naive,
}
