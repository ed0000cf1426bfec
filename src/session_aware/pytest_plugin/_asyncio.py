"""The fixtures behind ``session_aware_async_db`` for pytest-asyncio, one for each scope that the loop of a test can have.

A fixture of pytest-asyncio declares the loop in which it runs, and a connection must be in the loop of its test. This module
is loaded if pytest-asyncio is; pytest finds the fixtures by their names in it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import pytest
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

    from session_aware.pytest_plugin import AfterCommit, AsyncRolledBack

__all__ = ["fixture_for"]

_PREFIX: Final = "_session_aware_asyncio_db_"


def fixture_for(request: pytest.FixtureRequest) -> str:
    """Return the name of the fixture that runs in the loop of the test."""
    marker = request.node.get_closest_marker("asyncio")
    scope: str | None = None if marker is None else marker.kwargs.get("loop_scope") or marker.kwargs.get("scope")
    return f"{_PREFIX}{scope or request.config.getini('asyncio_default_test_loop_scope')}"


def _fixture(loop_scope: str) -> Callable[..., object]:
    async def fixture(
        session_aware_async_engine: AsyncEngine,
        session_aware_async_session_factory: async_sessionmaker[AsyncSession] | None,
        session_aware_after_commit: AfterCommit,
        session_aware_timeout: float,
    ) -> AsyncGenerator[AsyncRolledBack]:
        from session_aware.pytest_plugin import async_rolled_back  # noqa: PLC0415 - every pytest run loads this module

        async with async_rolled_back(
            session_aware_async_engine,
            session_factory=session_aware_async_session_factory,
            after_commit=session_aware_after_commit,
            timeout=session_aware_timeout,
        ) as db:
            yield db

    plugin: Any = import_module("pytest_asyncio")  # not a dependency, so type checkers may not know it
    made: Callable[..., object] = plugin.fixture(fixture, name=_PREFIX + loop_scope, loop_scope=loop_scope)
    return made


globals().update({_PREFIX + scope: _fixture(scope) for scope in ("function", "class", "module", "package", "session")})
