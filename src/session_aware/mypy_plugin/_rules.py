"""Which rule applies to a full name. Each function asks the tree, and returns None if no rule applies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy.nodes import MypyFile, TypeAlias, TypeInfo
from mypy.types import Instance, get_proper_type

from session_aware.mypy_plugin._callee import may_be_aware
from session_aware.mypy_plugin._calls import check_call
from session_aware.mypy_plugin._decorated import visit_decorated
from session_aware.mypy_plugin._layout import Layout
from session_aware.mypy_plugin._names import MAPPING, is_service
from session_aware.mypy_plugin._services import is_rewritten_class, restore_class, visit_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy.checker import TypeChecker
    from mypy.nodes import Node, SymbolNode, SymbolTableNode
    from mypy.plugin import ClassDefContext, FunctionContext, FunctionSigContext, MethodContext, MethodSigContext
    from mypy.types import FunctionLike, Type

__all__ = ["Rules"]

_ALWAYS: Final = MAPPING | {"functools.partial.__call__"}


class Rules:
    """The rules for the trees of one run.

    The layout of the module that is checked is kept until mypy goes on to another one. It holds nodes and no types, so it
    is right as long as the module has these nodes.
    """

    def __init__(self, lookup: Callable[[str], SymbolTableNode | None]) -> None:
        """Take ``Plugin.lookup_fully_qualified``, which finds the symbol of a full name."""
        self._lookup = lookup
        self._layout = Layout()

    def of_analysed_class(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        """Return the rule for a class, which runs as soon as its bases are known."""
        node = self._node(fullname)
        return restore_class if isinstance(node, TypeInfo) and is_rewritten_class(node) else None

    def of_base(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        """Return the rule for the classes that derive from this one."""
        node = self._node(fullname)
        if isinstance(node, TypeAlias):
            target = get_proper_type(node.target)
            node = target.type if isinstance(target, Instance) else None
        return visit_service if isinstance(node, TypeInfo) and is_service(node) else None

    def of_decorator(self, ctx: FunctionContext | MethodContext) -> Type:
        """Apply the rule for a function under the decorator."""
        return visit_decorated(ctx, self._layout_of)

    def of_function(self, fullname: str) -> Callable[[FunctionSigContext | MethodSigContext], FunctionLike] | None:
        """Return the rule for the calls of a function, or of a local name, whose full name has no module."""
        is_open = "." not in fullname or fullname in MAPPING
        return self._check if is_open or may_be_aware(self._node(fullname)) else None

    def of_method(self, fullname: str) -> Callable[[FunctionSigContext | MethodSigContext], FunctionLike] | None:
        """Return the rule for the calls of a method of a class."""
        if fullname in _ALWAYS:
            return self._check
        owner, _, name = fullname.rpartition(".")
        info = self._node(owner)
        symbol = info.get(name) if isinstance(info, TypeInfo) else None
        return None if symbol is None or not may_be_aware(symbol.node) else self._check

    def of_nameless_call(self, ctx: FunctionContext | MethodContext) -> Type:
        """Apply the rule for ``super().method()`` and for calls of a type variable's methods."""
        check_call(ctx.context, ctx.api, self._layout_of)
        return ctx.default_return_type

    def _check(self, ctx: FunctionSigContext | MethodSigContext) -> FunctionLike:
        check_call(ctx.context, ctx.api, self._layout_of)
        return ctx.default_signature

    def _layout_of(self, api: TypeChecker, node: Node) -> Layout:
        if node not in self._layout.parents:
            tree = api.scope.stack[0]
            self._layout = Layout.of(tree) if isinstance(tree, MypyFile) else Layout()
            self._layout.parents.setdefault(node, tree)  # one that mypy made itself is looked for once
        return self._layout

    def _node(self, fullname: str) -> SymbolNode | None:
        symbol = self._lookup(fullname)
        return None if symbol is None else symbol.node
