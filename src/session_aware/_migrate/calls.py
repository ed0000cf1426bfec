"""What is known of the uses of functions whose ``session`` is to become keyword-only."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable

    from session_aware._migrate.definitions import Definition
    from session_aware._migrate.tree import Module

__all__ = ["Call", "Uses"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call that passes the session positionally.

    Attributes:
        end: The line and column where it ends.
        position: Which of its arguments is the session.
    """

    module: Module
    end: tuple[int, int]
    position: int


class Uses:
    """What is known of the uses of some definitions.

    Attributes:
        calls: The calls to be rewritten, by definition.
        called: The definitions that something else than themselves calls.
        unsure: For a definition the first use that is not understood: where it is, and why.
    """

    def __init__(self, wanted: Iterable[Definition]) -> None:
        self.calls: Final[dict[Definition, list[Call]]] = defaultdict(list)
        self.called: Final[set[Definition]] = set()
        self.unsure: Final[dict[Definition, str]] = {}
        self.wanted: Final = {definition.full: definition for definition in wanted}
        self.named: Final[dict[str, list[Definition]]] = defaultdict(list)
        for definition in self.wanted.values():
            self.named[definition.node.name].append(definition)

    def doubt(self, definitions: Iterable[Definition], module: Module, node: ast.expr, why: str) -> None:
        """Remember a use that is not understood."""
        for definition in definitions:
            self.unsure.setdefault(definition, f"{module.path}:{node.lineno} {why}")
