"""One call as it was decided, and the shape that everything which carries it out has."""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, Protocol

from session_aware.exceptions import SessionAwareError, SessionFactoryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from session_aware._marker import Marker, NoMarker
    from session_aware._plan import Plan
    from session_aware._policy import SessionPolicy

__all__ = ["Handle", "Request", "Unit", "refuse_deferred", "refuse_other_result", "refuse_other_session"]

_DEFERRED: Final = frozenset({AsyncGeneratorType, CoroutineType, GeneratorType})


class Request(NamedTuple):
    """One call as it was decided: the plan, with everything that was looked up for it. Immutable, may be carried out again."""

    plan: Plan
    name: str
    policy: SessionPolicy
    given: object
    factory: Callable[[], object] | None
    commits: bool


class Handle(Protocol):
    """Who carries out the four verbs: the session itself, or what awaits an async session that overrides them."""

    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...
    def invalidate(self) -> None: ...


class Unit(Protocol):
    """What a driver knows of a unit, whatever its plan."""

    @property
    def marker(self) -> Marker | NoMarker: ...
    def needs_io_to_begin(self, session: Session) -> bool: ...
    def begin(self, session: Session, handle: Handle) -> None: ...
    def end(self, result: object) -> None: ...
    def abort(self, error: BaseException) -> None: ...


def refuse_deferred(result: object, name: str) -> None:
    if type(result) not in _DEFERRED:
        return
    if isinstance(result, CoroutineType | GeneratorType):
        result.close()  # or Python would warn of a coroutine that was never awaited
    msg = (
        f"{name}: it returned {type(result).__name__.replace('_', ' ')} '{getattr(result, '__name__', '?')}', whose body would run "
        "after the session is closed; it was rolled back. Write the method itself as 'async def' or as a generator, or await "
        "or exhaust it inside the body."
    )
    raise SessionAwareError(msg)


def refuse_other_result(result: object, kind: str, name: str) -> NoReturn:
    """Report a decorator that does not hand back what the function beneath it promises."""
    msg = (
        f"{name}: it wraps {kind}, but calling it returned {type(result).__name__!r}. A decorator between session-aware and the "
        "function must hand the deferred result through. Apply that decorator above @auto_session_func, or write its wrapper "
        f"as {kind}."
    )
    raise SessionAwareError(msg)


def refuse_other_session(request: Request, session: object, wanted: str) -> NoReturn:
    """Report a session that is not of the kind the callable needs."""
    keyword = "async_session_factory" if wanted == "AsyncSession" else "session_factory"
    whose = "the given session is" if request.factory is None else f"its {keyword} returned"
    msg = f"{request.name}: {whose} a {type(session).__name__}, but it needs a {wanted}. " + (
        f"Write 'session=' with a {wanted}."
        if request.factory is None
        else f"Write '{keyword}={'async_sessionmaker(async_engine)' if wanted == 'AsyncSession' else 'sessionmaker(engine)'}'."
    )
    raise SessionFactoryError(msg)
