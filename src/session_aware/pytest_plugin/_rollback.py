"""``rolled_back``: roll back everything that the sync callables do in a block."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import SingletonThreadPool

from session_aware import override_session_factory
from session_aware.exceptions import SessionAwareError
from session_aware.pytest_plugin._binding import Binding, bound_class
from session_aware.pytest_plugin._callbacks import AfterCommit
from session_aware.pytest_plugin._transaction import Outer
from session_aware.pytest_plugin._turns import ThreadTurns

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["TIMEOUT_SECONDS", "RolledBack", "rolled_back"]

TIMEOUT_SECONDS: Final = 10.0


class RolledBack:
    """The objects that a test may use besides its services; the value of ``session_aware_db`` and ``rolled_back``.

    Attributes:
        connection: The one connection, in the outer transaction. Do not end that transaction.
        session_factory: Makes sessions bound to it, for code that opens its own (a FastAPI dependency). Their ``commit()``
            releases a savepoint.
        session: The test's own session, to prepare and to check data; do not use it while other threads work. Commit it
            before the code under test runs, or a rollback in that code will undo part of its work.
        after_commit: The callbacks of ``after_commit``.
    """

    def __init__(
        self, connection: Connection, session_factory: sessionmaker[Session], session: Session, after_commit: AfterCommit
    ) -> None:
        self.connection = connection
        self.session_factory = session_factory
        self.session = session
        self.after_commit = after_commit


@contextlib.contextmanager
def rolled_back(
    engine: Engine,
    *,
    service: type | None = None,
    session_factory: sessionmaker[Session] | None = None,
    after_commit: AfterCommit | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Generator[RolledBack]:
    """Give all sync calls of the block one connection, and roll back at the end what they did, even if committed.

    The connection is in an outer transaction that is never committed, and each session is a savepoint in it. Calls of all
    threads use it, one unit at a time; a unit that the same thread begins inside another one must end first. Isolation
    levels are not set, because units that run one after the other are isolated at every level.

    Args:
        engine: The engine of a database whose tables exist.
        service: The service class whose calls, and those of its subclasses, are affected; None for everything. Nest two
            blocks for services on two databases.
        session_factory: A ``sessionmaker`` whose class and options the sessions take over; None for plain sessions. Its bind
            is ignored.
        after_commit: Takes the callbacks of ``after_commit``. With None they are in ``after_commit`` of the yielded object.
        timeout: Seconds that a call waits for a call in another thread before it is refused.

    Raises:
        SessionAwareError: ``engine`` is not an ``Engine``; or, at the end, something has ended the outer transaction.

    Example:
        with rolled_back(engine) as db:
            Accounts().open("ann")
            assert db.session.scalars(select(Account.owner)).all() == ["ann"]
    """
    if not isinstance(cast("object", engine), Engine):
        msg = (
            f"session_aware_engine: it is of type {type(engine).__name__}, not an Engine. Return "
            "'create_engine(...)' from the fixture session_aware_engine, an AsyncEngine from session_aware_async_engine."
        )
        raise SessionAwareError(msg)
    callbacks = AfterCommit() if after_commit is None else after_commit
    with engine.connect() as connection:
        outer = Outer.begin(connection)
        turns = ThreadTurns(timeout, is_for_one_thread=isinstance(engine.pool, SingletonThreadPool))
        binding = Binding(connection, turns, callbacks)
        made = sessionmaker() if session_factory is None else session_factory
        base = Session if session_factory is None else made.class_
        factory = sessionmaker(bind=connection, class_=bound_class(base), **binding.options(made.kw))
        binding.own = factory()
        try:
            with override_session_factory(service, factory):
                yield RolledBack(connection, factory, binding.own, callbacks)
        finally:
            outer.end(binding)
