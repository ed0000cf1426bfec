"""Let the end of a unit finish even if its task is cancelled meanwhile, and then report how it went."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextvars import Context

__all__ = ["GRACE_SECONDS", "caller_of", "shielded"]

GRACE_SECONDS: Final = 10.0
"""How long a cancelled task waits for its COMMIT, ROLLBACK or close to finish before it gives the connection up."""

GIVE_UP_SECONDS: Final = 3.0
"""How long giving the connection up may take. SQLAlchemy allows asyncpg 2 s to close it."""

_callers: Final[dict[asyncio.Task[Any] | None, asyncio.Task[Any] | None]] = {}
_MISSING: Final = object()


async def shielded(work: Coroutine[Any, Any, None]) -> None:
    """Wait for ``work`` even when cancelled, then raise the cancellation.

    With a plain ``async with``, 0 to 9 of 300 units that were cancelled during COMMIT had committed without the caller's
    knowledge.

    The work runs in a task of its own. Context variables that it sets (in a callback of ``after_commit``, in a listener of
    a session's events) are set for the caller as well, as if the caller had awaited the work itself.

    Args:
        work: A coroutine that ends a unit.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    before = copy_context()
    context = before.copy()
    task = _started(_do_and_signal(work, over, asyncio.current_task()), loop, context)
    try:
        if not task.done():
            await over
    except asyncio.CancelledError as cancelled:
        with _cancelled_once():
            await _finish(task, cancelled)
        raise
    finally:
        for variable, value in context.items():  # changed ones only: another task may have set others in the same context
            if before.get(variable, _MISSING) is not value:
                variable.set(value)
    task.result()


def caller_of(task: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
    """Return the task on whose behalf one of our tasks works; return any other task unchanged."""
    while task in _callers:  # one of ours may wait for another one
        task = _callers[task]
    return task


def _started(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, context: Context) -> asyncio.Task[None]:
    """Start a task eagerly where Python can: work that needs no I/O is then over before anything waits for it.

    ``loop.create_task`` goes through the user's task factory, which may not know ``eager_start`` (those of Python 3.13 do
    not), may raise while a server shuts down, or may delay the task. A COMMIT must not depend on that.
    """
    options: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
    return asyncio.Task(work, loop=loop, context=context, **options)


async def _do_and_signal(
    work: Coroutine[Any, Any, None], over: asyncio.Future[None], caller: asyncio.Task[Any] | None
) -> None:
    """Do the work and set ``over``, which is safe to cancel; ``asyncio.shield`` would need one more turn of the loop."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - it runs as a task
    _callers[task] = caller
    try:
        await work
    finally:
        del _callers[task]
        if not over.done():
            over.set_result(None)


def _cancelled_once() -> contextlib.AbstractContextManager[object]:
    """Keep anyio from cancelling the running task again at every turn of the loop, which would spin until the work is done.

    anyio cancels it again when the block is left.
    """
    anyio: Any = sys.modules.get("anyio")  # without the import there is no cancelled scope of anyio
    return contextlib.nullcontext() if anyio is None else anyio.CancelScope(shield=True)


async def _finish(task: asyncio.Future[None], cancelled: asyncio.CancelledError) -> None:
    """Give ``task`` its grace period through any number of cancellations, and add a note to the error if it failed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GRACE_SECONDS
    while not task.done() and (left := deadline - loop.time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((task,), timeout=left)
    if not task.done():
        task.cancel()
        task.add_done_callback(_consume)
        with contextlib.suppress(asyncio.CancelledError):  # the session cannot be closed before the task is done
            await asyncio.wait((task,), timeout=GIVE_UP_SECONDS)
        cancelled.add_note(
            f"session-aware: the database did not answer within {GRACE_SECONDS:g} s of the cancellation; the connection was "
            "given up."
        )
    elif not task.cancelled() and (failure := task.exception()) is not None:
        cancelled.add_note(f"session-aware: ending the unit failed as well ({type(failure).__name__}: {failure}).")


def _consume(task: asyncio.Future[None]) -> None:
    if not task.cancelled():
        task.exception()  # otherwise the loop would report it as never retrieved
