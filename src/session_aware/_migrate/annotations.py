"""What the annotation of ``session`` says, and what it becomes."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from session_aware._migrate.names import Imported, dotted

if TYPE_CHECKING:
    from session_aware._migrate.definitions import Definition, Index
    from session_aware._migrate.names import Names

__all__ = ["SESSION_MODULES", "core", "is_async", "kind", "missing", "without_none"]

SYNC: Final = frozenset(
    {"sqlalchemy.orm.Session", "sqlalchemy.orm.session.Session", "sqlmodel.Session", "sqlmodel.orm.session.Session"}
)
ASYNC: Final = frozenset(
    {
        "sqlalchemy.ext.asyncio.AsyncSession",
        "sqlalchemy.ext.asyncio.session.AsyncSession",
        "sqlmodel.ext.asyncio.session.AsyncSession",
    }
)
SESSION_MODULES: Final = {"Session": "sqlalchemy.orm", "AsyncSession": "sqlalchemy.ext.asyncio"}


def core(annotation: ast.expr) -> tuple[ast.expr, bool]:
    """Return an annotation without ``Optional`` and ``| None``, and whether a part of it was quoted."""
    match annotation:
        case ast.Constant(value=str(text)):
            try:
                return core(ast.parse(text, mode="eval").body)[0], True
            except SyntaxError:
                return annotation, False
        case ast.BinOp(left=one, op=ast.BitOr(), right=ast.Constant(value=None)):
            return core(one)
        case ast.BinOp(left=ast.Constant(value=None), op=ast.BitOr(), right=one):
            return core(one)
        case ast.Subscript(value=value, slice=one) if dotted(value).rpartition(".")[2] == "Optional":
            return core(one)
        case _:
            return annotation, False


def without_none(annotation: ast.expr) -> str:
    """Write an annotation without ``None``; empty if it stays as it is."""
    inner, is_quoted = core(annotation)
    if inner is annotation or (isinstance(annotation, ast.Constant) and ast.unparse(inner) == annotation.value):
        return ""
    return f'"{ast.unparse(inner)}"' if is_quoted else ast.unparse(inner)


def kind(definition: Definition, index: Index) -> str:
    """Name what the parameter is: ``Session``, ``AsyncSession``, or empty for anything else."""
    annotation = definition.parameter.annotation if definition.parameter is not None else None
    if annotation is None:
        return ""
    full = index.names.meaning(definition.module, dotted(core(annotation)[0]))
    cls = index.classes.get(full)
    names = {full, *(base for one in index.ancestors(cls) for base in one.bases)} if cls is not None else {full}
    return "Session" if names & SYNC else "AsyncSession" if names & ASYNC else ""


def is_async(definition: Definition) -> bool:
    """Tell an ``async def``."""
    return isinstance(definition.node, ast.AsyncFunctionDef)


def missing(definition: Definition, names: Names) -> tuple[str, str] | None:
    """Choose an annotation for a parameter without one.

    Returns:
        The annotation, and the module to import it from, empty if it is there; None where its name means something else.
    """
    name = "AsyncSession" if is_async(definition) else "Session"
    bound = names.of(definition.module).get(name, ())
    if not bound:
        return name, SESSION_MODULES[name]
    if names.meaning(definition.module, name) not in SYNC | ASYNC:
        return None
    hidden = {
        one
        for node in definition.module.syntax.body
        if isinstance(node, ast.If) and _is_typing_only(node)
        for one in node.body
    }
    quoted = all(isinstance(one, Imported) and one.node in hidden for one in bound)
    return (f'"{name}"' if quoted else name), ""


def _is_typing_only(node: ast.If) -> bool:
    """Tell ``if TYPE_CHECKING``, whose imports do not exist when the program runs."""
    return dotted(node.test).rpartition(".")[2] == "TYPE_CHECKING"
