"""One round: eight workers carry orders out while the adversary is at work; then the audit."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from tests.faults import crew, journal
from tests.faults.adversary import Adversary
from tests.faults.bank import ACCOUNTS, Order, Trouble, audit, prepare
from tests.faults.clients import CLIENTS
from tests.faults.stage import ASYNC_DRIVERS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.faults.journal import Report, Verdict
    from tests.faults.stage import Stage

__all__ = ["play"]

WORKERS = 8
_GRACE_SECONDS = 45.0
"""How long a worker may take for its last order: the library's own bounds are 10 s for COMMIT and 20 s for retries."""
_TROUBLES = (
    *itertools.repeat(Trouble.NONE, 10),
    Trouble.RAISE,
    Trouble.SWALLOW_FIRST,
    Trouble.SWALLOW_LAST,
    Trouble.SWALLOW_DRIVER,
    *[Trouble.LISTENER_WRITES] * 3,
    Trouble.LISTENER_FAILS,
    Trouble.STREAM,
    Trouble.STREAM_CLOSED,
    Trouble.STREAM_DROPPED,
)
_SYNC_TROUBLES = (*_TROUBLES, Trouble.STREAM_ELSEWHERE)
_ASYNC_TROUBLES = (*_TROUBLES, *[Trouble.CANCEL] * 3, *[Trouble.TIMEOUT] * 3, *[Trouble.CANCEL_COMMIT] * 2)


def orders(worker: int, *, is_async: bool, seed: int) -> Iterator[Order]:
    """Make the orders of one worker."""
    choice = random.Random(f"{seed} {worker}")  # noqa: S311 - reproducible
    troubles = _ASYNC_TROUBLES if is_async else _SYNC_TROUBLES
    for number in itertools.count():
        source, target = choice.sample(range(ACCOUNTS), 2)
        yield Order(f"{worker}-{number}", source, target, choice.randint(1, 9), choice.choice(troubles))


class _Part(NamedTuple):
    stage: Stage
    driver: str
    client: str
    seconds: float
    seed: int


def play(stage: Stage, driver: str, client: str, *, seconds: float, seed: int) -> Report:
    """Play one round and report it."""
    is_async = driver in ASYNC_DRIVERS
    witness = stage.witness()
    try:
        prepare(witness)
        adversary = Adversary(stage.attacks(), seed)
        act = _play_async if is_async else _play_sync
        told, hung, leaked = act(_Part(stage, driver, client, seconds, seed), adversary)
        stage.settle()
        wait_until(lambda: stage.dangling(witness) == 0, seconds=5)
        where = (stage.name, driver, client)
        return journal.report(
            told,
            audit(witness),
            where=where,
            leaked=leaked,
            dangling=stage.dangling(witness),
            hung=hung,
            attacks=str(adversary),
            missed=tuple(adversary.owed()),
        )
    finally:
        witness.dispose()


def _play_sync(part: _Part, adversary: Adversary) -> tuple[dict[str, Verdict], int, int]:
    stage, driver, client, seconds, seed = part

    engines = stage.engines(driver, is_naive=client == "naive")
    turn = itertools.cycle(engines)
    acting = CLIENTS[client](lambda: Session(next(turn)), None)
    told: dict[str, Verdict] = {}
    over = threading.Event()
    workers = [
        threading.Thread(target=crew.work, args=(acting, orders(number, is_async=False, seed=seed), told, over), daemon=True)
        for number in range(WORKERS)
    ]
    for thread in (adversary, *workers):
        thread.start()
    time.sleep(seconds)
    adversary.finish()
    over.set()
    stage.settle()
    ends = time.monotonic() + _GRACE_SECONDS
    for worker in workers:
        worker.join(max(0.0, ends - time.monotonic()))
    hung = sum(worker.is_alive() for worker in workers)
    leaked = _checked_out(engines)
    for engine in engines:
        engine.dispose()
    return told, hung, leaked


def _play_async(part: _Part, adversary: Adversary) -> tuple[dict[str, Verdict], int, int]:
    stage, driver, client, seconds, seed = part

    async def scenario() -> tuple[dict[str, Verdict], int, int]:
        engines = stage.async_engines(driver, is_naive=client == "naive")
        for engine in engines:
            crew.cancel_at_commit(engine.sync_engine)
        turn = itertools.cycle(engines)
        acting = CLIENTS[client](None, lambda: AsyncSession(next(turn)))
        told: dict[str, Verdict] = {}
        over = threading.Event()
        workers = [
            asyncio.create_task(crew.awork(acting, orders(number, is_async=True, seed=seed), told, over))
            for number in range(WORKERS)
        ]
        adversary.start()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(adversary.finish)
        over.set()
        await asyncio.to_thread(stage.settle)
        done, hung = await asyncio.wait(workers, timeout=_GRACE_SECONDS)
        for worker in done:
            worker.result()
        sync_engines = [engine.sync_engine for engine in engines]
        for _ in range(50):  # dropped streams are closed by the loop
            gc.collect()
            if not any(_pool(engine).checkedout() for engine in sync_engines):
                break
            await asyncio.sleep(0.1)
        leaked = _checked_out(sync_engines)
        tasks = asyncio.all_tasks() - {asyncio.current_task(), *hung}
        for task in (*hung, *tasks):
            task.print_stack()
        for engine in engines:
            await asyncio.wait_for(engine.dispose(), 30)
        return told, len(hung) + len(tasks), leaked

    return asyncio.run(scenario())


def _pool(engine: Engine) -> QueuePool:
    assert isinstance(engine.pool, QueuePool)
    return engine.pool


def _checked_out(engines: list[Engine]) -> int:
    gc.collect()
    return sum(_pool(engine).checkedout() for engine in engines)
