"""Find the session factory of a call, and refuse an object that is not one.

The places in order are: ``override_session_factory``; the decorator's keywords; the object, or the class through which a
class or static method was reached; ``configure``. At each place the read factory comes first for read-only work.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from session_aware.exceptions import SessionFactoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from sqlalchemy.ext.asyncio import AsyncSession


__all__ = [
    "FACTORY_KEYWORDS",
    "SOUGHT",
    "AsyncSessionFactory",
    "SessionFactory",
    "check_factory",
    "find",
    "gives_factory_later",
    "is_other_kind",
    "makes_sessions",
    "override_session_factory",
    "session_classes",
]

_S_co = TypeVar("_S_co", bound="Session", covariant=True)
_A_co = TypeVar("_A_co", bound="AsyncSession", covariant=True)


class SessionFactory(Protocol[_S_co]):
    """Anything that returns a new ``Session`` when called without arguments, such as a ``sessionmaker``."""

    def __call__(self) -> _S_co: ...


class AsyncSessionFactory(Protocol[_A_co]):
    """Anything that returns a new ``AsyncSession`` when called without arguments, such as an ``async_sessionmaker``."""

    def __call__(self) -> _A_co: ...


FACTORY_KEYWORDS: Final = (
    "session_factory",
    "async_session_factory",
    "read_session_factory",
    "async_read_session_factory",
)
SOUGHT: Final = {  # (is_async, read_only) -> keywords, the preferred one first
    (False, False): ("session_factory",),
    (True, False): ("async_session_factory",),
    (False, True): ("read_session_factory", "session_factory"),
    (True, True): ("async_read_session_factory", "async_session_factory"),
}


_NOT_CALLABLE: Final = "cannot be called"


class _Override(NamedTuple):
    service: type | None
    is_async: bool
    factory: Callable[[], object]


_overrides: Final[dict[object, _Override]] = {}
"""The overrides, in the order in which their blocks were entered.

Each has a key of its own, and there is no lock, because a finalizer might wait for a lock for ever.
"""


def find(  # noqa: PLR0917 - positional, as in all code that runs at each call, because keywords are slow
    own: Mapping[str, object],
    configured: Mapping[str, object],
    target: object,
    is_async: bool,  # noqa: FBT001 - likewise
    read_only: bool,  # noqa: FBT001 - likewise
    name: str,
) -> Callable[[], object]:
    """Return the factory for one owned unit.

    Args:
        own: The factories that the decorator or the block names itself.
        configured: The factories of ``configure``.
        target: The service object or class through which the call was reached, or None for a plain function.
        is_async: Whether an ``AsyncSession`` is needed.
        read_only: Whether a read factory is preferred.
        name: Qualified name of the callable, for messages.

    Raises:
        SessionFactoryError: There is none, or what was found is not a factory of this kind.
    """
    has_answers = hasattr(type(target), "__getattr__")  # it may have every attribute, so it is asked last
    is_usual = not (own or _overrides or is_async or read_only or has_answers)
    if is_usual and type(usual := getattr(target, "session_factory", None)) is sessionmaker:
        made: Callable[[], object] = usual
        return made
    if _overrides and (override := _overridden(target, is_async=is_async)) is not None:
        return override
    keywords = SOUGHT[is_async, read_only]
    keyword, factory = (
        (_named(own, keywords) if own else None)
        or _on_target(target, keywords, is_named=has_answers)
        or _named(configured, keywords)
        or (_on_target(target, keywords) if has_answers else None)
        or (keywords[-1], None)
    )
    if factory is None:
        _refuse_missing(keyword, name)
    check_factory(factory, keyword, name)
    return cast("Callable[[], object]", factory)


def _named(factories: Mapping[str, object], keywords: tuple[str, ...]) -> tuple[str, object] | None:
    for keyword in keywords:  # not a generator, because this runs at each call
        if keyword in factories:
            return keyword, factories[keyword]
    return None


def _on_target(target: object, keywords: tuple[str, ...], *, is_named: bool = False) -> tuple[str, object] | None:
    """Look on the object and along its classes; the nearest place that names one of the keywords decides.

    Otherwise a subclass or an instance with a database of its own would read from the replica of its base class.

    Args:
        target: The object or class, or None.
        keywords: The preferred one first.
        is_named: Whether only attributes of the object and its classes count, and not what ``__getattr__`` returns.
    """
    found: tuple[str, object] | None = None
    for keyword in keywords:
        if is_named and _distance(target, keyword) is None:
            continue
        factory = getattr(target, keyword, None)
        if factory is None:
            continue
        if isinstance(target, type) and hasattr(factory, "__get__") and gives_factory_later(factory):
            continue
        if found is None or _is_nearer(_distance(target, keyword), _distance(target, found[0])):
            found = keyword, factory
    return found


def _is_nearer(distance: int | None, other: int | None) -> bool:
    return distance is not None and (other is None or distance < other)


def _distance(target: object, keyword: str) -> int | None:
    """Count the classes up to the one that names the keyword; -1 for the object itself, None if nothing names it."""
    if not isinstance(target, type) and keyword in getattr(target, "__dict__", ()):
        return -1
    classes = (target if isinstance(target, type) else type(target)).__mro__
    return next((i for i, cls in enumerate(classes) if vars(cls).get(keyword) is not None), None)


def _overridden(target: object, *, is_async: bool) -> Callable[[], object] | None:
    owner = target if isinstance(target, type) else type(target)
    for override in reversed(list(_overrides.values())):
        if override.is_async is is_async and (override.service is None or issubclass(owner, override.service)):
            return override.factory
    return None


@contextlib.contextmanager
def override_session_factory(
    service: type | None, factory: SessionFactory[Session] | AsyncSessionFactory[AsyncSession]
) -> Generator[None]:
    """Open every owned unit from another factory during a ``with`` block; meant for tests.

    It takes precedence over every other factory, including read factories and those that decorators and blocks name. Blocks
    nest and the innermost wins; every thread and task sees it. A sync factory serves sync callables and an async factory
    serves async callables; write two blocks to replace both.

    Args:
        service: The service class whose methods, and those of its subclasses, are affected; None for everything.
        factory: A ``sessionmaker`` or ``async_sessionmaker``, or anything that makes sessions. A factory that does not show
            its kind, such as a plain function, is called once to find out, and that session is closed.

    Raises:
        SessionFactoryError: ``factory`` is not a session factory.
        TypeError: ``service`` is neither a class nor None.

    Example:
        with override_session_factory(Accounts, sessionmaker(test_engine)):
            Accounts().open("ann")
    """
    if not isinstance(cast("object", service), type | None):
        msg = f"override_session_factory({service!r}, ...): the first argument is a service class, or None for everything."
        raise TypeError(msg)
    is_async = _makes_async(factory)
    check_factory(factory, "async_session_factory" if is_async else "session_factory", "override_session_factory")
    key = object()
    _overrides[key] = _Override(service, is_async, factory)
    try:
        yield
    finally:
        del _overrides[key]


override_session_factory.__module__ = "session_aware"


def _makes_async(factory: object) -> bool:
    """Say whether the factory makes async sessions."""
    asyncio_module = sys.modules.get("sqlalchemy.ext.asyncio")
    if asyncio_module is None:
        return False
    if isinstance(
        factory, asyncio_module.async_sessionmaker | asyncio_module.async_scoped_session | asyncio_module.AsyncEngine
    ):
        return True
    made = getattr(factory, "class_", factory)
    if isinstance(made, type):
        return issubclass(made, asyncio_module.AsyncSession)
    if isinstance(factory, scoped_session | Engine | Connection | Session) or not callable(factory):
        return False
    session = factory()
    if isinstance(session, asyncio_module.AsyncSession):
        cast("AsyncSession", session).sync_session.close()  # without await, since a new session has no connection yet
        return True
    if isinstance(session, Session):
        session.close()
    return False


def check_factory(factory: object, keyword: str, place: str) -> None:
    """Refuse an object that is known not to make a new session of the keyword's kind.

    Raises:
        SessionFactoryError: See the message.
    """
    is_async = keyword.startswith("async")
    problem = _problem(factory, is_async=is_async)
    if problem is None:
        return
    write = "async_sessionmaker(async_engine)" if is_async else "sessionmaker(engine)"
    msg = f"{place}: {keyword} is {_described(factory)}, which {problem}. Write '{keyword}={write}'."
    raise SessionFactoryError(msg)


def gives_factory_later(attribute: object) -> bool:
    """Say whether an attribute of a class gives each object its factory later: a property, a slot or a dataclass field."""
    return hasattr(type(attribute), "__set__") or _problem(attribute, is_async=False) is _NOT_CALLABLE


def makes_sessions(given: object) -> str | None:
    """Describe an object that makes sessions, or connections for them; return None for anything else."""
    shared, engines, sessions = _classes()
    made = getattr(given, "class_", given)
    is_maker = isinstance(given, shared + engines) or (isinstance(made, type) and issubclass(made, sessions))
    return _described(given) if is_maker else None


def _classes() -> tuple[tuple[type, ...], tuple[type, ...], tuple[type, ...]]:
    """Return SQLAlchemy's classes of shared sessions, of engines and connections, and of sessions, if they are imported."""
    asyncio_module = sys.modules.get("sqlalchemy.ext.asyncio")
    shared: tuple[type, ...] = (scoped_session,)
    engines: tuple[type, ...] = (Engine, Connection)
    sessions: tuple[type, ...] = (Session,)
    if asyncio_module is not None:
        shared += (asyncio_module.async_scoped_session,)
        engines += (asyncio_module.AsyncEngine, asyncio_module.AsyncConnection)
        sessions += (asyncio_module.AsyncSession,)
    return shared, engines, sessions


def is_other_kind(session: object, is_async: bool) -> bool:  # noqa: FBT001 - runs at each block
    """Say whether this is a SQLAlchemy session of the kind that is not wanted, sync or async."""
    if is_async:
        return isinstance(session, Session | scoped_session)
    asynchronous = sys.modules.get("sqlalchemy.ext.asyncio")
    return asynchronous is not None and isinstance(session, (asynchronous.AsyncSession, asynchronous.async_scoped_session))


def session_classes(*, is_async: bool | None) -> tuple[type, ...]:
    """Return those of SQLAlchemy's session classes that are imported, of one kind or of both."""
    found: list[type] = []
    if is_async is not True and (orm := sys.modules.get("sqlalchemy.orm")) is not None:
        found += [orm.Session, orm.scoped_session]
    if is_async is not False and (asynchronous := sys.modules.get("sqlalchemy.ext.asyncio")) is not None:
        found += [asynchronous.AsyncSession, asynchronous.async_scoped_session]
    return tuple(found)


def _described(factory: object) -> str:
    name = factory.__name__ if isinstance(factory, type) else type(factory).__name__
    return f"the class {name}" if isinstance(factory, type) else f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _problem(factory: object, *, is_async: bool) -> str | None:
    shared, engines, sessions = _classes()
    if isinstance(factory, shared):
        return "hands one session to every call of a thread or task, so that one call would commit or close another's work"
    if isinstance(factory, engines):
        return "makes connections, not sessions"
    if isinstance(factory, sessions):
        return "is one session that every call would share"
    if not callable(factory):
        return _NOT_CALLABLE
    made = getattr(factory, "class_", factory)
    if not (isinstance(made, type) and issubclass(made, sessions)):
        return None  # what another callable returns is checked when it is called
    if issubclass(made, Session) is not is_async:
        is_bare = isinstance(factory, type) and _is_bare(made, Session if issubclass(made, Session) else sessions[-1])
        return "knows no engine when it is called without arguments, as factories are" if is_bare else None
    if is_async:
        return "makes Session; for plain callables its keyword is session_factory"
    return "makes AsyncSession; for async callables its keyword is async_session_factory"


def _is_bare(session_class: Any, base: Any) -> bool:  # noqa: ANN401 - classes of both kinds
    return session_class.__init__ is base.__init__ and session_class.get_bind is base.get_bind


def _refuse_missing(keyword: str, name: str) -> None:
    service = name.rpartition(".")[0]
    maker = "async_sessionmaker(async_engine)" if keyword.startswith("async") else "sessionmaker(engine)"
    option = f"'{keyword}={maker}' among the options of auto_session_func or auto_session_ctx"
    statement = f"'class {service}(SessionAwareService, {keyword}={maker})', set the attribute '{keyword}' on it"
    msg = (
        f"{name}: called without 'session=', but there is no {keyword} to open one from. Write "
        f"{statement if service else option}, or call 'configure({keyword}={maker})' once at start."
    )
    raise SessionFactoryError(msg)
