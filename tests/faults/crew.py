"""The workers: each carries its orders out one by one, and writes down what it was told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from tests.faults.bank import RefusedError, Trouble
from tests.faults.journal import Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.faults.bank import Order
    from tests.faults.clients import Client

__all__ = ["awork", "cancel_at_commit", "work"]

_EARLY = frozenset({Trouble.STREAM_CLOSED, Trouble.STREAM_DROPPED, Trouble.STREAM_ELSEWHERE})
_doomed: ContextVar[asyncio.Task[Any] | None] = ContextVar("doomed", default=None)
_STEPS = 3
"""How far a stream is read that is closed early: everything is written by then."""


def work(client: Client, orders: Iterator[Order], told: dict[str, Verdict], over: threading.Event) -> None:
    """Carry orders out until the round is over, in a thread."""
    for order in orders:
        if over.is_set():
            return
        error: BaseException | None = None
        try:
            _carry_out(client, order)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is what the caller was told
            error = failure
        told[order.request] = heard = _heard(order, error)
        error = None  # its traceback holds the stream that was dropped, and this frame
        if heard is not Verdict.ACKNOWLEDGED:
            time.sleep(0.002)  # a server that is down refuses at once


def _heard(order: Order, error: BaseException | None) -> Verdict:
    found = verdict(error)
    if order.trouble is Trouble.LISTENER_FAILS and found is Verdict.UNKNOWN:
        return Verdict.UNKNOWN_BEFORE_COMMIT
    return found


def _carry_out(client: Client, order: Order) -> None:
    if order.trouble is not Trouble.STREAM and order.trouble not in _EARLY:
        client.transfer(order)
        return
    steps = client.stream(order)
    if order.trouble is Trouble.STREAM:
        for _ in steps:
            pass
        return
    for _ in range(_STEPS):
        next(steps)
    if order.trouble is Trouble.STREAM_CLOSED:
        _close(steps)
    elif order.trouble is Trouble.STREAM_ELSEWHERE:
        closer = threading.Thread(target=_close, args=(steps,))
        closer.start()
        closer.join()
    raise RefusedError(order.request)  # which drops the stream, if it is not closed


def _close(steps: Iterator[str]) -> None:
    with contextlib.suppress(Exception):  # a connection that was lost says so here
        steps.close()  # type: ignore[attr-defined]  # a generator, through the interface of a stream


async def awork(client: Client, orders: Iterator[Order], told: dict[str, Verdict], over: threading.Event) -> None:
    """Carry orders out until the round is over, in a task."""
    usual = 0.01
    for order in orders:
        if over.is_set():
            return
        error: BaseException | None = None
        began = time.monotonic()
        try:
            await _acarry_out(client, order, after=random.uniform(0, 1.5 * usual))  # noqa: S311 - not a secret
        except asyncio.CancelledError as cancelled:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise  # the round is over, and this worker hung
            error = cancelled
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is what the caller was told
            error = failure
        told[order.request] = heard = _heard(order, error)
        error = None  # likewise
        if heard is Verdict.ACKNOWLEDGED:
            usual += (min(time.monotonic() - began, 0.1) - usual) / 16
        else:
            await asyncio.sleep(0.002)


async def _doom(client: Client, order: Order) -> None:
    _doomed.set(asyncio.current_task())
    await client.atransfer(order)


def cancel_at_commit(engine: Engine) -> None:
    """Cancel the task whose order wants that as soon as its COMMIT is awaited; whoever sends it has the task's context."""

    @event.listens_for(engine, "commit")
    def _cancel(_: object) -> None:
        if (task := _doomed.get()) is not None:
            asyncio.get_running_loop().call_soon(task.cancel)


async def _acarry_out(client: Client, order: Order, *, after: float) -> None:
    if order.trouble is Trouble.CANCEL:
        task = asyncio.ensure_future(client.atransfer(order))
        asyncio.get_running_loop().call_later(after, task.cancel)
        await task
    elif order.trouble is Trouble.CANCEL_COMMIT:
        await asyncio.create_task(_doom(client, order))
    elif order.trouble is Trouble.TIMEOUT:
        async with asyncio.timeout(after):
            await client.atransfer(order)
    elif order.trouble is Trouble.STREAM or order.trouble in _EARLY:
        steps = client.astream(order)
        if order.trouble is Trouble.STREAM:
            async for _ in steps:
                pass
            return
        for _ in range(_STEPS):
            await anext(steps)
        if order.trouble is Trouble.STREAM_CLOSED:
            await steps.aclose()  # type: ignore[attr-defined]  # likewise
        raise RefusedError(order.request)
    else:
        await client.atransfer(order)
