"""Carry the changes of one module out, with its comments and formatting."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from session_aware._migrate import imports
from session_aware._migrate.parameters import keyword_argument, keyword_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from libcst.metadata import CodeRange

    from session_aware._migrate.candidates import Candidate
    from session_aware._migrate.dance import Dance
    from session_aware._migrate.decide import Change
    from session_aware._migrate.tree import Module

__all__ = ["rewrite"]


def rewrite(module: Module, change: Change) -> bytes:
    """Return the module as it is to be."""
    before = cst.parse_module(module.source)
    ranges = MetadataWrapper(before, unsafe_skip_copy=True).resolve(PositionProvider)
    after = before.visit(_Rewriter(change, ranges))
    return imports.mend(before, after, change).bytes


class _Rewriter(cst.CSTTransformer):
    def __init__(self, change: Change, ranges: Mapping[cst.CSTNode, CodeRange]) -> None:
        super().__init__()
        self._ranges = ranges
        self._definitions = {one.definition.name: one for one in change.definitions}
        self._calls = {one.end: one.position for one in change.calls}
        self._around: list[str] = []

    def visit_ClassDef(self, node: cst.ClassDef) -> None:  # noqa: N802 - named so by libcst
        self._around.append(node.name.value)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:  # noqa: ARG002, N802 - likewise
        self._around.pop()
        return updated_node

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:  # noqa: N802 - likewise
        self._around += [node.name.value, "<locals>"]

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:  # noqa: ARG002, N802 - likewise
        self._around.pop()
        candidate = self._definitions.get(".".join(self._around))
        self._around.pop()
        if candidate is None:
            return updated_node
        moved = keyword_parameter(updated_node, candidate.annotation)
        decorated = _decorate(moved, candidate)
        return decorated if candidate.dance is None else _without(decorated, candidate.dance)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:  # noqa: N802 - likewise
        end = self._ranges[original_node].end
        position = self._calls.get((end.line, end.column))
        if position is None:
            return updated_node
        return updated_node.with_changes(args=keyword_argument(updated_node.args, position))


def _decorate(function: cst.FunctionDef, candidate: Candidate) -> cst.FunctionDef:
    decorators = list(function.decorators)
    new = cst.parse_expression(candidate.decorator)
    if candidate.replaces is None:
        decorators.insert(0, cst.Decorator(new))
    else:
        decorators[candidate.replaces] = decorators[candidate.replaces].with_changes(decorator=new)
    return function.with_changes(decorators=decorators)


def _without(function: cst.FunctionDef, dance: Dance) -> cst.FunctionDef:
    """Take a dance out of a body; the comments above what goes stay above what follows."""
    kept: list[cst.BaseStatement] = []
    comments: list[cst.EmptyLine] = []
    for position, statement in enumerate(_statements(function.body)):
        if position in dance.drop:
            comments += _comments(statement)
            continue
        block = [statement]
        if position == dance.unwrap:
            comments += _comments(statement)
            block = [one for place, one in enumerate(_inner(statement, dance.branch)) if place not in dance.skip]
        if comments:
            block[0] = block[0].with_changes(leading_lines=[*comments, *_lines(block[0])])
            comments = []
        kept += block
    return function.with_changes(body=function.body.with_changes(body=kept))


def _statements(block: cst.BaseSuite) -> Sequence[cst.BaseStatement]:
    return cast("Sequence[cst.BaseStatement]", block.body)


def _inner(statement: cst.BaseStatement, branch: str) -> Sequence[cst.BaseStatement]:
    """Return a block of a statement; that of an ``else`` has a node of its own."""
    block = cast("cst.With | cst.Try | cst.If", statement)
    if branch == "orelse":
        return _statements(cast("cst.Else", cast("cst.If", block).orelse).body)
    return _statements(block.body)


def _lines(statement: cst.BaseStatement) -> Sequence[cst.EmptyLine]:
    return cast("cst.SimpleStatementLine", statement).leading_lines


def _comments(statement: cst.BaseStatement) -> list[cst.EmptyLine]:
    return [line for line in _lines(statement) if line.comment is not None]
