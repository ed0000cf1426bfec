"""The error codes, and how to report one at any time. mypy keeps one table of codes, so each is created once, here."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from mypy.errorcodes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Generator

    from mypy.errors import Errors
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
    "unfiltered",
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


@contextmanager
def unfiltered(errors: Errors) -> Generator[None]:
    """Report even while mypy drops errors, because it tries the variants of an overload or of an assignment.

    A finding does not depend on what is tried, and must not rule it out. mypy may not come back to the call, since it keeps
    the type that it found. There is no documented way to do this; the stack of watchers is the same from mypy 1.8 to 2.4.
    mypy removes what is reported twice.

    Raises:
        AttributeError: This mypy has no such stack.
    """
    watchers, errors._watchers = errors._watchers, []  # noqa: SLF001 - see above
    try:
        yield
    finally:
        errors._watchers = watchers  # noqa: SLF001 - likewise
