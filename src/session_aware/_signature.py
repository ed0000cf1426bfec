"""Read from a callable, once and at decoration, what its calls need: the kind, the parameters, where it stands."""

from __future__ import annotations

import enum
import functools
import inspect
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Final, TypeGuard, cast

from session_aware.exceptions import SessionParameterError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator
    from types import CodeType

__all__ = ["Declaration", "Kind", "beneath", "complaint", "is_session_keyword_only", "layers", "read"]


class Kind(enum.Enum):
    """What a call returns, which is when the body runs: the value is how messages name it."""

    PLAIN = "def"
    COROUTINE = "async def"
    GENERATOR = "generator"
    ASYNC_GENERATOR = "async generator"
    CONTEXT = "context manager"
    ASYNC_CONTEXT = "async context manager"

    @property
    def is_async(self) -> bool:
        return self in _ASYNC


_ASYNC: Final = frozenset({Kind.COROUTINE, Kind.ASYNC_GENERATOR, Kind.ASYNC_CONTEXT})


def _codes_of_contextlib() -> dict[CodeType, Kind]:
    """Read the code that contextlib's decorators return: plain functions, which nothing else tells from others."""

    def sync() -> Generator[None]:
        yield  # pragma: no cover - only the code of the helpers is read

    async def asynchronous() -> AsyncGenerator[None]:
        yield  # pragma: no cover - likewise

    helpers = {Kind.CONTEXT: contextmanager(sync), Kind.ASYNC_CONTEXT: asynccontextmanager(asynchronous)}
    return {cast("FunctionType", helper).__code__: kind for kind, helper in helpers.items()}


_CONTEXT_CODES: Final = _codes_of_contextlib()
_KINDS: Final = {
    inspect.CO_COROUTINE: Kind.COROUTINE,
    inspect.CO_GENERATOR: Kind.GENERATOR,
    inspect.CO_ASYNC_GENERATOR: Kind.ASYNC_GENERATOR,
}
_FLAGS: Final = sum(_KINDS)


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """A callable's facts.

    Attributes:
        name: Qualified name, ``Accounts.rename``, without the ``<locals>`` of tests.
        kind: What a call returns.
        is_commit: The default of the ``is_commit`` parameter, or None if it declares none.
    """

    name: str
    kind: Kind
    is_commit: bool | None


def read(function: Callable[..., object], *, name: str | None = None) -> Declaration | None:
    """Return what is declared, or None if ``function`` has no keyword-only ``session`` or cannot be given one.

    Args:
        function: Any callable: function, decorated function, callable object; not a static- or classmethod object.
        name: The name under which a class holds it, for objects that have none.

    Raises:
        SessionParameterError: The annotation names a session of the other kind (``async def`` with ``Session``).
    """
    if not is_session_keyword_only(function) or not (_is_plain(function) or _takes_session(function)):
        return None
    kind = _kind(function)
    annotation, is_commit = _read_plain(function) if _is_plain(function) else _read_signature(function)
    qualified = (getattr(function, "__qualname__", None) or name or type(function).__qualname__).rpartition("<locals>.")[2]
    if not getattr(function, "__isabstractmethod__", False):  # an abstract stream is a def that returns an AsyncIterator
        _check_annotation(function, kind, annotation, qualified)
    return Declaration(name=qualified, kind=kind, is_commit=is_commit)


def _is_plain(function: object) -> TypeGuard[FunctionType]:
    """Say whether the code tells everything, in a fiftieth of the time that ``inspect.signature`` takes."""
    return type(function) is FunctionType and not function.__dict__


def _read_plain(function: FunctionType) -> tuple[object, bool | None]:
    """Return the annotation of ``session``, and the default of ``is_commit`` if that is declared."""
    code = function.__code__
    declares = "is_commit" in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    default = (function.__kwdefaults__ or {}).get("is_commit") is not False
    return function.__annotations__.get("session"), default if declares else None


def _read_signature(function: Callable[..., object]) -> tuple[object, bool | None]:
    parameters = inspect.signature(function).parameters
    is_commit = parameters.get("is_commit")
    if is_commit is None or is_commit.kind is not is_commit.KEYWORD_ONLY:
        return parameters["session"].annotation, None
    return parameters["session"].annotation, is_commit.default is not False


def is_session_keyword_only(function: Callable[..., object]) -> bool | None:
    """Say how ``session`` is declared: True for keyword-only, False for positional, None for not at all."""
    if _is_plain(function):
        code = function.__code__
        positional = code.co_argcount
        if "session" in code.co_varnames[:positional]:
            return False
        return True if "session" in code.co_varnames[positional : positional + code.co_kwonlyargcount] else None
    try:
        parameter = inspect.signature(function).parameters.get("session")
    except (TypeError, ValueError):  # builtins and objects with a broken __signature__ declare nothing
        return None
    if parameter is None or parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        return None
    return parameter.kind is parameter.KEYWORD_ONLY


def complaint(function: Callable[..., object], name: str | None = None) -> str:
    """Say why a callable is not session-aware, and what to write."""
    name = str(name or getattr(function, "__qualname__", type(function).__qualname__)).rpartition("<locals>.")[2]
    short = name.rpartition(".")[2]
    first = "self, ..." if "." in name else "..."
    write = f"Write 'def {short}({first}, *, session: Session = NEW_SESSION)'.{_where(function)}"
    match is_session_keyword_only(function):
        case False:
            why = "A positional session collides with ordinary arguments."
            return f"{name}: parameter 'session' must be keyword-only. {why} {write}"
        case None:
            return f"{name}: there is no parameter 'session', so the caller could not pass one. {write}"
        case _:
            return (
                f"{name}: 'session' is declared by the function that its decorator wraps, but the decorator takes none, so "
                f"it cannot be passed on. Let the decorator accept **kwargs.{_where(function)}"
            )


def _where(function: object) -> str:
    """Say in which file and line a callable stands, as the last sentence of a message; empty if it has no source."""
    for layer in layers(function):
        if type(layer) is FunctionType:
            return f" It stands in {layer.__code__.co_filename}, line {layer.__code__.co_firstlineno}."
    return ""


def _takes_session(function: Callable[..., object]) -> bool:
    """Tell a decorator that passes ``session`` on from one that injects its own and takes none."""
    try:
        parameters = inspect.signature(function, follow_wrapped=False).parameters
    except (TypeError, ValueError):
        return True  # lru_cache objects and their like: no own signature, they pass on what they get
    return "session" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def beneath(value: object) -> object:
    """Return the callable in a descriptor of a class body; of a dispatching method the one that it falls back on."""
    while isinstance(value, staticmethod | classmethod | functools.partialmethod | functools.singledispatchmethod):
        value = value.__func__ if isinstance(value, staticmethod | classmethod) else value.func
    return value


def layers(function: object) -> Iterator[object]:
    """Yield the callable and what it wraps, from the outside in."""
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        yield function
        if isinstance(function, functools.partial | functools.singledispatchmethod):
            function = function.func
        elif isinstance(function, MethodType):  # before __wrapped__, which it takes from its function
            function = function.__func__
        elif (wrapped := getattr(function, "__wrapped__", None)) is not None:
            function = wrapped
        elif isinstance(function, FunctionType):
            return
        else:  # a callable object
            function = _call_of(type(function))


def _call_of(cls: type) -> object:
    """Return what makes the objects of a class callable; not by getattr, which would go on to the metaclass."""
    return next((vars(base)["__call__"] for base in cls.__mro__ if "__call__" in vars(base)), None)


def _kind(function: object) -> Kind:
    """Take the outermost layer that is not a plain function: a plain wrapper is taken for what it wraps."""
    if _is_plain(function):
        return _KINDS.get(function.__code__.co_flags & _FLAGS, Kind.PLAIN)
    for layer in layers(function):
        if not isinstance(layer, FunctionType):
            continue
        if (kind := _CONTEXT_CODES.get(layer.__code__)) is not None:
            return kind
        if inspect.isasyncgenfunction(layer):
            return Kind.ASYNC_GENERATOR
        if inspect.iscoroutinefunction(layer):
            return Kind.COROUTINE
        if inspect.isgeneratorfunction(layer):
            return Kind.GENERATOR
    return Kind.PLAIN


def _check_annotation(function: object, kind: Kind, annotation: object, name: str) -> None:
    """Refuse a session of the other kind. Unresolvable annotations pass: the factory's result is checked at the call."""
    if isinstance(annotation, str):
        namespace = next((f.__globals__ for f in layers(function) if isinstance(f, FunctionType)), {})
        annotation = namespace.get(annotation)
    asyncio_module = sys.modules.get("sqlalchemy.ext.asyncio")
    orm_module = sys.modules.get("sqlalchemy.orm")
    if not isinstance(annotation, type) or asyncio_module is None or orm_module is None:
        return
    if kind.is_async and issubclass(annotation, orm_module.Session):
        found, wanted, write = "Session", "AsyncSession", "'session: AsyncSession = NEW_SESSION'"
    elif not kind.is_async and issubclass(annotation, asyncio_module.AsyncSession):
        found, wanted, write = "AsyncSession", "Session", "'async def', or 'session: Session = NEW_SESSION' in a plain 'def'"
    else:
        return
    msg = (
        f"{name}: parameter 'session' is annotated {found}, but {kind.value} callables are given a session from the "
        f"{'async_' if kind.is_async else ''}session_factory, which makes {wanted}. Write {write}.{_where(function)}"
    )
    raise SessionParameterError(msg)
