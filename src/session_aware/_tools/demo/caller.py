"""Open the database of a URL for the demo, call the ledger on it, and leave it as it was."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator
from importlib import import_module
from typing import Any, Final

from sqlalchemy import URL, Executable, create_engine, make_url, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import sessionmaker
from sqlalchemy.schema import CreateTable, DropTable

from session_aware._tools.demo.errors import DemoError, first_line
from session_aware._tools.demo.ledger import BANK, Base, Ledger

__all__ = ["Caller", "opened"]

_DROP: Final = "; ".join(f"DROP TABLE IF EXISTS {table.name}" for table in reversed(Base.metadata.sorted_tables))


class Caller:
    """Calls a ``Ledger``, or an ``AsyncLedger`` if the URL is asynchronous.

    One event loop lives as long as the caller, and each asynchronous call runs in it to its end.

    Attributes:
        engine: The synchronous engine; an ``AsyncEngine`` has one as well.
        sessions: The ``sessionmaker`` or ``async_sessionmaker``.
        ledger: The service. Hand what its methods return to ``run``, and what its generators return to ``read``.
    """

    def __init__(self, url: URL) -> None:
        self._is_async = url.get_dialect().is_async
        self._runner = asyncio.Runner()
        if self._is_async:
            import_module("greenlet")  # SQLAlchemy 2.0 misses it only when it connects, and again when it disconnects
            from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine  # noqa: PLC0415 - an extra

            from session_aware._tools.demo.async_ledger import AsyncLedger  # noqa: PLC0415 - likewise

            self._engine: Any = create_async_engine(url)
            self.engine = self._engine.sync_engine
            self.sessions: Any = async_sessionmaker(self._engine)
            self.ledger: Any = AsyncLedger(self.sessions)
        else:
            self.engine = self._engine = create_engine(url)
            self.sessions = sessionmaker(self.engine)
            self.ledger = Ledger(self.sessions)

    def run(self, answer: Any) -> Any:  # noqa: ANN401 - whatever a method returns
        """Return what a method returned, after awaiting it if it is a coroutine."""
        return self._runner.run(answer) if self._is_async else answer

    def read(self, lines: Any) -> list[Any]:  # noqa: ANN401 - a generator of either kind
        """Read a generator to its end."""
        return self.run(_read(lines)) if self._is_async else list(lines)

    @contextlib.contextmanager
    def transaction(self) -> Generator[Any]:
        """Open a session of the caller's own; commit at the end, or roll back if there is an error."""
        session = self.sessions()
        try:
            yield session
            self.run(session.commit())
        finally:
            self.run(session.close())

    def close(self) -> None:
        """Close every connection, and the loop."""
        self.run(self._engine.dispose())
        self._runner.close()


async def _read(lines: AsyncIterator[Any]) -> list[Any]:
    return [line async for line in lines]


@contextlib.contextmanager
def opened(given: str) -> Generator[Caller]:
    """Yield the caller for a URL with the demo's tables created; drop them and disconnect afterwards.

    Args:
        given: Any SQLAlchemy URL, synchronous or asynchronous.

    Raises:
        DemoError: The URL is none, its driver is missing, there is no connection, or the demo's tables exist already.
    """
    with contextlib.ExitStack() as stack:
        caller = stack.enter_context(contextlib.closing(_caller(given)))
        _execute(caller, select(1), "cannot connect", "Start the server, or correct the URL")
        cure = f"Name an account that may, or write '{_DROP}' if they are left of a run that was killed"
        for table in Base.metadata.sorted_tables:
            _execute(caller, CreateTable(table), "cannot create the demo's tables", cure)
            stack.callback(_execute, caller, DropTable(table), "cannot drop the demo's tables", f"Write '{_DROP}'")
        caller.run(caller.ledger.open(BANK))
        yield caller


def _caller(given: str) -> Caller:
    try:
        return Caller(make_url(given))
    except (ImportError, NoSuchModuleError) as error:
        cure = "Correct it, or install what it needs, such as \"pip install 'psycopg[binary]' 'session-aware[asyncio]'\""
        msg = f"--url: {first_line(error)}. {cure}."
        raise DemoError(msg) from error
    except (ArgumentError, TypeError, ValueError) as error:  # its message may repeat the URL, and with it a password
        msg = "--url is no database URL. Write 'sqlite:///ledger.sqlite' or 'postgresql+psycopg://ann@localhost/test'."
        raise DemoError(msg) from error


def _execute(caller: Caller, statement: Executable, problem: str, cure: str) -> None:
    try:
        with caller.transaction() as session:
            caller.run(session.execute(statement))
    except Exception as error:  # drivers raise errors of their own when they connect
        msg = f"--url: {problem} ({first_line(error)}). {cure}."
        raise DemoError(msg) from error
