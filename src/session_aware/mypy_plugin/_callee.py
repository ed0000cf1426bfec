"""What is called: the method or function behind a name, an alias, ``super()``, a partial or a callback."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mypy.nodes import (
    ARG_STAR2,
    AssignmentStmt,
    CallExpr,
    Decorator,
    Expression,
    FuncDef,
    MemberExpr,
    NameExpr,
    OverloadedFuncDef,
    RefExpr,
    SuperExpr,
    TypeInfo,
    Var,
)
from mypy.types import CallableType, FunctionLike, Instance, Overloaded, TypeType, TypeVarType, UnionType, get_proper_type

from session_aware.mypy_plugin import _policy
from session_aware.mypy_plugin._names import CONSTRUCTION, is_service, written
from session_aware.mypy_plugin._parameter import NAME, aware_session

if TYPE_CHECKING:
    from mypy.checker import TypeChecker
    from mypy.nodes import SymbolNode
    from mypy.types import Type

    from session_aware.mypy_plugin._annotations import SessionType
    from session_aware.mypy_plugin._layout import Layout
    from session_aware.mypy_plugin._policy import Policy

__all__ = ["Callee", "Resolver", "is_passed", "may_be_aware"]

_PARTIALMETHOD: Final = "functools.partialmethod"


@dataclass(frozen=True, slots=True)
class Callee:
    """A session-aware function or method.

    Attributes:
        name: How to call it in a message.
        session: The session that its calls may leave out.
        policy: What its decorator and class say.
        result: What it returns.
        is_of_self: Whether it is a method of the caller's own object.
    """

    name: str
    session: SessionType
    policy: Policy
    result: Type
    is_of_self: bool = False


def is_passed(call: CallExpr) -> bool:
    """Say whether a call passes a session, or may do so by ``**options``."""
    return NAME in call.arg_names or ARG_STAR2 in call.arg_kinds


def may_be_aware(node: SymbolNode | None) -> bool:
    """Say whether a call of a function, method or variable has to be looked at."""
    typ = get_proper_type(_type_of(node))
    if isinstance(typ, Instance):
        return typ.type.fullname == _PARTIALMETHOD
    return aware_session(typ, allows_none=True) is not None


def _type_of(node: SymbolNode | None) -> Type | None:
    if isinstance(node, FuncDef | OverloadedFuncDef | Var):
        return node.type
    return node.var.type if isinstance(node, Decorator) else None


@dataclass(frozen=True, slots=True)
class Resolver:
    """Finds what is called in one module.

    Attributes:
        api: The checker of the module, which knows the types of what it has checked.
        layout: The layout of the module.
    """

    api: TypeChecker
    layout: Layout

    def callee(self, expression: Expression) -> Callee | None:
        """Return what an expression calls, or None if it is not session-aware, or if that is unclear."""
        match expression:
            case SuperExpr():
                return self._inherited(expression)
            case CallExpr(callee=RefExpr(fullname="functools.partial")) if expression.args and not is_passed(expression):
                return self.callee(expression.args[0])
            case MemberExpr() if not expression.fullname:
                return self._member(expression)
            case MemberExpr() | NameExpr():
                return self._named(expression.node, written(expression.name))
            case _:
                return None

    def _inherited(self, called: SuperExpr) -> Callee | None:
        if called.call.args or called.info is None:
            return None
        base = next((base for base in called.info.mro[1:] if called.name in base.names), None)
        symbol = None if base is None else base.names[called.name]
        found = None if symbol is None else _of_symbol(symbol.node, f"super().{called.name}", called.info)
        return None if found is None else replace(found, is_of_self=True)

    def _member(self, called: MemberExpr) -> Callee | None:
        """Return the method that is called on an object, a class or a type variable; of a union if all agree."""
        found = [self._method(called, info) for info in self._receivers(called.expr)]
        first = found[0] if found else None
        if first is None or any(one is None or (one.policy, one.session) != (first.policy, first.session) for one in found):
            return None
        is_own = isinstance(called.expr, NameExpr) and isinstance(called.expr.node, Var) and _is_self(called.expr.node)
        return replace(first, is_of_self=is_own)

    def _method(self, called: MemberExpr, info: TypeInfo | None) -> Callee | None:
        symbol = None if info is None else info.get(called.name)
        if info is None or symbol is None:
            return None
        name = f"{written(info.name)}.{called.name}"
        if (target := _policy.of_partialmethod(info, called.name)) is not None:
            symbol = info.get(target)
            return None if symbol is None else _of_symbol(symbol.node, name, info)
        if isinstance(symbol.node, Var):
            return self._named(symbol.node, name)
        return _of_symbol(symbol.node, name, info)

    def _receivers(self, expression: Expression) -> list[TypeInfo | None]:
        if self.api.has_type(expression):
            typ = get_proper_type(self.api.lookup_type(expression))
        elif isinstance(expression, NameExpr):  # in an argument, which mypy has not checked yet
            typ = get_proper_type(self.api.get_expression_type(expression))
        else:  # to check more than a name could report its errors twice
            return []
        return [_class_of(item) for item in (typ.items if isinstance(typ, UnionType) else [typ])]

    def _named(self, node: SymbolNode | None, name: str) -> Callee | None:
        """Return what a function or variable calls; an alias is followed where it was assigned."""
        if not isinstance(node, Var) or _policy.is_marked(node):
            return _of_symbol(node, name, None)
        bindings = self.layout.bindings.get(node, ())
        if bindings:
            only = bindings[0]
            if len(bindings) > 1 or not isinstance(only, AssignmentStmt) or len(only.lvalues) > 1:
                return None
            found = self.callee(only.rvalue) if isinstance(only.rvalue, RefExpr | CallExpr) else None
            if found is not None:
                return replace(found, name=name)
        typ = get_proper_type(node.type)
        if isinstance(typ, Instance):
            symbol = typ.type.get("__call__")
            return None if symbol is None else _of_symbol(symbol.node, name, None)
        # What another module's alias stands for is not in the cache.
        return None if node.is_inferred else _of_symbol(node, name, None)


def _is_self(node: Var) -> bool:
    return node.is_self or node.is_cls


def _class_of(receiver: Type) -> TypeInfo | None:
    """Return the class whose method is called on a value."""
    typ = get_proper_type(receiver)
    if isinstance(typ, TypeType):
        typ = get_proper_type(typ.item)
    if isinstance(typ, FunctionLike) and typ.is_type_obj():
        return typ.type_object()
    if isinstance(typ, TypeVarType):
        typ = get_proper_type(typ.upper_bound)
    return typ.type if isinstance(typ, Instance) else None


def _of_symbol(node: SymbolNode | None, name: str, receiver: TypeInfo | None) -> Callee | None:
    is_method = isinstance(node, FuncDef | OverloadedFuncDef | Decorator) and bool(node.info) and is_service(node.info)
    is_known = (is_method and name.rpartition(".")[2] not in CONSTRUCTION) or _policy.is_marked(node)
    typ = get_proper_type(_type_of(node))
    session = aware_session(typ, allows_none=is_known)
    if session is None or not isinstance(typ, FunctionLike):
        return None
    policy = _policy.of_class(receiver) if receiver is not None and is_method else {}
    result = typ.items[0].ret_type if isinstance(typ, Overloaded) else typ.ret_type if isinstance(typ, CallableType) else typ
    return Callee(name, session, {**policy, **(_policy.of_function(node) or {})}, result)
