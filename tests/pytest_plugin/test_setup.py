"""What engines and sessionmakers the fixtures take, and what they say of those that they cannot."""

from __future__ import annotations

import pytest

from tests.databases import SyncDatabase
from tests.pytest_plugin.conftest import Project


def test_an_engine_that_begins_by_itself_is_used_as_it_is(project: Project, sqlite: SyncDatabase) -> None:
    project.conftest = f"""
import pytest
from sqlalchemy import create_engine, event


@pytest.fixture(scope="session")
def session_aware_engine():
    engine = create_engine({sqlite.engine.url.render_as_string()!r})

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")

    yield engine
    engine.dispose()
"""
    project.passes(
        """
        def test_open(session_aware_db):
            accounts.open("ann")
        """
    )
    assert sqlite.owners() == []


def test_an_engine_in_autocommit_is_refused(project: Project, postgres: SyncDatabase) -> None:
    project.use(postgres.engine.url)
    project.conftest = project.conftest.replace("poolclass=NullPool", "poolclass=NullPool, isolation_level='AUTOCOMMIT'")
    result = project.run(
        """
        def test_open(session_aware_db):
            accounts.open("ann")
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "E*SessionAwareError: session_aware: SAVEPOINT failed (InternalError), which every session of the test needs. "
            "Use an engine without isolation_level='AUTOCOMMIT', on a database that has savepoints."
        ]
    )


MEMORY = """
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool
from tests.ledger import Base


@pytest.fixture(scope="session")
def session_aware_engine():
    engine = create_engine("sqlite://"{options})
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()
"""


def test_a_database_in_memory_says_how_to_serve_threads(project: Project) -> None:
    project.conftest = MEMORY.format(options="")
    project.passes(
        """
        def test_thread(session_aware_db):
            accounts.open("ann")
            with ThreadPoolExecutor(thread_name_prefix="worker") as pool, pytest.raises(SessionAwareError) as caught:
                pool.submit(accounts.count).result(10)
            assert str(caught.value) == (
                "session_aware_engine: an SQLite database in memory serves only the thread that opened it, and this call "
                "comes from 'worker_0'. Write 'create_engine(\\"sqlite://\\", poolclass=StaticPool, "
                "connect_args=dict(check_same_thread=False))', or use a file."
            )
        """
    )


def test_a_shared_database_in_memory_serves_threads(project: Project) -> None:
    project.conftest = MEMORY.format(options=", poolclass=StaticPool, connect_args=dict(check_same_thread=False)")
    project.passes(
        """
        @pytest.mark.parametrize("time", [1, 2])
        def test_thread(session_aware_db, time):
            accounts.open("ann")
            with ThreadPoolExecutor() as pool:
                assert pool.submit(accounts.count).result(10) == 1
        """,
        passed=2,
    )


def test_sessions_take_over_class_and_options_but_no_binds(on_sqlite: Project, sqlite: SyncDatabase) -> None:
    on_sqlite.conftest += """
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker
from tests.ledger import Account


class Routing(Session):
    def get_bind(self, *args, **kwargs):
        raise AssertionError("this chooses among engines")


@pytest.fixture(scope="session")
def session_aware_session_factory():
    other = create_engine("sqlite://")
    return sessionmaker(other, class_=Routing, autoflush=False, info={"tenant": 7}, binds={Account: other}, twophase=True)
"""
    on_sqlite.passes(
        """
        def test_options(session_aware_db):
            accounts.open("ann")
            session = session_aware_db.session
            assert [cls.__name__ for cls in type(session).__mro__][1:3] == ["Routing", "Routing"]
            assert (session.autoflush, session.info["tenant"]) == (False, 7)
            assert session.scalars(owners).all() == ["ann"]
        """
    )
    assert sqlite.owners() == []


@pytest.mark.parametrize("kind", ["", "async_"])
def test_a_missing_engine_says_what_to_write(project: Project, kind: str) -> None:
    result = project.run(f"def test_open(session_aware_{kind}engine): ...")
    result.assert_outcomes(errors=1)
    created = (
        'create_async_engine("postgresql+asyncpg://localhost/test", poolclass=NullPool)'
        if kind
        else ('create_engine("postgresql+psycopg://localhost/test")')
    )
    result.stdout.fnmatch_lines(
        [
            f"session_aware_{kind}engine: no engine is named for the tests. Write in conftest.py:",
            "import pytest",
            f"from sqlalchemy* import create_{kind}engine",
            '@pytest.fixture(scope="session")',
            f"def session_aware_{kind}engine():",
            f"    return {created}",
        ]
    )


def test_what_is_no_engine_is_refused(project: Project) -> None:
    project.conftest = """
import pytest


@pytest.fixture(scope="session")
def session_aware_engine():
    return "sqlite://"
"""
    result = project.run("def test_open(session_aware_db): ...")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "E*SessionAwareError: session_aware_engine: it is of type str, not an Engine. Return 'create_engine(...)' from "
            "the fixture session_aware_engine, an AsyncEngine from session_aware_async_engine."
        ]
    )


def test_two_databases_have_a_block_each(on_sqlite: Project, sqlite: SyncDatabase) -> None:
    on_sqlite.passes(
        """
        from sqlalchemy import create_engine
        from tests.ledger import Base

        class Others(Accounts):
            pass

        def test_two(session_aware_db):
            engine = create_engine("sqlite://")
            Base.metadata.create_all(engine)
            with rolled_back(engine, service=Others) as db:
                accounts.open("ann")
                Others().open("bob")
                assert session_aware_db.session.scalars(owners).all() == ["ann"]
                assert db.session.scalars(owners).all() == ["bob"]
                db.after_commit.run()
                assert welcomed == ["bob"]
            engine.dispose()
        """
    )
    assert sqlite.owners() == []


def test_no_connection_is_left_checked_out(sqlite: SyncDatabase, project: Project) -> None:
    project.conftest = f"""
import pytest
from sqlalchemy import create_engine


@pytest.fixture(scope="session")
def session_aware_engine():
    engine = create_engine({sqlite.engine.url.render_as_string()!r}, pool_size=1, max_overflow=0)
    yield engine
    assert engine.pool.checkedout() == 0
    engine.dispose()
"""
    project.passes(
        """
        @pytest.mark.parametrize("time", [1, 2, 3])
        def test_open(session_aware_db, time):
            accounts.open("ann")
            stream = accounts.stream()
            next(stream)
        """,
        passed=3,
    )
    assert sqlite.owners() == []
