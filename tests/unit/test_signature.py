"""``_declare.signature``: what is read from a callable, of every kind."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, NewType, Optional, ParamSpec, Protocol, TypeVar, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from typing_extensions import TypeAliasType

from session_aware import NEW_SESSION, SessionParameterError
from session_aware._call.declaration import Declaration
from session_aware._declare.signature import (
    beneath,
    complaint,
    is_of_sqlalchemy,
    placeholders,
    read,
    session_parameter,
    signature_text,
)
from session_aware._unit.runners import Kind

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
    assert session_parameter(around) is None
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
    for declared in (session_parameter(function), session_parameter(passing(function))):
        assert (None if declared is None else declared.is_keyword_only) is expected


@pytest.mark.parametrize("function", [print, int, dict.get, type("Broken", (), {"__call__": 1, "__signature__": 2})()])
def test_callable_without_a_readable_signature_declares_nothing(function: Callable[..., object]) -> None:
    assert session_parameter(function) is None
    assert read(function) is None


def test_signature_is_told_without_quotes_of_our_own_or_not_at_all() -> None:
    assert signature_text(type("Broken", (), {"__call__": 1, "__signature__": 2})()) == "(...)"
    assert signature_text(plain).replace("'", "") == "(*, session: Session = NEW_SESSION) -> None"


def test_signature_that_a_decorator_declares_comes_first() -> None:
    def wrapper(*args: Any, **kwargs: Any) -> None: ...

    cast("Any", wrapper).__signature__ = inspect.signature(plain)
    assert session_parameter(wrapper) is not None
    assert read(wrapper) is not None
    hiding = passing(plain)
    cast("Any", hiding).__signature__ = inspect.Signature()
    assert session_parameter(hiding) is None


def test_names_are_looked_up_where_the_method_stands_and_not_its_decorator() -> None:
    elsewhere: dict[str, Any] = {"functools": functools, "Session": AsyncSession}
    exec(  # noqa: S102 - a module of its own
        "def decorated(function):\n"
        "    @functools.wraps(function)\n"
        "    def wrapper(*args, **kwargs): return function(*args, **kwargs)\n"
        "    return wrapper\n",
        elsewhere,
    )
    assert read(elsewhere["decorated"](plain)) is not None
    assert read(functools.partial(elsewhere["decorated"](plain))) is not None
    with pytest.raises(SessionParameterError):
        read(elsewhere["decorated"](wrong))


async def wrong(*, session: Session = NEW_SESSION) -> None: ...


def test_placeholder_is_found_through_decorators_and_partials() -> None:
    assert list(placeholders(passing(functools.partial(passing(plain))))) == ["session"]
    assert list(placeholders(functools.partial(plain))) == []


def test_decorator_that_injects_its_own_session_is_left_alone() -> None:
    assert session_parameter(injecting(plain)) is not None
    assert read(injecting(plain)) is None
    assert read(passing(plain)) is not None


class Injecting:
    """A decorator that is an object, tells what it wraps, and takes no session."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.__wrapped__ = function

    def __call__(self) -> object:
        return self.__wrapped__(session=None)


def test_object_that_injects_its_own_session_is_left_alone() -> None:
    assert session_parameter(Injecting(plain)) is not None
    assert read(Injecting(plain)) is None


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


def first_default(session: object = 1, *, other: int = 2) -> None: ...
def last_default(other: int = 2, session: object = 1) -> None: ...
def no_default(session: object, other: int = 2) -> None: ...
def keyword_default(*, session: object = 1) -> None: ...
def keyword_required(*, session: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "is_required"),
    [
        (first_default, False),
        (last_default, False),
        (no_default, True),
        (keyword_default, False),
        (keyword_required, True),
    ],
)
def test_default_is_read_of_every_kind_of_parameter(function: Callable[..., object], is_required: bool) -> None:
    for one in (session_parameter(function), session_parameter(passing(function))):
        assert one is not None
        assert one.is_required is is_required
        assert is_required or one.default == 1


class OwnSession(Session):
    """Derives from SQLAlchemy's."""


class ClientSession:
    """Another library's."""


class HasExecute(Protocol):
    def execute(self, statement: str) -> None: ...


AnySession = TypeVar("AnySession", bound=Session)
Either = TypeVar("Either", ClientSession, AsyncSession)
Client = TypeVar("Client", bound=ClientSession)
Unbound = TypeVar("Unbound")
Named = NewType("Named", Session)
Optionally = Session | None
Maybe = TypeAliasType("Maybe", Optional[Unbound], type_params=(Unbound,))  # noqa: UP045 - as people write it


class Unhashable(type):
    """Makes classes that are equal to none and in no set."""

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment] # the point


class Odd(metaclass=Unhashable):
    """Another library's."""


Extended = TypeAliasType("Extended", "Annotated[OwnSession, 1]")
Lost = TypeAliasType("Lost", "Nowhere")  # type: ignore[name-defined] # noqa: F821 - the point

OURS: list[object] = [
    Session,
    OwnSession,
    AsyncSession,
    scoped_session,
    scoped_session[Session],
    async_scoped_session[AsyncSession],
    Session | None,
    Session | ClientSession,
    Optional["Session"],
    Annotated[Session, 1],
    Annotated[Session | None, 1],
    AnySession,
    Either,
    Unbound,
    Named,
    Maybe[Session],
    Extended,
    Optionally,
    "Session",
    "Session | None",
    "Annotated['Session', 1]",
    "session_module.Session",
    # what says nothing
    inspect.Parameter.empty,
    None,
    Any,
    object,
    HasExecute,
    "Nowhere",
    "ClientSession | Nowhere",
    "session_module.Nowhere",
    "1 / 0",
    "not a type",
    Lost,
]
OTHERS: list[object] = [
    ClientSession,
    ClientSession | None,
    Annotated[ClientSession, 1],
    list[Session],
    type[Session],
    int | ClientSession,
    Client,
    Odd,
    Maybe[ClientSession],
    "ClientSession",
    "ClientSession | None",
    "Annotated[ClientSession, 1]",
    Callable[[], Session],
]


@pytest.mark.parametrize("annotation", OURS, ids=str)
def test_session_of_sqlalchemy_and_what_says_nothing_are_ours(annotation: object) -> None:
    assert is_ours(annotation, None)
    assert is_ours(annotation, 1)
    assert is_ours(annotation, inspect.Parameter.empty)


@pytest.mark.parametrize("annotation", OTHERS, ids=str)
def test_session_of_another_library_is_not_ours(annotation: object) -> None:
    assert not is_ours(annotation, None)
    assert not is_ours(annotation, inspect.Parameter.empty)
    assert is_ours(annotation, NEW_SESSION)


def is_ours(annotation: object, default: object) -> bool:
    def function(*, session: object = default) -> None: ...

    if default is inspect.Parameter.empty:
        function.__kwdefaults__ = None
    function.__annotations__.pop("session")
    if annotation is not inspect.Parameter.empty:
        function.__annotations__["session"] = annotation
    found = session_parameter(function)
    assert found is not None
    return is_of_sqlalchemy(function, found)


@pytest.mark.parametrize(
    ("annotation", "is_async"),
    [
        (Session | None, True),
        (Annotated[Session, 1], True),
        ("Session | None", True),
        (Optional["OwnSession"], True),
        (AnySession, True),
        (scoped_session[Session], True),
        (AsyncSession | None, False),
        (Annotated[AsyncSession, 1], False),
        (async_scoped_session[AsyncSession], False),
    ],
    ids=str,
)
def test_annotation_of_the_other_kind_is_refused_inside_of_others(annotation: object, is_async: bool) -> None:
    async def awaited(*, session: object = None) -> None: ...
    def called(*, session: object = None) -> None: ...

    wrong, right = (awaited, called) if is_async else (called, awaited)
    wrong.__annotations__["session"] = right.__annotations__["session"] = annotation
    assert read(right) is not None
    with pytest.raises(SessionParameterError, match="parameter 'session' is annotated"):
        read(wrong)


def test_either_kind_passes() -> None:
    async def awaited(*, session: Session | AsyncSession) -> None: ...
    def called(*, session: Session | AsyncSession) -> None: ...

    assert read(awaited) is not None
    assert read(called) is not None


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
