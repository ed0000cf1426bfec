"""Forks, streams that nobody closes, and streams that another thread closes: nothing leaks, nothing half is committed."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, SessionAwareService
from tests.databases import AsyncDatabase, SyncDatabase
from tests.servers.postgresql import PostgreSQL
from tests.services import UNDONE, aadd, add

ROOT = Path(__file__).parents[2]


class Work(SessionAwareService):
    def stream(self, *, session: Session = NEW_SESSION) -> Iterator[str]:
        add(session, "ann")
        yield "ann"
        yield "more"

    async def astream(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[str]:
        await aadd(session, "ann")
        yield "ann"
        yield "more"


def work_on(database: SyncDatabase | AsyncDatabase) -> Work:
    made = Work()
    if isinstance(database, AsyncDatabase):
        made.async_session_factory = database.maker
    else:
        made.session_factory = database.maker
    return made


def test_dropped_stream_is_rolled_back(database: SyncDatabase) -> None:
    stream = work_on(database).stream()
    assert next(stream) == "ann"
    del stream
    assert database.recorder.events == UNDONE
    assert database.owners() == []


def test_dropped_stream_in_a_cycle_is_rolled_back_by_the_garbage_collector(database: SyncDatabase) -> None:
    stream = work_on(database).stream()
    assert next(stream) == "ann"
    cycle: list[object] = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()
    assert database.recorder.events == UNDONE
    assert database.owners() == []


def test_dropped_async_stream_is_rolled_back_by_the_loop(async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        stream = work_on(async_database).astream()
        assert await anext(stream) == "ann"
        del stream
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))  # the loop closes it in a task

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE
    assert async_database.owners() == []


def test_dropped_async_stream_is_rolled_back_at_the_latest_with_the_loop(async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        stream = work_on(async_database).astream()
        assert await anext(stream) == "ann"
        kept.append(stream)
        await asyncio.get_running_loop().shutdown_asyncgens()  # as asyncio.run() does

    kept: list[object] = []
    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE
    assert async_database.owners() == []


def test_stream_that_another_thread_closes_gives_the_connection_up_where_the_driver_refuses(sqlite: SyncDatabase) -> None:
    # sqlite3 by itself allows one thread only; SQLAlchemy lifts that for files.
    engine = create_engine(sqlite.engine.url, connect_args={"check_same_thread": True})
    connections: list[Any] = []
    event.listen(engine, "connect", lambda connection, _: connections.append(connection))
    work = Work()
    work.session_factory = sessionmaker(engine)
    stream = work.stream()
    assert next(stream) == "ann"
    closer = threading.Thread(target=stream.close)  # type: ignore[attr-defined] # a generator
    closer.start()
    closer.join()
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
    engine.dispose()
    connections[0].close()  # which the other thread may not do
    assert sqlite.owners() == []


def test_fork_goes_on_with_connections_of_its_own(postgresql: PostgreSQL, postgres: SyncDatabase) -> None:
    program = """
        import os, sys
        from sqlalchemy import create_engine, text
        from sqlalchemy.orm import Session, sessionmaker
        from session_aware import NEW_SESSION, auto_session_func

        engine = create_engine(sys.argv[1])

        @auto_session_func(session_factory=sessionmaker(engine))
        def backend(*, session: Session = NEW_SESSION) -> int:
            return session.scalar(text("SELECT pg_backend_pid()"))

        parents = backend()
        if (child := os.fork()) == 0:
            engine.dispose(close=False)
            os._exit(backend() == parents)
        assert os.waitpid(child, 0)[1] == 0, "the child used its parent's connection"
        assert backend() == parents
        engine.dispose()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), postgresql.url()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
