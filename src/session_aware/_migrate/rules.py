"""What stands against a candidate: its calls, its relatives, and the names of its module."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from session_aware._migrate.candidates import AUTO, old_decorators
from session_aware._migrate.names import Imported, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from session_aware._migrate.calls import Uses
    from session_aware._migrate.candidates import Candidate
    from session_aware._migrate.dance import Dance
    from session_aware._migrate.definitions import Definition, Index
    from session_aware._migrate.tree import Module

__all__ = ["SENTINEL", "Rules", "factory_of"]

SENTINEL: Final = "NEW_SESSION"


class Rules:
    """Judges candidates by what else is in the tree.

    Args:
        accepted: The candidates that are left; it shrinks from round to round.
        own: The decorators that the user named.
        factory: The full name of the factory that may be replaced; None if there is none or more than one.
    """

    def __init__(
        self, index: Index, uses: Uses, accepted: Mapping[Definition, Candidate], own: Sequence[str], factory: str | None
    ) -> None:
        self._index, self._uses, self._accepted, self._own, self._factory = index, uses, accepted, own, factory

    def against(self, candidate: Candidate) -> tuple[str, str] | None:
        """Return what stands against a candidate, and the detail; None if nothing does."""
        definition = candidate.definition
        if candidate.dance is not None and factory_of(definition, candidate.dance, self._index) != self._factory:
            name = ast.unparse(candidate.dance.factory)
            return "its sessions come from another factory", f"'{name}'; configure() takes one, choose it by --factory"
        for name in (AUTO, SENTINEL):
            if (line := self._taken(definition.module, name)) is not None:
                return "a name is taken", f"'{name}' means something else in this module, and line {line} needs it"
        if definition.position is None:
            return None
        if (unsure := self._uses.unsure.get(definition)) is not None:
            return "a use of it is not understood", unsure
        if candidate.is_required and definition not in self._uses.called:
            return "nothing in the tree calls it", "who passes the session is not known"
        return self._relatives(definition)

    def _relatives(self, definition: Definition) -> tuple[str, str] | None:
        if definition.owner is None:
            return None
        if foreign := self._index.foreign_bases(definition.owner):
            base = self._index.names.short(foreign[0])
            return "it may override a method from outside of the tree", f"of the base '{base}'"
        for one in self._index.family(definition.owner, definition.node.name):
            if one.position is not None and (one not in self._accepted or one.position != definition.position):
                return "it belongs together with a method that is left alone", f"{one.name} at {one.place}"
        return None

    def is_replaced(self, module: Module, name: str) -> bool:
        """Say whether a module imports something else by one of our names."""
        bound = self._index.names.of(module).get(name)
        return bool(bound) and self._index.names.meaning(module, name) != f"session_aware.{name}"

    def _taken(self, module: Module, name: str) -> int | None:
        """Return the line that needs what a module calls by one of our names; None if it can mean ours."""
        if not self.is_replaced(module, name):
            return None
        bound = self._index.names.of(module)[name]
        if not all(isinstance(one, Imported) for one in bound):
            return next(line for one in ast.walk(module.syntax) if (line := _line_that_binds(one, name)))
        ours = set(self._decorators(module) if name == AUTO else self._defaults(module))
        names = (one for one in ast.walk(module.syntax) if isinstance(one, ast.Name) and one.id == name)
        return next((one.lineno for one in names if one not in ours), None)

    def _decorators(self, module: Module) -> Iterator[ast.expr]:
        """Yield the decorators of a module that go."""
        for candidate in self._accepted.values():
            if candidate.definition.module is module and candidate.replaces is not None:
                yield candidate.definition.node.decorator_list[candidate.replaces]

    def _defaults(self, module: Module) -> Iterator[ast.expr | None]:
        """Yield the defaults that go, and those that no body ever sees, since a decorator passes a session."""
        for one in self._index.definitions:
            if one.module is module and (one in self._accepted or old_decorators(one, self._index, self._own)):
                yield one.default


def _line_that_binds(node: ast.AST, wanted: str) -> int:
    """Return the line of a node that defines or assigns a name; 0 for any other."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return node.lineno if name == wanted else 0
        case ast.Name(id=name, ctx=ast.Store()):
            return node.lineno if name == wanted else 0
        case _:
            return 0


def factory_of(definition: Definition, dance: Dance, index: Index) -> str:
    """Name in full what a dance makes its session from."""
    made = dance.factory
    name = index.names.meaning(definition.module, dotted(made.func if isinstance(made, ast.Call) else made))
    return f"{name}{ast.unparse(made).removeprefix(dotted(made.func))}" if isinstance(made, ast.Call) else name
