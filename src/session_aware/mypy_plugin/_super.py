"""``session-not-passed`` for ``super().method()``: mypy runs no hook for these calls, so they are found in the tree."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mypy.nodes import ARG_NAMED_OPT, ARG_STAR2, CallExpr, ClassDef, Decorator, FuncDef, MypyFile, SuperExpr, TypeInfo
from mypy.server.trigger import make_trigger

from session_aware.mypy_plugin import _codes
from session_aware.mypy_plugin._annotations import with_type_parameters
from session_aware.mypy_plugin._calls import aware_symbol, message
from session_aware.mypy_plugin._definitions import is_plainly_decorated
from session_aware.mypy_plugin._parameter import NAME, parameter
from session_aware.mypy_plugin._scope import parameter_in_scope
from session_aware.mypy_plugin._tree import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy.nodes import SymbolNode, SymbolTableNode
    from mypy.plugin import ClassDefContext

    from session_aware.mypy_plugin._annotations import Lookup, SessionType

__all__ = ["check_super_calls"]


def check_super_calls(ctx: ClassDefContext, method: FuncDef, calls: Iterable[CallExpr], lookup: Lookup) -> None:
    """Report ``super().method()`` without the session that this method was given.

    Args:
        ctx: The class statement.
        method: One of its methods.
        calls: The calls in its body, ``calls_in(method)``.
        lookup: Looks up names in the class body.

    Raises:
        NotReadyError: mypy has not bound a name of an annotation yet.
    """
    if not any(isinstance(call.callee, SuperExpr) for call in calls):
        return
    for call, name in _super_calls(method):
        wanted = _wanted(ctx, name)
        found = None if wanted is None else parameter_in_scope(method, wanted, with_type_parameters(method, lookup))
        if found is not None:
            ctx.api.fail(message(f"super().{name}", found), call, code=_codes.NOT_PASSED)


def _super_calls(method: FuncDef) -> Iterator[tuple[CallExpr, str]]:
    for node in walk(method.body, enters=lambda node: not isinstance(node, ClassDef)):
        if isinstance(node, CallExpr) and isinstance(node.callee, SuperExpr) and not node.callee.call.args:
            passes = NAME in node.arg_names or ARG_STAR2 in node.arg_kinds
            if not passes:
                yield node, node.callee.name


def _wanted(ctx: ClassDefContext, name: str) -> SessionType | None:
    for base in ctx.cls.info.mro[1:]:
        if name in base.names:
            ctx.api.add_plugin_dependency(make_trigger(f"{base.fullname}.{name}"))
            node = base.names[name].node
            return aware_symbol(node) or _wanted_unanalysed(node, partial(_lookup_in, ctx, base.module_name))
    return None


def _wanted_unanalysed(node: SymbolNode | None, lookup: Lookup) -> SessionType | None:
    """Read a method that mypy has not analysed yet, because it analyses the classes of a module before their methods."""
    if isinstance(node, Decorator):
        node = node.func if is_plainly_decorated(node) else None
    found = parameter(node) if isinstance(node, FuncDef) else None
    if found is None or found.argument.kind is not ARG_NAMED_OPT:
        return None
    session = found.session_type(lookup)
    return None if session is None or session.is_optional else session


def _lookup_in(ctx: ClassDefContext, module: str, name: str) -> SymbolTableNode | None:
    """Look up a name of an annotation in the module of a base, which may be in an import cycle with this one."""
    first, *attributes = name.split(".")
    symbol = ctx.api.lookup_fully_qualified_or_none(f"{module}.{first}")
    for attribute in attributes:
        node = None if symbol is None else symbol.node
        symbol = node.names.get(attribute) if isinstance(node, MypyFile | TypeInfo) else None
    return symbol
