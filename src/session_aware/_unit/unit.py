"""A unit is a context manager around one body.

Entering it opens the session and begins; leaving it commits, or rolls back if the body raised, and closes. There are three
kinds: ``Owned`` has a session of its own, ``Savepoint`` and ``Joined`` run in a given one. They are written synchronously.
``asynchronous.AsyncUnit`` runs one in the greenlet of its session. A unit is used once, by one thread or task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, Self

from sqlalchemy.orm import Session, scoped_session

if TYPE_CHECKING:
    from session_aware._unit.request import Request
    from session_aware.exceptions import CommitOutcomeUnknown

__all__ = ["Handle", "Unit"]


class Handle(Protocol):
    """Ends the work of a session: the session itself, or a wrapper that awaits an async one with methods of its own."""

    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...
    def invalidate(self) -> None: ...


class Unit(ABC):
    """A context manager around one body.

    Attributes:
        request: The decision about the call.
        name: Qualified name of the callable, or where the block is.
        source: The given session, or the factory that makes one.
        entered: The ``AsyncSession`` of an async unit once it is open, otherwise None.
        result: What the body returned. ``end`` refuses a result that would run, or be read, after it.
    """

    __slots__ = ("entered", "name", "request", "result", "source")

    def __init__(self, request: Request, source: Any) -> None:  # noqa: ANN401 - a session or a factory
        self.request = request
        self.name = request.name
        self.source = source
        self.entered: Any = None
        self.result: object = None

    def fresh(self) -> Self:
        """Return an unused unit for the same call."""
        return type(self)(self.request, self.source)

    def __enter__(self) -> Session:
        try:
            session: Session = self.acquire(Session, scoped_session)
            self.begin(session, session)
        except BaseException as error:
            self.abort(error)
            raise
        return session

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            self.abort(error)
            return
        try:
            self.end()
            self.report(None)
        except BaseException as failure:
            self.abort(failure)
            raise

    # The kinds of unit differ in the methods below.

    @abstractmethod
    def acquire(self, kind: type[Any], registry: type[Any], /) -> Any:  # noqa: ANN401 - of that kind
        """Return the given session, or a new one from the factory."""

    @abstractmethod
    def needs_io_to_begin(self, session: Session, /) -> bool:
        """Say whether ``begin`` talks to the database."""

    @abstractmethod
    def begin(self, session: Session, handle: Handle, /) -> None:
        """Begin."""

    @abstractmethod
    def end(self) -> None:
        """End the unit, whose body has returned."""

    @abstractmethod
    def abort(self, error: BaseException, /) -> None:
        """Clean up after ``error``, which the caller raises again, and report the unit."""

    @abstractmethod
    def report(self, error: BaseException | None, /) -> None:
        """Report the unit; a second call does nothing."""

    @abstractmethod
    def unknown_outcome(self, cause: BaseException, /) -> CommitOutcomeUnknown | None:
        """Return the error to raise if the outcome of the unit is unknown; None if it is known."""
