"""The error codes, and whether an error would be reported. mypy keeps one table of codes, so each is created once, here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from mypy.errorcodes import ErrorCode

if TYPE_CHECKING:
    from mypy.checker import TypeChecker
    from mypy.nodes import Context

__all__ = [
    "KIND",
    "LAZY_RESULT",
    "MISSING",
    "NOT_PASSED",
    "OPTIONAL",
    "OWNED",
    "POSITIONAL",
    "SESSION_AWARE",
    "Fail",
    "is_tried",
]

_CATEGORY: Final = "Session-aware"

SESSION_AWARE: Final = ErrorCode("session-aware", "Mistakes in the use of session-aware functions", _CATEGORY)


def _code(name: str, description: str) -> ErrorCode:
    return ErrorCode(name, description, _CATEGORY, sub_code_of=SESSION_AWARE)


NOT_PASSED: Final = _code("session-not-passed", "A session-aware call leaves out a session that is in scope")
POSITIONAL: Final = _code("session-positional", "Parameter 'session' is not keyword-only")
OPTIONAL: Final = _code("session-optional", "Parameter 'session' is optional in the body although it is always given")
KIND: Final = _code("session-kind", "'async def' with a Session, or 'def' with an AsyncSession")
LAZY_RESULT: Final = _code("session-lazy-result", "The result is read after its session was closed")
MISSING: Final = _code("session-missing", "A decorated function has no parameter 'session'")
OWNED: Final = _code("session-owned", "A function ends or begins the transaction that it was given")


class Fail(Protocol):
    """The type of ``fail``, which both mypy's analyser and its checker have."""

    def __call__(self, msg: str, ctx: Context, /, *, code: ErrorCode) -> object: ...


def is_tried(checker: TypeChecker) -> bool:
    """Say whether mypy only tries the call, as an argument of an overload: an error would rule out the overload.

    mypy has checked such an argument on its own before, so no finding is lost. There is no documented way to ask.
    ``prefer_simple_messages`` is the nearest public one, but since mypy 2 it looks only at the innermost watcher, and each
    call has one of its own. The stack of watchers is the same from mypy 1.8 to 2.4.

    Raises:
        AttributeError: This mypy has none. The plugin reports that, and makes no findings that could rule out an overload.
    """
    return any(map(_is_filtering, checker.msg.errors._watchers))  # noqa: SLF001 - see above


def _is_filtering(watcher: object) -> bool:
    """Say whether a watcher drops every error. One that passes some on has a function, one that keeps them has a list."""
    return getattr(watcher, "_filter", True) is True and getattr(watcher, "_filtered", None) is None
