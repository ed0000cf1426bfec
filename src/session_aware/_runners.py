"""When a body runs: one runner for each kind of callable whose body runs synchronously. ``_async`` has the same shape."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from session_aware._request import refuse_other_result
from session_aware._signature import Kind

if TYPE_CHECKING:
    from session_aware._owned import Owned
    from session_aware._unit import Unit

__all__ = ["RETRYING", "RUNNERS"]


def plain(unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Run a plain function as one unit."""
    with unit as kwargs["session"]:  # made for this call by wrapt, so nobody else has it
        unit.result = result = function(*args, **kwargs)
        return result


def again(unit: Owned, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Run a plain function, in several attempts if need be, each of which is one unit."""
    from session_aware._retry import Attempts  # noqa: PLC0415 - needs tenacity, which is an extra

    with Attempts(unit) as attempts:
        return attempts.sync()(lambda: plain(attempts.begin(), function, args, kwargs))


def stream(
    unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
) -> Generator[object, object, object]:
    """Run a generator as one unit, from its first ``next`` to its end."""
    returned = None
    try:
        with unit as session:
            items = function(*args, **{**kwargs, "session": session})
            if not isinstance(items, Generator):
                refuse_other_result(items, "a generator", unit.name)
            resume: Callable[[Any], object] = items.send
            value: Any = None
            while True:  # what "yield from" would do, but for what a generator returns that is closed
                try:
                    item = resume(value)
                except StopIteration as stopped:
                    return stopped.value
                try:
                    resume, value = items.send, (yield item)
                except GeneratorExit as closing:
                    try:
                        items.throw(closing)
                    except StopIteration as stopped:
                        returned = stopped
                    else:
                        msg = "generator ignored GeneratorExit"
                        raise RuntimeError(msg) from None
                    raise
                except BaseException as error:  # noqa: BLE001 - the body decides what becomes of it
                    resume, value = items.throw, error
    except GeneratorExit:
        if returned is None:
            raise
        return returned.value  # what close() returns since Python 3.13


@contextmanager
def scope(
    unit: Unit, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
) -> Generator[object]:
    """Run a context manager as one unit: the session stays open for the ``with`` block."""
    with unit as session:
        manager = function(*args, **{**kwargs, "session": session})
        if not isinstance(manager, AbstractContextManager):
            refuse_other_result(manager, "a context manager", unit.name)
        with manager as value:
            yield value


RUNNERS: Final[dict[Kind, Callable[..., object]]] = {Kind.PLAIN: plain, Kind.GENERATOR: stream, Kind.CONTEXT: scope}

RETRYING: Final[dict[Kind, Callable[..., object]]] = {**RUNNERS, Kind.PLAIN: again}
"""The runners where the policy has a ``Retry``: a stream has been read, and a block run, by somebody else."""
