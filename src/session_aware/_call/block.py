"""``auto_session_ctx``: the block form, for ``with`` and ``async with``."""

from __future__ import annotations

import sys
from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack, overload

from session_aware._call.factory import find, is_other_kind
from session_aware._call.options import BLOCK_OPTIONS, check_names, settings_of
from session_aware._call.plan import plan
from session_aware._call.sentinel import NEW
from session_aware._unit import configuration
from session_aware._unit.configuration import NO_SETTINGS
from session_aware._unit.nesting import note_end, note_start
from session_aware._unit.policy import NO_POLICY, merge
from session_aware._unit.request import JOIN, OPEN, Asked, Request, refuse_other_session
from session_aware._unit.runners import UNITS
from session_aware.exceptions import SessionAwareError

if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType

    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    from session_aware._call.factory import AsyncSessionFactory, SessionFactory
    from session_aware._call.options import BlockOptions, BlockPolicy
    from session_aware._unit.configuration import Settings
    from session_aware._unit.unit import Unit

__all__ = ["auto_session_ctx"]

if TYPE_CHECKING:
    S = TypeVar("S", bound=Session)
    A = TypeVar("A", bound=AsyncSession)
    Given = TypeVar("Given", bound=Session | scoped_session[Any])
    AsyncGiven = TypeVar("AsyncGiven", bound=AsyncSession | async_scoped_session[Any])
    S_co = TypeVar("S_co", bound=Session | scoped_session[Any], covariant=True)
    A_co = TypeVar("A_co", bound=AsyncSession | async_scoped_session[Any], covariant=True)

    class SyncSessionContext(Protocol[S_co]):
        """For ``with``. Its ``__exit__`` returns None, so code after the block stays reachable for type checkers."""

        def __enter__(self) -> S_co: ...
        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
        ) -> None: ...

    class AsyncSessionContext(Protocol[A_co]):
        """For ``async with``."""

        async def __aenter__(self) -> A_co: ...
        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
        ) -> None: ...

    class EitherSessionContext(SyncSessionContext[Session], AsyncSessionContext[AsyncSession], Protocol):
        """For either, with the factories of ``configure``."""


@overload
def auto_session_ctx(
    session: Given,
    *,
    is_commit: bool = ...,
    **policy: Unpack[BlockPolicy],
) -> SyncSessionContext[Given]: ...
@overload
def auto_session_ctx(
    session: AsyncGiven,
    *,
    is_commit: bool = ...,
    **policy: Unpack[BlockPolicy],
) -> AsyncSessionContext[AsyncGiven]: ...
@overload
def auto_session_ctx(
    session: S | None = None,
    *,
    is_commit: bool = ...,
    session_factory: SessionFactory[S],
    read_session_factory: SessionFactory[S] | None = ...,
    **policy: Unpack[BlockPolicy],
) -> SyncSessionContext[S]: ...
@overload
def auto_session_ctx(
    session: A | None = None,
    *,
    is_commit: bool = ...,
    async_session_factory: AsyncSessionFactory[A],
    async_read_session_factory: AsyncSessionFactory[A] | None = ...,
    **policy: Unpack[BlockPolicy],
) -> AsyncSessionContext[A]: ...
@overload
def auto_session_ctx(
    session: None = None,
    *,
    is_commit: bool = ...,
    **policy: Unpack[BlockPolicy],
) -> EitherSessionContext: ...
def auto_session_ctx(
    session: Any = None,
    *,
    is_commit: bool = True,
    **options: Unpack[BlockOptions],
) -> Any:
    """Run a block in the given session, or in a new one of its own.

    ``with auto_session_ctx(session) as s:`` yields a given session untouched: the caller owns it. Without one the block is
    a unit of its own: a session is opened from the factory and begun; it is committed when the block ends, rolled back on
    any exception, which is re-raised unchanged, and always closed. ``async with`` does the same with an ``AsyncSession``.
    A context can be entered again after it has ended, but not while it is open; each entry has its own session.

    Args:
        session: What the surrounding function was given: a session, a ``scoped_session``, or a stand-in for one in a test;
            it is yielded unchanged. None opens a new session. Do not write ``NEW_SESSION`` here.
        is_commit: False rolls an owned block back at its end and keeps its objects readable (a dry run).
        **options: The factories and the policy, as in the class statement of a ``SessionAwareService``, but without
            ``retry``. For options that are left out, ``configure`` decides.

    Raises:
        SessionFactoryError: There is no factory, or one is not of its keyword's kind.
        PropagationError: ``MANDATORY`` without a session, ``REQUIRES_NEW`` with one; on entry.
        PolicyConflictError: The given session's transaction has another isolation level; on entry.
        SessionAwareError: The context is entered while it is open.
        TypeError: There is no such option, or one has a value of the wrong type.

    Example:
        def transfer(session: Session | None = None) -> None:
            with auto_session_ctx(session, session_factory=maker) as s:
                s.add(Entry(...))
    """
    if isinstance(session, FunctionType):
        name = session.__qualname__.rpartition("<locals>.")[2]
        msg = (
            f"auto_session_ctx: the function {name!r} was passed in place of a session. "
            "Write '@auto_session_func' above it, or 'with auto_session_ctx(...) as session:' inside it."
        )
        raise SessionAwareError(msg)
    code = sys._getframe(1).f_code  # noqa: SLF001 - as warnings does
    settings = NO_SETTINGS
    if options:
        check_names(options, BLOCK_OPTIONS, "auto_session_ctx")
        settings = settings_of(options, _name(code))
    return _Block(session, code, settings, is_commit=is_commit)


auto_session_ctx.__module__ = "session_aware"


class _Block:
    """A unit for ``with`` or ``async with``. Only when it is entered is it known which of the two it is.

    Attributes:
        session: The session that it yields, while it is open.
        frame: See ``nesting.Block``.
    """

    __slots__ = (
        "__weakref__",
        "_code",
        "_given",
        "_is_commit",
        "_settings",
        "_unit",
        "frame",
        "session",
    )

    def __init__(self, given: object, code: CodeType, settings: Settings, *, is_commit: bool) -> None:
        self._given = None if given is NEW else given
        self._code = code
        self._settings = settings
        self._is_commit = is_commit
        self._unit: Unit | None = None  # None for a block that only joins
        self.session: Any = None
        self.frame: FrameType | None = None

    @property
    def name(self) -> str:
        """Name the function that the block is in."""
        return _name(self._code)

    def _decide(self, is_async: bool) -> Unit | None:  # noqa: FBT001 - positional, as in all code that runs at each block
        """Return the unit that this block runs, or None if it only joins."""
        if self.frame is not None:
            msg = f"{self.name}: it is open already. Write another 'auto_session_ctx(...)' for a block inside the block."
            raise SessionAwareError(msg)
        configured = configuration.settings  # read once, so that policy and factories are from the same configure()
        source, policy = self._given, self._settings.policy
        if configured.policy is not NO_POLICY:
            policy = merge(policy, configured.policy)
        if source is not None and policy is NO_POLICY and not is_other_kind(source, is_async):
            return None  # a shortcut for most blocks
        chosen = plan(policy, is_given=source is not None, name=self.name)
        read_only = policy.read_only is True
        request = Request(chosen, self.name, policy, commits=self._is_commit and not read_only, asked=Asked.AS_A_BLOCK)
        if chosen is OPEN:
            own, of_all = self._settings.factories, configured.factories
            source = find(own, of_all, None, is_async=is_async, read_only=read_only, name=self.name)
        if is_other_kind(source, is_async):
            refuse_other_session(request, source, "AsyncSession" if is_async else "Session")
        return None if chosen is JOIN else UNITS[chosen](request, source)

    def __enter__(self) -> object:
        self._unit = self._decide(False)  # noqa: FBT003 - likewise
        try:
            note_start(self)
            session = None if self._unit is None else self._unit.__enter__()
        except BaseException:
            note_end(self)
            self._unit = None
            raise
        self.session = session if self._given is None else self._given  # unchanged: it may be a scoped_session
        return self.session

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if (unit := self._leave()) is not None:
            unit.__exit__(kind, error, traceback)

    async def __aenter__(self) -> object:
        self._unit = self._decide(True)  # noqa: FBT003 - likewise
        try:
            note_start(self)  # before another task can run
            session = None if self._unit is None else await _asynchronous().enter(self._unit)
        except BaseException:
            note_end(self)
            self._unit = None
            raise
        self.session = session if self._given is None else self._given
        return self.session

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if (unit := self._leave()) is not None:
            await _asynchronous().leave(unit, error)

    def _leave(self) -> Unit | None:
        if self.frame is None:
            msg = f"{self.name}: it was left without having been entered."
            raise SessionAwareError(msg)
        note_end(self)
        unit, self._unit, self.session = self._unit, None, None
        return unit

    def __call__(self, *_: object, **__: object) -> None:
        """Refuse to be a decorator.

        Raises:
            SessionAwareError: Always.
        """
        msg = (
            f"{self.name}: it is a block, not a decorator. Write '@auto_session_func(...)' above a function that declares "
            "'*, session: Session = NEW_SESSION', or 'with auto_session_ctx(...) as session:' inside it."
        )
        raise SessionAwareError(msg)


def _asynchronous() -> Any:  # noqa: ANN401 - a module
    """Return the asynchronous half of units, which is imported late because it needs greenlet, an extra."""
    return sys.modules.get("session_aware._unit.asynchronous") or import_module("session_aware._unit.asynchronous")


def _name(code: CodeType) -> str:
    return f"auto_session_ctx in {code.co_qualname.rpartition('<locals>.')[2]}"
