"""``session-not-passed``: a session-aware call leaves out a session that is in scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy.checker import TypeChecker
from mypy.nodes import CallExpr, RefExpr
from mypy.types import Instance, get_proper_type

from session_aware.mypy_plugin import _codes, _policy
from session_aware.mypy_plugin._callee import Resolver, is_passed
from session_aware.mypy_plugin._names import MAPPING
from session_aware.mypy_plugin._scope import sessions_in_scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy.nodes import Context, Node
    from mypy.types import Type

    from session_aware.mypy_plugin._callee import Callee
    from session_aware.mypy_plugin._layout import Layout
    from session_aware.mypy_plugin._scope import Candidate

__all__ = ["check_call"]

_IS_COMMIT: Final = "is_commit"
_LATER: Final = frozenset(
    f"typing.{name}" for name in ("AsyncGenerator", "AsyncIterator", "Awaitable", "Coroutine", "Generator", "Iterator")
)
_LATER_BASES: Final = (
    "concurrent.futures._base.Future",
    "contextlib.AbstractAsyncContextManager",
    "contextlib.AbstractContextManager",
    "typing.Awaitable",
)


def check_call(context: Context, api: object, layout_of: Callable[[TypeChecker, Node], Layout]) -> None:
    """Report a call if it leaves out a session that it could be given, so that it must have been forgotten.

    Args:
        context: What mypy checks.
        api: mypy's checker.
        layout_of: Returns the layout of the module that is checked.
    """
    if not isinstance(context, CallExpr) or not isinstance(api, TypeChecker):
        return
    is_mapping = isinstance(context.callee, RefExpr) and context.callee.fullname in MAPPING
    if is_passed(context) or _IS_COMMIT in context.arg_names or (is_mapping and not context.args):
        return
    layout = layout_of(api, context)
    way = layout.way_out(context)
    candidates = [] if way is None else list(sessions_in_scope(api, layout, way))
    if not candidates:
        return
    callee = Resolver(api, layout).callee(context.args[0] if is_mapping else context.callee)
    if callee is None or ((is_mapping or _runs_later(callee.result)) and not layout.is_on_the_spot(context)):
        return
    if is_mapping and _runs_later(callee.result):
        return
    found = next((one for one in candidates if _may_join(one, callee)), None)
    if found is not None:
        how = f"functools.partial(..., session={found.name})" if is_mapping else f"session={found.name}"
        with _codes.unfiltered(api.errors):
            api.fail(_message(callee.name, found.name, how), context, code=_codes.NOT_PASSED)


def _may_join(candidate: Candidate, callee: Callee) -> bool:
    if not callee.session.accepts(candidate.type):
        return False
    policy = candidate.policy
    if candidate.is_by_hand and any(name.endswith("session_factory") for name in callee.policy):
        policy = {"session_factory": candidate.factory, "async_session_factory": candidate.factory}
    return _policy.may_join(policy, callee.policy, is_async=candidate.type.is_async, is_same=callee.is_of_self)


def _runs_later(result: Type) -> bool:
    """Say whether a call only makes what runs later: a coroutine, a generator or a context manager."""
    typ = get_proper_type(result)
    if not isinstance(typ, Instance) or typ.type.fullname.startswith("builtins."):
        return False
    return typ.type.fullname in _LATER or any(typ.type.has_base(base) for base in _LATER_BASES)


def _message(callee: str, session: str, how: str) -> str:
    """Say what the call does, and what to write in either case."""
    return (
        f'"{callee}" is called without the session "{session}" that is in scope: it opens a second transaction. '
        f'Write "{how}", or "session=NEW_SESSION" if that is meant'
    )
