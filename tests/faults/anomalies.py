"""Which isolation anomalies an engine allows at which level: two units, deterministically interleaved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Engine, create_engine, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from session_aware import Propagation, auto_session_ctx
from tests.faults.bank import Account, Base
from tests.faults.stage import sqlite_begins
from tests.servers.galera import Galera
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


__all__ = ["HEADER", "Found", "anomalies"]

HEADER = "| engine | level | lost update | lost update, SELECT FOR UPDATE | write skew |\n|---|---|---|---|---|"
Work = Callable[[Session], object]
_LEVELS = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")


class Found(NamedTuple):
    """What one engine allows at one level."""

    engine: str
    level: str
    lost_update: bool
    lost_update_locking: bool
    write_skew: bool

    def row(self) -> str:
        """Give the line of the table."""
        cells = ("possible" if happens else "prevented" for happens in self[2:])
        return f"| {self.engine} | {self.level} | {' | '.join(cells)} |"


class _Pair(NamedTuple):
    """Two ways to the same database: of the unit that begins first, and of the one that runs in its middle."""

    outer: Engine
    inner: Engine
    level: str | None

    def run(self, read: Work, outer: Work, inner: Work) -> bool:
        """Let both read, then the inner one write and commit, then the outer one; say whether both could."""
        try:
            with self._unit(self.outer) as first:
                read(first)
                with self._unit(self.inner) as second:
                    read(second)
                    inner(second)
                outer(first)
        except DBAPIError:
            return False
        return True

    def _unit(self, engine: Engine) -> AbstractContextManager[Session]:
        return auto_session_ctx(
            session_factory=sessionmaker(engine), isolation_level=self.level, propagation=Propagation.REQUIRES_NEW
        )


def _reset(pair: _Pair) -> None:
    with pair.outer.begin() as connection:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
        connection.execute(insert(Account), [{"id": 0, "balance": 1}, {"id": 1, "balance": 1}])


def _balances(pair: _Pair) -> tuple[int, int]:
    with pair.outer.connect() as connection:
        first, second = connection.scalars(select(Account.balance).order_by(Account.id))
    return first, second


def _lost_update(pair: _Pair, *, locking: bool) -> bool:
    """Both add 1 to what they have read, first 1; 2 is left if both commit and one is lost."""
    _reset(pair)
    seen: dict[Session, int] = {}

    def read(session: Session) -> None:
        query = select(Account.balance).where(Account.id == 0)
        seen[session] = session.scalars(query.with_for_update() if locking else query).one()

    def write(session: Session) -> object:
        return session.execute(update(Account).where(Account.id == 0).values(balance=seen[session] + 1))

    return pair.run(read, write, write) and _balances(pair)[0] == 2


def _write_skew(pair: _Pair) -> bool:
    """Each takes what it finds spare of two, another one each; nothing is left if both commit."""
    _reset(pair)

    def read(session: Session) -> None:
        assert sum(session.scalars(select(Account.balance))) == 2

    def take(account: int) -> Work:
        return lambda session: session.execute(update(Account).where(Account.id == account).values(balance=0))

    return pair.run(read, take(0), take(1)) and _balances(pair) == (0, 0)


def _try(engine: str, name: str, pair: _Pair) -> Found:
    found = Found(engine, name, _lost_update(pair, locking=False), _lost_update(pair, locking=True), _write_skew(pair))
    pair.outer.dispose()
    pair.inner.dispose()
    return found


def _sqlite() -> Iterator[Found]:
    for statement in ("", "BEGIN", "BEGIN IMMEDIATE"):
        with tempfile.TemporaryDirectory() as folder:
            engine = create_engine(f"sqlite:///{Path(folder) / 'bank.sqlite'}?timeout=0.1", poolclass=NullPool)
            if statement:
                sqlite_begins(engine, statement)
            yield _try("SQLite", f"{statement} by event" if statement else "default of sqlite3", _Pair(engine, engine, None))


def _postgresql() -> Iterator[Found]:
    with PostgreSQL(settings={"lock_timeout": "1s"}) as server:
        for level in _LEVELS:
            engine = create_engine(server.url(), poolclass=NullPool)
            yield _try("PostgreSQL", level, _Pair(engine, engine, level))


def _mariadb() -> Iterator[Found]:
    with MariaDB(settings={"innodb-lock-wait-timeout": 1}) as server:
        for level in _LEVELS:
            engine = create_engine(server.url(), poolclass=NullPool)
            yield _try("MariaDB", level, _Pair(engine, engine, level))


def _galera() -> Iterator[Found]:
    # Reading what another node has just committed is asked for: otherwise the table would tell of its delay.
    with Galera(settings={"innodb-lock-wait-timeout": 1, "wsrep-sync-wait": 1}) as cluster:
        for level in _LEVELS:
            outer, inner = (create_engine(node.url(), poolclass=NullPool) for node in cluster.nodes[:2])
            yield _try("Galera, two nodes", level, _Pair(outer, inner, level))


_ENGINES = {"sqlite": _sqlite, "postgresql": _postgresql, "mariadb": _mariadb, "galera": _galera}


def anomalies(engines: list[str]) -> Iterator[Found]:
    """Try every level of these engines."""
    for engine in engines:
        yield from _ENGINES[engine]()
