"""Let what ends a unit finish, whatever is cancelled meanwhile, and then tell the truth."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["GRACE_SECONDS", "shielded"]

GRACE_SECONDS: Final = 10.0
"""How long a cancelled task waits for its COMMIT, ROLLBACK or close to finish before it gives the connection up."""

GIVE_UP_SECONDS: Final = 3.0
"""How long giving the connection up may take: SQLAlchemy lets asyncpg say goodbye for 2 s."""


async def shielded(work: Coroutine[Any, Any, None]) -> None:
    """Wait for ``work`` even when cancelled, then raise the cancellation.

    Source: FAULTS. With a plain ``async with``, 0 to 9 of 300 units cancelled during COMMIT had committed unknown to the
    caller.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    task = _started(_telling(work, over), loop)
    try:
        if not task.done():
            await over
    except asyncio.CancelledError as cancelled:
        await _finish(task, cancelled)
        raise
    task.result()


def _started(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    """Start a task at once where that can be done: what needs no I/O is then over before anybody waits."""
    options: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
    return asyncio.Task(work, loop=loop, **options)


async def _telling(work: Coroutine[Any, Any, None], over: asyncio.Future[None]) -> None:
    """Set ``over``, which may be cancelled without harm: ``asyncio.shield`` needs one turn of the loop more."""
    try:
        await work
    finally:
        if not over.done():
            over.set_result(None)


async def _finish(task: asyncio.Future[None], cancelled: asyncio.CancelledError) -> None:
    """Give ``task`` its grace period through any number of cancellations, and say on the error how it went."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GRACE_SECONDS
    while not task.done() and (left := deadline - loop.time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((task,), timeout=left)
    if not task.done():
        task.cancel()
        task.add_done_callback(_consume)
        with contextlib.suppress(asyncio.CancelledError):  # before it is over the session cannot be closed
            await asyncio.wait((task,), timeout=GIVE_UP_SECONDS)
        cancelled.add_note(
            f"session-aware: the database did not answer within {GRACE_SECONDS:g} s of the cancellation; the connection was "
            "given up."
        )
    elif not task.cancelled() and (failure := task.exception()) is not None:
        cancelled.add_note(f"session-aware: what was waited for failed ({type(failure).__name__}: {failure}).")


def _consume(task: asyncio.Future[None]) -> None:
    if not task.cancelled():
        task.exception()  # or the loop would report it as never retrieved
