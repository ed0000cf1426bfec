"""The fast lane: a generated function that makes a call with ``session=`` cost one Python call more than the method.

A wrapt wrapper works for every callable, but costs about a microsecond a call even if there is nothing to do. So a plain
function is replaced in its class by a *lane*, a function with exactly the same parameters. For

    def rename(self, account_id, owner="?", *, session=NEW_SESSION): ...

the source text of the lane is

    def bind(ask, method, new_session, asks_always):
        def lane(self, account_id, owner, *, session):
            if session is None or session is new_session or asks_always:
                return ask(self, account_id, owner, session=session)
            return method(self, account_id, owner, session=session)

With a session, the lane calls the method. Otherwise it asks the wrapper, which decides the call and carries it out as for
every other kind of callable. ``asks_always`` is not empty if even a call with a session needs more: a SAVEPOINT, a refusal
or a check of the isolation level.

The text depends on the parameters alone, so it is compiled once for each parameter list (``_template``). Identifiers
are the only text of the user that reaches the compiler, and they come from compiled code. Each method then gets a function
of its own around that code, with its own name, its module's globals, its defaults **by reference**, and the four names above
as closure cells. All code of the lane is on the line of the method's ``def``, which is therefore what tracebacks, debuggers
and ``inspect.getfile`` show.

The lane of an ``async def`` or of a generator returns the coroutine or generator of the method unchanged, so ``close()``,
``athrow()`` and the like return what the body's own do. Its code has the method's kind in ``co_flags``. ``inspect`` looks
there; CPython itself, since 3.11, relies on an instruction at the start of the body.

The wrapper of a decorator is a function as well, often with ``*args, **kwargs``: its lane has a ``session`` in addition.
The lane of a wrapper by ``@contextmanager`` or ``@asynccontextmanager`` has the parameters of the wrapped function, because
the wrapper passes them on unchanged. Callables that are not functions, such as callable objects and ``functools.partial``,
have a wrapt wrapper and no lane.
"""

from __future__ import annotations

import ast
import enum
import inspect
import keyword
import os
import sys
from threading import RLock
from types import CellType, CodeType, FunctionType
from typing import Any, Final, NamedTuple, TypeGuard, cast

if sys.version_info >= (3, 14):
    import annotationlib

from session_aware._call.declaration import context_kind, layers
from session_aware._call.sentinel import NEW, is_given
from session_aware._database.stack import LANE_VARIABLE

__all__ = ["Binding", "OwnerMethod", "is_lane", "make_lane", "wrapper_behind"]

IS_ON: Final = os.environ.get("SESSION_AWARE_LANE") != "off"
"""Switched off only by this library's tests, which pass with and without the lane."""

_WRAPPER: Final = "__session_aware__"  # where a lane's __dict__ keeps the wrapper that it asks
_LIMIT: Final = 16_384  # templates kept; more than a program has parameter lists, unless it keeps creating classes
_TEXT: Final = """
def bind({variables}):
    def lane({taken}):
        if session is None or session is {new_session} or {asks_always}:
            return {asked}
        return {method}({passed})
        {closes_over}
"""
_KIND_FLAGS: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class Binding(enum.Enum):
    """How the wrapper behind a lane is bound. The value is the source text that calls it."""

    FUNCTION = "{ask}({all})"
    INSTANCE = "{ask}({first}, {rest})"  # not bound to the object, which would double the time in wrapt
    CLASS = "{ask}(None, {first})({rest})"
    OWNER = "{ask}(None, {cls})({all})"  # a static method that is passed the class it was reached through

    __hash__ = object.__hash__  # see Plan


# classmethod is not generic at run time before Python 3.13.
class OwnerMethod(classmethod):  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument]  # ty: ignore[missing-type-argument]
    """A static method that knows the class it was reached through: its lane takes that class first."""

    def __reduce__(self) -> tuple[object, ...]:
        return OwnerMethod, (self.__func__,)  # by value, as cloudpickle and dill do with what __main__ defines


class _Shape(NamedTuple):
    """All that the text of a lane depends on."""

    positional: tuple[str, ...]
    positional_only: int
    args: str | None
    keyword_only: tuple[str, ...]
    kwargs: str | None
    binding: Binding
    has_class_cell: bool

    @property
    def parameters(self) -> tuple[str, ...]:
        return (*self.positional, *self.keyword_only, *filter(None, (self.args, self.kwargs)))


class _Template(NamedTuple):
    """The compiled text, and which of our names each of its free variables stands for."""

    code: CodeType
    names: dict[str, str]


_templates: dict[_Shape, _Template] = {}
_lock: Final = RLock()  # re-entrant, because a garbage collection meanwhile may run any code
_NEW_SESSION: Final = CellType(NEW)

_COPIED: Final = ("__module__", "__qualname__", "__doc__") + ("__type_params__",) * (sys.version_info >= (3, 12))


def make_lane(function: object, binding: Binding, wrapper: Any, asks_always: list[bool]) -> FunctionType | None:  # noqa: ANN401 - a proxy
    """Return the lane in front of ``function``, or None if it can have none.

    Args:
        function: The callable that is wrapped, without the static- or classmethod object around it.
        binding: How it is bound to its class, if it is in one.
        wrapper: The wrapt wrapper to ask.
        asks_always: Not empty if the lane asks even when a session is given.
    """
    if not IS_ON or not isinstance(function, FunctionType):
        return None
    # contextlib's wrapper takes what the wrapped function takes.
    wrapped = function.__dict__.get("__wrapped__") if context_kind(function) is not None else None
    declared = wrapped if isinstance(wrapped, FunctionType) else function
    if (shape := _shape(declared, binding)) is None:
        return None
    made = _made(function, declared, shape, wrapper, asks_always)
    if binding is Binding.OWNER:  # inspect drops the first parameter of what a bound method wraps, so it needs one more
        inner = [one for one in layers(function) if isinstance(one, FunctionType)][-1]
        shape = _shape(inner, binding) or shape
        made.__dict__["__wrapped__"] = _made(inner, inner, shape, wrapper, asks_always)
        del made.__dict__["__wrapped__"].__dict__["__wrapped__"]
        said = made.__dict__.get("__signature__")
        if isinstance(said, inspect.Signature):
            first = inspect.Parameter(LANE_VARIABLE, inspect.Parameter.POSITIONAL_ONLY)
            made.__dict__["__signature__"] = said.replace(parameters=[first, *said.parameters.values()])
    return made


def _made(
    function: FunctionType,
    declared: FunctionType,
    shape: _Shape,
    wrapper: Any,  # noqa: ANN401 - a proxy
    asks_always: list[bool],
) -> FunctionType:
    """Make a lane with the parameters and the file and line of ``declared``, and the name of ``function``."""
    template = _templates.get(shape) or _template(shape)
    cells = {
        LANE_VARIABLE: CellType(wrapper if shape.binding in {Binding.FUNCTION, Binding.INSTANCE} else wrapper.__get__),
        "method": CellType(function),
        "new_session": _NEW_SESSION,
        "asks_always": CellType(asks_always),
        # attrs builds a class again, and repairs zero-argument super() in it through this cell
        **{
            name: cell
            for name, cell in zip(declared.__code__.co_freevars, declared.__closure__ or (), strict=True)
            if name == "__class__"
        },
    }
    code = template.code.replace(
        co_name=function.__name__,
        co_qualname=function.__qualname__,
        co_filename=declared.__code__.co_filename,
        co_firstlineno=declared.__code__.co_firstlineno,
        co_flags=template.code.co_flags | function.__code__.co_flags & _KIND_FLAGS,
    )
    made = FunctionType(
        code,
        declared.__globals__,
        function.__name__,
        declared.__defaults__,
        tuple(cells[template.names[name]] for name in code.co_freevars),
    )
    made.__kwdefaults__ = declared.__kwdefaults__
    # A session that is required, or whose default is a framework's marker, is injected when it is omitted.
    if is_given((declared.__kwdefaults__ or {}).get("session", made)):
        made.__kwdefaults__ = {**(declared.__kwdefaults__ or {}), "session": NEW}
    for name in _COPIED:
        setattr(made, name, getattr(function, name))
    hand_on(function, made)
    made.__dict__.update({**function.__dict__, _WRAPPER: wrapper, "__wrapped__": function})
    return made


def is_lane(function: object) -> TypeGuard[FunctionType]:
    """Say whether this is a lane: by its code, since decorators copy ``__dict__`` and with it our mark."""
    return type(function) is FunctionType and LANE_VARIABLE in function.__code__.co_freevars


def wrapper_behind(function: object) -> Any:  # noqa: ANN401 - wrapt's proxy
    """Return the wrapper that a lane asks, or None if this is not a lane."""
    return function.__dict__.get(_WRAPPER) if is_lane(function) else None


def hand_on(function: FunctionType, made: FunctionType) -> None:
    """Give a function's annotations to its replacement; from 3.14 on they are evaluated only when they are read."""
    if sys.version_info >= (3, 14):
        annotate = evaluator_of(function)
        if annotate is not None:
            made.__annotate__ = cast("Any", _HandedOn(function))  # for ty
            return
    made.__annotations__ = function.__annotations__


class _HandedOn:
    """An ``__annotate__`` that shares the dictionary of another function, so that a change to it affects both."""

    __slots__ = ("function",)

    def __init__(self, function: FunctionType) -> None:
        self.function = function

    def __call__(self, wanted: Any, /) -> dict[str, Any]:  # noqa: ANN401 - a Format of 3.14, or its number
        if sys.version_info >= (3, 14) and wanted != annotationlib.Format.VALUE:
            if wanted == annotationlib.Format.VALUE_WITH_FAKE_GLOBALS:
                msg = "this is not code from Python's compiler, so its globals cannot be replaced"
                raise NotImplementedError(msg)  # as PEP 649 wants it
            return annotationlib.get_annotations(self.function, format=wanted)
        return self.function.__annotations__


def evaluator_of(function: FunctionType) -> Any:  # noqa: ANN401 - any callable
    """Return the function that evaluates a function's annotations, from 3.14 on; None without one."""
    evaluator: Any = getattr(function, "__annotate__", None)
    return evaluator_of(evaluator.function) if isinstance(evaluator, _HandedOn) else evaluator


def _shape(function: FunctionType, binding: Binding) -> _Shape | None:
    code = function.__code__
    end = code.co_argcount + code.co_kwonlyargcount
    rest = iter(code.co_varnames[end:])
    keyword_only = code.co_varnames[code.co_argcount : end]
    if "session" not in code.co_varnames[:end] and code.co_flags & inspect.CO_VARKEYWORDS:
        keyword_only = (*keyword_only, "session")  # the wrapper of a decorator, which passes it on
    shape = _Shape(
        positional=code.co_varnames[: code.co_argcount],
        positional_only=code.co_posonlyargcount,
        args=next(rest) if code.co_flags & inspect.CO_VARARGS else None,
        keyword_only=keyword_only,
        kwargs=next(rest) if code.co_flags & inspect.CO_VARKEYWORDS else None,
        binding=binding,
        has_class_cell="__class__" in code.co_freevars,
    )
    if "session" in {shape.args, shape.kwargs}:
        return None
    has_first = bool(shape.positional or shape.args) or binding in {Binding.FUNCTION, Binding.OWNER}
    is_text = all(name.isidentifier() and not keyword.iskeyword(name) for name in shape.parameters)
    return shape if has_first and is_text and "session" in shape.keyword_only else None


def _template(shape: _Shape) -> _Template:
    """Return the compiled text from a cache. Only one thread compiles, because ``ast`` of Python 3.11 fails with two."""
    with _lock:
        if (template := _templates.get(shape)) is None:
            while len(_templates) >= _LIMIT:
                _templates.pop(next(iter(_templates)))  # the oldest
            template = _templates[shape] = _compiled(shape)
        return template


def _compiled(shape: _Shape) -> _Template:
    names = {name: _unused(name, shape) for name in ("method", "new_session", "asks_always", "cls")}
    names["ask"] = LANE_VARIABLE
    taken = list(shape.positional)
    if shape.positional_only:
        taken.insert(shape.positional_only, "/")
    taken += [f"*{shape.args or ''}", *shape.keyword_only]
    passed = [f"*{shape.args}"] if shape.args else []
    passed += [f"{name}={name}" for name in shape.keyword_only]
    if shape.kwargs:
        taken.append(f"**{shape.kwargs}")
        passed.append(f"**{shape.kwargs}")
    if shape.binding is Binding.OWNER:
        taken = [names["cls"], *(() if shape.positional_only else "/"), *taken]
    everything = ", ".join([*shape.positional, *passed])
    first, rest = (*shape.positional, "")[0], [*shape.positional[1:], *passed]
    if not shape.positional and shape.args:
        first, rest = (
            (f"*{shape.args}", rest[1:])
            if shape.binding is Binding.INSTANCE
            else (
                f"{shape.args}[0]",
                [f"*{shape.args}[1:]", *rest[1:]],
            )
        )
    text = _TEXT.format(
        variables=", ".join([*names.values(), *("__class__",) * shape.has_class_cell]),
        taken=", ".join(taken),
        asked=shape.binding.value.format(all=everything, first=first, rest=", ".join(rest), **names),
        passed=everything,
        closes_over="__class__" if shape.has_class_cell else "",
        **names,
    )
    outer = compile(_in_one_line(ast.parse(text)), "<session_aware lane>", "exec", dont_inherit=True).co_consts[0]
    code = next(constant for constant in outer.co_consts if isinstance(constant, CodeType))
    variables = {chosen: name for name, chosen in names.items() if name != "ask"}
    return _Template(code, {**variables, LANE_VARIABLE: LANE_VARIABLE, "__class__": "__class__"})


def _in_one_line(tree: ast.Module) -> ast.Module:
    """Remove the lines and columns of a tree, so that all code of a lane is on the line of the method's ``def``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.stmt | ast.arg | ast.keyword):
            node.lineno = node.end_lineno = 1
            node.col_offset = node.end_col_offset = -1
    return tree


def _unused(name: str, shape: _Shape) -> str:
    while name in shape.parameters:
        name += "_"
    return name
