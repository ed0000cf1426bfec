"""How the cost of a call grows with threads, tasks and methods; by time, so for reading and not for gates.

Run without arguments it starts a PostgreSQL and prints a table; each subject is then measured in a process of its own.
"""

import asyncio
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from tests.benchmarks._creation import definer
from tests.benchmarks._table import markdown
from tests.servers.postgresql import PostgreSQL, missing

__all__ = ["main"]

_AT_ONCE = (10, 100, 1_000)
_METHODS = (10, 100, 1_000, 10_000)
_CALLS = 2_000  # of all threads or tasks together
_POOL = 10  # connections, for which the others wait
_ROUNDS = 5


def main() -> None:
    """Print both tables."""
    if (problem := missing()) is not None:
        print(f"Growth with threads and tasks is left out: {problem}\n")
    else:
        print("CPU us of a call on PostgreSQL, one SELECT, 10 connections, by callers at once\n")
        print(markdown([["", "by hand", "session-aware", "ratio"], *_callers()]), flush=True)
    print("Growth of a class, by its methods\n")
    lines = zip(_METHODS, *[iter(_child("methods", "", "", ""))] * 3, strict=True)
    cells = ([f"{count:,} methods", f"{us:.1f}", f"{ns:.0f}", f"{size:,.0f}"] for count, us, ns, size in lines)
    print(markdown([["", "us to create each", "ns of a manual call", "bytes of each"], *cells]))


def _callers() -> Iterator[list[str]]:
    with PostgreSQL() as server:
        for kind in ("threads", "tasks"):
            arguments = (kind, server.url("psycopg"), server.url("asyncpg"))
            rounds = [(_child("by-hand", *arguments), _child("session-aware", *arguments)) for _ in range(_ROUNDS)]
            for row, at_once in enumerate(_AT_ONCE):
                hand, ours = (min(each[subject][row] for each in rounds) for subject in (0, 1))
                yield [f"{at_once:,} {kind}", f"{hand:.0f}", f"{ours:.0f}", f"{ours / hand:.2f}"]


def _child(subject: str, kind: str, url: str, aurl: str) -> list[float]:
    root = Path(__file__).parents[2]
    path = os.pathsep.join((str(root / "src"), str(root)))
    command = [sys.executable, "-m", "tests.benchmarks._growth", subject, kind, url, aurl]
    run = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": path}, check=True, stdout=subprocess.PIPE)
    return [float(number) for number in run.stdout.split()]


def _threads(call: Callable[[], object], at_once: int) -> float:
    ready = Barrier(at_once)

    def work() -> None:
        ready.wait()
        for _ in range(_CALLS // at_once):
            call()

    with ThreadPoolExecutor(at_once) as pool:
        started = time.process_time()
        for done in [pool.submit(work) for _ in range(at_once)]:
            done.result()
        return (time.process_time() - started) / _CALLS * 1e6


async def _tasks(call: Callable[[], Any], at_once: int) -> float:
    async def work() -> None:
        for _ in range(_CALLS // at_once):
            await call()

    started = time.process_time()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return (time.process_time() - started) / _CALLS * 1e6


def _calls(subject: str, maker: sessionmaker[Session], amaker: async_sessionmaker[AsyncSession]) -> tuple[Any, Any]:
    """Return the sync and the async call of a subject."""
    statement = text("SELECT 1")
    if subject == "by-hand":

        def by_hand() -> None:
            with maker.begin() as session:
                session.execute(statement)

        async def aby_hand() -> None:
            async with amaker.begin() as session:
                await session.execute(statement)

        return by_hand, aby_hand

    from session_aware import NEW_SESSION, SessionAwareService  # noqa: PLC0415 - its listeners would slow the other subject

    class Service(SessionAwareService, session_factory=maker, async_session_factory=amaker):
        def call(self, *, session: Session = NEW_SESSION) -> None:
            session.execute(statement)

        async def acall(self, *, session: AsyncSession = NEW_SESSION) -> None:
            await session.execute(statement)

    return Service().call, Service().acall


def _measure(subject: str, kind: str, url: str, aurl: str) -> None:
    patient: dict[str, Any] = {"pool_size": _POOL, "max_overflow": 0, "pool_timeout": 120}
    engine, aengine = create_engine(url, **patient), create_async_engine(aurl, **patient)
    call, acall = _calls(subject, sessionmaker(engine), async_sessionmaker(aengine))
    if kind == "threads":
        _threads(call, _POOL)
        print(*(_threads(call, at_once) for at_once in _AT_ONCE))
        engine.dispose()
        return

    async def run() -> None:
        await _tasks(acall, _POOL)
        print(*[await _tasks(acall, at_once) for at_once in _AT_ONCE])
        await aengine.dispose()

    asyncio.run(run())


def _methods() -> None:
    from session_aware import SessionAwareService  # noqa: PLC0415 - for this subject alone

    for methods in _METHODS:
        define = definer(methods, None, SessionAwareService)
        seconds, cls = min((_timed(define) for _ in range(_ROUNDS)), key=lambda timed: timed[0])
        call = getattr(cls(), f"method_{methods - 1}")
        calls, _ = min(
            (_timed(lambda: [call(1, session=True) for _ in range(10_000)]) for _ in range(_ROUNDS)),  # noqa: B023 - called at once
            key=lambda t: t[0],
        )
        tracemalloc.start()
        kept = define()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        del kept
        print(seconds / methods * 1e6, calls / 10_000 * 1e9, size / methods)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


if __name__ == "__main__":
    if sys.argv[1] == "methods":
        _methods()
    else:
        _measure(*sys.argv[1:])
