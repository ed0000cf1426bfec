"""Move ``session`` behind the star of a definition, and behind a keyword in a call; lines and commas stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import libcst as cst

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["keyword_argument", "keyword_parameter"]

_COMMA: Final = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


def keyword_parameter(function: cst.FunctionDef, annotation: str) -> cst.FunctionDef:
    """Make ``session`` keyword-only with the default ``NEW_SESSION``.

    Args:
        function: The definition.
        annotation: The new annotation; empty to keep the one that is there.
    """
    given = function.params
    positional = [one for one in given.params if one.name.value != "session"]
    [session] = [one for one in (*given.params, *given.kwonly_params) if one.name.value == "session"]
    written = cst.Annotation(cst.parse_expression(annotation)) if annotation else session.annotation
    equal = cst.AssignEqual() if written is not None else cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
    new = session.with_changes(annotation=written, default=cst.Name("NEW_SESSION"), equal=equal)
    if session in given.kwonly_params:
        keywords = [new if one is session else one for one in given.kwonly_params]
        return function.with_changes(params=given.with_changes(kwonly_params=keywords))
    had_star = isinstance(given.star_arg, cst.ParamStar)
    old = [*given.posonly_params, *given.params, *([given.star_arg] if had_star else []), *given.kwonly_params]
    if given.star_kwarg is not None:
        old.append(given.star_kwarg)
    star = given.star_arg if isinstance(given.star_arg, cst.ParamStar) else cst.ParamStar()
    items = [*given.posonly_params, *positional, star, *given.kwonly_params, new]
    if given.star_kwarg is not None:
        items.append(given.star_kwarg)
    commas = [one.comma for one in old]
    if not had_star:
        commas.insert(-1, _plain(commas[-2]) if len(commas) > 1 else _first(function))
    moved = [one.with_changes(comma=comma) for one, comma in zip(items, commas, strict=True)]
    position, keyword = len(given.posonly_params), len(positional)
    params = given.with_changes(
        posonly_params=moved[:position],
        params=moved[position : position + keyword],
        star_arg=moved[position + keyword],
        kwonly_params=moved[position + keyword + 1 : len(moved) - (given.star_kwarg is not None)],
        star_kwarg=moved[-1] if given.star_kwarg is not None else None,
    )
    return function.with_changes(params=params)


def _plain(comma: cst.Comma | cst.MaybeSentinel) -> cst.Comma:
    """Repeat a comma and the line break after it, not its comment."""
    if isinstance(comma, cst.Comma) and isinstance(comma.whitespace_after, cst.ParenthesizedWhitespace):
        after = comma.whitespace_after.with_changes(first_line=cst.TrailingWhitespace(), empty_lines=[])
        return cst.Comma(whitespace_after=after)
    return _COMMA


def _first(function: cst.FunctionDef) -> cst.Comma:
    """Make a comma after a star in front of the only parameter."""
    before = function.whitespace_before_params
    return _plain(cst.Comma(whitespace_after=before))


def keyword_argument(arguments: Sequence[cst.Arg], position: int) -> list[cst.Arg]:
    """Pass one positional argument as ``session=``; a literal ``None``, which means the same as nothing, goes."""
    session = arguments[position]
    others = [*arguments[:position], *arguments[position + 1 :]]
    if isinstance(session.value, cst.Name) and session.value.value == "None":
        if position == len(arguments) - 1 and others:
            others[-1] = others[-1].with_changes(comma=session.comma)
        return others
    bare = cst.SimpleWhitespace("")
    new = session.with_changes(keyword=cst.Name("session"), equal=cst.AssignEqual(bare, bare))
    is_last = all(one.keyword is not None for one in arguments[position + 1 :])
    ordered = [*others[:position], new, *others[position:]] if is_last else [*others, new]
    return [one.with_changes(comma=argument.comma) for one, argument in zip(ordered, arguments, strict=True)]
