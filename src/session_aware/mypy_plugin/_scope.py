"""The sessions that a call could pass on, innermost first, each with the policy by which it was opened, if that shows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from mypy.nodes import (
    ARG_POS,
    AwaitExpr,
    CallExpr,
    FuncDef,
    FuncItem,
    MemberExpr,
    NameExpr,
    RefExpr,
    TypeInfo,
    Var,
    WithStmt,
)
from mypy.types import CallableType

from session_aware.mypy_plugin import _policy
from session_aware.mypy_plugin._annotations import session_type, unknown
from session_aware.mypy_plugin._layout import is_before
from session_aware.mypy_plugin._names import CONSTRUCTION, is_service, written
from session_aware.mypy_plugin._parameter import NAME, parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy.checker import TypeChecker
    from mypy.nodes import Expression, Node

    from session_aware.mypy_plugin._annotations import SessionType
    from session_aware.mypy_plugin._layout import Layout
    from session_aware.mypy_plugin._policy import Policy

__all__ = ["Candidate", "sessions_in_scope"]

_OPENING: Final = CONSTRUCTION | {"__aenter__", "__enter__"}
_BLOCK: Final = "session_aware._call.block.auto_session_ctx"
# The pytest plugin's: what a test calls opens its own session, as in production, on the connection of the test.
_FIXTURES: Final = frozenset({"session_aware_session", "session_aware_async_session"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A session in scope.

    Attributes:
        name: What to write for it.
        type: What its type says.
        policy: The policy that it was opened by; None where that is not known.
        is_by_hand: Whether the code around the call opened it, without the library.
        factory: The full name of the factory that it was opened by then; empty if it has none.
    """

    name: str
    type: SessionType
    policy: Policy | None = None
    is_by_hand: bool = False
    factory: str = ""


def sessions_in_scope(api: TypeChecker, layout: Layout, way: list[Node]) -> Iterator[Candidate]:
    """Yield the sessions that are open where a call stands.

    Args:
        api: The checker of the module.
        layout: The layout of the module.
        way: The nodes from the call to its function or module, ``Layout.way_out``.
    """
    yield from _of_blocks(api, layout, way)
    yield from _of_assignments(api, layout, way)
    if layout.is_of_failure(way):
        return
    function = way[-1]
    if isinstance(function, FuncItem):
        yield from _of_parameters(layout, way, function)
    if isinstance(function, FuncDef):
        yield from _of_attributes(layout, way, function)


def _of_blocks(api: TypeChecker, layout: Layout, way: list[Node]) -> Iterator[Candidate]:
    for inside, node in pairwise(way):
        if not isinstance(node, WithStmt) or inside is not node.body:
            continue
        for target, value in reversed(list(zip(node.target, node.expr, strict=True))):
            if isinstance(target, NameExpr) and isinstance(target.node, Var):
                again = (each for each in layout.bindings.get(target.node, ()) if each is not node)
                inner = way[: way.index(node)]
                if not layout.is_of_failure(inner) and not any(node.body in layout.around(each) for each in again):
                    yield from _opened(api, layout, way, target, value)


def _of_assignments(api: TypeChecker, layout: Layout, way: list[Node]) -> Iterator[Candidate]:
    for node in reversed(layout.opened.get(way[-1], ())):
        target = node.lvalues[0]
        block = layout.parents[node]
        is_run = block in way and node not in way and is_before(node, way[0])
        if not is_run or not isinstance(target, NameExpr) or not isinstance(target.node, Var):
            continue
        inner = way[: way.index(block) + 1]
        if len(layout.bindings.get(target.node, ())) == 1 and not layout.is_of_failure(inner):
            yield from _opened(api, layout, way, target, node.rvalue)


def _opened(api: TypeChecker, layout: Layout, way: list[Node], target: NameExpr, value: Expression) -> Iterator[Candidate]:
    if not isinstance(target.node, Var) or target.node.type is None or layout.is_over(target.node, way):
        return
    found = session_type(target.node.type, unknown)
    if found is None:
        return
    if isinstance(value, AwaitExpr):
        value = value.expr
    called = value.callee if isinstance(value, CallExpr) else None
    if isinstance(value, CallExpr) and isinstance(called, RefExpr) and called.fullname == _BLOCK:
        is_given = NAME in value.arg_names or ARG_POS in value.arg_kinds
        if "is_commit" not in value.arg_names:
            policy = None if is_given else _policy.of_options(value, where=f"{_BLOCK}:{value.line}:{value.column}")
            yield Candidate(written(target.name), found, policy)
        return
    is_begun = isinstance(called, MemberExpr) and called.name == "begin" and not called.fullname
    if is_begun or not (called is not None and _is_session(api, value) and layout.is_never_committed(target.node, way[0])):
        factory = called.expr if isinstance(called, MemberExpr) and is_begun else called
        is_plain = isinstance(value, CallExpr) and not value.args
        name = ""
        if is_plain and isinstance(factory, RefExpr) and not isinstance(factory.node, TypeInfo):
            name = _policy.factory_name(factory)
        yield Candidate(written(target.name), found, is_by_hand=True, factory=name)


def _is_session(api: TypeChecker, value: Expression) -> bool:
    """Say whether a call only makes a session, so that the code around it commits. A context manager may do that itself."""
    return api.has_type(value) and session_type(api.lookup_type(value), unknown) is not None


def _of_parameters(layout: Layout, way: list[Node], function: FuncItem) -> Iterator[Candidate]:
    typ = function.type
    for index, argument in enumerate(function.arguments):
        annotation = typ.arg_types[index] if isinstance(typ, CallableType) else argument.variable.type
        if annotation is None or argument.kind.is_star() or argument.variable.name in _FIXTURES:
            continue
        found = session_type(annotation, unknown)
        if found is None or argument.variable in layout.bindings or layout.is_over(argument.variable, way):
            continue
        policy = _policy_of(layout, function) if argument.variable.name == NAME else None
        yield Candidate(argument.variable.name, found, policy)


def _policy_of(layout: Layout, function: FuncItem) -> Policy | None:
    """Return the policy of a session-aware function; None for any other one."""
    if not isinstance(function, FuncDef):
        return None
    decorated = layout.decorators.get(function)
    own = None if decorated is None else _policy.of_decorators(decorated)
    found = parameter(function)
    is_method = function.info and is_service(function.info) and function.name not in CONSTRUCTION
    if is_method and found is not None and found.is_keyword_only:
        return {**_policy.of_class(function.info), **(own or {})}
    return own


def _of_attributes(layout: Layout, way: list[Node], function: FuncDef) -> Iterator[Candidate]:
    """Yield the one session that the object of a method has; none if there are several to choose from."""
    is_plain = function.info and not function.is_static and not function.is_class and function.arguments
    if not is_plain or function.name in _OPENING:  # where the attribute may not be there yet
        return
    found = {}
    for base in reversed(function.info.mro):
        for name, symbol in base.names.items():
            if isinstance(symbol.node, Var) and symbol.node.type is not None and not symbol.node.is_property:
                session = session_type(symbol.node.type, unknown)
                if session is not None:
                    found[name] = session
    if len(found) == 1:
        [(name, session)] = found.items()
        if not layout.is_over(name, way):
            yield Candidate(f"{function.arguments[0].variable.name}.{name}", session)
