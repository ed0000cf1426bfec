"""``session-not-passed``: a session-aware call leaves out a session that is in scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy.checker import TypeChecker
from mypy.nodes import CallExpr, Decorator, FuncDef, NameExpr, OverloadedFuncDef, Var

from session_aware.mypy_plugin import _codes
from session_aware.mypy_plugin._parameter import NAME, aware_session
from session_aware.mypy_plugin._scope import session_in_scope

if TYPE_CHECKING:
    from mypy.nodes import SymbolNode
    from mypy.plugin import FunctionSigContext, MethodSigContext
    from mypy.types import FunctionLike

    from session_aware.mypy_plugin._annotations import SessionType

    Call = FunctionSigContext | MethodSigContext

__all__ = ["aware_symbol", "check_call", "check_local_call", "message"]

_TYPED: Final = (FuncDef, OverloadedFuncDef, Var)


def aware_symbol(node: SymbolNode | None) -> SessionType | None:
    """Return the session that calls of a function, method or variable may leave out; None if it is not session-aware."""
    if isinstance(node, _TYPED):
        return aware_session(node.type)
    return aware_session(node.var.type) if isinstance(node, Decorator) else None


def check_call(ctx: Call, callee: str, wanted: SessionType) -> FunctionLike:
    """Report the call if it leaves out the session and one could be passed. The signature is not changed."""
    names = ctx.default_signature.arg_names
    is_passed = NAME not in names or bool(ctx.args[names.index(NAME)])
    if not is_passed and isinstance(ctx.context, CallExpr) and isinstance(ctx.api, TypeChecker) and not _is_tried(ctx.api):
        found = session_in_scope(ctx.api.scope.stack, ctx.context, wanted)
        if found is not None:
            ctx.api.fail(message(callee, found), ctx.context, code=_codes.NOT_PASSED)
    return ctx.default_signature


def _is_tried(checker: TypeChecker) -> bool:
    """Say whether mypy only tries the call, as an argument of an overload: an error would rule out the overload.

    mypy has checked such an argument on its own before, so no finding is lost. There is no documented way to ask.
    ``prefer_simple_messages`` is the nearest public one, but since mypy 2 it looks only at the innermost watcher, and each
    call has one of its own. The stack of watchers is the same from mypy 1.8 to 2.4. If it is not found, the answer is yes,
    because a missing finding is better than ruling out the right overload.
    """
    watchers = getattr(checker.msg.errors, "_watchers", None)
    return watchers is None or any(map(_is_filtering, watchers))


def _is_filtering(watcher: object) -> bool:
    """Say whether a watcher drops every error. One that passes some on has a function, one that keeps them has a list."""
    return getattr(watcher, "_filter", True) is True and getattr(watcher, "_filtered", None) is None


def check_local_call(ctx: Call) -> FunctionLike:
    """Check a call of a local name, ``rename = accounts.rename`` or a nested function, found through the call itself."""
    called = ctx.context.callee if isinstance(ctx.context, CallExpr) else None
    name, node = (called.name, called.node) if isinstance(called, NameExpr) else ("", None)
    wanted = aware_symbol(node)
    return ctx.default_signature if wanted is None else check_call(ctx, name, wanted)


def message(callee: str, session: str) -> str:
    """Say what the call does, and what to write in either case."""
    return (
        f'"{callee}" is called without the session "{session}" that is in scope: it opens a second transaction. '
        f'Write "session={session}", or "session=NEW_SESSION" if that is meant'
    )
