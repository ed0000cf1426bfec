"""``session-not-passed`` for ``super().method()``: mypy runs no hook for these calls, so they are found in the tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mypy.nodes import ARG_NAMED_OPT, ARG_STAR2, CallExpr, ClassDef, Decorator, FuncDef, SuperExpr

from session_aware.mypy_plugin import _codes
from session_aware.mypy_plugin._annotations import Lookup, with_type_parameters
from session_aware.mypy_plugin._calls import aware_symbol, message
from session_aware.mypy_plugin._definitions import is_plainly_decorated
from session_aware.mypy_plugin._parameter import NAME, parameter
from session_aware.mypy_plugin._scope import parameter_in_scope
from session_aware.mypy_plugin._tree import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy.nodes import SymbolNode, TypeInfo

    from session_aware.mypy_plugin._annotations import SessionType
    from session_aware.mypy_plugin._codes import Fail

__all__ = ["LookupOf", "check_super_calls"]

LookupOf = Callable[[str], Lookup]
"""Gives the lookup of a module by the module's name."""


def check_super_calls(method: FuncDef, info: TypeInfo, fail: Fail, lookup: Lookup, lookup_of: LookupOf) -> None:
    """Report ``super().method()`` without the session that this method was given.

    Raises:
        NotReadyError: mypy has not bound a name of an annotation yet.
    """
    for call, name in _super_calls(method):
        wanted = _wanted(info, name, lookup_of)
        found = None if wanted is None else parameter_in_scope(method, wanted, with_type_parameters(method, lookup))
        if found is not None:
            fail(message(f"super().{name}", found), call, code=_codes.NOT_PASSED)


def _super_calls(method: FuncDef) -> Iterator[tuple[CallExpr, str]]:
    for node in walk(method.body, enters=lambda node: not isinstance(node, ClassDef)):
        if isinstance(node, CallExpr) and isinstance(node.callee, SuperExpr) and not node.callee.call.args:
            passes = NAME in node.arg_names or ARG_STAR2 in node.arg_kinds
            if not passes:
                yield node, node.callee.name


def _wanted(info: TypeInfo, name: str, lookup_of: LookupOf) -> SessionType | None:
    for base in info.mro[1:]:
        if name in base.names:
            node = base.names[name].node
            return aware_symbol(node) or _wanted_unanalysed(node, lookup_of(base.module_name))
    return None


def _wanted_unanalysed(node: SymbolNode | None, lookup: Lookup) -> SessionType | None:
    """Read a method that mypy has not analysed yet, since it analyses the classes of a module before their methods."""
    if isinstance(node, Decorator):
        node = node.func if is_plainly_decorated(node) else None
    found = parameter(node) if isinstance(node, FuncDef) else None
    if found is None or found.argument.kind is not ARG_NAMED_OPT:
        return None
    session = found.session_type(lookup)
    return None if session is None or session.is_optional else session
