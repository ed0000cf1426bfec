"""The asynchronous runners, one for each kind of callable whose body is awaited, of the same shape as ``runners``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from session_aware._unit.asynchronous import AsyncUnit
from session_aware._unit.results import refuse_other_result
from session_aware._unit.runners import Kind

if TYPE_CHECKING:
    from session_aware._unit.owned import Owned
    from session_aware._unit.unit import Unit

__all__ = ["RETRYING", "RUNNERS"]


async def coroutine(unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Run a coroutine function as one unit."""
    async with AsyncUnit(unit) as session:
        awaitable = function(*args, **{**kwargs, "session": session})
        if not isinstance(awaitable, Awaitable):
            refuse_other_result(awaitable, "an async def", unit.name)
        unit.result = result = await awaitable
        return result


async def again(unit: Owned, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Run a coroutine function in as many attempts as it needs, each of which is one unit."""
    from session_aware._unit.retry import Attempts  # noqa: PLC0415 - needs tenacity, which is an extra

    failed: list[Exception] = []
    with Attempts(unit) as attempts:
        try:
            return await coroutine(attempts.begin(), function, args, kwargs)
        except Exception as error:  # noqa: BLE001 - raised again, if there is no further attempt
            failed.append(error)
        return await attempts.asynchronous(failed, lambda unit: coroutine(unit, function, args, kwargs))


async def stream(
    unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
) -> AsyncGenerator[object, object]:
    """Run an async generator as one unit, from its first item to its end."""
    async with AsyncUnit(unit) as session:
        items = function(*args, **{**kwargs, "session": session})
        if not isinstance(items, AsyncGenerator):
            refuse_other_result(items, "an async generator", unit.name)
        step = items.__anext__()
        while True:
            try:
                item = await step
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except GeneratorExit:
                await items.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - the body decides how to handle it
                step = items.athrow(error)
            else:
                step = items.asend(sent)
            item = sent = None  # or both would be alive while the next item is made


@asynccontextmanager
async def scope(
    unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
) -> AsyncGenerator[object]:
    """Run an async context manager as one unit; see ``runners.scope``."""
    async with AsyncUnit(unit.fresh()) as session:
        manager = function(*args, **{**kwargs, "session": session})
        if not isinstance(manager, AbstractAsyncContextManager):
            refuse_other_result(manager, "an async context manager", unit.name)
        async with manager as value:
            yield value


RUNNERS: Final[dict[Kind, Callable[..., object]]] = {
    Kind.COROUTINE: coroutine,
    Kind.ASYNC_GENERATOR: stream,
    Kind.ASYNC_CONTEXT: scope,
}

RETRYING: Final[dict[Kind, Callable[..., object]]] = {**RUNNERS, Kind.COROUTINE: again}
"""The runners for a policy that has a ``Retry``."""
