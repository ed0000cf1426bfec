"""``async_rolled_back``: the twin of ``rolled_back`` for async callables. It needs greenlet, as these do."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.util import await_only

from session_aware import override_session_factory
from session_aware._unit.shield import caller_of
from session_aware.exceptions import SessionAwareError
from session_aware.pytest_plugin._binding import Binding, bound_class
from session_aware.pytest_plugin._callbacks import AfterCommit
from session_aware.pytest_plugin._rollback import TIMEOUT_SECONDS
from session_aware.pytest_plugin._transaction import Outer
from session_aware.pytest_plugin._turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sqlalchemy.orm import Session

__all__ = ["AsyncRolledBack", "async_rolled_back"]


class AsyncRolledBack:
    """The objects that an async test may use besides its services; see ``RolledBack``."""

    def __init__(
        self,
        connection: AsyncConnection,
        session_factory: async_sessionmaker[AsyncSession],
        session: AsyncSession,
        after_commit: AfterCommit,
    ) -> None:
        self.connection = connection
        self.session_factory = session_factory
        self.session = session
        self.after_commit = after_commit


class TaskTurns(Turns):
    """Turns of the tasks of one event loop.

    Args:
        seconds: How long a session waits for its turn before it is refused.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[None]] = []

    def flow(self) -> int:
        """Identify the running task, or the one for which the library commits, rolls back and closes in a task."""
        return id(caller_of(asyncio.current_task()))

    def refuse_stranger(self) -> None:
        """Refuse another event loop, in which the driver's connection does not work.

        Raises:
            SessionAwareError: The running loop is another one.
        """
        if asyncio.get_running_loop() is self._loop:
            return
        msg = (
            "session_aware_async_engine: the connection of the test belongs to another event loop than this call. Let test "
            "and fixtures share a loop (the same loop_scope for both), call the application through httpx.AsyncClient with "
            "ASGITransport, or with Starlette's TestClient write 'with TestClient(app) as client, "
            "client.portal.wrap_async_context_manager(async_rolled_back(engine)):' instead of the fixture."
        )
        raise SessionAwareError(msg)

    def wait(self) -> None:
        """Wait until no other task has a turn.

        Raises:
            SessionAwareError: The turn did not come within the bound.
        """
        deadline = self._loop.time() + self._seconds
        while not self.is_free():
            changed = self._loop.create_future()
            self._waiting.append(changed)
            if not await_only(asyncio.wait((changed,), timeout=deadline - self._loop.time()))[0]:
                self.refuse()

    def give(self, session: Session) -> None:
        """Give the turn back and wake the waiting tasks."""
        super().give(session)
        waiting, self._waiting = self._waiting, []
        for changed in waiting:
            changed.set_result(None)


@contextlib.asynccontextmanager
async def async_rolled_back(
    engine: AsyncEngine,
    *,
    service: type | None = None,
    session_factory: async_sessionmaker[AsyncSession] | None = None,
    after_commit: AfterCommit | None = None,
    timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 - it bounds the waits inside the block, not this call
) -> AsyncGenerator[AsyncRolledBack]:
    """Give all async calls of the block one connection, and roll back at the end what they did, even if committed.

    It works as ``rolled_back`` does, for the tasks of the event loop in which it is entered. Sync calls have a connection
    and a transaction of their own.

    Args:
        engine: The engine of a database whose tables exist. A pool keeps connections of a loop that has ended, so use
            ``poolclass=NullPool``, or an engine that lives no longer than its loop.
        service: See ``rolled_back``.
        session_factory: An ``async_sessionmaker`` whose classes and options the sessions take over.
        after_commit: See ``rolled_back``.
        timeout: Seconds that a call waits for a call in another task before it is refused.

    Raises:
        SessionAwareError: ``engine`` is not an ``AsyncEngine``; or, at the end, something has ended the outer transaction.

    Example:
        async with async_rolled_back(engine) as db:
            await Accounts().aopen("ann")
            assert (await db.session.scalars(select(Account.owner))).all() == ["ann"]
    """
    if not isinstance(cast("object", engine), AsyncEngine):
        msg = (
            f"session_aware_async_engine: it is of type {type(engine).__name__}, not an AsyncEngine. Return "
            "'create_async_engine(..., poolclass=NullPool)' from the fixture session_aware_async_engine."
        )
        raise SessionAwareError(msg)
    callbacks = AfterCommit() if after_commit is None else after_commit
    async with engine.connect() as connection:
        outer = await connection.run_sync(Outer.begin)
        sync_connection = connection.sync_connection
        assert sync_connection is not None  # noqa: S101 - it is connected
        binding = Binding(sync_connection, TaskTurns(timeout), callbacks)
        made = async_sessionmaker() if session_factory is None else session_factory
        base = AsyncSession if session_factory is None else made.class_
        options = binding.options(made.kw)
        bound = bound_class(options.pop("sync_session_class", None) or base.sync_session_class)
        factory = async_sessionmaker(bind=connection, class_=base, sync_session_class=bound, **options)
        session = factory()
        binding.own = session.sync_session
        try:
            with override_session_factory(service, factory):
                yield AsyncRolledBack(connection, factory, session, callbacks)
        finally:
            await connection.run_sync(lambda _: outer.end(binding))
