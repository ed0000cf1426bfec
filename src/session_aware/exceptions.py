"""Errors and warnings of the library: each says where, what, why and what to write.

Nothing here derives from a SQLAlchemy error, so no retry rule written for SQLAlchemy's errors applies to them.
An exception that leaves the body of a unit is never replaced by one of these. An error at COMMIT is replaced only if it
does not tell what happened, see ``CommitOutcomeUnknown``.
"""

from __future__ import annotations

__all__ = [
    "CommitOutcomeUnknown",
    "EndedSessionWarning",
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

    It is raised itself when the body of an owned unit returns an un-run coroutine, generator or async generator, or
    when a decorator returns another kind of result than its function promises.
    """

    __module__ = "session_aware"


class SessionParameterError(SessionAwareError, TypeError):
    """A callable declares ``session`` in a way that cannot work, or ``NEW_SESSION`` was used as a session.

    Write ``*, session: Session = NEW_SESSION``, with ``AsyncSession`` for ``async def``.
    """

    __module__ = "session_aware"


class SessionFactoryError(SessionAwareError):
    """No session factory was found, or what was found is not a factory of the right kind.

    It is also raised if the session has no transaction of its own: another unit is using it, its connection is in
    AUTOCOMMIT, or its connection is in a transaction that was begun elsewhere and that the unit's COMMIT would not end.

    Name a ``sessionmaker``, for example with ``configure(session_factory=sessionmaker(engine))``.
    """

    __module__ = "session_aware"


class PropagationError(SessionAwareError):
    """``MANDATORY`` was called without a session, or ``REQUIRES_NEW`` with one.

    Pass ``session=session`` to the former, and leave it out for the latter; see ``Propagation``.
    """

    __module__ = "session_aware"


class PolicyConflictError(SessionAwareError):
    """A policy cannot be kept: another isolation level, a change in a read-only unit, ``retry`` on a generator, AUTOCOMMIT.

    Begin the caller's transaction at the isolation level of the policy, or remove the policy.
    """

    __module__ = "session_aware"


class SessionOwnershipError(SessionAwareError):
    """The body committed, rolled back or closed what the library had opened for it.

    Leave the end to the library: ``session.flush()`` sends statements early, an exception rolls back, and ``with
    session.begin_nested():`` goes around a part that may fail.
    """

    __module__ = "session_aware"


class PoisonedTransactionError(SessionAwareError):
    """A statement failed, the body swallowed the error, and a COMMIT would have lost work silently.

    The first swallowed error is the ``__cause__``; there is none if it occurred on the driver's own connection. Nothing of
    the unit was committed. Let the error propagate, or put ``with session.begin_nested():`` around the part that may fail.
    """

    __module__ = "session_aware"


class NestedSessionWarning(UserWarning):
    """A transaction was opened while a session-aware body, or a block, further up the stack is in one on the same database.

    The cause is almost always a forgotten ``session=session``. It makes no difference whether the library or the caller
    began the outer transaction. The second transaction does not see the uncommitted work of the first, and can wait for it
    for ever. Turn the warning into an error with ``warnings.filterwarnings("error", category=NestedSessionWarning)``; if a
    second transaction is meant, say so with ``Propagation.REQUIRES_NEW``.

    Two sessions are on the same database if they have the same engine or pool, or if a synchronous and an asynchronous
    engine have the same URL. Transactions that other tasks, ``asyncio.gather`` or threads open are not noticed, nor is an
    outer body more than eight frames away.
    """

    __module__ = "session_aware"


class EndedSessionWarning(UserWarning):
    """A session was used after its unit had ended: by a thread or callback that kept it, or by a query that was returned.

    The transaction is over and the session was closed, so a statement begins another transaction, which is never committed
    and stays open until the session is garbage-collected. Turn the warning into an error with
    ``warnings.filterwarnings("error", category=EndedSessionWarning)``.
    """

    __module__ = "session_aware"


class CommitOutcomeUnknown(SessionAwareError):  # noqa: N818 - it names a state of affairs, not a mistake
    """COMMIT was sent and no answer tells whether the unit was applied. It is never retried.

    The connection failed, the database answered with an error that is possible in both cases, or the task was cancelled and
    the database did not answer in time; the message says which. The driver's error, or the cancellation, is the
    ``__cause__``. On every driver the errors of "applied, answer lost" and "never arrived" are identical. Before repeating
    the unit, look for something that it writes itself, such as a request's id; or let ``resolve_commit=True`` ask
    PostgreSQL.
    """

    __module__ = "session_aware"
