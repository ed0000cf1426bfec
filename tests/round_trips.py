"""Units that read one row, and how many round trips to the server each of them takes.

``tests/integration/test_round_trips.py`` asserts the numbers, ``python -m tests.benchmarks._round_trips`` prints them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Engine, create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from session_aware import NEW_SESSION, SessionAwareService
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.proxy import TcpProxy

__all__ = [
    "ENGINES",
    "HAS_SKIP",
    "SERVERS",
    "WAYS",
    "Way",
    "async_unit",
    "counts",
    "one_row",
    "sync_unit",
]

SERVERS: Final = {"postgresql": ("psycopg", "psycopg2", "asyncpg"), "mariadb": ("pymysql", "asyncmy")}
"""The drivers of each server."""

HAS_SKIP: Final = "skip_autocommit_rollback" in inspect.signature(DefaultDialect.__init__).parameters
"""Whether SQLAlchemy can omit the ROLLBACK of a connection in AUTOCOMMIT, as it can since 2.0.43.

MySQL's drivers send every ROLLBACK; PostgreSQL's know that there is nothing to roll back. ``pool_reset_on_return=None``
does not replace it: that omits the second ROLLBACK, which the pool sends, and the first one is the session's.
"""

ENGINES: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"isolation_level": "AUTOCOMMIT", **({"skip_autocommit_rollback": True} if HAS_SKIP else {})},
)
"""The options of the two engines that the ways choose from: an ordinary one, and one created in AUTOCOMMIT."""

_WARM: Final = 10
"""Units before the ones that count: psycopg prepares a statement at its sixth execution, asyncpg at its first."""
_COUNTED: Final = 12


class Base(DeclarativeBase):
    """Of the one table."""


class Row(Base):
    """A row."""

    __tablename__ = "round_trip"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]


ONE: Final = select(Row).where(Row.id == 1)


@contextmanager
def one_row(server: PostgreSQL | MariaDB) -> Iterator[None]:
    """Keep the table with its row in a server until the block ends."""
    engine = create_engine(server.url())
    try:
        Base.metadata.create_all(engine)
        with sessionmaker(engine).begin() as session:
            session.add(Row(id=1, number=7))
        yield
    finally:
        Base.metadata.drop_all(engine)
        engine.dispose()


class Way(NamedTuple):
    """How a unit gets its session.

    Attributes:
        policy: The keywords of a service class; None is by hand.
        engine: ``own`` has transactions, ``switched`` is the same with an execution option, ``reading`` was created in
            AUTOCOMMIT. A service with that one uses it as the engine of its read factory.
    """

    policy: dict[str, Any] | None
    engine: str = "own"


_AUTOCOMMIT: Final = {"read_only": True, "isolation_level": "AUTOCOMMIT"}

WAYS: Final = {
    "by hand, `with maker.begin()`": Way(None),
    "by hand, engine switched to AUTOCOMMIT": Way(None, "switched"),
    "by hand, engine created in AUTOCOMMIT": Way(None, "reading"),
    "session-aware": Way({}),
    "`read_only=True`": Way({"read_only": True}),
    '`read_only=True, isolation_level="AUTOCOMMIT"`': Way(_AUTOCOMMIT),
    "the same with a `read_session_factory` in AUTOCOMMIT": Way(_AUTOCOMMIT, "reading"),
}


def counts(url: str, proxy: TcpProxy, way: Way) -> list[int]:
    """Return how many round trips each of some units takes, after as many as the driver needs for its caches.

    Args:
        url: The database, by way of the proxy.
        proxy: In front of it, with no other traffic.
        way: How the units get their sessions.
    """
    with _unit(url, way) as unit:
        for _ in range(_WARM):
            assert unit() == 7
        found = []
        for _ in range(_COUNTED):
            before = proxy.round_trips
            unit()
            found.append(proxy.round_trips - before)
        return found


_Unit: TypeAlias = Callable[[], int]


@contextmanager
def _unit(url: str, way: Way) -> Iterator[_Unit]:
    """Make the unit, and dispose of its engines at the end."""
    if not make_url(url).get_dialect().is_async:
        own, autocommit = engines = [create_engine(url, **each) for each in ENGINES]
        try:
            yield sync_unit(way, own, autocommit)
        finally:
            for engine in engines:
                engine.dispose()
        return
    with asyncio.Runner() as runner:
        aown, aautocommit = aengines = [create_async_engine(url, **each) for each in ENGINES]
        aunit = async_unit(way, aown, aautocommit)
        try:
            yield lambda: runner.run(aunit())
        finally:
            for aengine in aengines:
                runner.run(aengine.dispose())


def sync_unit(way: Way, engine: Engine, autocommit: Engine) -> _Unit:
    """Return a function that reads the row as one unit."""
    maker, reading = sessionmaker(engine), sessionmaker(autocommit)
    if way.policy is not None:
        keywords = {"read_session_factory": reading} if way.engine == "reading" else {}

        class Reader(SessionAwareService, session_factory=maker, **keywords, **way.policy):
            def read(self, *, session: Session = NEW_SESSION) -> int:
                return session.scalars(ONE).one().number

        return Reader().read
    if way.engine == "own":

        def read() -> int:
            with maker.begin() as session:
                return session.scalars(ONE).one().number

        return read
    chosen = reading if way.engine == "reading" else sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))

    def read_at_once() -> int:
        with chosen() as session:
            return session.scalars(ONE).one().number

    return read_at_once


def async_unit(way: Way, engine: AsyncEngine, autocommit: AsyncEngine) -> Callable[[], Any]:
    """Return the same as a coroutine function."""
    maker, reading = async_sessionmaker(engine), async_sessionmaker(autocommit)
    if way.policy is not None:
        keywords = {"async_read_session_factory": reading} if way.engine == "reading" else {}

        class Reader(SessionAwareService, async_session_factory=maker, **keywords, **way.policy):
            async def read(self, *, session: AsyncSession = NEW_SESSION) -> int:
                return (await session.scalars(ONE)).one().number

        return Reader().read
    if way.engine == "own":

        async def read() -> int:
            async with maker.begin() as session:
                return (await session.scalars(ONE)).one().number

        return read
    switched = async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))
    chosen = reading if way.engine == "reading" else switched

    async def read_at_once() -> int:
        async with chosen() as session:
            return (await session.scalars(ONE)).one().number

    return read_at_once
