"""The rule for the class statement of a ``SessionAwareService``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy.server.trigger import make_trigger

from session_aware.mypy_plugin._annotations import NotReadyError
from session_aware.mypy_plugin._definitions import check_definition, check_keyword_only, is_plainly_decorated
from session_aware.mypy_plugin._names import CONSTRUCTION, is_marking
from session_aware.mypy_plugin._ownership import check_ownership
from session_aware.mypy_plugin._parameter import is_rewritten, make_optional, parameter, restore
from session_aware.mypy_plugin._policy import keep_for_class
from session_aware.mypy_plugin._tree import calls_in, functions_of

if TYPE_CHECKING:
    from mypy.nodes import Decorator, FuncDef, SymbolTableNode, TypeInfo
    from mypy.plugin import ClassDefContext

    from session_aware.mypy_plugin._annotations import Lookup

__all__ = ["is_rewritten_class", "restore_class", "visit_service"]


def is_rewritten_class(info: TypeInfo) -> bool:
    """Say whether the session of a method was made optional when the tree of the class was analysed before."""
    found = (parameter(func) for func, _ in functions_of(info.defn.defs))
    return any(item is not None and is_rewritten(item) for item in found)


def restore_class(ctx: ClassDefContext) -> None:
    """Restore the signatures of a class before its body is analysed, because it may no longer be a service."""
    for func, _ in functions_of(ctx.cls.defs):
        restore(func)


def visit_service(ctx: ClassDefContext) -> None:
    """Make ``session`` optional for the callers of each method, and report what is wrong about it.

    mypy may call this several times for a class, as long as names that annotations need are not bound yet.
    """

    def lookup(name: str) -> SymbolTableNode | None:
        return ctx.api.lookup_qualified(name, ctx.cls, suppress_errors=True)

    keep_for_class(ctx.cls)
    is_ready = True
    for func, decorated in functions_of(ctx.cls.defs):
        if func.name in CONSTRUCTION:
            continue
        try:
            _visit_method(ctx, func, decorated, lookup)
        except NotReadyError:
            is_ready = False
    if not is_ready and not ctx.api.final_iteration:
        ctx.api.defer()


def _visit_method(ctx: ClassDefContext, func: FuncDef, decorated: Decorator | None, lookup: Lookup) -> None:
    name = f"{ctx.cls.name}.{func.name}"
    found = parameter(func)
    if found is not None and found.is_of_another_library(lookup):
        found = None
    if found is not None and is_plainly_decorated(decorated):
        is_marked = decorated is not None and any(map(is_marking, decorated.original_decorators))
        if not check_keyword_only(found, name, ctx.api.fail, is_marked=is_marked):
            found = None
    if found is not None:
        session = found.session_type(lookup) if found.is_keyword_only else None
        if session is not None:
            ctx.api.add_plugin_dependency(make_trigger(session.info.fullname))
            if not session.is_optional:
                make_optional(found)
            check_ownership(func, calls_in(func), name, ctx.api.fail)
            check_definition(found, func, decorated, session, info=ctx.cls.info, name=name, fail=ctx.api.fail, lookup=lookup)
