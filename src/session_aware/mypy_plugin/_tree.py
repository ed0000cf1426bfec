"""Walk mypy's syntax trees.

``mypy.traverser.TraverserVisitor`` is compiled, and interpreted code cannot derive from it. So children are found by field
name. Only fields with syntax are named, because those with meaning (``node``, ``info``, ``definition``) form cycles.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, cast

from mypy.nodes import (
    AssignmentStmt,
    Block,
    CallExpr,
    Decorator,
    DictExpr,
    DictionaryComprehension,
    FuncDef,
    FuncItem,
    IfStmt,
    ListComprehension,
    ListExpr,
    MemberExpr,
    NameExpr,
    Node,
    OverloadedFuncDef,
    ReturnStmt,
    SetComprehension,
    SetExpr,
    StrExpr,
    TryStmt,
    TupleExpr,
    WithStmt,
    YieldExpr,
    YieldFromExpr,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

__all__ = ["calls_in", "children", "functions_of", "is_generator", "returns_what_is_complete", "walk"]

_FIELDS: Final = (
    *(
        "args",
        "arguments",
        "base",
        "base_type_exprs",
        "begin_index",
        "bodies",
        "body",
        "call",
        "callee",
        "cond",
        "condlists",
    ),
    *("decorators", "defs", "else_body", "else_expr", "end_index", "expr", "finally_body", "from_expr", "func", "generator"),
    *("guards", "handlers", "if_expr", "impl", "index", "indices", "initializer", "items", "key", "keywords", "left"),
    *("left_expr", "lvalue", "lvalues", "msg", "operands", "patterns", "right", "rvalue", "sequences", "stride", "subject"),
    *("target", "types", "value", "vars"),
)

_ITERATORS: Final = frozenset({"enumerate", "filter", "iter", "map", "reversed", "zip"})
_COLLECTIONS: Final = frozenset({"dict", "frozenset", "list", "set", "sorted", "tuple"})


@cache  # a pure function of mypy's own classes, so the cache is not state
def _fields(kind: Hashable) -> tuple[str, ...]:
    return tuple(name for name in _FIELDS if hasattr(kind, name))


def children(node: Node) -> list[Node]:
    """Return the nodes directly inside a node. Code that mypy considers unreachable has none."""
    found: list[Node] = []
    if isinstance(node, Block) and node.is_unreachable:
        return found
    for field in _fields(cast("Hashable", type(node))):
        value = getattr(node, field, None)
        if isinstance(value, Node):
            found.append(value)
        elif value:
            _collect(value, found)
    return found


def _collect(value: object, found: list[Node]) -> None:
    if isinstance(value, Node):
        found.append(value)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, found)
    elif isinstance(value, dict):
        _collect(list(value.values()), found)


def walk(node: Node, *, enters: Callable[[Node], bool] | None = None) -> Iterator[Node]:
    """Yield a node and the nodes inside it, at any depth, except those that ``enters`` refuses and what is inside them."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        inside = children(current)
        waiting += inside if enters is None else filter(enters, inside)


def calls_in(func: FuncDef) -> list[CallExpr]:
    """Return the calls in the body of a function, including those in nested functions and classes."""
    return [node for node in walk(func.body) if isinstance(node, CallExpr)]


def is_generator(func: FuncDef) -> bool:
    """Say whether a function's own body yields. mypy's ``is_generator`` is not set yet when a class hook runs."""
    own = walk(func.body, enters=lambda node: not isinstance(node, FuncDef))
    return any(isinstance(node, YieldExpr | YieldFromExpr) for node in own)


def returns_what_is_complete(func: FuncDef) -> bool:
    """Say whether every ``return`` of a function gives an iterator over something that is already in memory.

    mypy has not bound the names yet when a class hook runs, so builtins are known by what they are called.
    """
    own = list(walk(func.body, enters=lambda node: not isinstance(node, FuncItem)))
    assigned: dict[str, list[Node]] = {}
    for node in own:
        if isinstance(node, AssignmentStmt):
            for target in node.lvalues:
                if isinstance(target, NameExpr):
                    assigned.setdefault(target.name, []).append(node.rvalue)
    returned = [node.expr for node in own if isinstance(node, ReturnStmt) and node.expr is not None]
    return bool(returned) and all(_iterates_over_complete(value, assigned) for value in returned)


def _iterates_over_complete(value: Node, assigned: Mapping[str, list[Node]]) -> bool:
    if not isinstance(value, CallExpr) or not isinstance(value.callee, NameExpr):
        return False
    sources = value.args[1:] if value.callee.name in {"filter", "map"} else value.args
    return value.callee.name in _ITERATORS and bool(sources) and all(_is_complete(source, assigned) for source in sources)


def _is_complete(value: Node, assigned: Mapping[str, list[Node]]) -> bool:
    match value:
        case ListExpr() | TupleExpr() | SetExpr() | DictExpr() | ListComprehension() | SetComprehension():
            return True
        case DictionaryComprehension() | StrExpr() | CallExpr(callee=MemberExpr(name="all" | "fetchall")):
            return True
        case CallExpr(callee=NameExpr(name=name)):
            return name in _COLLECTIONS
        case NameExpr(name=name):
            return name in assigned and all(_is_complete(each, {}) for each in assigned[name])
        case _:
            return False


def functions_of(body: Block) -> Iterator[tuple[FuncDef, Decorator | None]]:
    """Yield the functions of a class body, each with its decorators, including those under ``if``, ``try`` and ``with``."""
    waiting: list[Node] = list(body.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, FuncDef):
            yield node, None
        elif isinstance(node, Decorator):
            yield node.func, node
        elif isinstance(node, OverloadedFuncDef):  # the analysis removes the implementation from 'items'
            waiting[:0] = node.unanalyzed_items
        elif isinstance(node, Block | IfStmt | TryStmt | WithStmt):
            waiting[:0] = children(node)
