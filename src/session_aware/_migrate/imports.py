"""Mend the imports of a rewritten module."""

from __future__ import annotations

import ast
from itertools import takewhile
from typing import TYPE_CHECKING, Final, cast

import libcst as cst
from libcst.helpers import get_full_name_for_node

from session_aware._migrate.tree import parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from typing import TypeGuard

    from session_aware._migrate.decide import Change

__all__ = ["mend"]

OURS: Final = "session_aware"
_MAY_GO: Final = frozenset({"Optional", "nullcontext"})


def mend(before: cst.Module, after: cst.Module, change: Change) -> cst.Module:
    """Drop the imports that nothing needs any more, and add those of what was written.

    Args:
        before: The module as it was.
        after: The module with its definitions and calls rewritten.
        change: What was rewritten.
    """
    if not change.definitions:
        return after
    wanted = {OURS: {"NEW_SESSION", "auto_session_func"}}
    decorators: set[str] = set()
    for one in change.definitions:
        if one.annotation_module:
            wanted.setdefault(one.annotation_module, set()).add(one.annotation)
        if one.replaces is not None:
            decorators.add(one.definition.decorators[one.replaces])
    unused = _used(before) - _used(after) - change.exported
    old = change.replaced | (decorators & unused)
    dropper = _Dropper(old, _MAY_GO & unused, wanted[OURS], is_new=not _has_import(after, OURS))
    mended = _without_first_lines(after.visit(dropper))
    if dropper.is_placed:
        del wanted[OURS]
    for name, names in sorted(wanted.items()):
        mended = _merge(mended, name, names) if _has_import(mended, name) else _insert(mended, name, names)
    return mended


def _without_first_lines(module: cst.Module) -> cst.Module:
    """Take away the empty lines with which a module would begin where its first import went."""
    if module.header and module.header[-1].comment is not None:
        return module
    first = module.body[0]
    lines = list(first.leading_lines)
    while lines and lines[0].comment is None:
        del lines[0]
    return module.with_changes(body=[first.with_changes(leading_lines=lines), *module.body[1:]])


def _used(module: cst.Module) -> set[str]:
    """Collect the names that a module uses, and every word of its strings, as quoted annotations and ``__all__``."""
    used: set[str] = set()
    for node in ast.walk(parse(module.bytes)):
        match node:
            case ast.Name(id=name):
                used.add(name)
            case ast.Constant(value=str(text)):
                used.update(text.replace("[", " ").replace("]", " ").replace(",", " ").split())
            case _:
                pass
    return used


class _Dropper(cst.CSTTransformer):
    """Removes names from ``from`` imports of other packages; where all old ones of the first at the top go, ours come."""

    def __init__(self, old: AbstractSet[str], others: AbstractSet[str], ours: AbstractSet[str], *, is_new: bool) -> None:
        super().__init__()
        self._old, self._gone, self._ours, self._is_new = old, old | others, ours, is_new
        self._depth = 0
        self.is_placed = False

    def visit_IndentedBlock(self, node: cst.IndentedBlock) -> None:  # noqa: ARG002, N802 - named so by libcst
        self._depth += 1

    def leave_IndentedBlock(  # noqa: N802 - likewise
        self,
        original_node: cst.IndentedBlock,  # noqa: ARG002 - libcst passes it
        updated_node: cst.IndentedBlock,
    ) -> cst.IndentedBlock:
        self._depth -= 1
        return updated_node

    def leave_ImportFrom(  # noqa: N802 - likewise
        self,
        original_node: cst.ImportFrom,  # noqa: ARG002 - libcst passes it
        updated_node: cst.ImportFrom,
    ) -> cst.ImportFrom | cst.RemovalSentinel:
        if isinstance(updated_node.names, cst.ImportStar) or _module(updated_node) == OURS:
            return updated_node
        names = {one: one.evaluated_alias or one.evaluated_name for one in updated_node.names}
        kept = [one for one, name in names.items() if name not in self._gone]
        if len(kept) == len(updated_node.names):
            return updated_node
        if kept:
            kept[-1] = kept[-1].with_changes(comma=updated_node.names[-1].comma)
            return updated_node.with_changes(names=kept)
        if self._is_new and not self.is_placed and not self._depth and not self._old.isdisjoint(names.values()):
            self.is_placed = True
            return _import(OURS, self._ours)
        return cst.RemoveFromParent()


def _module(node: cst.ImportFrom) -> str:
    return "" if node.relative or node.module is None else get_full_name_for_node(node.module) or ""


def _statement(statement: cst.BaseCompoundStatement | cst.SimpleStatementLine) -> cst.BaseSmallStatement | None:
    """Return what stands alone in a line."""
    return statement.body[0] if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1 else None


def _is_import(statement: cst.BaseSmallStatement | None, name: str) -> TypeGuard[cst.ImportFrom]:
    if not isinstance(statement, cst.ImportFrom) or isinstance(statement.names, cst.ImportStar):
        return False
    return _module(statement) == name


def _has_import(module: cst.Module, name: str) -> bool:
    return any(_is_import(_statement(one), name) for one in module.body)


def _import(name: str, names: AbstractSet[str]) -> cst.ImportFrom:
    aliases = [cst.ImportAlias(cst.Name(one)) for one in sorted(names, key=_order)]
    return cst.ImportFrom(cast("cst.Name | cst.Attribute", cst.parse_expression(name)), aliases)


def _order(name: str) -> tuple[bool, bool, str]:
    """Sort as isort does: constants, classes, the rest."""
    return not name.isupper(), name[:1].islower(), name


def _merge(module: cst.Module, name: str, names: AbstractSet[str]) -> cst.Module:
    """Add names to the import of a package; its lines and commas stay as they are."""
    body = list(module.body)
    place = next(place for place, one in enumerate(body) if _is_import(_statement(one), name))
    line = cst.ensure_type(body[place], cst.SimpleStatementLine)
    found = cst.ensure_type(line.body[0], cst.ImportFrom)
    old = cast("Sequence[cst.ImportAlias]", found.names)
    missing = names - {one.evaluated_name for one in old if one.asname is None}
    if not missing:
        return module
    new = [cst.ImportAlias(cst.Name(one)) for one in missing]
    aliases = sorted([*old, *new], key=lambda one: _order(one.evaluated_name))
    space = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    between = next((one.comma for one in old[:-1] if isinstance(one.comma, cst.Comma)), space)
    commas = [*(between for _ in aliases[1:]), old[-1].comma]
    merged = found.with_changes(names=[one.with_changes(comma=comma) for one, comma in zip(aliases, commas, strict=True)])
    body[place] = line.with_changes(body=[merged])
    return module.with_changes(body=body)


def _insert(module: cst.Module, name: str, names: AbstractSet[str]) -> cst.Module:
    """Write an import beneath the last of those at the top, or beneath the docstring."""
    body = list(module.body)
    kinds = [_statement(one) for one in body]
    first = 1 if isinstance(kinds[0], cst.Expr) else 0
    place = first + sum(1 for _ in takewhile(lambda one: isinstance(one, cst.Import | cst.ImportFrom), kinds[first:]))
    new = cst.SimpleStatementLine([_import(name, names)])
    if place == 0:
        gap = [cst.EmptyLine(indent=False), cst.EmptyLine(indent=False)]
        body[0] = body[0].with_changes(leading_lines=[*gap, *body[0].leading_lines])
    return module.with_changes(body=[*body[:place], new, *body[place:]])
