"""What a call needs to know of its callable's declaration, and how to find the functions inside a callable."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Final, cast

from session_aware._unit.runners import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator
    from types import CodeType

__all__ = ["DEEPEST", "Declaration", "call_of", "context_kind", "layers"]


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """The facts about a callable.

    Attributes:
        name: Qualified name, ``Accounts.rename``, without the ``<locals>`` of tests.
        kind: What a call returns.
        function_name: Its ``__name__`` and ``__qualname__``.
        is_commit: The default of the ``is_commit`` parameter, or None if it declares none.
    """

    name: str
    kind: Kind
    function_name: tuple[str, str]
    is_commit: bool | None


DEEPEST: Final = 100  # layers; an object that has every attribute would have no last one


def layers(function: object) -> Iterator[object]:
    """Yield the callable and what it wraps, from the outside in."""
    seen: set[int] = set()
    while function is not None and id(function) not in seen and len(seen) < DEEPEST:
        seen.add(id(function))
        yield function
        if isinstance(function, functools.partial | functools.singledispatchmethod):
            function = function.func
        elif isinstance(function, MethodType):  # before __wrapped__, which a method takes from its function
            function = function.__func__
        elif (wrapped := getattr(function, "__wrapped__", None)) is not None:
            function = wrapped
        elif isinstance(function, FunctionType):
            return
        else:  # a callable object
            function = call_of(type(function))


def call_of(cls: type) -> object:
    """Return the ``__call__`` of a class's objects; ``getattr`` would also find that of the metaclass."""
    return next((vars(base)["__call__"] for base in cls.__mro__ if "__call__" in vars(base)), None)


def _codes_of_contextlib() -> dict[CodeType, Kind]:
    """Return the code of the functions that contextlib's decorators make; nothing else distinguishes these functions."""

    def sync() -> Generator[None]:
        yield  # pragma: no cover - only the code of the helpers is read

    async def asynchronous() -> AsyncGenerator[None]:
        yield  # pragma: no cover - likewise

    helpers = {Kind.CONTEXT: contextmanager(sync), Kind.ASYNC_CONTEXT: asynccontextmanager(asynchronous)}
    return {cast("FunctionType", helper).__code__: kind for kind, helper in helpers.items()}


_CONTEXT_CODES: Final = _codes_of_contextlib()


def context_kind(function: FunctionType) -> Kind | None:
    """Return the kind of a function that ``@contextmanager`` or ``@asynccontextmanager`` made; None for any other."""
    return _CONTEXT_CODES.get(function.__code__)
