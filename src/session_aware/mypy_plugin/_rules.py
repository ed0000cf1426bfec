"""Which rule applies to a full name. Each function asks the tree, and returns None if no rule applies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mypy.nodes import TypeAlias, TypeInfo
from mypy.types import Instance, get_proper_type

from session_aware.mypy_plugin._calls import aware_symbol, check_call, check_local_call
from session_aware.mypy_plugin._decorated import visit_decorated
from session_aware.mypy_plugin._services import is_rewritten_class, is_service, restore_class, visit_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy.nodes import SymbolNode, SymbolTableNode
    from mypy.plugin import ClassDefContext, FunctionContext, MethodContext
    from mypy.types import FunctionLike, Type

    from session_aware.mypy_plugin._calls import Call

__all__ = ["Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for the trees of one run.

    Attributes:
        lookup: Finds the symbol of a full name, ``Plugin.lookup_fully_qualified``.
    """

    lookup: Callable[[str], SymbolTableNode | None]

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
        return visit_decorated(ctx)

    def of_function(self, fullname: str) -> Callable[[Call], FunctionLike] | None:
        """Return the rule for the calls of a function, or of a local name, whose full name has no module."""
        return _of_calls(self._node(fullname), fullname) if "." in fullname else check_local_call

    def of_method(self, fullname: str) -> Callable[[Call], FunctionLike] | None:
        """Return the rule for the calls of a method of a class."""
        owner, _, name = fullname.rpartition(".")
        info = self._node(owner)
        symbol = info.get(name) if isinstance(info, TypeInfo) else None
        return None if symbol is None else _of_calls(symbol.node, fullname)

    def _node(self, fullname: str) -> SymbolNode | None:
        symbol = self.lookup(fullname)
        return None if symbol is None else symbol.node


def _of_calls(node: SymbolNode | None, fullname: str) -> Callable[[Call], FunctionLike] | None:
    wanted = aware_symbol(node)
    return None if wanted is None else partial(check_call, callee=".".join(fullname.split(".")[-2:]), wanted=wanted)
