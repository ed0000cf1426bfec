"""Where the nodes of a module stand: found once for a module, so that the time for its calls is linear."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from mypy.nodes import (
    AssignmentExpr,
    AssignmentStmt,
    AwaitExpr,
    CallExpr,
    ClassDef,
    Decorator,
    DelStmt,
    DictionaryComprehension,
    ForStmt,
    FuncDef,
    FuncItem,
    GeneratorExpr,
    IntExpr,
    ListComprehension,
    ListExpr,
    MemberExpr,
    MypyFile,
    NameExpr,
    Node,
    OperatorAssignmentStmt,
    RaiseStmt,
    RefExpr,
    SetComprehension,
    StarExpr,
    StrExpr,
    TryStmt,
    TupleExpr,
    WhileStmt,
    WithStmt,
    YieldFromExpr,
)
from mypy.patterns import AsPattern

from session_aware.mypy_plugin._tree import children

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy.nodes import SymbolNode

__all__ = ["Layout", "bound_by", "is_before"]

_CONSUMERS: Final = frozenset(
    f"builtins.{name}"
    for name in ("all", "any", "dict", "frozenset", "list", "max", "min", "next", "set", "sorted", "sum", "tuple")
)
_ENDING: Final = frozenset({"close", "commit", "invalidate", "rollback"})
_CONSUMING_METHODS: Final = frozenset({"enter_async_context", "enter_context", "extend", "join", "update"})
_NOTED: Final = (
    AsPattern,
    AssignmentExpr,
    AssignmentStmt,
    CallExpr,
    Decorator,
    DelStmt,
    ForStmt,
    MemberExpr,
    OperatorAssignmentStmt,
    RaiseStmt,
    WithStmt,
)
_LEAVES: Final = (IntExpr, NameExpr, StrExpr)  # half of the nodes


@dataclass(slots=True)
class Layout:
    """The layout of one module.

    Attributes:
        parents: The node around each node, but for names and literals.
        bindings: Where each variable is bound other than as a parameter: statements, loops, blocks.
        ends: Where a session is closed or deleted or its transaction ended, by the variable, or by an attribute's name.
        uses: Where an attribute of a variable is used.
        raises: The ``raise`` statements of a block.
        opened: The assignments of a call to a name, by function.
        decorators: The decorators of each decorated function.
    """

    parents: dict[Node, Node] = field(default_factory=dict)
    bindings: dict[SymbolNode, list[Node]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[SymbolNode | str, list[Node]] = field(default_factory=lambda: defaultdict(list))
    uses: dict[SymbolNode, list[MemberExpr]] = field(default_factory=lambda: defaultdict(list))
    raises: dict[Node, list[Node]] = field(default_factory=lambda: defaultdict(list))
    opened: dict[Node, list[AssignmentStmt]] = field(default_factory=lambda: defaultdict(list))
    decorators: dict[FuncDef, Decorator] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: MypyFile) -> Layout:
        """Walk a module."""
        layout = cls()
        waiting: list[tuple[Node, Node]] = [(tree, tree)]
        while waiting:
            node, function = waiting.pop()
            if isinstance(node, _NOTED):
                layout._note(node, function)
            inner = node if isinstance(node, FuncItem) else function
            for child in children(node):
                if not isinstance(child, _LEAVES):
                    layout.parents[child] = node
                    waiting.append((child, inner))
        return layout

    def _note(self, node: Node, function: Node) -> None:
        if not isinstance(node, DelStmt):
            self._note_bindings(node)
        if isinstance(node, AssignmentStmt) and _is_opening(node):
            self.opened[function].append(node)
        elif isinstance(node, Decorator):
            self.decorators[node.func] = node
        elif isinstance(node, RaiseStmt):
            self.raises[self.parents[node]].append(node)
        elif isinstance(node, MemberExpr) and isinstance(node.expr, NameExpr) and node.expr.node is not None:
            self.uses[node.expr.node].append(node)
        for session in _ended_by(node):
            if isinstance(session, NameExpr) and session.node is not None:
                self.ends[session.node].append(node)
            elif isinstance(session, MemberExpr):
                self.ends[session.name].append(node)

    def _note_bindings(self, node: Node) -> None:
        for target in bound_by(node):
            if isinstance(target, RefExpr) and target.node is not None:
                self.bindings[target.node].append(node)

    def around(self, node: Node) -> Iterator[Node]:
        """Yield the nodes around a node, innermost first, up to the module."""
        while (parent := self.parents.get(node)) is not None:
            yield parent
            node = parent

    def way_out(self, call: CallExpr) -> list[Node] | None:
        """Return the nodes around a call, up to the function or module that runs it on the spot; None if it may run later.

        A default and what stands in a class body are left alone. A generator expression runs when it is consumed.
        """
        way: list[Node] = [call]
        for node in self.around(call):
            if isinstance(node, ClassDef) or (isinstance(node, FuncItem) and way[-1] is not node.body):
                return None
            if isinstance(node, GeneratorExpr) and not self._is_consumed(node):
                return None
            way.append(node)
            if isinstance(node, FuncItem):
                break
        return way

    def _is_consumed(self, generator: GeneratorExpr) -> bool:
        return isinstance(self.parents.get(generator), ListComprehension | SetComprehension) or self.is_on_the_spot(
            generator
        )

    def is_on_the_spot(self, node: Node) -> bool:
        """Say whether what a node makes is awaited, iterated over or entered right where it is made."""
        parent = self.parents.get(node)
        match parent:
            case AwaitExpr() | YieldFromExpr() | StarExpr():
                return True
            case ForStmt():
                return parent.expr is node
            case GeneratorExpr() | DictionaryComprehension():
                return node in parent.sequences
            case WithStmt():
                return node in parent.expr
            case CallExpr(callee=MemberExpr(name=name, expr=NameExpr() | StrExpr())):
                return name in _CONSUMING_METHODS and node in parent.args
            case CallExpr(callee=RefExpr(fullname=fullname)):
                return fullname in _CONSUMERS and node in parent.args
            case _:
                return False

    def is_over(self, key: SymbolNode | str, way: list[Node]) -> bool:
        """Say whether a session may have been closed or deleted before the call at the beginning of a way."""
        call, function = way[0], way[-1]
        loops = {node for node in way if isinstance(node, ForStmt | WhileStmt)}
        ends = self.ends.get(key, ())
        goes_on = any(isinstance(end, MemberExpr) and end.name == "commit" and is_before(call, end) for end in ends)
        for end in ends:
            is_last = not isinstance(end, MemberExpr) or end.name == "close"
            if not is_last and (goes_on or not is_before(end, call)):  # it commits again, such as in a loop
                continue
            around = list(self.around(end))
            if function in around and end not in way and (is_before(end, call) or not loops.isdisjoint(around)):
                return True
        return False

    def is_never_committed(self, variable: SymbolNode, call: Node) -> bool:
        """Say whether a session that was opened by hand only reads: it is used, and no commit follows the call."""
        uses = self.uses.get(variable, ())
        is_committed = any(use.name == "commit" and is_before(call, use) for use in uses)
        return not is_committed and any(use.name not in {"begin", "close"} for use in uses)

    def is_of_failure(self, way: list[Node]) -> bool:
        """Say whether a call is of what is done about a failure, or may fail alone, so that it needs its own transaction.

        It stands in ``except`` or ``finally``, before a ``raise`` in its block, or in a ``try`` whose error is not raised.
        The way ends where the session was opened: a ``try`` around that does not matter.
        """
        for inside, node in pairwise(way):
            if isinstance(node, TryStmt):
                is_swallowed = not all(handler.body and isinstance(handler.body[-1], RaiseStmt) for handler in node.handlers)
                if inside is not node.body or is_swallowed:
                    return True
            elif any(is_before(inside, one) for one in self.raises.get(node, ())):
                return True
        return False


def is_before(one: Node, other: Node) -> bool:
    """Say whether one node begins before another one in the source."""
    return (one.line, one.column) < (other.line, other.column)


def bound_by(node: Node) -> Iterator[Node]:
    """Yield the targets that a node binds, also those in a tuple."""
    waiting = _targets(node)
    while waiting:
        target = waiting.pop()
        yield target
        if isinstance(target, ListExpr | TupleExpr):
            waiting += target.items
        elif isinstance(target, StarExpr):
            waiting.append(target.expr)


def _targets(node: Node) -> list[Node]:
    match node:
        case AssignmentStmt():
            return list(node.lvalues)
        case OperatorAssignmentStmt():
            return [node.lvalue]
        case AssignmentExpr():
            return [node.target]
        case ForStmt():
            return [node.index]
        case WithStmt():
            return [target for target in node.target if target is not None]
        case DelStmt():
            return [node.expr]
        case AsPattern(name=NameExpr() as name):
            return [name]
        case _:
            return []


def _ended_by(node: Node) -> Iterator[Node]:
    """Yield the sessions that a node deletes or closes, or whose transaction it ends."""
    match node:
        case DelStmt():
            yield from bound_by(node)
        case MemberExpr():
            if node.name in _ENDING:
                yield node.expr
        case WithStmt():  # it closes a session, and ends a transaction that it begins
            for value in node.expr:
                match value:
                    case CallExpr(callee=MemberExpr(name="begin", expr=session)):
                        yield session
                    case _:
                        yield value
        case _:
            pass


def _is_opening(node: AssignmentStmt) -> bool:
    """Say whether a statement may assign a new session to one name: by a call of a factory, not of any object's method."""
    value = node.rvalue.expr if isinstance(node.rvalue, AwaitExpr) else node.rvalue
    if len(node.lvalues) != 1 or not isinstance(node.lvalues[0], NameExpr) or not isinstance(value, CallExpr):
        return False
    called = value.callee
    if not isinstance(called, MemberExpr) or called.fullname:
        return isinstance(called, RefExpr)
    is_own = isinstance(called.expr, NameExpr) and called.expr.name in {"cls", "self"}
    return is_own or "session" in called.name.lower() or called.name in _CONSUMING_METHODS
