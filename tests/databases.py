"""The databases of one test: engines with a recorder each, and a witness that reads the rows from outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from tests.ledger import Account
from tests.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.servers.postgresql import PostgreSQL

__all__ = ["DRIVERS", "AsyncDatabase", "Databases", "SyncDatabase", "sqlite_engine", "use_real_transactions"]

T = TypeVar("T")


def use_real_transactions(engine: Engine) -> None:
    """Make sqlite3 begin when SQLAlchemy does: its default opens no transaction for SELECT and SAVEPOINT."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")


def sqlite_engine(file: Path) -> Engine:
    """Return an engine on a SQLite file."""
    engine = create_engine(f"sqlite:///{file}")
    use_real_transactions(engine)
    return engine


class _Rows:
    """What was committed, read on a connection of its own."""

    def __init__(self, witness: Engine) -> None:
        self._witness = witness

    def owners(self) -> list[str]:
        """Return the owners of all committed accounts, sorted."""
        with self._witness.connect() as connection:
            return list(connection.scalars(select(Account.owner).order_by(Account.owner)))

    def balances(self) -> dict[str, int]:
        """Return the committed balance of each owner."""
        with self._witness.connect() as connection:
            rows = connection.execute(select(Account.owner, Account.balance))
            return {row.owner: row.balance for row in rows}


class SyncDatabase(_Rows):
    """A sync engine of one test."""

    def __init__(self, engine: Engine, witness: Engine) -> None:
        super().__init__(witness)
        self.engine = engine
        self.recorder = Recorder(engine)
        self.maker = sessionmaker(engine)

    @property
    def is_postgresql(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    @property
    def checked_out(self) -> int:
        return _pool(self.engine).checkedout()

    def run(self, result: T) -> T:
        """Return what a call has returned, so that one test serves both kinds of databases."""
        return result

    def close(self) -> None:
        self.engine.dispose()


class AsyncDatabase(_Rows):
    """An async engine of one test, with the event loop in which it lives."""

    task_factory: ClassVar[Callable[..., asyncio.Future[Any]] | None] = None

    def __init__(self, engine: AsyncEngine, witness: Engine) -> None:
        super().__init__(witness)
        self.engine = engine
        self.recorder = Recorder(engine)
        self.maker = async_sessionmaker(engine)
        self._runner = asyncio.Runner()

    @property
    def is_postgresql(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    @property
    def checked_out(self) -> int:
        return _pool(self.engine.sync_engine).checkedout()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end in the test's loop."""
        self._runner.get_loop().set_task_factory(type(self).task_factory)
        return self._runner.run(coroutine)

    def close(self) -> None:
        self._runner.run(self.engine.dispose())
        self._runner.close()


class Databases:
    """Makes the databases that a test asks for by driver, and closes them at its end.

    Args:
        folder: Where SQLite files go.
        template: An SQLite file with empty tables.
        postgresql: Gives the server with empty tables, and the engine that sees it from outside.
    """

    def __init__(self, folder: Path, template: Path, postgresql: Callable[[], tuple[PostgreSQL, Engine]]) -> None:
        self._folder = folder
        self._template = template
        self._postgresql = postgresql
        self._made: list[SyncDatabase | AsyncDatabase] = []
        self._witnesses: list[Engine] = []

    def sync(self, driver: str, *, name: str = "ledger") -> SyncDatabase:
        """Make a database for ``sqlite`` or ``psycopg``; SQLite files differ by name, PostgreSQL has one database."""
        if driver == "sqlite":
            engine, witness = sqlite_engine(self._file(name)), self._witness(name)
        else:
            server, witness = self._postgresql()
            engine = create_engine(server.url(driver))
        made = SyncDatabase(engine, witness)
        self._made.append(made)
        return made

    def asynchronous(self, driver: str, *, name: str = "ledger") -> AsyncDatabase:
        """Make a database for ``aiosqlite``, ``psycopg`` or ``asyncpg``."""
        if driver == "aiosqlite":
            url = f"sqlite+aiosqlite:///{self._file(name)}"
            engine = create_async_engine(url, poolclass=AsyncAdaptedQueuePool)  # the default since SQLAlchemy 2.0.38
            witness = self._witness(name)
            use_real_transactions(engine.sync_engine)
        else:
            server, witness = self._postgresql()
            engine = create_async_engine(server.url(driver))
        made = AsyncDatabase(engine, witness)
        self._made.append(made)
        return made

    def close(self) -> list[int]:
        """Dispose of every engine; return how many connections each had left checked out."""
        left = [made.checked_out for made in self._made]
        for made in self._made:
            made.close()
        for witness in self._witnesses:
            witness.dispose()
        return left

    def _file(self, name: str) -> Path:
        file = self._folder / f"{name}.sqlite"
        if not file.exists():
            file.write_bytes(self._template.read_bytes())
        return file

    def _witness(self, name: str) -> Engine:
        witness = create_engine(f"sqlite:///{self._folder / name}.sqlite", isolation_level="AUTOCOMMIT")
        self._witnesses.append(witness)
        return witness


DRIVERS: Final[dict[str, tuple[Callable[[Databases, str], SyncDatabase | AsyncDatabase], str]]] = {
    "sqlite": (Databases.sync, "sqlite"),
    "psycopg": (Databases.sync, "psycopg"),
    "aiosqlite": (Databases.asynchronous, "aiosqlite"),
    "async psycopg": (Databases.asynchronous, "psycopg"),
    "asyncpg": (Databases.asynchronous, "asyncpg"),
}


def _pool(engine: Engine) -> QueuePool:
    assert isinstance(engine.pool, QueuePool)
    return engine.pool
