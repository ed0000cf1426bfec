"""``auto_session_func``: the decorator for functions, and for the policy of a single method."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from session_aware._call import wrapper
from session_aware._call.factory import makes_sessions
from session_aware._call.lane import Binding
from session_aware._call.options import OPTIONS, check_names, settings_of
from session_aware._declare import signature
from session_aware._unit.configuration import Settings
from session_aware._unit.policy import merge
from session_aware._unit.runners import Kind
from session_aware.exceptions import PolicyConflictError, SessionParameterError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from session_aware._call.factory import AsyncSessionFactory, SessionFactory
    from session_aware._call.options import Options, Policy

__all__ = ["auto_session_func"]

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A", bound=Awaitable[object] | AsyncIterator[object] | AbstractAsyncContextManager[object])


class SessionDecorator(Protocol):
    """What ``auto_session_func(...)`` returns: a decorator that keeps the signature."""

    def __call__(self, func: Callable[P, R], /) -> Callable[P, R]: ...


class AsyncSessionDecorator(Protocol):
    """The same if only an async factory is named: a plain ``def`` is refused."""

    def __call__(self, func: Callable[P, A], /) -> Callable[P, A]: ...


@overload
def auto_session_func(func: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def auto_session_func(
    *,
    session_factory: SessionFactory[Session],
    async_session_factory: AsyncSessionFactory[AsyncSession] | None = ...,
    read_session_factory: SessionFactory[Session] | None = ...,
    async_read_session_factory: AsyncSessionFactory[AsyncSession] | None = ...,
    **policy: Unpack[Policy],
) -> SessionDecorator: ...
@overload
def auto_session_func(
    *,
    async_session_factory: AsyncSessionFactory[AsyncSession],
    async_read_session_factory: AsyncSessionFactory[AsyncSession] | None = ...,
    **policy: Unpack[Policy],
) -> AsyncSessionDecorator: ...
@overload
def auto_session_func(
    *,
    session_factory: None = ...,
    async_session_factory: None = ...,
    read_session_factory: SessionFactory[Session] | None = ...,
    async_read_session_factory: AsyncSessionFactory[AsyncSession] | None = ...,
    **policy: Unpack[Policy],
) -> SessionDecorator: ...
def auto_session_func(
    func: Callable[..., Any] | None = None,
    /,
    **options: Unpack[Options],
) -> Callable[..., Any]:
    """Give a callable with a keyword-only ``session`` a session for each call that omits it.

    It is used bare, ``@auto_session_func``, or with options. A caller that passes ``session=`` owns the transaction: the
    body runs in it and nothing is begun, committed, rolled back or closed. A caller that omits it gets a unit of its own: a
    session is opened from the factory, begun, committed on return, rolled back on any exception, which is re-raised
    unchanged, and closed.

    It takes plain functions, coroutine functions, generators, async generators, functions under ``@contextmanager`` or
    ``@asynccontextmanager``, and callable objects; it may be above or below ``@staticmethod`` and ``@classmethod``. On a
    method of a ``SessionAwareService`` it sets the policy of that method, which uses the factories of the class. If it is
    applied twice, the outer options take precedence. Every call has its own session, so a function may be called from any
    thread or task.

    Args:
        func: The callable, when used bare.
        **options: The factories and the policy, as in the class statement of a ``SessionAwareService``. For options that are
            left out, the class or ``configure`` decides. ``retry`` is not for generators and context managers.

    Raises:
        SessionParameterError: There is no keyword-only ``session``, or it is annotated with a session of the other kind.
        SessionFactoryError: A factory is not a session factory of its keyword's kind.
        PolicyConflictError: ``retry`` is set on a generator or context manager.
        TypeError: There is no such option, or one has a value of the wrong type.

    Example:
        @auto_session_func(session_factory=sessionmaker(engine))
        def rename(account_id: int, owner: str, *, session: Session = NEW_SESSION) -> None:
            session.get_one(Account, account_id).owner = owner
    """
    check_names(options, OPTIONS, "auto_session_func")
    settings = settings_of(options, "auto_session_func")
    if func is not None:
        return _decorate(func, settings)
    return lambda func: _decorate(func, settings)


auto_session_func.__module__ = "session_aware"


def _decorate(func: Callable[..., Any], settings: Settings) -> Callable[..., Any]:
    given = cast("object", func)
    if (factory := makes_sessions(given)) is not None:
        msg = (
            f"auto_session_func: {factory} was passed in place of a function. Write "
            "'@auto_session_func(session_factory=...)' above a function."
        )
        raise SessionParameterError(msg)
    if (inner := wrapper.dispatcher_of(given)) is not None:
        both = Settings(merge(settings.policy, inner.settings.policy), {**inner.settings.factories, **settings.factories})
        function = wrapper.unwrapped(given)
        return wrapper.wrap(function, inner.declaration, both, binding=wrapper.binding_of(function, inner.binding))
    if not (callable(given) or isinstance(given, classmethod)):
        msg = (
            f"auto_session_func: {func!r} is not callable. Write '@auto_session_func' above a function, and options by "
            "keyword."
        )
        raise SessionParameterError(msg)
    if isinstance(func, type):
        msg = (
            f"auto_session_func: {func.__qualname__} is a class. Derive it from SessionAwareService, which covers its "
            "methods, or decorate the methods one by one."
        )
        raise SessionParameterError(msg)
    function = given.__func__ if isinstance(given, staticmethod | classmethod) else func
    other = next((parameter for parameter in signature.placeholders(function) if parameter != "session"), None)
    if other is not None:
        name = getattr(function, "__qualname__", type(function).__qualname__).rpartition("<locals>.")[2]
        raise SessionParameterError(signature.complaint_of_other(function, other, name))
    parameter, declaration = signature.session_parameter(function), signature.read(function)
    if declaration is None or parameter is None or not signature.is_of_sqlalchemy(function, parameter):
        raise SessionParameterError(signature.complaint(function))
    if settings.policy.retry is not None and declaration.kind not in {Kind.PLAIN, Kind.COROUTINE}:
        msg = (
            f"{declaration.name}: retry is set, but the caller of this {declaration.kind.value} has used its items or block "
            "already when it fails. Remove retry=, and retry around the whole use of it."
        )
        raise PolicyConflictError(msg)
    return wrapper.wrap(func, declaration, settings, binding=wrapper.binding_of(func, Binding.FUNCTION))
