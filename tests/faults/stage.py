"""Where a round is played: a database, what may be done to it, and engines that reach it through a proxy."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from tests.servers.proxy import Hook, TcpProxy, Verdict, on_commit, pass_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["ASYNC_DRIVERS", "Stage", "sqlite_begins", "wait_until"]

ASYNC_DRIVERS = frozenset({"psycopg-async", "asyncpg", "asyncmy", "aiomysql", "aiosqlite"})
_HANG_SECONDS = 0.2
_MEETING_SECONDS = 1.0
_POOL = {"pool_size": 8, "max_overflow": 8, "pool_timeout": 20}


def wait_until(is_true: Callable[[], bool], *, seconds: float) -> bool:
    """Ask again and again; False if the answer was never yes."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def sqlite_begins(engine: Engine, statement: str = "BEGIN") -> None:
    """Begin where SQLAlchemy does: by default the driver opens no transaction for SELECT, and updates are lost."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous = OFF")  # what a crash of the machine loses is not the matter here
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Any) -> None:
        connection.exec_driver_sql(statement)


class Stage(ABC):
    """A running database for one or more rounds.

    Attributes:
        isolation_level: Of every client's engine; None is the engine's own.
    """

    name: str
    isolation_level: str | None = None

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.proxies: list[TcpProxy] = []

    def __enter__(self) -> Self:
        try:
            self._start(self._stack)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @abstractmethod
    def _start(self, stack: contextlib.ExitStack) -> None:
        """Start the servers, a proxy in front of each."""

    @abstractmethod
    def urls(self, driver: str) -> list[str]:
        """Give a URL through each proxy."""

    @abstractmethod
    def witness_url(self) -> str:
        """Give the URL of a server itself, for the audit."""

    @abstractmethod
    def attacks(self) -> dict[str, Callable[[], object]]:
        """Give what may be done to the servers, by name; False says that it met nobody."""

    @abstractmethod
    def dangling(self, witness: Engine) -> int:
        """Count the transactions that are open in the database."""

    def settle(self) -> None:
        """Let everything pass again, and wait until every server answers."""
        for proxy in self.proxies:
            proxy.on_client = pass_all
            proxy.cut()  # a COMMIT may be hanging
            proxy.accept()

    def witness(self) -> Engine:
        """Make an engine that the adversary does not reach."""
        return create_engine(self.witness_url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)

    def engines(self, driver: str, *, is_naive: bool = False) -> list[Engine]:
        """Make the engines of one sync client."""
        made = [create_engine(url, **self._options()) for url in self.urls(driver)]
        for engine in made:
            self._tune(engine, is_naive=is_naive)
        return made

    def async_engines(self, driver: str, *, is_naive: bool = False) -> list[AsyncEngine]:
        """Make the engines of one async client."""
        made = [create_async_engine(url, **self._options()) for url in self.urls(driver.removesuffix("-async"))]
        for engine in made:
            self._tune(engine.sync_engine, is_naive=is_naive)
        return made

    def _tune(self, engine: Engine, *, is_naive: bool) -> None:
        if engine.dialect.name == "sqlite" and not is_naive:  # who knows nothing of the driver's default
            sqlite_begins(engine)

    def _options(self) -> dict[str, Any]:
        return {**_POOL, **({"isolation_level": self.isolation_level} if self.isolation_level else {})}

    def proxied(self, stack: contextlib.ExitStack, port: int) -> None:
        """Put a proxy in front of a server."""
        self.proxies.append(stack.enter_context(TcpProxy(port)))

    def proxy_attacks(self) -> dict[str, Callable[[], object]]:
        """Give what may be done through the proxies: to the next COMMIT of each, or to everything."""
        return {
            "COMMIT lost": partial(self._on_commit, Verdict.CUT),
            "answer lost": partial(self._on_commit, Verdict.CUT_ON_ANSWER),
            "COMMIT hangs": partial(self._hang, Verdict.HANG),
            "answer hangs": partial(self._hang, Verdict.HANG_ON_ANSWER),
            "network cut": self._cut,
        }

    def _on_commit(self, verdict: Verdict) -> bool:
        """Give the verdict to the next two COMMITs at each proxy; wait for the first, and say whether it came."""
        has_met = threading.Event()

        def noticing(hook: Hook) -> Hook:
            def judge(data: bytes) -> Verdict:
                if (found := hook(data)) is not Verdict.PASS:
                    has_met.set()
                return found

            return judge

        for proxy in self.proxies:
            proxy.on_client = noticing(on_commit(verdict, times=2))
        return has_met.wait(_MEETING_SECONDS)

    def _hang(self, verdict: Verdict) -> bool:
        has_met = self._on_commit(verdict)
        time.sleep(_HANG_SECONDS)
        for proxy in self.proxies:
            proxy.on_client = pass_all  # first: what came after the cut would hang for ever
            proxy.cut()
        return has_met

    def _cut(self) -> None:
        for proxy in self.proxies:
            proxy.refuse()
            proxy.cut()
            proxy.accept()


class SQLite(Stage):
    """A file: there is no network, but another process may hold its lock."""

    name = "sqlite"

    def _start(self, stack: contextlib.ExitStack) -> None:
        self._file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "bank.sqlite"
        with closing(sqlite3.connect(self._file)) as connection:
            # Without it eight readers keep a writer from its COMMIT for seconds, and little is acknowledged.
            connection.execute("PRAGMA journal_mode = WAL")
        self._locker = create_engine(self.witness_url())
        sqlite_begins(self._locker, "BEGIN IMMEDIATE")
        stack.callback(self._locker.dispose)

    def urls(self, driver: str) -> list[str]:
        return [f"sqlite+{'aiosqlite' if driver == 'aiosqlite' else 'pysqlite'}:///{self._file}?timeout=0.2"]

    def witness_url(self) -> str:
        return f"sqlite:///{self._file}"

    def attacks(self) -> dict[str, Callable[[], object]]:
        return {"file locked": self._lock}

    def dangling(self, witness: Engine) -> int:
        try:
            with witness.connect() as connection:
                connection.execute(text("PRAGMA busy_timeout = 1000"))
                connection.execute(text("BEGIN EXCLUSIVE"))
                connection.execute(text("ROLLBACK"))
        except Exception:  # noqa: BLE001 - whoever holds a lock has a transaction
            return 1
        return 0

    def _lock(self) -> bool:
        with contextlib.suppress(Exception), self._locker.begin():
            time.sleep(_HANG_SECONDS)
            return True
        return False
