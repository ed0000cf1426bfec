"""Move ``session`` behind the star of a definition, and behind a keyword in a call; lines and comments stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import libcst as cst

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["keyword_argument", "keyword_parameter"]

Item: TypeAlias = cst.Param | cst.ParamStar | cst.ParamSlash | cst.Arg
Comma: TypeAlias = cst.Comma | cst.MaybeSentinel

_NOTHING: Final = cst.SimpleWhitespace("")


def keyword_parameter(function: cst.FunctionDef, annotation: str) -> cst.FunctionDef:
    """Make ``session`` keyword-only with the default ``NEW_SESSION``.

    Args:
        function: The definition.
        annotation: The new annotation; empty to keep the one that is there.
    """
    given = function.params
    [session] = [one for one in (*given.params, *given.kwonly_params) if one.name.value == "session"]
    written = cst.Annotation(cst.parse_expression(annotation)) if annotation else session.annotation
    new = session.with_changes(annotation=written, default=cst.Name("NEW_SESSION"), equal=cst.AssignEqual())
    if session in given.kwonly_params:
        keywords = [new if one is session else one for one in given.kwonly_params]
        return function.with_changes(params=given.with_changes(kwonly_params=keywords))
    slash = [given.posonly_ind] if isinstance(given.posonly_ind, cst.ParamSlash) else []
    star = [given.star_arg] if isinstance(given.star_arg, cst.ParamStar) else []
    last = [given.star_kwarg] if given.star_kwarg is not None else []
    positional = [one for one in given.params if one is not session]
    old: list[Item] = [*given.posonly_params, *slash, *given.params, *star, *given.kwonly_params, *last]
    ordered: list[Item] = [
        *given.posonly_params,
        *slash,
        *positional,
        *(star or [cst.ParamStar()]),
        *given.kwonly_params,
        new,
        *last,
    ]
    moved = iter(_arrange(old, ordered, function.whitespace_before_params))
    params = given.with_changes(
        posonly_params=[next(moved) for _ in given.posonly_params],
        posonly_ind=next(moved) if slash else given.posonly_ind,
        params=[next(moved) for _ in positional],
        star_arg=next(moved),
        kwonly_params=[next(moved) for _ in (*given.kwonly_params, new)],
        star_kwarg=next(moved, None),
    )
    return function.with_changes(params=params)


def keyword_argument(arguments: Sequence[cst.Arg], position: int) -> list[Item]:
    """Pass one positional argument as ``session=``; a literal ``None``, which means the same as nothing, goes."""
    session = arguments[position]
    others = [*arguments[:position], *arguments[position + 1 :]]
    if isinstance(session.value, cst.Name) and session.value.value == "None":
        if position == len(arguments) - 1 and others:
            others[-1] = others[-1].with_changes(comma=session.comma, whitespace_after_arg=session.whitespace_after_arg)
        return [*others]
    new = session.with_changes(keyword=cst.Name("session"), equal=cst.AssignEqual(_NOTHING, _NOTHING))
    stays = all(one.keyword is not None for one in others[position:])
    return _arrange(arguments, [*others[:position], new, *others[position:]] if stays else [*others, new], _NOTHING)


def _arrange(old: Sequence[Item], ordered: Sequence[Item], before: cst.BaseParenthesizableWhitespace) -> list[Item]:
    """Separate items in a new order as they were in the old one; where each has its line, comments go with their items.

    Args:
        old: The items as they were.
        ordered: The same in their new order, and perhaps one more before the last.
        before: The space in front of the first.
    """
    commas = [one.comma for one in old]
    ends = [_end(one) for one in old]
    if len(ordered) > len(old):
        commas.insert(-1, _plain(commas[-2] if len(commas) > 1 else cst.Comma(whitespace_after=before)))
        ends.insert(-1, _NOTHING)
    if all(_comment(comma) is not None for comma in commas):
        rests = [_comment(one.comma) or cst.TrailingWhitespace() for one in ordered]
        commas = [_commented(comma, rest) for comma, rest in zip(commas, rests, strict=True)]
    return [_ended(one, comma, end) for one, comma, end in zip(ordered, commas, ends, strict=True)]


def _end(item: Item) -> cst.BaseParenthesizableWhitespace:
    """Return the space behind an item that no comma follows."""
    if isinstance(item, cst.Param):
        return item.whitespace_after_param
    return item.whitespace_after_arg if isinstance(item, cst.Arg) else _NOTHING


def _ended(item: Item, comma: Comma, end: cst.BaseParenthesizableWhitespace) -> Item:
    if isinstance(item, cst.Param):
        return item.with_changes(comma=comma, whitespace_after_param=end)
    if isinstance(item, cst.Arg):
        return item.with_changes(comma=comma, whitespace_after_arg=end)
    return item.with_changes(comma=comma)


def _comment(comma: Comma) -> cst.TrailingWhitespace | None:
    """Return the rest of the line behind a comma; None where no line ends."""
    if isinstance(comma, cst.Comma) and isinstance(comma.whitespace_after, cst.ParenthesizedWhitespace):
        return comma.whitespace_after.first_line
    return None


def _commented(comma: Comma, rest: cst.TrailingWhitespace) -> Comma:
    return comma.with_deep_changes(comma.whitespace_after, first_line=rest) if isinstance(comma, cst.Comma) else comma


def _plain(comma: Comma) -> Comma:
    """Repeat a comma and the line break behind it, without its comment."""
    if _comment(comma) is None:
        return cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    return _commented(comma, cst.TrailingWhitespace())
