"""The service of every subject that injects ``session``: one class body, each kind of callable behind its decorator."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from tests.benchmarks._case import CALLS, Around, Case
from tests.benchmarks._database import adisposed, ainsert_one, amaker, aselect_one, insert_one, maker, select_one

__all__ = ["Decorators", "auto_cases", "body_cases", "manual_cases", "service"]

Decorator: TypeAlias = Callable[..., Any]


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate nothing."""
    return function


class Decorators(NamedTuple):
    """What stands above each kind of callable; None where the subject cannot serve that kind."""

    plain: Decorator | None = as_it_is
    coroutine: Decorator | None = as_it_is
    generator: Decorator | None = as_it_is
    agenerator: Decorator | None = as_it_is
    context: Decorator | None = as_it_is
    acontext: Decorator | None = as_it_is


def drive(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run a coroutine that waits for nothing as a task does: by ``send``."""
    try:
        return coroutine.send(None)
    except StopIteration as stop:
        return stop.value


def service(decorators: Decorators, base: type = object, **keywords: object) -> type:  # noqa: C901 - a method for each kind of callable
    """Return the service class."""
    plain, coroutine, generator, agenerator, context, acontext = (each or as_it_is for each in decorators)

    class Service(base, **keywords):
        @plain
        def empty(self, number: int, *, session: Any = None) -> int:
            return number

        @classmethod
        @plain
        def of_class(cls, number: int, *, session: Any = None) -> int:
            return number

        @staticmethod
        @plain
        def static(number: int, *, session: Any = None) -> int:
            return number

        @plain
        def anything(self, number: int, *args: Any, session: Any = None, **kwargs: Any) -> int:
            return number

        @plain
        def select(self, number: int, *, session: Any = None) -> object:
            return select_one(session)

        @plain
        def insert(self, number: int, *, session: Any = None) -> None:
            insert_one(session)

        @coroutine
        async def aempty(self, number: int, *, session: Any = None) -> int:
            return number

        @coroutine
        async def aselect(self, number: int, *, session: Any = None) -> object:
            return await aselect_one(session)

        @coroutine
        async def ainsert(self, number: int, *, session: Any = None) -> None:
            await ainsert_one(session)

        @generator
        def stream(self, number: int, *, session: Any = None) -> Iterator[int]:
            yield from range(number)

        @agenerator
        async def astream(self, number: int, *, session: Any = None) -> AsyncIterator[int]:
            for one in range(number):
                yield one

        @context
        @contextmanager
        def block(self, number: int, *, session: Any = None) -> Iterator[int]:
            yield number

        @acontext
        @asynccontextmanager
        async def ablock(self, number: int, *, session: Any = None) -> AsyncIterator[int]:
            yield number

    return Service


def manual_cases(cls: type, decorators: Decorators, of: str = "manual") -> dict[str, Case]:
    """Return the calls with a session."""
    return _cases(cls, decorators, of, ", session=session", 200)


def auto_cases(cls: type, decorators: Decorators) -> dict[str, Case]:
    """Return the calls without one."""
    found = _cases(cls, decorators, "auto", "", CALLS)
    for name, case in body_cases({"service": cls()}).items():
        if (decorators.coroutine if case.is_async else decorators.plain) is not None:
            found[name] = case
    return found


def body_cases(names: Mapping[str, object], arguments: str = "1", around: Around = adisposed) -> dict[str, Case]:
    """Return the calls without a session of those methods that a service has, for each body.

    Args:
        names: The ``service``, whose methods have the names of those above, and what the arguments use.
        arguments: What the methods are called with.
        around: Makes what is entered around the async calls.
    """
    plain = Case("", names, CALLS)
    asynchronous = replace(plain, is_async=True, around=around)
    return {
        f"auto: {body}": replace(like, statement=f"{call}({arguments})")
        for body, call, like in (
            ("instance method", "service.empty", plain),
            ("select", "service.select", plain),
            ("insert", "service.insert", plain),
            ("async def", "await service.aempty", asynchronous),
            ("async def, select", "await service.aselect", asynchronous),
            ("async def, insert", "await service.ainsert", asynchronous),
        )
        if hasattr(names["service"], call.rpartition(".")[2])
    }


def _cases(cls: type, decorators: Decorators, of: str, given: str, times: int) -> dict[str, Case]:
    names = {"service": cls(), "Service": cls, "session": maker(), "drive": drive}
    anames = {**names, "session": amaker()}
    plain = Case("", names, times)
    asynchronous = Case("", anames, times, is_async=True, around=adisposed)

    def case(statement: str, like: Case, items: int = 1) -> Case:
        return Case(statement.format(given), like.names, max(like.times // items, 4), items, like.is_async, like.around)

    kinds: list[tuple[Decorator | None, dict[str, Case]]] = [
        (
            decorators.plain,
            {
                "instance method": case("service.empty(1{})", plain),
                "class method": case("Service.of_class(1{})", plain),
                "static method": case("Service.static(1{})", plain),
                "*args, **kwargs": case("service.anything(1, 2{}, tag=3)", plain),
            },
        ),
        (
            decorators.coroutine,
            {
                "async def": case("await service.aempty(1{})", asynchronous),
                **({"async def, sent to": case("drive(service.aempty(1{}))", plain)} if given else {}),
            },
        ),
        (
            decorators.generator,
            {
                "generator, per call": case("for _ in service.stream(0{}): pass", plain),
                "generator, per item": case("for _ in service.stream(100{}): pass", plain, 100),
            },
        ),
        (
            decorators.agenerator,
            {
                "async generator, per call": case("async for _ in service.astream(0{}): pass", asynchronous),
                "async generator, per item": case("async for _ in service.astream(100{}): pass", asynchronous, 100),
            },
        ),
        (decorators.context, {"context manager": case("with service.block(1{}): pass", plain)}),
        (decorators.acontext, {"async context manager": case("async with service.ablock(1{}): pass", asynchronous)}),
    ]
    return {f"{of}: {name}": one for kind, cases in kinds if kind is not None for name, one in cases.items()}
