"""The error codes. mypy keeps one table of them for the process, so each is created once, here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from mypy.errorcodes import ErrorCode

if TYPE_CHECKING:
    from mypy.nodes import Context

__all__ = ["KIND", "LAZY_RESULT", "MISSING", "NOT_PASSED", "OPTIONAL", "OWNED", "POSITIONAL", "SESSION_AWARE", "Fail"]

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
