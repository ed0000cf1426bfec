"""``session-not-passed``: a session-aware call that leaves out a session which is in scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy.checker import TypeChecker
from mypy.nodes import CallExpr, Decorator, FuncDef, NameExpr, OverloadedFuncDef, Var

from session_aware.mypy_plugin import _codes
from session_aware.mypy_plugin._parameter import NAME, aware_session
from session_aware.mypy_plugin._scope import session_in_scope

if TYPE_CHECKING:
    from mypy.nodes import SymbolNode
    from mypy.plugin import FunctionContext, MethodContext
    from mypy.types import Type

    from session_aware.mypy_plugin._annotations import SessionType

__all__ = ["aware_symbol", "check_call", "check_local_call", "message"]


def aware_symbol(node: SymbolNode | None) -> SessionType | None:
    """Return the session that calls of a function, method or variable may leave out; None if it is not session-aware."""
    if isinstance(node, FuncDef | OverloadedFuncDef | Var):
        return aware_session(node.type)
    return aware_session(node.var.type) if isinstance(node, Decorator) else None


def check_call(ctx: FunctionContext | MethodContext, callee: str, wanted: SessionType) -> Type:
    """Report the call if it leaves the session out and one could be passed. Its type stays what it is."""
    if NAME not in ctx.callee_arg_names or ctx.arg_types[ctx.callee_arg_names.index(NAME)]:
        return ctx.default_return_type
    if isinstance(ctx.api, TypeChecker) and isinstance(ctx.context, CallExpr):
        found = session_in_scope(ctx.api.scope.stack, ctx.context, wanted)
        if found is not None:
            ctx.api.fail(message(callee, found), ctx.context, code=_codes.NOT_PASSED)
    return ctx.default_return_type


def check_local_call(ctx: FunctionContext | MethodContext) -> Type:
    """Do the same for a local name, ``rename = accounts.rename`` or a nested function, to which only the call leads."""
    call = ctx.context
    if isinstance(call, CallExpr) and isinstance(call.callee, NameExpr):
        wanted = aware_symbol(call.callee.node)
        if wanted is not None:
            return check_call(ctx, call.callee.name, wanted)
    return ctx.default_return_type


def message(callee: str, session: str) -> str:
    """Say what the call does, and what to write for either intent."""
    return (
        f'"{callee}" is called without the session "{session}" that is in scope: it opens a second transaction. '
        f'Write "session={session}", or "session=NEW_SESSION" if that is meant'
    )
