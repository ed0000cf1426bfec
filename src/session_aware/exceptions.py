"""Errors and warnings of the library: each says where, what, why and what to write.

Nothing here derives from a SQLAlchemy error, so no retry rule written for SQLAlchemy's errors fires on one.
An exception raised by the body of a unit or by the database is never replaced by one of these.
"""

from __future__ import annotations

__all__ = [
    "CommitOutcomeUnknown",
    "NestedSessionWarning",
    "PoisonedTransactionError",
    "PolicyConflictError",
    "PropagationError",
    "SessionAwareError",
    "SessionFactoryError",
    "SessionOwnershipError",
    "SessionParameterError",
]


class SessionAwareError(Exception):
    """Base of every error that this library raises itself.

    Raised as such when the body of an owned unit returns an un-run coroutine, generator or async generator, or
    when a decorator hands back something else than the function beneath it promises.
    """

    __module__ = "session_aware"


class SessionParameterError(SessionAwareError, TypeError):
    """A callable declares ``session`` in a way that cannot work, or ``NEW_SESSION`` was used as a session."""

    __module__ = "session_aware"


class SessionFactoryError(SessionAwareError):
    """No session factory was found, or what was found is not one of the right kind."""

    __module__ = "session_aware"


class PropagationError(SessionAwareError):
    """``MANDATORY`` was called without a session, or ``REQUIRES_NEW`` with one."""

    __module__ = "session_aware"


class PolicyConflictError(SessionAwareError):
    """A policy cannot be kept in this transaction: another isolation level, or a change in a read-only one."""

    __module__ = "session_aware"


class SessionOwnershipError(SessionAwareError):
    """The body committed, rolled back, closed or began what the library had opened for it."""

    __module__ = "session_aware"


class PoisonedTransactionError(SessionAwareError):
    """A statement failed, the body swallowed the error, and a COMMIT would have lost work without a word.

    The first swallowed error is the ``__cause__``. Nothing of the unit was committed.
    """

    __module__ = "session_aware"


class NestedSessionWarning(UserWarning):
    """An owned unit was started inside the body of another one on the same factory.

    Almost always a forgotten ``session=session``. Turn it into an error with
    ``warnings.filterwarnings("error", category=NestedSessionWarning)``.
    """

    __module__ = "session_aware"


class CommitOutcomeUnknown(SessionAwareError):  # noqa: N818 - it names a state of affairs, not a mistake
    """COMMIT was sent and no answer tells whether the unit is applied. Never retried.

    The connection failed, the database answered with an error that may come from either case, or the task was cancelled and
    the database did not answer in time; the message says which. The driver's error, or the cancellation, is the
    ``__cause__``. On every driver the errors of "applied, answer lost" and "never arrived" are identical. Find out by
    something that the unit itself wrote, such as a request's id, before repeating it; or let ``resolve_commit=True`` ask
    PostgreSQL.
    """

    __module__ = "session_aware"
