"""``_signature``: what is read from a callable, of every kind."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import NEW_SESSION, SessionParameterError
from session_aware._signature import Declaration, Kind, beneath, complaint, is_session_keyword_only, read

P = ParamSpec("P")
R = TypeVar("R")


def plain(*, session: Session = NEW_SESSION) -> None: ...


async def coroutine(*, session: AsyncSession = NEW_SESSION) -> None: ...


def generator(*, session: Session = NEW_SESSION) -> Iterator[int]:
    yield 1


async def async_generator(*, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
    yield 1


@contextmanager
def context(*, session: Session = NEW_SESSION) -> Iterator[int]:
    yield 1


@asynccontextmanager
async def async_context(*, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
    yield 1


class Plain:
    def __call__(self, *, session: Session = NEW_SESSION) -> None: ...


class Coroutine:
    async def __call__(self, *, session: AsyncSession = NEW_SESSION) -> None: ...


class Generator:
    def __call__(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
        yield 1


class Derived(Coroutine):
    """Inherits what makes it callable."""


def passing(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return wrapper


def injecting(function: Callable[..., R]) -> Callable[[], R]:
    @functools.wraps(function)
    def wrapper() -> R:
        return function(session=Session())

    return wrapper


@functools.singledispatch
def dispatched(value: object, *, session: Session = NEW_SESSION) -> None: ...


def kind(function: Callable[..., object]) -> Kind:
    return cast("Declaration", read(function)).kind


KINDS: list[tuple[Callable[..., object], Kind]] = [
    (plain, Kind.PLAIN),
    (coroutine, Kind.COROUTINE),
    (generator, Kind.GENERATOR),
    (async_generator, Kind.ASYNC_GENERATOR),
    (context, Kind.CONTEXT),
    (async_context, Kind.ASYNC_CONTEXT),
    (Plain(), Kind.PLAIN),
    (Coroutine(), Kind.COROUTINE),
    (Generator(), Kind.GENERATOR),
    (Derived(), Kind.COROUTINE),
    (Plain().__call__, Kind.PLAIN),
    (Coroutine().__call__, Kind.COROUTINE),
]


@pytest.mark.parametrize(("function", "expected"), KINDS)
def test_kind_is_read_from_the_callable(function: Callable[..., object], expected: Kind) -> None:
    assert kind(function) is expected


@pytest.mark.parametrize(("function", "expected"), KINDS)
def test_kind_is_read_through_functools(function: Callable[..., object], expected: Kind) -> None:
    assert kind(functools.partial(function)) is expected
    assert kind(functools.lru_cache(function)) is expected
    assert kind(passing(function)) is expected
    assert kind(passing(functools.partial(passing(function)))) is expected


def test_kind_of_a_dispatching_function_is_that_of_its_default() -> None:
    assert kind(dispatched) is Kind.PLAIN
    method: Any = functools.singledispatchmethod(coroutine)
    assert beneath(method) is coroutine


def test_callable_is_found_beneath_the_descriptors_of_a_class_body() -> None:
    assert beneath(staticmethod(plain)) is plain
    assert beneath(functools.partialmethod(classmethod(plain))) is plain  # type: ignore[arg-type] # any will do
    assert beneath(functools.partial(plain)) is not plain


def test_decorator_that_runs_the_body_decides_the_kind() -> None:
    @functools.wraps(async_generator)
    async def collect(**kwargs: Any) -> list[int]:
        return [one async for one in async_generator(**kwargs)]

    assert kind(collect) is Kind.COROUTINE


def test_chain_of_wrapped_that_ends_nowhere_is_plain() -> None:
    def around(*, session: Session = NEW_SESSION) -> None: ...

    around.__wrapped__ = around  # type: ignore[attr-defined] # a decorator may do so
    assert is_session_keyword_only(around) is None
    assert read(around) is None


@pytest.mark.parametrize("one", Kind)
def test_kinds_that_need_an_event_loop_are_async(one: Kind) -> None:
    assert one.is_async is ("async" in one.value)


def test_name_is_the_qualified_one_without_enclosing_functions() -> None:
    class Accounts:
        def open(self, *, session: Session = NEW_SESSION) -> None: ...

    assert cast("Declaration", read(Accounts.open)).name == "Accounts.open"
    assert cast("Declaration", read(Accounts.open, name="Other.name")).name == "Accounts.open"


def test_name_of_an_object_is_the_one_it_is_held_under() -> None:
    assert cast("Declaration", read(Plain(), name="Accounts.opener")).name == "Accounts.opener"
    assert cast("Declaration", read(Plain())).name == "Plain"


def no_session() -> None: ...
def positional(session: Session = NEW_SESSION) -> None: ...
def positional_only(session: Session = NEW_SESSION, /) -> None: ...
def keyword_only(a: int, *args: int, session: Session, **kwargs: int) -> None: ...
def local_only(a: int) -> None:
    session = a  # noqa: F841 - a local variable is no parameter


def var_positional(*session: Session) -> None: ...
def var_keyword(**session: Session) -> None: ...


DECLARED: list[tuple[Callable[..., object], bool | None]] = [
    (no_session, None),
    (positional, False),
    (positional_only, False),
    (keyword_only, True),
    (local_only, None),
    (var_positional, None),
    (var_keyword, None),
]


@pytest.mark.parametrize(("function", "expected"), DECLARED)
def test_only_a_keyword_only_parameter_counts(function: Callable[..., object], expected: bool | None) -> None:
    assert is_session_keyword_only(function) is expected
    assert is_session_keyword_only(passing(function)) is expected


@pytest.mark.parametrize("function", [print, int, dict.get, type("Broken", (), {"__call__": 1, "__signature__": 2})()])
def test_callable_without_a_readable_signature_declares_nothing(function: Callable[..., object]) -> None:
    assert is_session_keyword_only(function) is None
    assert read(function) is None


def test_decorator_that_injects_its_own_session_is_left_alone() -> None:
    assert is_session_keyword_only(injecting(plain)) is True
    assert read(injecting(plain)) is None
    assert read(passing(plain)) is not None


def test_cache_passes_the_session_on() -> None:
    assert read(functools.lru_cache(plain)) is not None


def is_commit_true(*, session: Session = NEW_SESSION, is_commit: bool = True) -> None: ...
def is_commit_false(*, session: Session = NEW_SESSION, is_commit: bool = False) -> None: ...
def is_commit_required(*, session: Session = NEW_SESSION, is_commit: bool) -> None: ...
def is_commit_positional(is_commit: bool, *, session: Session = NEW_SESSION) -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, None),
        (is_commit_true, True),
        (is_commit_false, False),
        (is_commit_required, True),
        (is_commit_positional, None),
    ],
)
def test_is_commit_counts_if_it_is_keyword_only(function: Callable[..., object], expected: bool | None) -> None:
    assert cast("Declaration", read(function)).is_commit is expected


def async_with_sync_session() -> Callable[..., object]:
    async def wrong(*, session: Session = NEW_SESSION) -> None: ...

    return wrong


def sync_with_async_session() -> Callable[..., object]:
    def wrong(*, session: AsyncSession = NEW_SESSION) -> None: ...

    return wrong


@pytest.mark.parametrize("make", [async_with_sync_session, sync_with_async_session])
def test_annotation_of_the_other_kind_is_refused(make: Callable[[], Callable[..., object]]) -> None:
    function = make()
    with pytest.raises(SessionParameterError, match="parameter 'session' is annotated"):
        read(function)
    function.__annotations__["session"] = {"Session": Session, "AsyncSession": AsyncSession}[
        function.__annotations__["session"]
    ]
    with pytest.raises(SessionParameterError, match="parameter 'session' is annotated"):
        read(function)


def test_annotation_that_cannot_be_resolved_passes() -> None:
    def unknown(*, session: Unknown = NEW_SESSION) -> None: ...  # type: ignore[name-defined] # noqa: F821 - the point
    def union(*, session: Session | None = None) -> None: ...
    async def other(*, session: object = NEW_SESSION) -> None: ...

    assert read(unknown) is not None
    assert read(union) is not None
    assert read(other) is not None


def test_builtin_of_another_language_has_no_place() -> None:
    assert complaint(print) == (
        "print: there is no parameter 'session', so the caller could not pass one. "
        "Write 'def print(..., *, session: Session = NEW_SESSION)'."
    )
