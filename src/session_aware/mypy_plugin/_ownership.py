"""``session-owned``: a function that is given a session must not end its transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy.nodes import CallExpr, FuncItem, MemberExpr, NameExpr, Node

from session_aware.mypy_plugin import _codes
from session_aware.mypy_plugin._layout import bound_by
from session_aware.mypy_plugin._parameter import NAME, parameter
from session_aware.mypy_plugin._tree import walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy.nodes import FuncDef

    from session_aware.mypy_plugin._codes import Fail

__all__ = ["check_ownership"]

_OWNERS_CALLS: Final = frozenset({"begin", "close", "commit", "rollback"})


def check_ownership(func: FuncDef, calls: Sequence[CallExpr], name: str, fail: Fail) -> None:
    """Report calls that begin, commit, roll back or close the given session. Abstain if its name is assigned again.

    Args:
        func: The function.
        calls: The calls in its body, ``calls_in(func)``.
        name: The name of the function, for the message.
        fail: Reports the findings.
    """
    if not any(map(_owners_call, calls)):
        return
    block = "async with" if func.is_coroutine else "with"
    body = list(walk(func.body, enters=_sees_the_same))
    if any(_is_session(target) for node in body for target in bound_by(node)):
        return
    for node in body:
        if isinstance(node, CallExpr) and (called := _owners_call(node)):
            fail(
                f'"{name}": "session.{called}()" on a session that was given: whoever opened it ends its transaction. '
                f'Remove the call. For a part that may fail alone write "{block} session.begin_nested():"',
                node,
                code=_codes.OWNED,
            )


def _owners_call(call: CallExpr) -> str:
    """Return the name of the owner's method that a call makes on ``session``; empty for any other call."""
    called = call.callee
    if isinstance(called, MemberExpr) and called.name in _OWNERS_CALLS and _is_session(called.expr):
        return called.name
    return ""


def _sees_the_same(node: Node) -> bool:
    return not (isinstance(node, FuncItem) and parameter(node) is not None)


def _is_session(node: Node) -> bool:
    return isinstance(node, NameExpr) and node.name == NAME
