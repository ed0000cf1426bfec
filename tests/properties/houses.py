"""Where programs are performed: the engines of one driver, and engines that see from outside what was committed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, create_engine, delete, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from tests.databases import sqlite_engine, use_real_transactions
from tests.properties.async_player import AsyncPlayer, AsyncTheatre
from tests.properties.model import Model
from tests.properties.player import Player, Theatre
from tests.properties.programs import Body
from tests.properties.stage import Base, Log, Row, Stage
from tests.servers.postgresql import PostgreSQL

__all__ = ["House", "Seen", "async_house", "sync_house"]

_LANES = 12  # of SQLite: more than a program has sessions open at a time


class Seen(NamedTuple):
    """What can be seen of one performance."""

    log: Log
    rows: list[int]
    left: list[str]


class House:
    """A place to perform.

    Args:
        lanes: The engines that the programs use, in their sync form.
        witnesses: An engine for each database.
        theatre: Holds the stage of the program that is performed.
        play: Plays a program there.
    """

    def __init__(
        self,
        lanes: Sequence[Engine],
        witnesses: Sequence[Engine],
        theatre: Theatre | AsyncTheatre,
        play: Callable[[Body], None],
    ) -> None:
        self._lanes = lanes
        self._witnesses = witnesses
        self._theatre = theatre
        self._play = play
        self._first_row = 0
        self._spoilt: list[str] = []
        self._is_postgresql = lanes[0].dialect.name == "postgresql"
        for witness in witnesses:
            Base.metadata.create_all(witness)
            with witness.connect() as connection:
                connection.execute(delete(Row))
        if not self._is_postgresql:
            for lane in lanes:
                event.listen(lane, "checkin", self._inspect)

    def perform(self, program: Body) -> tuple[Seen, Seen]:
        """Perform a program here and on paper, and return what was seen of each."""
        self._first_row += 1000
        level = "READ COMMITTED" if self._is_postgresql else "SERIALIZABLE"
        paper = Stage((), self._first_row)
        model = Model(paper, aborts=self._is_postgresql, has_one_engine=self._is_postgresql, level=level)
        model.play(program)
        stage = self._theatre.stage = Stage(self._theatre.lanes, self._first_row)
        with stage.noting_warnings():
            self._play(program)
        left = [*self._left(), *(f"session {label} is open" for label in stage.open_sessions)]
        return Seen(stage.log, stage.committed(self._witnesses), left), Seen(paper.log, sorted(model.committed), [])

    def _left(self) -> list[str]:
        """Say what the program has left behind, and put it right for the next one."""
        left, self._spoilt = self._spoilt, []
        for lane in self._lanes:
            assert isinstance(lane.pool, QueuePool)
            if lane.pool.checkedout():
                left.append(lane.pool.status())
                lane.dispose(close=False)
        return left

    def _inspect(self, connection: Any, _record: object) -> None:
        if connection is None:
            return
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only")
        if cursor.fetchone() != (0,):
            self._spoilt.append("a connection that cannot write")
            cursor.execute("PRAGMA query_only = 0")
        cursor.close()


@contextlib.contextmanager
def sync_house(driver: str, folder: Path, server: Callable[[], PostgreSQL]) -> Iterator[House]:
    """Open a house for ``sqlite`` or ``psycopg``."""
    if driver == "sqlite":
        files = _files(folder)
        lanes = [sqlite_engine(file) for file in files]
        witnesses = _witnesses(files)
    else:
        lanes = [create_engine(server().url(driver), pool_size=_LANES)]
        witnesses = [create_engine(server().url(), isolation_level="AUTOCOMMIT")]
    for lane in lanes:
        _hurry(lane)
    theatre = Theatre(lanes)
    yield House(lanes, witnesses, theatre, lambda program: Player(theatre).play(program))
    for engine in (*lanes, *witnesses):
        engine.dispose()


@contextlib.contextmanager
def async_house(driver: str, folder: Path, server: Callable[[], PostgreSQL]) -> Iterator[House]:
    """Open a house for ``aiosqlite``, ``psycopg`` or ``asyncpg``."""
    if driver == "aiosqlite":
        files = _files(folder)
        lanes = [create_async_engine(f"sqlite+aiosqlite:///{file}", poolclass=AsyncAdaptedQueuePool) for file in files]
        for lane in lanes:
            use_real_transactions(lane.sync_engine)
        witnesses = _witnesses(files)
    else:
        lanes = [create_async_engine(server().url(driver), pool_size=_LANES)]
        witnesses = [create_engine(server().url(), isolation_level="AUTOCOMMIT")]
    for lane in lanes:
        _hurry(lane.sync_engine)
    theatre = AsyncTheatre(lanes)
    with asyncio.Runner() as runner:
        yield House(
            [lane.sync_engine for lane in lanes],
            witnesses,
            theatre,
            lambda program: runner.run(AsyncPlayer(theatre).play(program)),
        )
        for lane in lanes:
            runner.run(lane.dispose())
    for witness in witnesses:
        witness.dispose()


def _files(folder: Path) -> list[Path]:
    return [folder / f"{number}.sqlite" for number in range(_LANES)]


def _witnesses(files: Sequence[Path]) -> list[Engine]:
    return [create_engine(f"sqlite:///{file}", isolation_level="AUTOCOMMIT") for file in files]


def _hurry(engine: Engine) -> None:
    """Do without syncing to disk, and without waiting for a lock: no program may need one."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in ("synchronous = OFF", "busy_timeout = 100"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
