"""Many units without any fault, from threads and from tasks: memory stays flat, and nothing is left."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Engine, create_engine, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, SessionAwareService
from tests.faults.bank import Account, prepare
from tests.faults.stage import wait_until
from tests.servers.postgresql import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Update

__all__ = ["Soaked", "soak"]

WORKERS = 8
_STRETCHES = 10
_WARM = 2
"""The stretches after which caches are full: memory is compared from there on."""
_MOST_GROWN_KIB = 4096
_MOST_NEW_OBJECTS = 1000


class Soaked(NamedTuple):
    """What one soak found."""

    where: str
    units: int
    seconds: float
    applied: int
    kib: tuple[int, ...]
    objects: tuple[int, ...]
    checked_out: int
    backends: int
    tasks: int
    threads: int

    @property
    def is_clean(self) -> bool:
        """Whether everything was applied, memory flat, and nothing left."""
        grown_kib, new_objects = self.kib[-1] - self.kib[_WARM], self.objects[-1] - self.objects[_WARM]
        is_flat = grown_kib <= _MOST_GROWN_KIB and new_objects <= _MOST_NEW_OBJECTS
        left = self.checked_out or self.backends or self.tasks or self.threads
        return is_flat and self.applied == self.units and not left

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.units} units in {self.seconds:.0f} s, {self.applied} applied; memory "
            f"{self.kib[_WARM]} -> {self.kib[-1]} KiB, objects {self.objects[_WARM]} -> {self.objects[-1]}; left: "
            f"{self.checked_out} connections, {self.backends} backends, {self.tasks} tasks, {self.threads} threads"
        )


class Counters(SessionAwareService):
    """Counts in the database, one row for each worker."""

    def count(self, worker: int, *, session: Session = NEW_SESSION) -> None:
        session.execute(_counting(worker))

    async def acount(self, worker: int, *, session: AsyncSession = NEW_SESSION) -> None:
        await session.execute(_counting(worker))


def _counting(worker: int) -> Update:
    return update(Account).where(Account.id == worker).values(balance=Account.balance + 1)


class _Memory:
    """The resident memory and the objects of this process, sampled."""

    def __init__(self) -> None:
        self.kib: list[int] = []
        self.objects: list[int] = []

    def sample(self) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        self.kib.append(pages * os.sysconf("SC_PAGE_SIZE") // 1024)
        self.objects.append(len(gc.get_objects()))


def soak(units: int) -> list[Soaked]:
    """Run this many units, half from threads, half from tasks."""
    with PostgreSQL() as server:
        witness = create_engine(server.url(), isolation_level="AUTOCOMMIT")
        try:
            return [
                _soak("threads, psycopg", witness, units // 2, lambda count: _from_threads(server.url("psycopg"), count)),
                _soak("tasks, asyncpg", witness, units // 2, lambda count: _from_tasks(server.url("asyncpg"), count)),
            ]
        finally:
            witness.dispose()


def _soak(where: str, witness: Engine, units: int, run: Callable[[int], tuple[_Memory, int, int]]) -> Soaked:
    prepare(witness)
    before = _applied(witness)
    threads = threading.active_count()
    began = time.monotonic()
    each = units // WORKERS // _STRETCHES
    memory, checked_out, tasks = run(each)
    wait_until(lambda: _backends(witness) == 0, seconds=5)
    return Soaked(
        where,
        each * WORKERS * _STRETCHES,
        time.monotonic() - began,
        _applied(witness) - before,
        tuple(memory.kib),
        tuple(memory.objects),
        checked_out,
        _backends(witness),
        tasks,
        threading.active_count() - threads,
    )


def _from_threads(url: str, each: int) -> tuple[_Memory, int, int]:
    engine = create_engine(url, pool_size=WORKERS)
    counters = Counters()
    counters.session_factory = sessionmaker(engine)
    memory = _Memory()

    def work(worker: int) -> None:
        for _ in range(each):
            counters.count(worker)

    for _ in range(_STRETCHES):
        workers = [threading.Thread(target=work, args=(number,)) for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        memory.sample()
    checked_out = engine.pool.checkedout()  # type: ignore[attr-defined]  # a QueuePool, as for every server
    engine.dispose()
    return memory, checked_out, 0


def _from_tasks(url: str, each: int) -> tuple[_Memory, int, int]:
    async def scenario() -> tuple[_Memory, int, int]:
        engine = create_async_engine(url, pool_size=WORKERS)
        counters = Counters()
        counters.async_session_factory = async_sessionmaker(engine)
        memory = _Memory()

        async def work(worker: int) -> None:
            for _ in range(each):
                await counters.acount(worker)

        for _ in range(_STRETCHES):
            await asyncio.gather(*(work(number) for number in range(WORKERS)))
            memory.sample()
        tasks = len(asyncio.all_tasks()) - 1
        checked_out = engine.sync_engine.pool.checkedout()  # type: ignore[attr-defined]  # likewise
        await engine.dispose()
        return memory, checked_out, tasks

    return asyncio.run(scenario())


def _applied(witness: Engine) -> int:
    with witness.connect() as connection:
        return int(connection.scalar(select(func.sum(Account.balance))) or 0)


def _backends(witness: Engine) -> int:
    with witness.connect() as connection:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        return int(connection.exec_driver_sql(sql).scalar() or 0)
