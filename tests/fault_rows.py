"""What the tests of single rows of the classification share: a body that fails, with two attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import pytest
from sqlalchemy import Engine, create_engine, exc, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, Retry, SessionAwareService
from session_aware._database.faults import Code, code_of

__all__ = ["TWICE", "Work", "connecting", "sql", "tried", "tried_async"]

TWICE = Retry(attempts=2, wait_initial=0, wait_max=0)


class Work(SessionAwareService, retry=TWICE):
    """Runs a body twice if what it raises is worth another attempt."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.attempts = 0
        if engine is not None:
            self.session_factory = sessionmaker(engine)

    def run(self, body: Callable[[Session], object], *, session: Session = NEW_SESSION) -> None:
        self.attempts += 1
        body(session)

    async def arun(self, statement: str, *, session: AsyncSession = NEW_SESSION) -> None:
        self.attempts += 1
        await session.execute(text(statement))


def sql(*statements: str) -> Callable[[Session], object]:
    """Make a body of statements."""
    return lambda session: [session.execute(text(statement)) for statement in statements]


def tried(engine: Engine, body: Callable[[Session], object]) -> tuple[Code, int]:
    """Run a body that fails; return the code that left it, and how often it was run."""
    work = Work(engine)
    with pytest.raises((exc.DBAPIError, exc.TimeoutError)) as caught:
        work.run(body)
    return code_of(caught.value), work.attempts


def tried_async(url: str, statement: str = "SELECT 1") -> tuple[Code, int]:
    """Do the same with an async driver."""
    work = Work()

    async def scenario() -> Code:
        engine = create_async_engine(url)
        work.async_session_factory = async_sessionmaker(engine)
        try:
            # A refused connection may come as the driver's own: asyncpg's with SQLAlchemy 2.0, an OSError with both.
            with pytest.raises((exc.DBAPIError, asyncpg.PostgresError, OSError)) as caught:
                await work.arun(statement)
        finally:
            await engine.dispose()
        return code_of(caught.value)

    return asyncio.run(scenario()), work.attempts


def connecting(url: str, *, is_async: bool) -> tuple[Code, int]:
    """Fail to connect."""
    if is_async:
        return tried_async(url)
    engine = create_engine(url)
    try:
        return tried(engine, sql("SELECT 1"))
    finally:
        engine.dispose()
