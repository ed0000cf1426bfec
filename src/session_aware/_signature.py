"""Read from a callable, once and at decoration, what its calls need: the kind, the parameters, where it stands."""

from __future__ import annotations
import __future__

import contextlib
import enum
import functools
import inspect
import itertools
import sys
import types
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import FunctionType, MethodType, NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    ForwardRef,
    NewType,
    TypeGuard,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)
from weakref import CallableProxyType, ProxyType

import wrapt

from session_aware._sentinel import NEW
from session_aware.exceptions import SessionParameterError

if sys.version_info >= (3, 14):
    import annotationlib

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
    from types import CodeType

__all__ = [
    "Declaration",
    "Kind",
    "Parameter",
    "beneath",
    "complaint",
    "complaint_of_other",
    "is_context_helper",
    "is_inscrutable",
    "is_of_sqlalchemy",
    "is_protocol",
    "layers",
    "placeholders",
    "read",
    "session_classes",
    "session_parameter",
    "signature_text",
    "where",
]


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


def is_context_helper(function: FunctionType) -> bool:
    """Say whether this is what ``@contextmanager`` or ``@asynccontextmanager`` returned."""
    return function.__code__ in _CONTEXT_CODES


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
        function_name: Its ``__name__`` and ``__qualname__``.
        is_commit: The default of the ``is_commit`` parameter, or None if it declares none.
    """

    name: str
    kind: Kind
    function_name: tuple[str, str]
    is_commit: bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """How a callable declares ``session``: a default that is not written is ``inspect.Parameter.empty``."""

    is_keyword_only: bool
    default: object

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty


def read(function: Callable[..., object], *, name: str | None = None) -> Declaration | None:
    """Return what is declared, or None if ``function`` has no keyword-only ``session`` or cannot be given one.

    Args:
        function: Any callable: function, decorated function, callable object; not a static- or classmethod object.
        name: The name under which a class holds it, for objects that have none.

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
    """Say whether the code tells everything, in a fiftieth of the time that ``inspect.signature`` takes."""
    return type(function) is FunctionType and "__signature__" not in function.__dict__


def _declaring(function: object) -> FunctionType | None:
    """Return the function whose parameters a callable has: itself, or what it wraps; None if that is no function."""
    for _ in range(_DEEPEST):
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
    found = (_parameters(function) or {}).get("session")
    if found is None or found.kind in {found.VAR_POSITIONAL, found.VAR_KEYWORD}:
        return None
    return Parameter(found.kind is found.KEYWORD_ONLY, found.default)


def _parameters(function: Callable[..., object], *, is_own: bool = False) -> Mapping[str, inspect.Parameter] | None:
    """Return the parameters of a callable; None for builtins and objects with a broken ``__signature__``.

    Args:
        function: The callable.
        is_own: Whether those of what it wraps are of no interest.
    """
    call = _call_of(type(function))  # inspect takes an object with a __get__ of its own for a builtin
    called = MethodType(call, function) if isinstance(call, FunctionType) else function
    for one, reads_annotations in itertools.product((function, called), (True, False)):
        with contextlib.suppress(Exception):  # TypeError and ValueError, or whatever a __signature__ or an annotation does
            found = one if reads_annotations else _without_annotations(one)
            return inspect.signature(found, follow_wrapped=not is_own, **_UNRESOLVED).parameters
    return None


def signature_text(function: Callable[..., object]) -> str:
    """Return the signature of a callable as ``help()`` shows it: from Python 3.14 on without evaluating annotations."""
    for reads_annotations in (True, False):
        with contextlib.suppress(Exception):  # as above
            found = function if reads_annotations else _without_annotations(function)
            signature: Any = inspect.signature(found, **_AS_TEXT)
            return str(signature.format(quote_annotation_strings=False) if sys.version_info >= (3, 14) else signature)
    return "(...)"


def _without_annotations(function: Any) -> Any:  # noqa: ANN401 - any callable
    """Return something with the same parameters and no annotations: ``"Model" | None`` cannot be read in any format."""
    if isinstance(function, functools.partial):
        return functools.partial(_without_annotations(function.func), *function.args, **function.keywords)
    if isinstance(function, MethodType):
        return MethodType(_without_annotations(function.__func__), function.__self__)
    if not isinstance(function, FunctionType):
        return function
    bare = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    bare.__kwdefaults__ = function.__kwdefaults__
    bare.__dict__.update(function.__dict__)
    if "__wrapped__" in bare.__dict__:
        bare.__dict__["__wrapped__"] = _without_annotations(bare.__dict__["__wrapped__"])
    return bare


_UNRESOLVED: Final[dict[str, Any]] = {}  # leaves annotations that name nothing yet as they are
_AS_TEXT: Final[dict[str, Any]] = {}  # evaluates none
if sys.version_info >= (3, 14):
    _UNRESOLVED["annotation_format"] = annotationlib.Format.FORWARDREF
    _AS_TEXT["annotation_format"] = annotationlib.Format.STRING


def _annotation(function: Callable[..., object], *, may_import: bool) -> object:
    """Return the annotation of ``session``, or ``inspect.Parameter.empty``; of the others as little as Python allows.

    Until 3.13 they were evaluated by the ``def``, or are texts. From 3.14 on they are code that nobody has run yet, whose
    names may mean nothing now: those of an import under TYPE_CHECKING, of a class further down, of a half-imported module.

    Args:
        function: Any callable that declares ``session``.
        may_import: Whether names that 3.15 imports when they are needed are needed. Otherwise nothing is said of them.
    """
    declaring = _declaring(function)
    if declaring is None:
        found = (_parameters(function) or {}).get("session")
        return inspect.Parameter.empty if found is None else found.annotation
    return _annotations(declaring, may_import=may_import).get("session", inspect.Parameter.empty)


def _annotations(function: FunctionType, *, may_import: bool) -> Mapping[str, object]:
    """Return the annotations of a function, without leaving them in its ``__annotations__``."""
    if sys.version_info >= (3, 14):
        annotate: Any = function.__annotate__  # ty takes it for a method
        if annotate is not None and not function.__code__.co_flags & __future__.annotations.compiler_flag:
            names = annotate.__code__.co_names if isinstance(annotate, FunctionType) else ()
            if not may_import and any(type(function.__globals__.get(name)) in _LAZY for name in names):
                return {}
            try:
                return annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF, owner=function)
            except Exception:  # noqa: BLE001 - an annotation is code, which may fail in any way
                return {}
    return function.__annotations__


_LAZY: Final[list[type]] = []  # what stands for a name until it is imported
if sys.version_info >= (3, 15):
    _LAZY.append(types.LazyImportType)


def _is_commit(function: Callable[..., object]) -> bool | None:
    """Return the default of ``is_commit``, or None if that is not declared by keyword only."""
    if (declaring := _declaring(function)) is not None:
        code = declaring.__code__
        declares = "is_commit" in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        return (declaring.__kwdefaults__ or {}).get("is_commit") is not False if declares else None
    found = (_parameters(function) or {}).get("is_commit")
    return found.default is not False if found is not None and found.kind is found.KEYWORD_ONLY else None


def is_of_sqlalchemy(function: Callable[..., object], parameter: Parameter) -> bool:
    """Tell ``session`` from one of another library: its annotation names classes, and none of them is SQLAlchemy's."""
    if parameter.default is NEW:
        return True
    named = _named_classes(function, _annotation(function, may_import=True))
    return not named or any(issubclass(cls, session_classes(is_async=None)) for cls in named)


def placeholders(function: object) -> Iterator[str]:
    """Yield the parameters of a function, and of what it wraps, that have ``NEW_SESSION`` for their default."""
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
    write = f"Write 'def {short}({first}, *, session: Session = NEW_SESSION)'.{where(function)}"
    parameter = session_parameter(function)
    if parameter is None:
        return f"{name}: there is no parameter 'session', so the caller could not pass one. {write}"
    if not is_of_sqlalchemy(function, parameter):
        spelled = _spelled(_annotation(function, may_import=True))
        return f"{name}: parameter 'session' is annotated {spelled}, which is no session of SQLAlchemy. {write}"
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
    """Say in which file and line a callable stands, as the last sentence of a message; empty if it has no source.

    Args:
        function: Any callable.
        is_outermost: Whether its decorator is meant, and not what that wraps.
    """
    found = [layer.__code__ for layer in layers(function) if isinstance(layer, FunctionType)]
    code = None if not found else found[0] if is_outermost else found[-1]
    return "" if code is None else f" It stands in {code.co_filename}, line {code.co_firstlineno}."


def _takes_session(function: Callable[..., object]) -> bool:
    """Tell a decorator that passes ``session`` on from one that injects its own and takes none."""
    if _is_function(function):
        code = function.__code__
        taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        return "session" in taken or bool(code.co_flags & inspect.CO_VARKEYWORDS)
    parameters = _parameters(function, is_own=True)
    if parameters is None:
        return True  # lru_cache objects and their like: no own signature, they pass on what they get
    return "session" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def beneath(value: object) -> object:
    """Return the callable in a descriptor of a class body; of a dispatching method the one that it falls back on."""
    while isinstance(value, staticmethod | classmethod | functools.partialmethod | functools.singledispatchmethod):
        value = value.__func__ if isinstance(value, staticmethod | classmethod) else value.func
    return value


_DEEPEST: Final = 100  # layers; an object that answers to every name has no end of them
_PROXIES: Final = (wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper, type)


def is_inscrutable(value: object) -> bool:
    """Say whether to look at an object is to run code of its author, as with proxies, clients and mocks.

    They answer to every name, or fail at every one. Their class may still have a ``__call__`` with a session.
    """
    cls = type(value)
    if cls in {ProxyType, CallableProxyType}:
        return True
    if not hasattr(cls, "__getattr__") or issubclass(cls, _PROXIES):
        return False
    call = _call_of(cls)
    return not isinstance(call, FunctionType) or session_parameter(call) is None


def layers(function: object) -> Iterator[object]:
    """Yield the callable and what it wraps, from the outside in."""
    seen: set[int] = set()
    while function is not None and id(function) not in seen and len(seen) < _DEEPEST:
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
    if type(function) is FunctionType and not function.__dict__:
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


def _check_kind(function: Callable[..., object], kind: Kind, name: str) -> None:
    """Refuse a session of the other kind. What is not clear passes: the factory's result is checked at the call."""
    named = _named_classes(function, _annotation(function, may_import=False)) or ()
    sessions = [cls for cls in named if issubclass(cls, session_classes(is_async=None))]
    if not sessions or not all(issubclass(cls, session_classes(is_async=not kind.is_async)) for cls in sessions):
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


def session_classes(*, is_async: bool | None) -> tuple[type, ...]:
    """Return SQLAlchemy's session classes that were imported, of one kind or of both."""
    found: list[type] = []
    if is_async is not True and (orm := sys.modules.get("sqlalchemy.orm")) is not None:
        found += [orm.Session, orm.scoped_session]
    if is_async is not False and (asynchronous := sys.modules.get("sqlalchemy.ext.asyncio")) is not None:
        found += [asynchronous.AsyncSession, asynchronous.async_scoped_session]
    return tuple(found)


def _named_classes(function: Callable[..., object], annotation: object) -> list[type] | None:
    """Return the classes that an annotation names, without ``None``; None where a part of it says nothing.

    That is what cannot be resolved (yet), ``Any``, ``object``, a protocol, or no annotation at all.
    """
    if annotation is inspect.Parameter.empty:
        return None
    # Of the innermost function, whose annotation it is; those around it may come from anywhere.
    innermost = _declaring(function) or next((f for f in reversed([*layers(function)]) if isinstance(f, FunctionType)), None)
    namespace = {} if innermost is None else innermost.__globals__
    try:
        parts = list(_parts(annotation, namespace))
        classes = [part for part in parts if isinstance(part, type) and not _says_nothing(part)]
    except Exception:  # noqa: BLE001 - an annotation is code, which may fail in any way
        return None
    return classes if len(classes) == len(parts) else None


def _parts(annotation: object, namespace: dict[str, Any]) -> Iterator[object]:
    """Yield what an annotation consists of: classes, and whatever else it may be; raise where a name is not resolved."""
    inner = _inner(annotation, namespace)
    if inner is None:
        yield get_origin(annotation) or annotation
        return
    for part in inner:
        yield from _parts(part, namespace)


def _inner(annotation: object, namespace: dict[str, Any]) -> tuple[object, ...] | None:
    """Take a union, ``Annotated``, an alias, a type variable or a text apart; None if there is nothing to take apart."""
    inner: tuple[object, ...] | None = None
    match annotation:
        case None:
            inner = ()
        case str() if annotation in namespace:
            inner = (namespace[annotation],)
        case str():
            inner = (eval(annotation, namespace),)  # noqa: S307 - the author's own code
        case ForwardRef():
            inner = (annotation.__forward_arg__,)
        case TypeVar():
            inner = annotation.__constraints__ or (annotation.__bound__ or Any,)
        case NewType():
            inner = (annotation.__supertype__,)
        case _ if get_origin(annotation) is Annotated:
            inner = get_args(annotation)[:1]
        case _ if get_origin(annotation) in {Union, UnionType}:
            inner = tuple(None if part is NoneType else part for part in get_args(annotation))
        case _ if type(get_origin(annotation) or annotation).__name__ == "TypeAliasType":  # also of typing_extensions
            alias: Any = get_origin(annotation) or annotation
            inner = (alias.__value__[get_args(annotation)] if get_args(annotation) else alias.__value__,)
        case _:
            pass
    return inner


_NOTHING: Final[tuple[object, ...]] = (Any, object)


def _says_nothing(cls: type) -> bool:
    return any(cls is one for one in _NOTHING) or is_protocol(cls)


def is_protocol(cls: type) -> bool:
    """Say whether this is a protocol, and not a class that derives from one."""
    return bool(vars(cls).get("_is_protocol"))


def _spelled(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
