"""The fast lane: a generated function that makes a call with ``session=`` cost one Python call more than the method.

A wrapt wrapper is right for every callable, and costs about a microsecond a call even where nothing is to be done. So in
front of a plain function stands a *lane*: a function with exactly its parameters, in the class in its place. For

    def rename(self, account_id, owner="?", *, session=NEW_SESSION): ...

the text of the lane is

    def bind(ask, method, new_session, planned):
        def lane(self, account_id, owner, *, session):
            if session is None or session is new_session or planned:
                return ask(self, account_id, owner, session=session)
            return method(self, account_id, owner, session=session)

Given a session, it calls the method. Otherwise it asks the wrapper, which decides and carries out as for
every other kind of callable. ``planned`` is True where even a given session has to be looked at: for a SAVEPOINT, a refusal
or an isolation level.

How it is made. The text depends on the parameters alone, so it is compiled once for each parameter list (``_template``);
no text of the user reaches the compiler but identifiers, which come from compiled code. Each method then gets a function
of its own around that code, with its own name, its module's globals, its defaults **by reference**, and the five names
above as closure cells. The text is registered with ``linecache`` under the code's file name, so tracebacks show the line.

What has no lane stays with wrapt alone: callables that are no plain functions, async generators (delegation would lose
``asend`` and ``athrow``), and callables whose decorator hides the parameters behind ``**kwargs``.
"""

from __future__ import annotations

import enum
import inspect
import itertools
import keyword
import linecache
import os
import sys
from threading import Lock
from types import CellType, CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from session_aware._marker import LANE_FILE
from session_aware._sentinel import NEW
from session_aware._signature import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Binding", "OwnerMethod", "ask_always", "is_lane", "lane", "wrapper_behind"]

IS_ON: Final = os.environ.get("SESSION_AWARE_LANE") != "off"
"""For this library's tests alone, which pass with the lane and without."""

_WRAPPER: Final = "__session_aware__"  # where a lane's __dict__ keeps the wrapper that it asks
_LIMIT: Final = 4096  # templates kept; far more than a program has parameter lists, unless it makes classes all day


class Binding(enum.Enum):
    """How the wrapper behind a lane is bound: the value is the text that asks it."""

    FUNCTION = "{ask}({all})"
    INSTANCE = "{ask}({first}, {rest})"  # not bound to the object: that costs as much as all that wrapt does then
    CLASS = "{ask}(None, {first})({rest})"
    OWNER = "{ask}(None, {owner})({all})"  # a static method that is passed the class it was reached through


# classmethod is not generic at run time before Python 3.13.
class OwnerMethod(classmethod):  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument]  # ty: ignore[missing-type-argument]
    """A static method that knows the class it was reached through: its lane takes that class first."""


class _Shape(NamedTuple):
    """All that the text of a lane depends on."""

    positional: tuple[str, ...]
    positional_only: int
    args: str | None
    keyword_only: tuple[str, ...]
    kwargs: str | None
    binding: Binding
    kind: Kind
    has_class_cell: bool

    @property
    def parameters(self) -> tuple[str, ...]:
        return (*self.positional, *self.keyword_only, *filter(None, (self.args, self.kwargs)))


class _Template(NamedTuple):
    """The compiled text, and which of our names each of its free variables stands for."""

    code: CodeType
    names: dict[str, str]


_templates: dict[_Shape, _Template] = {}
_numbers: Final = itertools.count()
_lock: Final = Lock()
_planned: WeakKeyDictionary[object, CellType] = WeakKeyDictionary()
_NEW_SESSION: Final = CellType(NEW)
_NOBODY: Final = type("Nobody", (), {})  # bound to it wrapt passes a call on; unbound it looks for __self__ first, in vain
_COPIED: Final = ("__module__", "__qualname__", "__doc__", "__annotations__") + ("__type_params__",) * (
    sys.version_info >= (3, 12)
)
_RETURNS: Final = {
    Kind.PLAIN: "return {}",
    # A plain def that is marked as a coroutine function saves a frame for each call; 3.11 cannot mark one.
    Kind.COROUTINE: "return {}" if sys.version_info >= (3, 12) else "return await {}",
    Kind.GENERATOR: "return (yield from {})",
}


def lane(function: object, kind: Kind, binding: Binding, wrapper: Any, *, is_planned: bool) -> FunctionType | None:  # noqa: ANN401 - a proxy
    """Return the lane in front of ``function``, or None if it can have none.

    Args:
        function: The callable that is wrapped, without the static- or classmethod object around it.
        kind: Its kind.
        binding: How it stands in its class, if it does.
        wrapper: The wrapt wrapper to ask.
        is_planned: Whether to ask even when a session is given.
    """
    if not IS_ON or not isinstance(function, FunctionType) or (shape := _shape(function, kind, binding)) is None:
        return None
    template = _templates.get(shape) or _compiled(shape)
    ask = wrapper if binding is Binding.FUNCTION else wrapper.__get__
    cells = {
        "ask": CellType(ask(None, _NOBODY) if binding is Binding.INSTANCE else ask),
        "method": CellType(function),
        "new_session": _NEW_SESSION,
        "planned": CellType(is_planned),
        # attrs mends the zero-argument super() of a class that it builds again through this cell
        **{
            name: cell
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
            if name == "__class__"
        },
    }
    made = FunctionType(
        template.code.replace(co_name=function.__name__, co_qualname=function.__qualname__),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(cells[template.names[name]] for name in template.code.co_freevars),
    )
    _dress(made, function, wrapper, binding)
    _planned[made] = cells["planned"]
    return made


def is_lane(function: object) -> bool:
    """Say whether this is a lane: by its code, since decorators copy ``__dict__`` and with it our mark."""
    return isinstance(function, FunctionType) and function.__code__.co_filename.startswith(LANE_FILE)


def wrapper_behind(function: object) -> Any:  # noqa: ANN401 - wrapt's proxy
    """Return the wrapper that a lane asks, or None if this is no lane."""
    return function.__dict__[_WRAPPER] if isinstance(function, FunctionType) and is_lane(function) else None


def ask_always(lanes: Iterable[object] | None = None) -> None:
    """Let lanes ask even when a session is given; all of the process if none are named.

    There is no way back: where a setting is taken back they stay right, and become as slow as wrapt alone.
    """
    for one in list(_planned) if lanes is None else lanes:
        if isinstance(one, FunctionType) and (cell := _planned.get(one)) is not None:
            cell.cell_contents = True


def _dress(made: FunctionType, function: FunctionType, wrapper: object, binding: Binding) -> None:
    """Give the lane what people and tools look for on the function."""
    made.__kwdefaults__ = function.__kwdefaults__
    if "session" not in (function.__kwdefaults__ or ()):  # required in the method, injected by the wrapper
        made.__kwdefaults__ = {**(function.__kwdefaults__ or {}), "session": NEW}
    for name in _COPIED:
        setattr(made, name, getattr(function, name))
    made.__dict__.update({**function.__dict__, _WRAPPER: wrapper, "__wrapped__": function})
    if sys.version_info >= (3, 12) and inspect.iscoroutinefunction(function):
        inspect.markcoroutinefunction(made)
    if binding is Binding.OWNER:  # the bound method drops the owner, so the signature has to have it
        signature = inspect.signature(function)
        owner = inspect.Parameter(made.__code__.co_varnames[0], inspect.Parameter.POSITIONAL_ONLY)
        made.__dict__["__signature__"] = signature.replace(parameters=[owner, *signature.parameters.values()])


def _shape(function: FunctionType, kind: Kind, binding: Binding) -> _Shape | None:
    code = function.__code__
    end = code.co_argcount + code.co_kwonlyargcount
    rest = iter(code.co_varnames[end:])
    shape = _Shape(
        positional=code.co_varnames[: code.co_argcount],
        positional_only=code.co_posonlyargcount,
        args=next(rest) if code.co_flags & inspect.CO_VARARGS else None,
        keyword_only=code.co_varnames[code.co_argcount : end],
        kwargs=next(rest) if code.co_flags & inspect.CO_VARKEYWORDS else None,
        binding=binding,
        kind=kind,
        has_class_cell="__class__" in code.co_freevars,
    )
    own_kind = inspect.iscoroutinefunction(function), inspect.isgeneratorfunction(function)
    is_its_own = kind in _RETURNS and own_kind == (kind is Kind.COROUTINE, kind is Kind.GENERATOR)
    has_first = bool(shape.positional) or binding in {Binding.FUNCTION, Binding.OWNER}
    is_text = all(name.isidentifier() and not keyword.iskeyword(name) for name in shape.parameters)
    return shape if is_its_own and has_first and is_text and "session" in shape.keyword_only else None


def _compiled(shape: _Shape) -> _Template:
    names = {name: _unused(name, shape) for name in ("ask", "method", "new_session", "planned", "owner")}
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
        taken = [names["owner"], *(() if shape.positional_only else "/"), *taken]
    everything = ", ".join([*shape.positional, *passed])
    rest = ", ".join([*shape.positional[1:], *passed])
    asked = shape.binding.value.format(all=everything, first=(*shape.positional, "")[0], rest=rest, **names)
    returns = _RETURNS[shape.kind]
    called = returns.format(f"{names['method']}({everything})")
    text = (
        f"def bind({', '.join(names.values())}{', __class__' if shape.has_class_cell else ''}):\n"
        f"    {'async ' if 'await' in returns else ''}def lane({', '.join(taken)}):\n"
        f"        if session is None or session is {names['new_session']} or {names['planned']}:\n"
        f"            {returns.format(asked)}\n"
        f"        {called}\n" + ("        __class__\n" if shape.has_class_cell else "")
    )
    filename = f"{LANE_FILE} {next(_numbers)}: {', '.join(taken)}>"
    outer = compile(text, filename, "exec", dont_inherit=True).co_consts[0]
    code = next(constant for constant in outer.co_consts if isinstance(constant, CodeType))
    template = _Template(code, {chosen: name for name, chosen in names.items()} | {"__class__": "__class__"})
    with _lock:
        if len(_templates) >= _LIMIT:
            for old in _templates.values():
                linecache.cache.pop(old.code.co_filename, None)
            _templates.clear()
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        return _templates.setdefault(shape, template)


def _unused(name: str, shape: _Shape) -> str:
    while name in shape.parameters:
        name += "_"
    return name
