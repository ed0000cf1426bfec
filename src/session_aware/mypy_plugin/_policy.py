"""What a class statement or decorator says about transactions, kept in the symbols' metadata so that mypy's cache has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from mypy.nodes import (
    ARG_STAR2,
    AssignmentStmt,
    CallExpr,
    Decorator,
    Expression,
    MemberExpr,
    NameExpr,
    OverloadedFuncDef,
    RefExpr,
    StrExpr,
    TempNode,
    TypeInfo,
    Var,
)
from mypy.types import Instance, get_proper_type

from session_aware.mypy_plugin._names import is_marking
from session_aware.mypy_plugin._parameter import NAME
from session_aware.mypy_plugin._tree import walk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy.nodes import ClassDef, SymbolNode

__all__ = [
    "ALL_UNCLEAR",
    "UNCLEAR",
    "Policy",
    "factory_name",
    "is_marked",
    "keep",
    "keep_for_class",
    "may_join",
    "of_class",
    "of_decorators",
    "of_function",
    "of_options",
    "of_partialmethod",
]

Policy = Mapping[str, str]
"""What is said, by keyword; a factory by its full name."""

UNCLEAR: Final = "?"
"""Something is said, but the tree does not show what."""

_KEY: Final = "session_aware"
_PARTIALMETHODS: Final = "session_aware.partialmethods"
_FACTORIES: Final = ("session_factory", "async_session_factory", "read_session_factory", "async_read_session_factory")
_KEYWORDS: Final = ("propagation", "read_only", "isolation_level", *_FACTORIES)
ALL_UNCLEAR: Final[Policy] = dict.fromkeys(_KEYWORDS, UNCLEAR)
_CONSTANTS: Final = {"builtins.True": "True", "builtins.False": "False"}


def may_join(caller: Policy | None, callee: Policy, *, is_async: bool, is_same: bool) -> bool:
    """Say whether a call may be given the session, as far as the policies tell.

    Args:
        caller: The policy that the session was opened by; None where it is not known.
        callee: The policy of what is called.
        is_async: Whether the session is an ``AsyncSession``.
        is_same: Whether both are methods of one object, whose factory is the same, whatever it is.
    """
    if callee.get("propagation") in {"REQUIRES_NEW", UNCLEAR}:
        return False
    level = callee.get("isolation_level")
    if level is not None and (level == UNCLEAR or caller is None or caller.get("isolation_level") != level):
        return False
    if caller is None:
        return True
    if caller.get("read_only", "False") != "False" and callee.get("read_only") != "True":
        return False
    theirs, ours = (_factory(policy, is_async=is_async) for policy in (callee, caller))
    return theirs == ours and (is_same or theirs != UNCLEAR)


def _factory(policy: Policy, *, is_async: bool) -> str | None:
    kind = "async_" if is_async else ""
    found = policy.get(f"{kind}read_session_factory") if policy.get("read_only") == "True" else None
    return found or policy.get(f"{kind}session_factory")


def _stated(keywords: Iterable[tuple[str | None, Expression]], *, where: str) -> dict[str, str]:
    """Return what keywords say.

    Args:
        keywords: Their names and values; the name None is ``**options``, which may say anything.
        where: The full name of the class or function, for a factory that has no name of its own.
    """
    said: dict[str, str] = {}
    for name, value in keywords:
        if name is None:
            said |= ALL_UNCLEAR
        elif name in _FACTORIES:
            said |= _unless_none(name, value, factory_name(value) or f"{where}.{name}")
        elif name == "propagation":
            said |= _unless_none(name, value, _propagation(value))
        elif name in _KEYWORDS:
            said |= _unless_none(name, value, _constant(value))
    return said


def _unless_none(name: str, value: Expression, said: str) -> dict[str, str]:
    return {} if isinstance(value, NameExpr) and value.fullname == "builtins.None" else {name: said}


def _propagation(value: Expression) -> str:
    """Return the name of a member of ``Propagation``."""
    owner = value.expr.fullname if isinstance(value, MemberExpr) and isinstance(value.expr, RefExpr) else ""
    is_member = owner.startswith("session_aware.") and owner.endswith(".Propagation")
    return value.name if is_member and isinstance(value, MemberExpr) else UNCLEAR


def _constant(value: Expression) -> str:
    if isinstance(value, StrExpr):
        return value.value
    return _CONSTANTS.get(value.fullname, UNCLEAR) if isinstance(value, NameExpr) else UNCLEAR


def factory_name(value: Expression) -> str:
    """Return the full name of a factory; empty if it has none that means the same everywhere."""
    if isinstance(value, CallExpr) and isinstance(value.callee, RefExpr) and len(value.args) == 1:
        is_static = value.callee.fullname == "builtins.staticmethod"
        return factory_name(value.args[0]) if is_static else ""
    return value.fullname if isinstance(value, RefExpr) and "." in (value.fullname or "") else ""


def keep_for_class(defn: ClassDef) -> None:
    """Write what a class statement and its body say onto the class, when mypy analyses it."""
    said = {name: UNCLEAR for name in _FACTORIES if name in defn.info.names}  # a method, a property, a field of each object
    partialmethods: dict[str, str] = {}
    for node in walk(defn.defs):
        if not isinstance(node, AssignmentStmt):
            continue
        for target in node.lvalues:
            if isinstance(target, MemberExpr) and target.name in _FACTORIES:  # of the object, or of another one
                said[target.name] = UNCLEAR
            elif isinstance(target, NameExpr) and target.node is _symbol(defn, target.name):
                _note_assignment(defn, target.name, node, said, partialmethods)
    said |= _stated(defn.keywords.items(), where=defn.fullname)
    defn.info.metadata[_KEY] = said
    defn.info.metadata[_PARTIALMETHODS] = partialmethods


def _note_assignment(
    defn: ClassDef, name: str, node: AssignmentStmt, said: dict[str, str], partialmethods: dict[str, str]
) -> None:
    if method := _of_partialmethod(node.rvalue):
        partialmethods[name] = method
    if name in _FACTORIES and not isinstance(node.rvalue, TempNode):  # which stands for a field without a value
        said |= _stated([(name, node.rvalue)], where=defn.fullname)


def _of_partialmethod(value: Expression) -> str:
    """Return the name of the method that ``partialmethod(method, ...)`` calls without a session; empty for anything else."""
    if not isinstance(value, CallExpr) or not isinstance(value.callee, RefExpr) or not value.args:
        return ""
    is_partial = value.callee.fullname == "functools.partialmethod" and NAME not in value.arg_names
    method = value.args[0]
    return method.name if is_partial and ARG_STAR2 not in value.arg_kinds and isinstance(method, NameExpr) else ""


def of_partialmethod(info: TypeInfo, name: str) -> str | None:
    """Return the name of the method that a ``partialmethod`` of a class calls without a session."""
    owner = info.get_containing_type_info(name)
    found = None if owner is None else owner.metadata.get(_PARTIALMETHODS, {}).get(name)
    return found if isinstance(found, str) else None


def _symbol(defn: ClassDef, name: str) -> SymbolNode | None:
    symbol = defn.info.names.get(name)
    return None if symbol is None else symbol.node


def of_class(info: TypeInfo) -> dict[str, str]:
    """Return the policy of a class: its own, and what it inherits."""
    said: dict[str, str] = {}
    for base in reversed(info.mro):
        kept = base.metadata.get(_KEY)
        if kept is not None:
            said |= kept
        elif not base.fullname.startswith("session_aware."):  # such as a mixin that is no service
            said |= {name: UNCLEAR for name in _FACTORIES if name in base.names}
    return said


def of_decorators(decorated: Decorator) -> dict[str, str] | None:
    """Return what ``@auto_session_func`` says in the tree; None if there is none."""
    for decorator in decorated.original_decorators:
        if is_marking(decorator):
            return of_options(decorator, where=decorated.fullname) if isinstance(decorator, CallExpr) else {}
        called = decorator.callee if isinstance(decorator, CallExpr) else decorator
        if isinstance(called, RefExpr) and isinstance(called.node, Var) and _may_be_of_library(called.node):
            return dict(ALL_UNCLEAR)
    return None


def _may_be_of_library(decorator: Var) -> bool:
    """Say whether a decorator in a variable may be one that ``auto_session_func`` made."""
    typ = get_proper_type(decorator.type)
    return typ is None or (isinstance(typ, Instance) and typ.type.fullname.startswith("session_aware."))


def of_options(call: CallExpr, *, where: str) -> dict[str, str]:
    """Return what the keywords of a call say."""
    every = zip(call.arg_kinds, call.arg_names, call.args, strict=True)
    keywords = [(name, value) for kind, name, value in every if kind.is_named() or kind is ARG_STAR2]
    return _stated(keywords, where=where)


def keep(var: Var, policy: Policy) -> None:
    """Write the policy of a decorated function onto its variable.

    mypy serializes two values of a variable that a plugin can set, its type and the value of a constant. A function is no
    constant, so mypy does not look at that one.
    """
    var.final_value = json.dumps({_KEY: dict(policy)})


def of_function(node: SymbolNode | None) -> Policy | None:
    """Return what ``keep`` wrote onto a function or method, or onto the implementation of an overloaded one."""
    if isinstance(node, OverloadedFuncDef):
        node = node.impl
    if isinstance(node, Decorator):
        found = of_decorators(node)  # empty when it was read from the cache
        if found is not None:
            return found
        node = node.var
    if not isinstance(node, Var) or node.is_final or not isinstance(node.final_value, str):
        return None
    return cast("Policy", json.loads(node.final_value)[_KEY])


def is_marked(node: SymbolNode | None) -> bool:
    """Say whether a function or method is decorated with ``auto_session_func``."""
    return of_function(node) is not None
