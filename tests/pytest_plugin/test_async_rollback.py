"""``session_aware_async_db`` under pytest-asyncio, under anyio and under neither."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.databases import AsyncDatabase
from tests.pytest_plugin.conftest import Project

RUNNERS = {"asyncio": "pytest_asyncio.plugin", "anyio": "anyio.pytest_plugin"}
ASYNCIO = ("-p", RUNNERS["asyncio"])
ANYIO = ("-p", RUNNERS["anyio"])
LOOPS = "asyncio_default_fixture_loop_scope = function\n"


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest, on_async_database: Project) -> tuple[Project, str]:
    """A project on each database, and the plugin that runs its tests."""
    name: str = request.param
    prepare(on_async_database, name)
    return on_async_database, name


def prepare(project: Project, name: str) -> None:
    assert find_spec(RUNNERS[name]) is not None, f"pip install {RUNNERS[name]}"
    if name == "asyncio":
        project.ini += LOOPS
    else:
        project.conftest += "\n\n@pytest.fixture(scope='session')\ndef anyio_backend():\n    return 'asyncio'\n"


def test_units_that_commit_are_rolled_back_after_each_test(
    runner: tuple[Project, str], async_database: AsyncDatabase
) -> None:
    project, name = runner
    project.passes(
        f"""
        pytestmark = pytest.mark.{name}

        @pytest.mark.parametrize("time", [1, 2])
        async def test_open(session_aware_async_db, session_aware_async_session, time):
            await async_accounts.open("ann")
            with pytest.raises(LookupError):
                await async_accounts.fail("bob")
            assert (await session_aware_async_session.scalars(owners)).all() == ["ann"]
            assert await async_accounts.count() == 1
            await async_accounts.open_serializable("cid")
            await async_accounts.log_and_open("dan")
            assert await async_accounts.count() == 4

        async def test_tasks(session_aware_async_db):
            await asyncio.gather(*(async_accounts.open(f"ann {{i}}") for i in range(30)))
            failed = await asyncio.gather(*(async_accounts.fail(f"bob {{i}}") for i in range(9)), return_exceptions=True)
            assert set(map(type, failed)) == {{LookupError}}
            assert await async_accounts.count() == 30

        async def test_callbacks(session_aware_async_db, session_aware_after_commit):
            await async_accounts.open("ann")
            assert welcomed == []
            await session_aware_after_commit.arun()
            assert welcomed == ["ann"]

        @pytest.mark.session_aware(run_after_commit=True)
        async def test_callbacks_at_once(session_aware_async_db):
            await async_accounts.open("ann")
            assert welcomed == ["ann"]
        """,
        "-p",
        RUNNERS[name],
        passed=5,
    )
    assert async_database.owners() == []


def test_a_unit_inside_another_may_send_its_first_statement_at_its_commit(runner: tuple[Project, str]) -> None:
    project, name = runner
    project.passes(
        f"""
        @pytest.mark.{name}
        async def test_log(session_aware_async_db, session_aware_async_session):
            await async_accounts.log_at_commit_and_open("ann")
            assert sorted(await session_aware_async_session.scalars(owners)) == ["ann", "ann's log"]
            await async_accounts.log_at_each_commit("bob", 3)
            assert len((await session_aware_async_session.scalars(owners)).all()) == 6
        """,
        "-p",
        RUNNERS[name],
    )


@pytest.mark.parametrize("name", RUNNERS)
def test_a_task_that_waits_for_ever_is_refused(on_aiosqlite: Project, name: str) -> None:
    prepare(on_aiosqlite, name)
    on_aiosqlite.ini += "session_aware_timeout = 0.05\n"
    on_aiosqlite.passes(
        f"""
        @pytest.mark.{name}
        async def test_deadlock(session_aware_async_db):
            async with auto_session_ctx() as session:
                await session.execute(text("SELECT 1"))
                with pytest.raises(SessionAwareError, match="waited 0.05 s for the one connection of the test"):
                    await asyncio.create_task(async_accounts.open("ann"))
            await async_accounts.open("ann")
            assert await async_accounts.count() == 1
        """,
        "-p",
        RUNNERS[name],
    )


def test_a_cancelled_wait_gives_nothing_up(on_aiosqlite: Project) -> None:
    prepare(on_aiosqlite, "asyncio")
    on_aiosqlite.passes(
        """
        @pytest.mark.asyncio
        async def test_cancel(session_aware_async_db):
            async with auto_session_ctx() as session:
                await session.execute(text("SELECT 1"))
                waiting = asyncio.create_task(async_accounts.open("ann"))
                await asyncio.sleep(0.02)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            await async_accounts.open("bob")
            assert await async_accounts.count() == 1
        """,
        *ASYNCIO,
    )


def test_the_tests_own_session_waits_for_a_unit_of_another_task(on_aiosqlite: Project) -> None:
    prepare(on_aiosqlite, "asyncio")
    on_aiosqlite.passes(
        """
        @pytest.mark.asyncio
        async def test_wait(session_aware_async_session):
            held, order = asyncio.Event(), []

            async def work():
                async with auto_session_ctx() as session:
                    await session.execute(text("SELECT 1"))
                    held.set()
                    await asyncio.sleep(0.02)
                    order.append("unit")

            task = asyncio.create_task(work())
            await held.wait()
            await session_aware_async_session.scalars(owners)
            order.append("test")
            await task
            assert order == ["unit", "test"]
        """,
        *ASYNCIO,
    )


@pytest.mark.parametrize("how", ["marker", "ini"])
def test_the_connection_lives_in_the_loop_of_the_test(
    on_async_database: Project, async_database: AsyncDatabase, how: str
) -> None:
    on_async_database.ini += LOOPS
    if how == "ini":
        on_async_database.ini += "asyncio_default_test_loop_scope = session\n"
    marker = "pytest.mark.asyncio" if how == "ini" else "pytest.mark.asyncio(loop_scope='module')"
    on_async_database.passes(
        f"""
        @{marker}
        @pytest.mark.parametrize("time", [1, 2])
        async def test_open(session_aware_async_db, time):
            await async_accounts.open("ann")
            assert await async_accounts.count() == 1
        """,
        *ASYNCIO,
        passed=2,
    )
    assert async_database.owners() == []


def test_another_loop_is_refused(on_aiosqlite: Project) -> None:
    prepare(on_aiosqlite, "asyncio")
    on_aiosqlite.passes(
        """
        def test_open(session_aware_async_db):
            with pytest.raises(SessionAwareError) as caught:
                asyncio.run(async_accounts.count())
            assert str(caught.value) == (
                "session_aware_async_engine: the connection of the test belongs to another event loop than this call. Let "
                "test and fixtures share a loop (the same loop_scope for both), call the application through "
                "httpx.AsyncClient with ASGITransport, or with Starlette's TestClient write 'with TestClient(app) as "
                "client, client.portal.wrap_async_context_manager(async_rolled_back(engine)):' instead of the fixture."
            )
        """,
        *ASYNCIO,
    )


def test_without_a_plugin_the_block_serves(on_async_database: Project, async_database: AsyncDatabase) -> None:
    on_async_database.passes(
        """
        def test_open(session_aware_async_engine):
            async def main():
                async with async_rolled_back(session_aware_async_engine) as db:
                    await async_accounts.open("ann")
                    assert (await db.session.scalars(owners)).all() == ["ann"]
                    assert len(db.after_commit.callbacks) == 1

            asyncio.run(main())
        """
    )
    assert async_database.owners() == []
