"""Functions that take their session from somewhere: found, and left to their authors."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from session_aware._migrate.definitions import Index
    from session_aware._migrate.tree import Refusal

__all__ = ["ambient"]


def ambient(index: Index) -> Iterator[Refusal]:
    """Find ``db.session`` and ``get_session()`` in functions that declare no session, each function once."""
    for definition in index.definitions:
        if definition.parameter is not None or definition.is_nested:
            continue
        found = next((name for node in ast.walk(definition.node) if (name := _source(node))), None)
        if found is not None:
            detail = f"'{found}'; declare '*, session: Session = NEW_SESSION', use that, and let callers pass theirs on"
            yield definition.refusal("it takes a session from its surroundings", detail)


def _source(node: ast.AST) -> str:
    match node:
        case ast.Attribute(value=ast.Name(id="db"), attr="session"):
            return "db.session"
        case ast.Call(func=ast.Name(id="get_session"), args=[], keywords=[]):
            return "get_session()"
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get_session"), args=[], keywords=[]):
            return f"{name}.get_session()"
        case _:
            return ""
