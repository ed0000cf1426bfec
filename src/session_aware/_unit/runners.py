"""The runners, one for each kind of callable whose body runs synchronously. ``async_runners`` has the same shape."""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from session_aware._unit.given import Joined, Savepoint
from session_aware._unit.owned import Owned
from session_aware._unit.request import Plan
from session_aware._unit.results import refuse_other_result

if TYPE_CHECKING:
    from session_aware._unit.unit import Unit

__all__ = ["RETRYING", "RUNNERS", "UNITS", "Kind"]

UNITS: Final[dict[Plan, type[Unit]]] = {
    Plan.JOIN: Joined,
    Plan.VERIFIED_JOIN: Joined,
    Plan.SAVEPOINT: Savepoint,
    Plan.OPEN: Owned,
}
"""The class of unit for each plan. It is called with the request and the source of the session."""


class Kind(enum.Enum):
    """What a call returns, which decides when the body runs. Messages use the value."""

    PLAIN = "def"
    COROUTINE = "async def"
    GENERATOR = "generator"
    ASYNC_GENERATOR = "async generator"
    CONTEXT = "context manager"
    ASYNC_CONTEXT = "async context manager"

    __hash__ = object.__hash__  # see Plan

    @property
    def is_async(self) -> bool:
        return self in _ASYNC


_ASYNC: Final = frozenset({Kind.COROUTINE, Kind.ASYNC_GENERATOR, Kind.ASYNC_CONTEXT})


def plain(unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Run a plain function as one unit."""
    with unit as session:
        unit.result = result = function(*args, **{**kwargs, "session": session})
        return result


def again(unit: Owned, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Run a plain function in as many attempts as it needs, each of which is one unit."""
    from session_aware._unit.retry import Attempts  # noqa: PLC0415 - needs tenacity, which is an extra

    failed: list[Exception] = []
    with Attempts(unit) as attempts:
        try:
            return plain(attempts.begin(), function, args, kwargs)
        except Exception as error:  # noqa: BLE001 - raised again, if there is no further attempt
            failed.append(error)
        return attempts.sync(failed, lambda unit: plain(unit, function, args, kwargs))


def stream(
    unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
) -> Generator[object, Any, object]:
    """Run a generator as one unit, from its first ``next`` to its end."""
    items: Any = None
    try:
        with unit as session:
            made = function(*args, **{**kwargs, "session": session})
            if not isinstance(made, Generator):
                refuse_other_result(made, "a generator", unit.name)
            items = _Items(made)
            return (yield from items)
    except GeneratorExit:
        if items is None or items.returned is None:
            raise
        return items.returned


class _Items:
    """A generator as ``yield from`` uses it. What a closed generator returns is kept, which ``yield from`` would drop."""

    __slots__ = ("_generator", "returned", "send", "throw")

    def __init__(self, generator: Generator[Any, Any, Any]) -> None:
        self._generator = generator
        self.send = generator.send
        self.throw = generator.throw
        self.returned: object = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> object:
        return next(self._generator)

    def close(self) -> None:
        """Close the generator; its own ``close`` tells what it returns only since Python 3.13."""
        try:
            self.throw(GeneratorExit())
        except StopIteration as stopped:
            self.returned = stopped.value
        except GeneratorExit:
            pass
        else:
            msg = "generator ignored GeneratorExit"
            raise RuntimeError(msg)


@contextmanager
def scope(
    unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
) -> Generator[object]:
    """Run a context manager as one unit: the session stays open for the ``with`` block.

    As a decorator, a context manager runs this anew at each call of what it decorates, so each call needs a unit of its own.
    """
    with unit.fresh() as session:
        manager = function(*args, **{**kwargs, "session": session})
        if not isinstance(manager, AbstractContextManager):
            refuse_other_result(manager, "a context manager", unit.name)
        with manager as value:
            yield value


RUNNERS: Final[dict[Kind, Callable[..., object]]] = {Kind.PLAIN: plain, Kind.GENERATOR: stream, Kind.CONTEXT: scope}

RETRYING: Final[dict[Kind, Callable[..., object]]] = {**RUNNERS, Kind.PLAIN: again}
"""The runners for a policy that has a ``Retry``. Streams and blocks cannot be repeated: their caller has used them."""
