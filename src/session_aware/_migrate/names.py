"""What a name in a module means: by its imports, definitions and scopes, without importing anything."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from session_aware._migrate.tree import Module, Tree

__all__ = ["Binding", "Bindings", "Function", "Imported", "Names", "Variable", "bindings", "dotted", "parameters"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Imported:
    """A name bound by an import: what it means, and the statement."""

    name: str
    node: ast.stmt


@dataclass(frozen=True, slots=True)
class Variable:
    """A name bound otherwise: its value and annotation, where they are plain to see."""

    value: ast.expr | None = None
    annotation: ast.expr | None = None


Binding: TypeAlias = Imported | Variable | Function | ast.ClassDef
Scope: TypeAlias = ast.Module | ast.ClassDef | Function | ast.Lambda
Bindings: TypeAlias = "Mapping[str, Sequence[Binding]]"

STAR: Final = "*"


def bindings(module: Module, scope: Scope) -> Bindings:
    """Collect what a scope binds, in order; the modules of star imports under ``*``."""
    found: dict[str, list[Binding]] = {}
    elsewhere: set[str] = set()
    if isinstance(scope, Function | ast.Lambda):
        for argument in parameters(scope.args):
            found[argument.arg] = [Variable(annotation=argument.annotation)]
    values: dict[ast.AST, Variable] = {}
    for node in _inside(scope):
        match node:
            case ast.Global() | ast.Nonlocal():
                elsewhere.update(node.names)
            case ast.Assign(targets=[ast.Name() as target]) | ast.AnnAssign(target=ast.Name() as target):
                values[target] = Variable(node.value, getattr(node, "annotation", None))
            case _:
                for name, one in _bound(module, node):
                    found.setdefault(name, []).append(values.get(node, one))
    return {name: tuple(bound) for name, bound in found.items() if name not in elsewhere}


def _bound(module: Module, node: ast.AST) -> Iterator[tuple[str, Binding]]:
    """Yield what a node binds by itself."""
    match node:
        case ast.Import() | ast.ImportFrom():
            yield from ((name, Imported(meant, node)) for name, meant in _imported(module, node))
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name, node
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name, Variable()
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name, Variable()
        case _:
            pass


def _imported(module: Module, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            top = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (top, top)
        else:
            yield alias.asname or alias.name, f"{_absolute(module, node)}.{alias.name}"


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    """Name the module of a ``from`` import, a relative one by its path."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, *filter(None, [node.module])])


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope, not those of the scopes in it."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    body: list[ast.AST] = getattr(scope, "body", []) if not isinstance(scope, ast.Lambda) else [scope.body]
    stack = body[::-1]
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, inner):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def parameters(arguments: ast.arguments) -> list[ast.arg]:
    """List every parameter, positional ones first and in order."""
    several = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *several]


def dotted(node: ast.AST | None) -> str:
    """Write a name or a chain of attributes of one; empty for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attribute):
            front = dotted(value)
            return f"{front}.{attribute}" if front else ""
        case _:
            return ""


class Names:
    """The meaning of names in all modules of a tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree: Final = tree
        self._modules: Final[dict[Module, Bindings]] = {}

    def of(self, module: Module) -> Bindings:
        """Return what a module binds."""
        if module not in self._modules:
            self._modules[module] = bindings(module, module.syntax)
        return self._modules[module]

    def meaning(self, module: Module, name: str, scopes: Sequence[Bindings] = ()) -> str:
        """Return the full name of what ``name`` means in a module; empty if that is not plain.

        Names of modules in the tree are their unique ones; of a name that a function binds only an import counts.

        Args:
            module: Where it stands.
            name: A name, or attributes of one.
            scopes: What the functions around it bind, the innermost first.
        """
        first, _, rest = name.partition(".")
        bound = next((scope[first] for scope in scopes if first in scope), None)
        if bound is not None:
            meant = bound[0].name if len(bound) == 1 and isinstance(bound[0], Imported) else ""
            full = f"{meant}.{rest}" if meant and rest else meant
        else:
            full = f"{module.name}.{name}"
        return self._follow(full, set())

    def canonical(self, full: str) -> str:
        """Return the unique name of something that may be imported under others too."""
        return self._follow(full, set())

    def _follow(self, full: str, seen: set[str]) -> str:
        """Go on from an import of a module to where the thing is defined."""
        modules, rest = self._tree.split(full)
        if full in seen or not modules or not rest:
            return full
        if len(modules) > 1:  # which one depends on sys.path
            return ""
        seen.add(full)
        [module] = modules
        first, _, others = rest.partition(".")
        bound = self.of(module).get(first, ())
        meant = {one.name if isinstance(one, Imported) else "" for one in bound}
        if len(meant) > 1:
            return ""
        if any(meant):
            return self._follow(".".join([*meant, others] if others else meant), seen)
        stars = () if bound else self.of(module).get(STAR, ())
        through = (self._follow(f"{star.name[:-1]}{rest}", seen) for star in stars if isinstance(star, Imported))
        return next((name for name in through if self.node(name) is not None), f"{module.name}.{rest}")

    def bound(self, full: str) -> tuple[Module | None, Sequence[Binding]]:
        """Return how the module of a full name binds it."""
        modules, rest = self._tree.split(full)
        return (modules[0], self.of(modules[0]).get(rest, ())) if len(modules) == 1 else (None, ())

    def exports(self) -> Mapping[Module, set[str]]:
        """Collect the names that modules import from each other."""
        found: dict[Module, set[str]] = {}
        for module in self._tree.modules:
            for one in (one for bound in self.of(module).values() for one in bound if isinstance(one, Imported)):
                modules, rest = self._tree.split(one.name)
                for other in modules:
                    found.setdefault(other, set()).update(self.of(other) if rest == STAR else {rest})
        return found

    def short(self, full: str) -> str:
        """Write a full name as imports of the tree would."""
        modules, rest = self._tree.split(full)
        return f"{modules[0].names[0]}.{rest}" if modules else full

    def is_foreign(self, full: str) -> bool:
        """Tell the name of something in a module outside of the tree."""
        return bool(full) and not self._tree.split(full)[0]

    def node(self, full: str) -> Function | ast.ClassDef | None:
        """Return the definition of a full name, if it is one of the tree and the only one of its name."""
        modules, rest = self._tree.split(full)
        if len(modules) != 1:
            return None
        scope: ast.Module | Function | ast.ClassDef = modules[0].syntax
        for part in rest.split("."):
            inside = self.of(modules[0]) if isinstance(scope, ast.Module) else bindings(modules[0], scope)
            found = inside.get(part, ())
            if len(found) != 1 or not isinstance(found[0], Function | ast.ClassDef):
                return None
            scope = found[0]
        return scope if not isinstance(scope, ast.Module) else None
