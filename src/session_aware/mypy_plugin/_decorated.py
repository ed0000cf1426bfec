"""The rule for functions under ``@auto_session_func``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mypy.nodes import ARG_STAR2, AssignmentStmt, CallExpr, Decorator, NameExpr, Var
from mypy.types import CallableType, FunctionLike, get_proper_type

from session_aware.mypy_plugin import _codes, _policy
from session_aware.mypy_plugin._annotations import unknown
from session_aware.mypy_plugin._definitions import check_definition, check_keyword_only, is_plainly_decorated
from session_aware.mypy_plugin._names import is_service, written
from session_aware.mypy_plugin._ownership import check_ownership
from session_aware.mypy_plugin._parameter import NAME, optional_for_callers, parameter
from session_aware.mypy_plugin._tree import calls_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy.checker import TypeChecker
    from mypy.nodes import Context, Node
    from mypy.plugin import FunctionContext, MethodContext
    from mypy.types import Type

    from session_aware.mypy_plugin._layout import Layout

__all__ = ["visit_decorated"]


def visit_decorated(ctx: FunctionContext | MethodContext, layout_of: Callable[[TypeChecker, Node], Layout]) -> Type:
    """Make ``session`` optional in the type that the decorator returns, and report what is wrong about the function."""
    if len(ctx.arg_types) != 1 or len(ctx.arg_types[0]) != 1:  # options, not the function
        return ctx.default_return_type
    given = get_proper_type(ctx.arg_types[0][0])
    decorated = ctx.context if isinstance(ctx.context, Decorator) else None
    if isinstance(given, FunctionLike) and not given.is_type_obj() and _lacks_session(given, decorated):
        name = _name(decorated) if decorated is not None else given.get_name() or "function"
        ctx.api.fail(
            f'"{name}": there is no parameter "session", so no session can be given. '
            'Write "*, session: Session = NEW_SESSION", or remove "auto_session_func"',
            ctx.context if decorated is None else decorated.func,
            code=_codes.MISSING,
        )
    elif decorated is not None:
        _check(ctx, decorated)
    _keep_policy(ctx.context, cast("TypeChecker", ctx.api), layout_of)
    return optional_for_callers(ctx.default_return_type)


def _keep_policy(context: Context, api: TypeChecker, layout_of: Callable[[TypeChecker, Node], Layout]) -> None:
    """Keep what the decorator says for the calls, also where it is called: ``name = auto_session_func(...)(function)``."""
    if isinstance(context, Decorator):
        said = _policy.of_decorators(context)
        _policy.keep(context.var, _policy.ALL_UNCLEAR if said is None else said)
        return
    statement = layout_of(api, cast("Node", context)).parents.get(cast("Node", context))
    target = statement.lvalues[0] if isinstance(statement, AssignmentStmt) else None
    if isinstance(target, NameExpr) and isinstance(target.node, Var) and not target.node.is_final:
        options = cast("CallExpr", context).callee
        said = _policy.of_options(options, where=target.fullname) if isinstance(options, CallExpr) else {}
        _policy.keep(target.node, said)


def _name(decorated: Decorator) -> str:
    func = decorated.func
    return f"{written(func.info.name)}.{func.name}" if func.info else func.name


def _lacks_session(given: FunctionLike, decorated: Decorator | None) -> bool:
    if decorated is not None and parameter(decorated.func) is not None:
        return False  # another decorator removes it, or its type does not show it
    is_exact = decorated is not None and is_plainly_decorated(decorated)
    return all(_is_without(item, is_exact=is_exact) for item in given.items)


def _is_without(signature: CallableType, *, is_exact: bool) -> bool:
    if NAME in signature.arg_names or signature.is_ellipsis_args or signature.unpack_kwargs:
        return False
    return signature.param_spec() is None and (is_exact or ARG_STAR2 not in signature.arg_kinds)


def _check(ctx: FunctionContext | MethodContext, decorated: Decorator) -> None:
    func = decorated.func
    found = parameter(func)
    if found is None or (func.info and is_service(func.info)):  # the methods of a service have been checked already
        return
    name = _name(decorated)
    if is_plainly_decorated(decorated) and not check_keyword_only(found, name, ctx.api.fail, is_marked=True):
        return
    session = found.session_type(unknown)
    if session is not None and found.is_keyword_only:
        check_ownership(func, calls_in(func), name, ctx.api.fail)
        check_definition(
            found, func, decorated, session, info=func.info or None, name=name, fail=ctx.api.fail, lookup=unknown
        )
