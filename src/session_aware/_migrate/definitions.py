"""Every function and class of a tree, and those functions that take a session in a way that can be rewritten."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from session_aware._migrate.names import dotted, parameters
from session_aware._migrate.tree import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from session_aware._migrate.names import Function, Names
    from session_aware._migrate.tree import Module, Tree

__all__ = ["SESSION", "Class", "Definition", "Index", "decorator_name"]

SESSION: Final = "session"

# Classes outside of the tree that define no service methods which a method of the tree could override.
HARMLESS_BASES: Final = frozenset(
    {
        "abc.ABC",
        "object",
        "session_aware.SessionAwareService",
        "sqlalchemy.orm.DeclarativeBase",
        "sqlalchemy.orm.MappedAsDataclass",
        "typing.Generic",
        "typing.Protocol",
    }
)


@dataclass(frozen=True, eq=False)
class Class:
    """A class: its module, its name there, and its bases' full names."""

    module: Module
    name: str
    node: ast.ClassDef
    bases: tuple[str, ...]

    @property
    def full(self) -> str:
        """Give its unique name."""
        return f"{self.module.name}.{self.name}"


@dataclass(frozen=True, eq=False)
class Definition:
    """A function or method.

    Attributes:
        name: ``Accounts.rename``, as in its ``__qualname__``.
        owner: The class whose body it stands in.
        is_nested: It stands in a function.
    """

    module: Module
    name: str
    node: Function
    owner: Class | None
    is_nested: bool

    @property
    def full(self) -> str:
        """Give its unique name."""
        return f"{self.module.name}.{self.name}"

    @property
    def place(self) -> str:
        """Say where it stands."""
        return f"{self.module.path}:{self.node.lineno}"

    def refusal(self, why: str, detail: str) -> Refusal:
        """Make the sentence for leaving it alone."""
        return Refusal(str(self.module.path), self.node.lineno, self.name, why, detail)

    @property
    def parameter(self) -> ast.arg | None:
        """Return the parameter ``session``."""
        several = (self.node.args.vararg, self.node.args.kwarg)
        return next((p for p in parameters(self.node.args) if p.arg == SESSION and p not in several), None)

    @property
    def default(self) -> ast.expr | None:
        """Return the default of ``session``, if it has one."""
        arguments = self.node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        late = dict(zip(reversed(positional), reversed(arguments.defaults), strict=False))
        late |= {p: value for p, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value is not None}
        return late.get(self.parameter) if self.parameter is not None else None

    @property
    def position(self) -> int | None:
        """Return the place of ``session`` among the positional parameters; None where it is keyword-only already."""
        names = [p.arg for p in (*self.node.args.posonlyargs, *self.node.args.args)]
        return names.index(SESSION) if SESSION in names else None

    @property
    def decorators(self) -> list[str]:
        """Give the names of its decorators as they are written, options left out."""
        return [decorator_name(one) for one in self.node.decorator_list]

    @property
    def is_static(self) -> bool:
        """Tell a static method."""
        return "staticmethod" in self.decorators


def decorator_name(decorator: ast.expr) -> str:
    """Write what decorates, without its options."""
    return dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)


class Index:
    """All functions and classes of a tree."""

    def __init__(self, tree: Tree, names: Names) -> None:
        self.names: Final = names
        self.definitions: Final[list[Definition]] = []
        self.classes: Final[dict[str, Class]] = {}
        self.owners: Final[dict[ast.ClassDef, Class]] = {}
        self.by_name: Final[dict[str, list[Definition]]] = defaultdict(list)
        self.by_full: Final[dict[str, list[Definition]]] = defaultdict(list)
        for module in tree.modules:
            self._enter(module, module.syntax, "", None, is_nested=False)
        self._below: Final[dict[str, list[Class]]] = defaultdict(list)
        for cls in self.classes.values():
            for base in cls.bases:
                self._below[base].append(cls)

    def _enter(self, module: Module, node: ast.AST, prefix: str, owner: Class | None, *, is_nested: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                definition = Definition(module, prefix + child.name, child, owner, is_nested)
                self.definitions.append(definition)
                self.by_name[child.name].append(definition)
                self.by_full[definition.full].append(definition)
                self._enter(module, child, f"{prefix}{child.name}.<locals>.", None, is_nested=True)
            elif isinstance(child, ast.ClassDef):
                bases = tuple(self.names.meaning(module, name) if (name := _base(one)) else "" for one in child.bases)
                cls = Class(module, prefix + child.name, child, bases)
                self.classes[cls.full] = self.owners[child] = cls
                self._enter(module, child, f"{prefix}{child.name}.", cls, is_nested=is_nested)
            elif not isinstance(child, ast.expr):  # the branches of if, try and with
                self._enter(module, child, prefix, owner, is_nested=is_nested)

    def method(self, classes: Iterable[Class], name: str) -> Definition | None:
        """Find a method in the first of some classes that has it."""
        return next((found[0] for one in classes if (found := self.by_full.get(f"{one.full}.{name}"))), None)

    def is_elsewhere(self, full: str) -> bool:
        """Tell the full name of something that is certainly no other definition: foreign, or one of the tree itself."""
        return self.names.is_foreign(full) or self.names.node(full) is not None

    def ancestors(self, cls: Class) -> Iterator[Class]:
        """Yield a class and its bases in the tree, near ones first."""
        yield from _reach(cls, lambda one: [self.classes[base] for base in one.bases if base in self.classes])

    def foreign_bases(self, cls: Class) -> list[str]:
        """Name the bases, direct or not, of which nothing is known; a question mark for what has no name."""
        bases = [base for one in self.ancestors(cls) for base in one.bases]
        own = f"{cls.module.name}."
        return [base or "?" for base in bases if base not in self.classes and base.removeprefix(own) not in HARMLESS_BASES]

    def family(self, cls: Class, name: str) -> list[Definition]:
        """Return the methods of one name in a class and all that are related to it."""
        related = _reach(
            cls,
            lambda one: [*self._below[one.full], *(self.classes[base] for base in one.bases if base in self.classes)],
        )
        return [found for one in related for found in self.by_full.get(f"{one.full}.{name}", ())]


def _reach(start: Class, following: Callable[[Class], Sequence[Class]]) -> Iterator[Class]:
    """Yield a class and what follows from it, each once, near ones first."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        one = waiting.pop(0)
        if one.full not in seen:
            seen.add(one.full)
            yield one
            waiting.extend(following(one))


def _base(node: ast.expr) -> str:
    """Write the name of a base; of ``Generic[T]`` that of the class."""
    return dotted(node.value if isinstance(node, ast.Subscript) else node)
