"""``configure``: what the process says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from session_aware._call import wrapper
from session_aware._call.factory import check_factory
from session_aware._call.plan import looks_at_given
from session_aware._unit import configuration
from session_aware._unit.configuration import UNSET, Unset

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from session_aware._call.factory import AsyncSessionFactory, SessionFactory
    from session_aware._unit.configuration import UnitRecord
    from session_aware._unit.policy import Propagation, Retry

__all__ = ["configure"]


def configure(
    *,
    session_factory: SessionFactory[Session] | Unset | None = UNSET,
    async_session_factory: AsyncSessionFactory[AsyncSession] | Unset | None = UNSET,
    read_session_factory: SessionFactory[Session] | Unset | None = UNSET,
    async_read_session_factory: AsyncSessionFactory[AsyncSession] | Unset | None = UNSET,
    propagation: Propagation | Unset | None = UNSET,
    read_only: bool | Unset | None = UNSET,
    isolation_level: str | Unset | None = UNSET,
    retry: Retry | Unset | None = UNSET,
    resolve_commit: bool | Unset | None = UNSET,
    observer: Callable[[UnitRecord], object] | Unset | None = UNSET,
) -> None:
    """Set what holds for the whole process where no decorator, object or class says otherwise.

    Meant to be called once at start, such as in a web framework's lifespan. What is not named stays as it was; an explicit
    ``None`` takes a setting back. Calls that have begun keep what they began with. Safe to call from any thread.

    Args:
        session_factory: Makes a new ``Session`` without arguments, such as a ``sessionmaker``.
        async_session_factory: Makes a new ``AsyncSession``, for ``async def`` and its like.
        read_session_factory: Takes the place of ``session_factory`` for read-only units.
        async_read_session_factory: Takes the place of ``async_session_factory`` for read-only units.
        propagation: See ``Propagation``.
        read_only: See ``SessionPolicy``.
        isolation_level: See ``SessionPolicy``.
        retry: See ``Retry``; it concerns functions and coroutine functions.
        resolve_commit: Ask PostgreSQL what became of an unknown COMMIT, see ``SessionPolicy``: after a crash of the
            server, or a failover to a standby, some stay unknown.
        observer: Called with a ``UnitRecord`` after each owned call, in the thread or task that made it; it must be quick.
            What it raises is logged and goes no further.

    Raises:
        SessionFactoryError: What was given is no session factory of the keyword's kind. Nothing was changed.

    Example:
        configure(session_factory=sessionmaker(engine), isolation_level="REPEATABLE READ")
    """
    factories = {
        "session_factory": session_factory,
        "async_session_factory": async_session_factory,
        "read_session_factory": read_session_factory,
        "async_read_session_factory": async_read_session_factory,
    }
    for keyword, factory in factories.items():
        if factory is not UNSET and factory is not None:
            check_factory(factory, keyword, "configure")
    policy = {
        "propagation": propagation,
        "read_only": read_only,
        "isolation_level": isolation_level,
        "retry": retry,
        "resolve_commit": resolve_commit,
    }
    configuration.update(policy=policy, factories=factories, observer=observer)
    if looks_at_given(configuration.settings.policy):
        wrapper.ask_always()


configure.__module__ = "session_aware"
