"""Read what annotations name without evaluating them.

Until Python 3.13 the ``def`` statement evaluates annotations, or they are strings. From 3.14 on they are code that runs when
they are read. It may import modules in the middle of a circular import, and fail there. So the code is run with names that
have no meaning, which yields the text of each annotation, and the names in the text for ``session`` are looked up one by
one.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import contextlib
import functools
import inspect
import sys
import types
from types import CellType, CodeType, FunctionType, MethodType, ModuleType, NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    ForwardRef,
    NamedTuple,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from session_aware._call.declaration import call_of
from session_aware._call.lane import evaluator_of

if sys.version_info >= (3, 14):
    import annotationlib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["classes_named", "is_protocol", "names_none_of", "of_session", "signature"]

_AS_TEXT: Final[dict[str, Any]] = {}
if sys.version_info >= (3, 14):
    _AS_TEXT["annotation_format"] = annotationlib.Format.STRING


def of_session(function: FunctionType) -> object:
    """Return the annotation of a function's ``session``, from 3.14 on its text; ``inspect.Parameter.empty`` without one."""
    if sys.version_info >= (3, 14):
        annotate = evaluator_of(function)
        # With the __future__ import they are strings already. An assignment to __annotations__ removes __annotate__.
        if annotate is not None and not function.__code__.co_flags & __future__.annotations.compiler_flag:
            try:
                texts = annotationlib.call_annotate_function(_inert(annotate), annotationlib.Format.STRING)
            except Exception:  # noqa: BLE001 - '"Model" | None' fails in every format, and makes the others fail too
                return inspect.Parameter.empty
            return texts.get("session", inspect.Parameter.empty)
    return function.__annotations__.get("session", inspect.Parameter.empty)


def signature(function: Callable[..., object], *, is_own: bool = False) -> inspect.Signature | None:
    """Return the signature of any callable, from 3.14 on with annotations as text; None if it has none or a broken one.

    Args:
        function: The callable.
        is_own: Whether to ignore the signature of what it wraps.
    """
    for has_annotations in (True, False):
        with contextlib.suppress(Exception):  # TypeError and ValueError, or whatever a __signature__ raises
            twin = _twin(function, is_own=is_own, has_annotations=has_annotations)
            return inspect.signature(twin, follow_wrapped=not is_own, **_AS_TEXT)
    return None


def _twin(function: Any, *, is_own: bool = False, has_annotations: bool = True) -> Any:  # noqa: ANN401 - any callable
    """Return an object with the same parameters, and with annotations that can be read only as text."""
    twin = functools.partial(_twin, is_own=is_own, has_annotations=has_annotations)
    if "__signature__" in getattr(function, "__dict__", ()):
        return function
    for kind in (functools.partial, functools.partialmethod):  # by isinstance, which sees through wrapt's proxies
        if isinstance(function, kind):
            return kind(twin(function.func), *function.args, **function.keywords)
    if isinstance(function, MethodType):
        return MethodType(twin(function.__func__), function.__self__)
    if isinstance(function, FunctionType):
        return _twin_of_function(function, twin, has_annotations=has_annotations)
    if not is_own and (wrapped := getattr(function, "__wrapped__", None)) is not None:
        return twin(wrapped)
    call = call_of(type(function))  # because inspect takes an object with a __get__ of its own for a builtin
    return MethodType(twin(call), function) if isinstance(call, FunctionType) else function


def _twin_of_function(function: FunctionType, twin: Callable[[Any], Any], *, has_annotations: bool) -> FunctionType:
    made = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    if has_annotations and (annotate := evaluator_of(function)) is not None:
        setattr(made, "__annotate__", _inert(annotate))  # noqa: B010 - type checkers for 3.13 do not know it
    elif has_annotations:
        made.__annotations__ = function.__annotations__
    for name in {"__wrapped__", "__partialmethod__"} & function.__dict__.keys():  # which inspect follows
        made.__dict__[name] = twin(function.__dict__[name])
    return made


def _inert(evaluator: Any) -> Any:  # noqa: ANN401 - any callable
    """Return a twin of Python's evaluator of annotations, bounds or aliases, in which no name has a meaning."""
    if not isinstance(evaluator, FunctionType):
        return evaluator
    cells = tuple(CellType() for _ in evaluator.__code__.co_freevars)
    return FunctionType(evaluator.__code__, {"__builtins__": {}}, evaluator.__name__, evaluator.__defaults__, cells or None)


_MISSING: Final = object()
"""A default for one look-up, because another thread or a finalizer may delete a name between two."""


class _NothingSaid(Exception):  # noqa: N818 - not an error
    """A part of an annotation names nothing that can be looked up, or that could be only with an import."""


class _Scope(NamedTuple):
    """Where the names of an annotation are looked up."""

    names: tuple[Mapping[str, Any], ...]
    may_import: bool

    def of(self, *functions: object) -> _Scope:
        """Return the scope of some functions, Python's evaluators and the user's own, the nearest first."""
        names: list[Mapping[str, Any]] = []
        for function in functions:
            if isinstance(function, FunctionType):
                if function.__closure__:
                    closure = zip(function.__code__.co_freevars, function.__closure__, strict=True)
                    cells = {name: cell.cell_contents for name, cell in closure if _is_filled(cell)}
                    names += [cells, cells.get("__classdict__", {})]
                if parameters := getattr(function, "__type_params__", ()):
                    names.append({one.__name__: one for one in parameters})
                names.append(function.__globals__)
        return self._replace(names=(*names, vars(builtins)))

    def name(self, name: str) -> object:
        """Look up a name, and import what it stands for if that is allowed."""
        for names in self.names:
            if (value := names.get(name, _MISSING)) is not _MISSING:
                return self._seen(value)
        raise _NothingSaid

    def attribute(self, owner: object, name: str) -> object:
        """Look up an attribute of a module or class, without running code that may import unless that is allowed."""
        if self.may_import:
            return getattr(owner, name)
        classes = owner.__mro__ if isinstance(owner, type) else (owner,) if isinstance(owner, ModuleType) else ()
        for one in classes:
            if (value := vars(one).get(name, _MISSING)) is not _MISSING:
                return self._seen(value)
        raise _NothingSaid

    def _seen(self, value: Any) -> object:  # noqa: ANN401 - anything
        if sys.version_info >= (3, 15) and type(value) is types.LazyImportType:
            if not self.may_import:
                raise _NothingSaid
            return value.resolve()
        return value


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises if there is nothing in it
    except ValueError:
        return False
    return True


def classes_named(annotation: object, function: FunctionType | None, *, may_import: bool) -> list[type] | None:
    """Return the classes that an annotation names, without ``None``; return None if a part of it says nothing.

    The parts that say nothing are names that cannot be resolved (yet), ``Any``, ``object``, protocols, and no annotation.

    Args:
        annotation: The annotation as ``of_session`` or ``signature`` returns it.
        function: The function that has it.
        may_import: Whether to look up names that import what they stand for: lazy imports of 3.15, and attributes that a
            module makes when they are read.
    """
    if annotation is inspect.Parameter.empty:
        return None
    if isinstance(annotation, type):
        return None if _says_nothing(annotation) else [annotation]
    try:
        parts = list(_parts(annotation, _Scope((), may_import).of(function and evaluator_of(function), function)))
        classes = [part for part in parts if isinstance(part, type) and not _says_nothing(part)]
    except Exception:  # noqa: BLE001 - _NothingSaid, or whatever the author's objects raise
        return None
    return classes if len(classes) == len(parts) else None


def names_none_of(unwanted: tuple[type, ...], function: FunctionType) -> bool:
    """Say whether the names alone show that a function's annotations name none of these; False if they do not show it.

    This is a shortcut from 3.14 on: most annotations name only classes, and reading their text takes a fifth of the time in
    which a method is made session-aware.
    """
    evaluator = evaluator_of(function)
    if not isinstance(evaluator, FunctionType):
        return False
    code = evaluator.__code__
    of_parameters = {*function.__code__.co_varnames, "return"}
    if any(type(one) in {tuple, CodeType} or (type(one) is str and one not in of_parameters) for one in code.co_consts):
        return False  # a string, or something that contains one
    scope = _Scope((), may_import=False).of(evaluator, function)
    try:
        named = [scope.name(name) for name in (*code.co_names, *code.co_freevars) if name != "__classdict__"]
    except _NothingSaid:
        return False
    return all(isinstance(one, type) and not issubclass(one, unwanted) for one in named)


def _parts(annotation: object, scope: _Scope) -> Iterator[object]:
    """Yield the parts of an annotation: classes, and other objects."""
    if annotation is None:
        return
    if isinstance(annotation, str):
        yield from _parts_of_text(annotation, scope)
        return
    inner, scope = _inner(annotation, scope)
    if not inner:
        yield get_origin(annotation) or annotation
    for part in inner:
        yield from _parts(part, scope)


def _inner(annotation: object, scope: _Scope) -> tuple[tuple[object, ...], _Scope]:
    """Take a union, ``Annotated``, an alias or a type variable apart; return no parts for anything else."""
    inner: tuple[object, ...] = ()
    match annotation:
        case ForwardRef():
            inner = (annotation.__forward_arg__,)
        case TypeVar():
            inner, scope = _of_type_variable(annotation, scope)
        case NewType():
            inner = (annotation.__supertype__,)
        case _ if get_origin(annotation) is Annotated:
            inner = get_args(annotation)[:1]
        case _ if get_origin(annotation) in {Union, UnionType}:
            inner = tuple(None if part is NoneType else part for part in get_args(annotation))
        case _ if type(get_origin(annotation) or annotation).__name__ == "TypeAliasType":  # that of typing_extensions too
            alias: Any = get_origin(annotation) or annotation
            if get_args(annotation):
                inner = (alias.__value__[get_args(annotation)],)
            else:
                inner, scope = _evaluated(alias, "__value__", "evaluate_value", scope)
        case _:
            pass
    return inner, scope


def _of_type_variable(variable: TypeVar, scope: _Scope) -> tuple[tuple[object, ...], _Scope]:
    (constraints,), of_constraints = _evaluated(variable, "__constraints__", "evaluate_constraints", scope)
    if isinstance(constraints, tuple):
        if not constraints:
            (bound,), of_bound = _evaluated(variable, "__bound__", "evaluate_bound", scope)
            return (Any if bound is None else bound,), of_bound
        return constraints, of_constraints
    return (constraints,), of_constraints


def _evaluated(owner: object, value: str, evaluator: str, scope: _Scope) -> tuple[tuple[object], _Scope]:
    """Return what a type variable or alias stands for, as a text and its scope if reading it would run code."""
    if sys.version_info >= (3, 14) and isinstance(evaluate := getattr(owner, evaluator, None), FunctionType):
        text = annotationlib.call_evaluate_function(_inert(evaluate), annotationlib.Format.STRING)
        return (text,), scope.of(evaluate)
    return (getattr(owner, value),), scope


def _parts_of_text(text: str, scope: _Scope) -> Iterator[object]:
    if text.isidentifier():
        yield from _parts(scope.name(text), scope)
    else:
        yield from _parts_of_node(ast.parse(text, mode="eval").body, scope)


def _parts_of_node(node: ast.expr, scope: _Scope) -> Iterator[object]:
    inner: list[ast.expr]
    match node:
        case ast.Constant(value=None | str()):
            yield from _parts(node.value, scope)
            return
        case ast.BinOp(op=ast.BitOr()):
            inner = [node.left, node.right]
        case ast.Tuple():
            inner = node.elts
        case ast.Subscript():
            generic: Any = _value(node.value, scope)
            if generic is Annotated and isinstance(node.slice, ast.Tuple):
                inner = node.slice.elts[:1]
            elif generic is Union or getattr(generic, "__name__", None) == "Optional":
                inner = [node.slice]
            else:
                yield from _parts(generic, scope)
                return
        case _:
            yield from _parts(_value(node, scope), scope)
            return
    for part in inner:
        yield from _parts_of_node(part, scope)


def _value(node: ast.expr, scope: _Scope) -> object:
    match node:
        case ast.Name():
            return scope.name(node.id)
        case ast.Attribute():
            return scope.attribute(_value(node.value, scope), node.attr)
        case _:
            raise _NothingSaid


_NOTHING: Final[tuple[object, ...]] = (Any, object)


def _says_nothing(cls: type) -> bool:
    return any(cls is one for one in _NOTHING) or is_protocol(cls)


def is_protocol(cls: type) -> bool:
    """Say whether this is a protocol itself, not a class that derives from one."""
    return bool(vars(cls).get("_is_protocol"))
