"""The findings about a definition alone, of a service's method or of a decorated function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy.nodes import (
    Decorator,
    EllipsisExpr,
    ExpressionStmt,
    FuncDef,
    PassStmt,
    RaiseStmt,
    StrExpr,
)
from mypy.types import CallableType, Instance, UnboundType, get_proper_type

from session_aware.mypy_plugin import _codes
from session_aware.mypy_plugin._annotations import class_of, unknown, with_type_parameters
from session_aware.mypy_plugin._names import MARK, fullname_of, written
from session_aware.mypy_plugin._parameter import NAME
from session_aware.mypy_plugin._tree import is_generator, returns_what_is_complete

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy.nodes import Statement, TypeInfo

    from session_aware.mypy_plugin._annotations import Lookup, SessionType
    from session_aware.mypy_plugin._codes import Fail
    from session_aware.mypy_plugin._parameter import Parameter

__all__ = ["check_definition", "check_keyword_only", "is_plainly_decorated"]

_OVERLOAD: Final = frozenset({"typing.overload", "typing_extensions.overload"})

# Decorators that do not change the type of their function. The plugin abstains under any other one.
_TRANSPARENT: Final = _OVERLOAD | {
    "abc.abstractclassmethod",
    "abc.abstractmethod",
    "abc.abstractstaticmethod",
    "builtins.classmethod",
    "builtins.staticmethod",
    "contextlib.asynccontextmanager",
    "contextlib.contextmanager",
    MARK,
    "typing.final",
    "typing.override",
    "typing_extensions.deprecated",
    "typing_extensions.final",
    "typing_extensions.override",
    "warnings.deprecated",
}

_LATER: Final = frozenset(
    {
        "builtins.filter",
        "builtins.map",
        "builtins.zip",
        "typing.AsyncGenerator",
        "typing.AsyncIterator",
        "typing.Awaitable",
        "typing.Coroutine",
        "typing.Generator",
        "typing.Iterator",
    }
)
# What the implementation of a signature without a body may be "async def" for.
_ASYNC_FORMS: Final = ("contextlib.AbstractAsyncContextManager", "typing.AsyncIterable", "typing.Awaitable")
_LATER_BASES: Final = (
    "sqlalchemy.engine.result.Result",
    "sqlalchemy.engine.result.FilterResult",
    "sqlalchemy.ext.asyncio.result.AsyncCommon",
    "sqlalchemy.orm.query.Query",
)


def _names(decorated: Decorator | None) -> set[str]:
    return set() if decorated is None else {fullname_of(decorator) for decorator in decorated.original_decorators}


def is_plainly_decorated(decorated: Decorator | None) -> bool:
    """Say whether only decorators are used whose effect is known."""
    return _names(decorated) <= _TRANSPARENT


def check_keyword_only(found: Parameter, name: str, fail: Fail, *, is_marked: bool) -> bool:
    """Report a positional ``session``, which is refused at run time.

    Args:
        found: The parameter.
        name: The name of the function, for the message.
        fail: Reports the finding.
        is_marked: Whether the function is under ``auto_session_func``. If not, a required one is left alone at run time.
    """
    if found.is_keyword_only:
        return True
    why = "A positional session collides with ordinary arguments"
    if found.argument.initializer is None and not is_marked:
        why = "The method is not wrapped, and every caller has to pass one"
    fail(
        f'"{name}": parameter "session" must be keyword-only. {why}. '
        f'Write "def {name.rpartition(".")[2]}(..., *, session: Session = NEW_SESSION)"',
        found.argument,
        code=_codes.POSITIONAL,
    )
    return False


def check_definition(
    found: Parameter,
    func: FuncDef,
    decorated: Decorator | None,
    session: SessionType,
    *,
    info: TypeInfo | None,
    name: str,
    fail: Fail,
    lookup: Lookup,
) -> None:
    """Report what is wrong about a function whose keyword-only ``session`` is of a known type."""
    if _names(decorated) & _OVERLOAD:  # only a signature; the implementation is checked on its own
        return
    is_plain = is_plainly_decorated(decorated)
    result = _result(func, lookup) if is_plain else None
    is_later = result is not None and (result.fullname in _LATER or any(result.has_base(base) for base in _LATER_BASES))
    is_signature = _is_signature(func.body.body)
    may_be_async = is_later or (result is not None and any(result.has_base(base) for base in _ASYNC_FORMS))
    if is_plain and func.is_coroutine != session.is_async and not (is_signature and may_be_async):
        form, wanted, other = (
            ("async def", "AsyncSession", "") if func.is_coroutine else ("def", "Session", ', or "async def"')
        )
        fail(
            f'"{name}": "{form}" takes the {wanted} of the factories, not "{written(session.info.name)}". '
            f'Write "session: {wanted} = NEW_SESSION"{other}',
            found.argument,
            code=_codes.KIND,
        )
        return
    if session.is_optional and not _is_override(func, info):
        fail(
            f'"{name}": the body always gets a session. Write "session: {written(session.info.name)} = NEW_SESSION" instead '
            f'of "{written(session.info.name)} | None", and nothing has to be narrowed',
            found.argument,
            code=_codes.OPTIONAL,
        )
    if result is not None and is_later and not (is_signature or is_generator(func) or returns_what_is_complete(func)):
        fail(
            f'"{name}" returns "{written(result.name)}" without being a generator: it is read after the session was closed. '
            "Return a list, or yield the rows",
            func,
            code=_codes.LAZY_RESULT,
        )


def _is_override(func: FuncDef, info: TypeInfo | None) -> bool:
    """Say whether a base declares the method with a ``session``: an override must take what the base takes."""
    bases = [] if info is None else info.mro[1:]
    nodes = [base.names[func.name].node for base in bases if func.name in base.names]
    functions = [node.func if isinstance(node, Decorator) else node for node in nodes]
    return any(isinstance(inherited, FuncDef) and NAME in inherited.arg_names for inherited in functions)


def _result(func: FuncDef, lookup: Lookup) -> TypeInfo | None:
    """Return the class that the return annotation names; for a coroutine the class of the awaited result."""
    annotation = func.type.ret_type if isinstance(func.type, CallableType) else unknown("")
    analysed = None if isinstance(annotation, UnboundType) else get_proper_type(annotation)
    if func.is_coroutine and isinstance(analysed, Instance) and analysed.type.fullname == "typing.Coroutine":
        annotation = analysed.args[2]
    return class_of(annotation, with_type_parameters(func, lookup))


def _is_signature(body: Iterable[Statement]) -> bool:
    """Say whether the body does nothing, as in stubs, protocols and abstract methods, which others implement."""
    return all(
        isinstance(statement, PassStmt | RaiseStmt)
        or (isinstance(statement, ExpressionStmt) and isinstance(statement.expr, EllipsisExpr | StrExpr))
        for statement in body
    )
