"""What async engines and sessionmakers the fixtures take, and what they say of those that they cannot."""

from __future__ import annotations

from tests.pytest_plugin.conftest import Project
from tests.pytest_plugin.test_async_rollback import ANYIO, prepare


def test_without_a_plugin_the_fixture_says_what_to_write(on_aiosqlite: Project) -> None:
    result = on_aiosqlite.run("def test_open(session_aware_async_db): ...")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "session_aware_async_db: nothing runs async fixtures for this test. Mark it with '@pytest.mark.anyio' (plugin: "
            "anyio), or install pytest-asyncio, or write in the test 'async with async_rolled_back(engine) as db:'."
        ]
    )


def test_what_is_no_async_engine_is_refused(project: Project) -> None:
    prepare(project, "anyio")
    project.conftest = "import pytest\n" + project.conftest
    project.conftest += "\n\n@pytest.fixture(scope='session')\ndef session_aware_async_engine():\n    return 7\n"
    result = project.run(
        """
        @pytest.mark.anyio
        async def test_open(session_aware_async_db): ...
        """,
        *ANYIO,
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "E*SessionAwareError: session_aware_async_engine: it is of type int, not an AsyncEngine. Return "
            "'create_async_engine(..., poolclass=NullPool)' from the fixture session_aware_async_engine."
        ]
    )


def test_sessions_take_over_classes_and_options(on_aiosqlite: Project) -> None:
    prepare(on_aiosqlite, "anyio")
    on_aiosqlite.conftest += """
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session


class Plain(Session):
    pass


class Own(AsyncSession):
    sync_session_class = Plain


@pytest.fixture(scope="session", params=[{}, {"sync_session_class": Session}])
def session_aware_async_session_factory(request):
    return async_sessionmaker(class_=Own, autoflush=False, **request.param)
"""
    on_aiosqlite.passes(
        """
        @pytest.mark.anyio
        async def test_options(session_aware_async_session):
            assert "Own" in [cls.__name__ for cls in type(session_aware_async_session).__mro__]
            assert type(session_aware_async_session.sync_session).__name__ in {"Plain", "Session"}
            assert not session_aware_async_session.sync_session.autoflush
            await async_accounts.open("ann")
        """,
        *ANYIO,
        passed=2,
    )
