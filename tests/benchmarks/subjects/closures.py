"""The decorators that people write by hand, with functools and with wrapt."""

import functools
from collections.abc import Callable
from typing import Any

import wrapt

from tests.benchmarks._case import Case
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import amaker, maker
from tests.benchmarks._service import Decorators, auto_cases, manual_cases, service

__all__ = ["SUBJECTS"]

decorator: Any = vars(wrapt)["decorator"]  # the project's stub of wrapt has only what the library uses


def closure(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hand a session in, the way most projects write it."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("session") is not None:
            return function(*args, **kwargs)
        with maker.begin() as session:
            return function(*args, **{**kwargs, "session": session})

    return wrapper


def closure_async(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a coroutine function."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("session") is not None:
            return await function(*args, **kwargs)
        async with amaker.begin() as session:
            return await function(*args, **{**kwargs, "session": session})

    return wrapper


def closure_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a generator."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("session") is not None:
            return (yield from function(*args, **kwargs))
        with maker.begin() as session:
            return (yield from function(*args, **{**kwargs, "session": session}))

    return wrapper


@decorator
def wrapped(function: Callable[..., Any], instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The closure, as wrapt's decorator."""
    if kwargs.get("session") is not None:
        return function(*args, **kwargs)
    with maker.begin() as session:
        return function(*args, **{**kwargs, "session": session})


@decorator
async def wrapped_async(
    function: Callable[..., Any], instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The same for a coroutine function."""
    if kwargs.get("session") is not None:
        return await function(*args, **kwargs)
    async with amaker.begin() as session:
        return await function(*args, **{**kwargs, "session": session})


def _cases(decorators: Decorators) -> dict[str, Case]:
    cls = service(decorators)
    return {**manual_cases(cls, decorators), **auto_cases(cls, decorators), **creation_case(decorators.plain)}


SUBJECTS = {
    "functools.wraps closure": _cases(Decorators(closure, closure_async, closure_generator, None, None, None)),
    "wrapt.decorator": _cases(Decorators(wrapped, wrapped_async, None, None, None, None)),
}
