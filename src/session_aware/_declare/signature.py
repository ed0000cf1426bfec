"""Read from a callable, once and at decoration, what its calls need: its kind, its parameters, its file and line."""

from __future__ import annotations

import functools
import inspect
import sys
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeGuard
from weakref import CallableProxyType, ProxyType

import wrapt

from session_aware._call.declaration import DEEPEST, Declaration, call_of, context_kind, layers
from session_aware._call.factory import session_classes
from session_aware._call.sentinel import NEW
from session_aware._declare import annotation
from session_aware._unit.runners import Kind
from session_aware.exceptions import SessionParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "Parameter",
    "beneath",
    "complaint",
    "complaint_of_other",
    "is_inscrutable",
    "is_of_sqlalchemy",
    "placeholders",
    "read",
    "session_parameter",
    "signature_text",
    "where",
]


_KINDS: Final = {
    inspect.CO_COROUTINE: Kind.COROUTINE,
    inspect.CO_GENERATOR: Kind.GENERATOR,
    inspect.CO_ASYNC_GENERATOR: Kind.ASYNC_GENERATOR,
}
_FLAGS: Final = sum(_KINDS)


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """How a callable declares ``session``. Without a default, ``default`` is ``inspect.Parameter.empty``."""

    is_keyword_only: bool
    default: object

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty


def read(function: Callable[..., object], *, name: str | None = None) -> Declaration | None:
    """Return the declaration, or None if ``function`` has no keyword-only ``session`` or cannot be given one.

    Args:
        function: Any callable: function, decorated function, callable object; not a static- or classmethod object.
        name: Its name in a class, for objects that have none.

    Raises:
        SessionParameterError: The annotation names a session of the other kind (``async def`` with ``Session``).
    """
    parameter = session_parameter(function)
    if parameter is None or not parameter.is_keyword_only or not _takes_session(function):
        return None
    kind = _kind(function)
    full_name = getattr(function, "__qualname__", None) or name or type(function).__qualname__
    qualified = full_name.rpartition("<locals>.")[2]
    if not getattr(function, "__isabstractmethod__", False):  # an abstract stream is a def that returns an AsyncIterator
        _check_kind(function, kind, qualified)
    function_name = getattr(function, "__name__", None) or full_name.rpartition(".")[2], full_name
    return Declaration(name=qualified, kind=kind, function_name=function_name, is_commit=_is_commit(function))


def _is_function(function: object) -> TypeGuard[FunctionType]:
    """Say whether the code object tells everything, which takes a fiftieth of the time of ``inspect.signature``."""
    return type(function) is FunctionType and "__signature__" not in function.__dict__


def _declaring(function: object) -> FunctionType | None:
    """Return the function that declares a callable's parameters: itself, or what it wraps; None if it is not a function."""
    for _ in range(DEEPEST):
        if not _is_function(function):
            return None
        wrapped: object = function.__dict__.get("__wrapped__")
        if wrapped is None:
            return function
        function = wrapped
    return None


def session_parameter(function: Callable[..., object]) -> Parameter | None:
    """Return the parameter ``session`` of a callable, whatever session that is; None if it declares none."""
    if (declaring := _declaring(function)) is not None:
        code = declaring.__code__
        end = code.co_argcount + code.co_kwonlyargcount
        if "session" not in code.co_varnames[:end]:
            return None
        is_keyword_only = "session" not in code.co_varnames[: code.co_argcount]
        default: object = inspect.Parameter.empty
        if is_keyword_only:
            default = (declaring.__kwdefaults__ or {}).get("session", default)
        elif (place := code.co_varnames.index("session") - code.co_argcount) >= -len(declaring.__defaults__ or ()):
            default = (declaring.__defaults__ or ())[place]
        return Parameter(is_keyword_only, default)
    found = _parameters(function).get("session")
    if found is None or found.kind in {found.VAR_POSITIONAL, found.VAR_KEYWORD}:
        return None
    return Parameter(found.kind is found.KEYWORD_ONLY, found.default)


def _parameters(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    found = annotation.signature(function)
    return {} if found is None else found.parameters


def signature_text(function: Callable[..., object]) -> str:
    """Return the signature of a callable as ``help()`` shows it."""
    found: Any = annotation.signature(function)
    if found is None:
        return "(...)"
    return str(found.format(quote_annotation_strings=False) if sys.version_info >= (3, 14) else found)


def _classes_named(function: Callable[..., object], *, may_import: bool) -> list[type] | None:
    """Return the classes that the annotation of ``session`` names, see ``annotation.classes_named``."""
    declaring = _declaring(function) or next((f for f in reversed([*layers(function)]) if isinstance(f, FunctionType)), None)
    return annotation.classes_named(_of_session(function), declaring, may_import=may_import)


def _of_session(function: Callable[..., object]) -> object:
    if (declaring := _declaring(function)) is not None:
        return annotation.of_session(declaring)
    found = _parameters(function).get("session")
    return inspect.Parameter.empty if found is None else found.annotation


def _is_commit(function: Callable[..., object]) -> bool | None:
    """Return the default of ``is_commit``, or None if there is no such keyword-only parameter."""
    if (declaring := _declaring(function)) is not None:
        code = declaring.__code__
        declares = "is_commit" in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        return (declaring.__kwdefaults__ or {}).get("is_commit") is not False if declares else None
    found = _parameters(function).get("is_commit")
    return found.default is not False if found is not None and found.kind is found.KEYWORD_ONLY else None


def is_of_sqlalchemy(function: Callable[..., object], parameter: Parameter) -> bool:
    """Return False for another library's ``session``: its annotation names classes, and none of them is SQLAlchemy's."""
    if parameter.default is NEW:
        return True
    named = _classes_named(function, may_import=True)
    return not named or any(issubclass(cls, session_classes(is_async=None)) for cls in named)


def placeholders(function: object) -> Iterator[str]:
    """Yield the parameters of a function, and of what it wraps, whose default is ``NEW_SESSION``."""
    if not isinstance(function, FunctionType):
        return
    for layer in layers(function):
        if not isinstance(layer, FunctionType):
            continue
        positional, defaults = layer.__code__.co_varnames[: layer.__code__.co_argcount], layer.__defaults__ or ()
        by_name = {**dict(zip(reversed(positional), reversed(defaults), strict=False)), **(layer.__kwdefaults__ or {})}
        yield from (name for name, default in by_name.items() if default is NEW)


def complaint(function: Callable[..., object], name: str | None = None) -> str:
    """Say why a callable is not session-aware, and what to write."""
    name = str(name or getattr(function, "__qualname__", type(function).__qualname__)).rpartition("<locals>.")[2]
    short = name.rpartition(".")[2]
    first = "self, ..." if "." in name else "..."
    is_async = any(inspect.iscoroutinefunction(layer) or inspect.isasyncgenfunction(layer) for layer in layers(function))
    definition, session = ("async def", "AsyncSession") if is_async else ("def", "Session")
    write = f"Write '{definition} {short}({first}, *, session: {session} = NEW_SESSION)'.{where(function)}"
    parameter = session_parameter(function)
    if parameter is None:
        return f"{name}: there is no parameter 'session', so the caller could not pass one. {write}"
    if not is_of_sqlalchemy(function, parameter):
        annotated = _of_session(function)
        spelled = annotated.__name__ if isinstance(annotated, type) else str(annotated)
        return f"{name}: parameter 'session' is annotated {spelled}, which is not a session of SQLAlchemy. {write}"
    if not parameter.is_keyword_only:
        why = "A positional session collides with ordinary arguments."
        return f"{name}: parameter 'session' must be keyword-only. {why} {write}"
    return (
        f"{name}: 'session' is declared by the function that its decorator wraps, but the decorator takes none, so "
        f"it cannot be passed on. Let the decorator accept **kwargs.{where(function, is_outermost=True)}"
    )


def complaint_of_other(function: object, parameter: str, name: str) -> str:
    """Say that ``NEW_SESSION`` is the default of a parameter of another name than ``session``."""
    return (
        f"{name}: NEW_SESSION is the default of the parameter {parameter!r}, but only one called 'session' is given a "
        f"session. Write '*, session: Session = NEW_SESSION'.{where(function)}"
    )


def where(function: object, *, is_outermost: bool = False) -> str:
    """Say in which file and line a callable is defined, as the last sentence of a message; empty if it has no source.

    Args:
        function: Any callable.
        is_outermost: Whether to name its decorator and not what that wraps.
    """
    found = [layer.__code__ for layer in layers(function) if isinstance(layer, FunctionType)]
    code = None if not found else found[0] if is_outermost else found[-1]
    return "" if code is None else f" It is defined in {code.co_filename}, line {code.co_firstlineno}."


def _takes_session(function: Callable[..., object]) -> bool:
    """Say whether a decorator passes ``session`` on; False for one that takes none because it injects its own."""
    if _is_function(function):
        code = function.__code__
        taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        return "session" in taken or bool(code.co_flags & inspect.CO_VARKEYWORDS)
    own = annotation.signature(function, is_own=True)
    if own is None:
        return True  # such as lru_cache objects, which have no signature of their own and pass on what they get
    return "session" in own.parameters or any(p.kind is p.VAR_KEYWORD for p in own.parameters.values())


def beneath(value: object) -> object:
    """Return the callable inside a descriptor of a class body; for ``singledispatchmethod`` the default one."""
    while isinstance(value, staticmethod | classmethod | functools.partialmethod | functools.singledispatchmethod):
        value = value.__func__ if isinstance(value, staticmethod | classmethod) else value.func
    return value


_PROXIES: Final = (wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper, type)


def is_inscrutable(value: object) -> bool:
    """Say whether reading attributes of an object would run its author's code, as with proxies, clients and mocks.

    They may have every attribute, or fail for each one. An object whose class has a ``__call__`` with a session is read.
    """
    cls = type(value)
    if cls in {ProxyType, CallableProxyType}:
        return True
    if not hasattr(cls, "__getattr__") or issubclass(cls, _PROXIES):
        return False
    call = call_of(cls)
    return not isinstance(call, FunctionType) or session_parameter(call) is None


def _kind(function: object) -> Kind:
    """Return the kind of the outermost layer that is not a plain function: a plain wrapper has the kind of what it wraps."""
    if type(function) is FunctionType and not function.__dict__:
        return _KINDS.get(function.__code__.co_flags & _FLAGS, Kind.PLAIN)
    for layer in layers(function):
        if not isinstance(layer, FunctionType):
            continue
        if (kind := context_kind(layer)) is not None:
            return kind
        if inspect.isasyncgenfunction(layer):
            return Kind.ASYNC_GENERATOR
        if inspect.iscoroutinefunction(layer):
            return Kind.COROUTINE
        if inspect.isgeneratorfunction(layer):
            return Kind.GENERATOR
    return Kind.PLAIN


def _check_kind(function: Callable[..., object], kind: Kind, name: str) -> None:
    """Refuse a session of the other kind. Unclear annotations pass, because the session is checked at the call."""
    others = session_classes(is_async=not kind.is_async)
    if (declaring := _declaring(function)) is not None and annotation.names_none_of(others, declaring):
        return
    named = _classes_named(function, may_import=False) or ()
    sessions = [cls for cls in named if issubclass(cls, session_classes(is_async=None))]
    if not sessions or not all(issubclass(cls, others) for cls in sessions):
        return
    found, wanted = ("Session", "AsyncSession") if kind.is_async else ("AsyncSession", "Session")
    write = f"'session: {wanted} = NEW_SESSION'"
    if not kind.is_async:
        write = f"'async def', or {write} in a plain 'def'"
    msg = (
        f"{name}: parameter 'session' is annotated {found}, but {kind.value} callables are given a session from the "
        f"{'async_' if kind.is_async else ''}session_factory, which makes {wanted}. Write {write}.{where(function)}"
    )
    raise SessionParameterError(msg)
