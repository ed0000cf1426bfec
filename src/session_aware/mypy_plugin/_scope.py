"""The sessions that a call could pass on: parameters of the enclosing functions, and targets of ``with ... as`` blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy.nodes import FuncItem, MypyFile, NameExpr, TypeInfo, Var, WithStmt
from mypy.types import CallableType

from session_aware.mypy_plugin._annotations import session_type, unknown
from session_aware.mypy_plugin._tree import children

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy.nodes import Context, Node

    from session_aware.mypy_plugin._annotations import Lookup, SessionType

__all__ = ["parameter_in_scope", "session_in_scope"]


def session_in_scope(stack: Sequence[TypeInfo | FuncItem | MypyFile], call: Context, wanted: SessionType) -> str | None:
    """Return the name of the innermost session that could be passed to a call.

    Args:
        stack: The module and the classes and functions around the call, as ``TypeChecker.scope`` has them.
        call: The call.
        wanted: The type of session that the call takes.
    """
    holders = [item for item in reversed(stack) if not isinstance(item, TypeInfo)]
    if (found := _in_with_block(holders[0], call, wanted)) is not None:
        return found
    functions = (item for item in holders if isinstance(item, FuncItem))
    return next((name for func in functions if (name := parameter_in_scope(func, wanted, unknown)) is not None), None)


def parameter_in_scope(func: FuncItem, wanted: SessionType, lookup: Lookup) -> str | None:
    """Return the name of a function's parameter that could be passed on."""
    if not isinstance(func.type, CallableType):
        return None
    for argument, annotation in zip(func.arguments, func.type.arg_types, strict=False):
        if argument.kind.is_star():
            continue
        found = session_type(annotation, lookup)
        if found is not None and wanted.accepts(found):
            return argument.variable.name
    return None


def _in_with_block(holder: FuncItem | MypyFile, call: Context, wanted: SessionType) -> str | None:
    """Look from a function or module down to the call, but not into nested functions, which may run after the block."""
    way = _way(holder, call)
    for node in way:
        if not isinstance(node, WithStmt) or node.body not in way:
            continue
        for target in node.target:
            if isinstance(target, NameExpr) and isinstance(target.node, Var) and target.node.type is not None:
                found = session_type(target.node.type, unknown)
                if found is not None and wanted.accepts(found):
                    return target.name
    return None


def _way(holder: Node, call: Context) -> list[Node]:
    """Return the nodes that contain the call, innermost first; none if it is not there."""
    for child in children(holder):
        if child is call:
            return [holder]
        if way := _way(child, call):
            return [*way, holder]
    return []
