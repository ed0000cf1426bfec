"""Carry a plan out with a ``Session``: one driver for each kind of callable whose body runs synchronously.

``_async`` has the same shape. A driver knows when the body runs, a unit knows what happens around it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy.orm import Session, scoped_session

from session_aware._plan import OPEN
from session_aware._request import refuse_other_result, refuse_other_session
from session_aware._signature import Kind

if TYPE_CHECKING:
    from session_aware._marker import Marker, NoMarker
    from session_aware._request import Request, Unit

__all__ = ["DRIVERS", "RETRYING", "enter", "leave"]


def acquire(request: Request, source: Any) -> Session:  # noqa: ANN401 - told apart here
    """Return the given session, or a new one from the factory."""
    session: object = source() if request.plan is OPEN or isinstance(source, scoped_session) else source
    if not isinstance(session, Session):
        refuse_other_session(request, session, "Session")
    return session


def end(unit: Unit, result: object) -> None:
    """End the unit and tell of it."""
    unit.end(result)
    unit.report(None)


def enter(unit: Unit, request: Request, source: object) -> Session:
    """Begin a block: what ``auto_session_ctx`` does on entry."""
    try:
        session = acquire(request, source)
        unit.begin(session, session)
    except BaseException as error:
        unit.abort(error)
        raise
    unit.marker.__enter__()
    return session


def leave(unit: Unit, error: BaseException | None) -> None:
    """End a block, with the exception that left it if there is one."""
    unit.marker.__exit__()
    if error is not None:
        unit.abort(error)
        return
    try:
        end(unit, None)
    except BaseException as failure:
        unit.abort(failure)
        raise


def call(
    request: Request, source: object, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """Run a plain function as one unit."""
    unit = request.new_unit(request, source)
    try:
        session = acquire(request, source)
        unit.begin(session, session)
        kwargs["session"] = session  # made for this call by wrapt, so nobody else has it
        marker = unit.marker
        marker.__enter__()  # not by "with", which costs as much again as the marker does
        try:
            result = function(*args, **kwargs)
        finally:
            marker.__exit__()
        end(unit, result)
    except BaseException as error:
        unit.abort(error)
        raise
    return result


def call_again(
    request: Request, source: object, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """Run a plain function as one unit, in several attempts if need be."""
    from session_aware._retry import Attempts  # noqa: PLC0415 - needs tenacity, which is an extra

    attempts = Attempts(request)
    try:
        result = attempts.sync()(call, attempts.request, source, function, args, kwargs)
    except BaseException as error:
        attempts.failed(error)
        raise
    attempts.succeeded()
    return result


def generate(
    request: Request, source: object, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> Generator[object, object, object]:
    """Run a generator as one unit, from its first ``next`` to its end; between items nothing of it is current."""
    unit = request.new_unit(request, source)
    stretches = None
    try:
        session = acquire(request, source)
        unit.begin(session, session)
        items = function(*args, **{**kwargs, "session": session})
        if not isinstance(items, Generator):
            refuse_other_result(items, "a generator", request.name)
        stretches = _Stretches(items, unit.marker)
        result = yield from stretches
        end(unit, None)
    except GeneratorExit as closing:
        unit.abort(closing)
        if stretches is None or not stretches.has_returned:
            raise
        result = stretches.returned  # what close() returns since Python 3.13
    except BaseException as error:
        unit.abort(error)
        raise
    return result


class _Stretches:
    """A generator whose body runs under the unit's marker; ``yield from`` passes send, throw and close through."""

    __slots__ = ("_items", "_marker", "has_returned", "returned")

    def __init__(self, items: Generator[object, object, object], marker: Marker | NoMarker) -> None:
        self._items = items
        self._marker = marker
        self.has_returned = False
        self.returned: object = None

    def __iter__(self) -> Generator[object, object, object]:
        return cast("Generator[object, object, object]", self)  # all of the protocol that yield from asks for

    def __next__(self) -> object:
        with self._marker:
            return next(self._items)

    def send(self, value: object) -> object:
        with self._marker:
            return self._items.send(value)

    def throw(self, *error: Any) -> object:  # noqa: ANN401 - contextlib passes the triple before Python 3.12
        with self._marker:
            return self._items.throw(*error)

    def close(self) -> None:
        with self._marker:
            try:
                self._items.throw(GeneratorExit())
            except StopIteration as stopped:  # the body took it for a reason to return
                self.has_returned, self.returned = True, stopped.value
            except GeneratorExit:
                pass
            else:
                msg = "generator ignored GeneratorExit"
                raise RuntimeError(msg)


@contextlib.contextmanager
def hold(
    request: Request, source: object, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> Generator[object]:
    """Run a context manager as one unit: the session stays open for the ``with`` block."""
    unit = request.new_unit(request, source)
    try:
        session = acquire(request, source)
        unit.begin(session, session)
        with unit.marker:
            manager = function(*args, **{**kwargs, "session": session})
        if not isinstance(manager, AbstractContextManager):
            refuse_other_result(manager, "a context manager", request.name)
        with _Ends(manager, unit.marker) as value:
            yield value
        end(unit, None)
    except BaseException as error:
        unit.abort(error)
        raise


class _Ends:
    """A context manager whose both ends run under the unit's marker; the block between them is the caller's."""

    __slots__ = ("_manager", "_marker")

    def __init__(self, manager: AbstractContextManager[object, bool | None], marker: Marker | NoMarker) -> None:
        self._manager = manager
        self._marker = marker

    def __enter__(self) -> object:
        with self._marker:
            return self._manager.__enter__()

    def __exit__(self, *error: Any) -> bool | None:  # noqa: ANN401, PYI036 - the triple of the protocol
        with self._marker:
            return self._manager.__exit__(*error)


DRIVERS: Final[dict[Kind, Callable[..., object]]] = {
    Kind.PLAIN: call,
    Kind.GENERATOR: generate,
    Kind.CONTEXT: hold,
}

RETRYING: Final[dict[Kind, Callable[..., object]]] = {**DRIVERS, Kind.PLAIN: call_again}
"""The drivers where the policy has a ``Retry``: a stream has been read, and a block run, by somebody else."""
