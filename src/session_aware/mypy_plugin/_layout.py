"""Where the nodes of a module stand: found once for a module, so that the time for its calls is linear."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
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
    MemberExpr,
    MypyFile,
    NameExpr,
    Node,
    OperatorAssignmentStmt,
    RefExpr,
    SetComprehension,
    StarExpr,
    StrExpr,
    WhileStmt,
    WithStmt,
    YieldFromExpr,
)

from session_aware.mypy_plugin._tree import children

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy.nodes import SymbolNode

__all__ = ["Layout", "bound_by", "is_before"]

_CONSUMERS: Final = frozenset(
    f"builtins.{name}"
    for name in ("all", "any", "dict", "frozenset", "list", "max", "min", "next", "set", "sorted", "sum", "tuple")
)
_CONSUMING_METHODS: Final = frozenset({"enter_async_context", "enter_context", "extend", "join", "update"})


_NOTED: Final = (
    AssignmentExpr,
    AssignmentStmt,
    CallExpr,
    Decorator,
    DelStmt,
    ForStmt,
    OperatorAssignmentStmt,
    WithStmt,
)


_LEAVES: Final = (IntExpr, NameExpr, StrExpr)  # half of the nodes


@dataclass(slots=True)
class Layout:
    """The layout of one module.

    Attributes:
        parents: The node around each node, but for names and literals.
        bindings: Where each variable is bound other than as a parameter: statements, loops, blocks.
        ends: Where ``x.close()`` and ``del x`` stand, by the variable, or by the name of an attribute of ``self``.
        opened: The assignments of a call to a name, by function.
        decorators: The decorators of each decorated function.
    """

    parents: dict[Node, Node] = field(default_factory=dict)
    bindings: dict[SymbolNode, list[Node]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[SymbolNode | str, list[Node]] = field(default_factory=lambda: defaultdict(list))
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
        for target in bound_by(node):
            if isinstance(target, RefExpr) and target.node is not None and not isinstance(node, DelStmt):
                self.bindings[target.node].append(node)
        if isinstance(node, AssignmentStmt) and _is_opening(node):
            self.opened[function].append(node)
        elif isinstance(node, Decorator):
            self.decorators[node.func] = node
        elif isinstance(node, DelStmt):
            self._note_end(node.expr, node)
        elif isinstance(node, CallExpr) and isinstance(node.callee, MemberExpr) and node.callee.name == "close":
            self._note_end(node.callee.expr, node)

    def _note_end(self, session: Node, where: Node) -> None:
        if isinstance(session, NameExpr) and session.node is not None:
            self.ends[session.node].append(where)
        elif isinstance(session, MemberExpr):
            self.ends[session.name].append(where)
        else:  # several: 'del first, second'
            for each in children(session):
                if isinstance(each, NameExpr | MemberExpr):
                    self._note_end(each, where)

    def around(self, node: Node) -> Iterator[Node]:
        """Yield the nodes around a node, innermost first, up to the module."""
        while (parent := self.parents.get(node)) is not None:
            yield parent
            node = parent

    def way_out(self, call: CallExpr) -> list[Node] | None:
        """Return the nodes around a call, up to the function or module that runs it on the spot; None if it may run later.

        A class body, a default and a decorator are run by nobody's session, and a generator expression when it is consumed.
        """
        way: list[Node] = [call]
        for node in self.around(call):
            if isinstance(node, ClassDef) or (isinstance(node, FuncItem) and way[-1] is not node.body):
                return None
            if isinstance(node, Decorator) or (isinstance(node, GeneratorExpr) and not self._is_consumed(node)):
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
            case CallExpr(callee=MemberExpr(name=name)):
                return name in _CONSUMING_METHODS and node in parent.args
            case CallExpr(callee=RefExpr(fullname=fullname)):
                return fullname in _CONSUMERS and node in parent.args
            case _:
                return False

    def is_over(self, key: SymbolNode | str, way: list[Node]) -> bool:
        """Say whether a session may have been closed or deleted before the call at the beginning of a way."""
        call, function = way[0], way[-1]
        loops = {node for node in way if isinstance(node, ForStmt | WhileStmt)}
        for end in self.ends.get(key, ()):
            around = []
            for node in self.around(end):
                around.append(node)
                if isinstance(node, FuncItem):
                    break
            if around[-1] is function and (is_before(end, call) or not loops.isdisjoint(around)):
                return True
        return False


def is_before(one: Node, other: Node) -> bool:
    """Say whether one node begins before another one in the source."""
    return (one.line, one.column) < (other.line, other.column)


def bound_by(node: Node) -> Iterator[Node]:
    """Yield the targets that a node binds, and what is inside of them."""
    match node:
        case AssignmentStmt():
            targets: list[Node] = list(node.lvalues)
        case OperatorAssignmentStmt():
            targets = [node.lvalue]
        case AssignmentExpr():
            targets = [node.target]
        case ForStmt():
            targets = [node.index]
        case WithStmt():
            targets = [target for target in node.target if target is not None]
        case DelStmt():
            targets = [node.expr]
        case _:
            return
    for target in targets:
        yield target
        yield from children(target)


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
