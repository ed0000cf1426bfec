"""``session_aware_db``: what tests did is gone afterwards, and differs from production only where the documentation says."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine

from tests.databases import SyncDatabase
from tests.pytest_plugin.conftest import Project


def test_units_that_commit_are_rolled_back_after_each_test(on_database: Project, database: SyncDatabase) -> None:
    on_database.passes(
        """
        @pytest.mark.parametrize("time", [1, 2])
        def test_open(session_aware_db, time):
            accounts.open("ann")
            with pytest.raises(LookupError):
                accounts.fail("bob")
            assert session_aware_db.session.scalars(owners).all() == ["ann"]
            assert accounts.count() == 1
        """,
        passed=2,
    )
    assert database.owners() == []


def test_the_tests_own_session_is_rolled_back_and_seen_by_units(on_database: Project, database: SyncDatabase) -> None:
    on_database.passes(
        """
        def test_arrange(session_aware_session):
            session_aware_session.add(Account(owner="ann"))
            session_aware_session.commit()
            session_aware_session.add(Account(owner="bob"))
            session_aware_session.flush()
            assert accounts.count() == 2
            session_aware_session.rollback()
            assert accounts.count() == 1
        """
    )
    assert database.owners() == []


def test_a_test_that_fails_is_rolled_back(on_database: Project, database: SyncDatabase) -> None:
    result = on_database.run(
        """
        def test_fail(session_aware_db):
            accounts.fail("ann")
        """
    )
    result.assert_outcomes(failed=1)
    assert database.owners() == []


def test_units_of_many_threads_take_turns(on_database: Project, database: SyncDatabase) -> None:
    on_database.passes(
        """
        def test_pool(session_aware_db):
            start = threading.Barrier(8)

            def work(number):
                start.wait(10)
                for i in range(5):
                    accounts.open(f"{number}-{i}")
                    with pytest.raises(LookupError):
                        accounts.fail(f"no {number}-{i}")

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(work, range(8)))
            assert accounts.count() == 40
            assert session_aware_db.session.scalars(owners).all() == sorted(f"{n}-{i}" for n in range(8) for i in range(5))
        """
    )
    assert database.owners() == []


def test_a_thread_works_while_the_tests_own_session_is_open(on_database: Project) -> None:
    on_database.passes(
        """
        def test_client(session_aware_session):
            session_aware_session.add(Account(owner="ann"))
            session_aware_session.flush()
            with ThreadPoolExecutor() as pool:
                assert pool.submit(accounts.count).result(10) == 1
                pool.submit(accounts.open, "bob").result(10)
            assert session_aware_session.scalars(owners).all() == ["ann", "bob"]
        """
    )


def test_the_tests_own_session_waits_for_a_unit_of_another_thread(on_sqlite: Project) -> None:
    on_sqlite.passes(
        """
        def test_wait(session_aware_session):
            held, order = threading.Event(), []

            def work(end):
                with auto_session_ctx() as session:
                    session.execute(text("SELECT 1"))
                    held.set()
                    if end is not None:
                        end.wait(10)
                    order.append("unit")

            def ends_soon():
                release.set()

            for arrange in (lambda: None, lambda: session_aware_session.scalars(owners).all()):
                arrange()
                release = threading.Event()
                held.clear()
                with ThreadPoolExecutor() as pool:
                    done = pool.submit(work, release)
                    held.wait(10)
                    threading.Timer(0.05, release.set).start()
                    session_aware_session.scalars(owners).all()
                    order.append("test")
                    done.result(10)
            release = threading.Event()
            held.clear()
            with ThreadPoolExecutor() as pool:
                pool.submit(work, release)
                held.wait(10)
                threading.Timer(0.05, release.set).start()
                session_aware_session.commit()
                order.append("test")
            assert order == ["unit", "test"] * 3
        """
    )


def test_a_unit_that_waits_for_ever_is_refused(on_sqlite: Project) -> None:
    on_sqlite.ini += "session_aware_timeout = 0.05\n"
    on_sqlite.passes(
        """
        class Deadlock(SessionAwareService):
            def run(self, *, session: Session = NEW_SESSION):
                session.execute(text("SELECT 1"))
                with ThreadPoolExecutor() as pool:
                    pool.submit(accounts.open, "ann").result(10)

        def test_deadlock(session_aware_db):
            with pytest.raises(SessionAwareError) as caught:
                Deadlock().run()
            assert str(caught.value) == (
                "session_aware: waited 0.05 s for the one connection of the test, which Deadlock.run uses in another thread "
                "or task until its transaction ends; perhaps it waits for this call. Write 'session=session' to join it, or "
                "end it before others begin, or test this against a database that commits. The bound is the ini option "
                "session_aware_timeout."
            )
            accounts.open("bob")
            assert accounts.count() == 1
        """.replace("class Deadlock", "from sqlalchemy.orm import Session\n\n        class Deadlock")
    )


def test_a_unit_inside_another_ends_first_and_stays_if_both_commit(on_database: Project, database: SyncDatabase) -> None:
    on_database.passes(
        """
        def test_requires_new(session_aware_db):
            accounts.log_and_open("ann")
            assert accounts.count() == 2
        """
    )
    assert database.owners() == []


def test_a_commit_inside_what_rolls_back_is_told_at_the_end(on_database: Project) -> None:
    result = on_database.run(
        """
        def test_requires_new(session_aware_db):
            with pytest.raises(LookupError):
                accounts.log_and_fail("ann")
            assert accounts.count() == 0
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([
        "E*PytestWarning: session_aware: Accounts.log committed inside Accounts.log_and_fail, which then rolled back. On two "
        "connections that work would stay; on the one connection of the test it is gone. Test this against a database that "
        "commits, or end the outer one first."
    ])


def test_units_that_end_out_of_order_are_refused(on_sqlite: Project, sqlite: SyncDatabase) -> None:
    result = on_sqlite.run(
        """
        MESSAGE = (
            "session_aware: Accounts.stream ended before Accounts.stream, which began inside it. On the one connection of the "
            "test each is a savepoint, and the inner one must end first. End them in order (streams that are read side by "
            "side do not), or test this against a database that commits."
        )

        @pytest.mark.filterwarnings("ignore:nested transaction already deassociated")
        def test_zip(session_aware_db):
            accounts.open("ann")
            first, second = accounts.stream(), accounts.stream()
            with pytest.raises(SessionAwareError) as caught:
                list(zip(first, second))
            assert str(caught.value) == MESSAGE
            with pytest.raises(SessionAwareError) as again:
                accounts.count()
            assert str(again.value) == MESSAGE
            with pytest.raises(SessionAwareError):
                list(second)
        """
    )
    result.assert_outcomes(passed=1)
    assert sqlite.owners() == []


def test_a_stream_that_ends_after_the_units_inside_it_is_fine(on_database: Project) -> None:
    on_database.passes(
        """
        def test_stream(session_aware_db):
            accounts.open("ann")
            accounts.open("bob")
            for owner in accounts.stream():
                accounts.open(f"{owner} again")
            assert accounts.count() == 4
        """
    )


def test_a_stream_may_go_on_in_another_thread(on_database: Project) -> None:
    on_database.passes(
        """
        def test_stream(session_aware_db):
            accounts.open("ann")
            accounts.open("bob")
            stream = accounts.stream()
            assert next(stream) == "ann"
            with ThreadPoolExecutor() as pool:
                assert pool.submit(list, stream).result(10) == ["bob"]
            assert accounts.count() == 2
        """
    )


def test_policies_hold(on_database: Project, database: SyncDatabase) -> None:
    on_database.passes(
        """
        def test_policies(session_aware_db):
            accounts.open_serializable("ann")
            with pytest.raises(PolicyConflictError, match="SERIALIZABLE, but the given session's transaction runs at READ UNC"):
                accounts.mix_levels()
            with pytest.raises(Exception, match="(?i)read.?only"):
                accounts.write_read_only()
            accounts.open("bob")
            assert session_aware_db.session.scalars(owners).all() == ["ann", "bob"]

        def test_the_level_of_the_test_is_checked(session_aware_session):
            with pytest.raises(PolicyConflictError):
                accounts.mix_levels(session=session_aware_session)
        """.replace(
            "accounts.mix_levels(session=session_aware_session)",
            "Accounts().verify_serializable(session=session_aware_session)"
            if database.is_postgresql
            else "Accounts().mix_levels(session=session_aware_session)",
        ),
        passed=2,
    )
    assert database.owners() == []


def test_a_swallowed_statement_error_is_still_refused(on_database: Project) -> None:
    on_database.passes(
        """
        def test_poison(session_aware_db):
            with pytest.raises(PoisonedTransactionError):
                accounts.swallow()
            accounts.open("ann")
            assert accounts.count() == 1
        """
    )


def test_a_deferred_constraint_fails_the_test_at_its_end(on_postgres: Project) -> None:
    result = on_postgres.run(
        """
        def test_dangle(session_aware_db):
            accounts.dangle()

        def test_rolled_back(session_aware_session):
            session_aware_session.add(Entry(account_id=4711))
            session_aware_session.flush()
        """
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["E*IntegrityError*entry_account_id_fkey*"])


def test_a_failed_statement_on_the_bare_connection_leaves_nothing(on_postgres: Project, postgres: SyncDatabase) -> None:
    on_postgres.passes(
        """
        def test_connection(session_aware_db):
            accounts.open("ann")
            with pytest.raises(Exception, match="nowhere"):
                session_aware_db.connection.execute(text("SELECT nothing FROM nowhere"))
        """
    )
    assert postgres.owners() == []


def test_a_savepoint_on_the_bare_connection_takes_no_turn(on_database: Project) -> None:
    on_database.passes(
        """
        def test_connection(session_aware_db):
            session_aware_db.session.scalars(owners).all()
            session_aware_db.session.get_bind()
            with session_aware_db.connection.begin_nested() as savepoint:
                session_aware_db.connection.execute(text("SELECT 1"))
            with ThreadPoolExecutor() as pool:
                pool.submit(accounts.open, "ann").result(10)
            with session_aware_db.session_factory() as session:
                session.get_bind()
            with session_aware_db.connection.begin_nested():
                pass
            session_aware_db.session.close()
        """.replace(
            "session_aware_db.session.close()",
            "assert accounts.count() == 1",
        )
    )


def test_committing_the_outer_transaction_fails_the_test(on_database: Project, database: SyncDatabase) -> None:
    result = on_database.run(
        """
        def test_commit(session_aware_db):
            accounts.open("ann")
            session_aware_db.connection.commit()
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E*SessionAwareError: session_aware: the outer transaction of the test was ended on the way*"])
    assert database.owners() == ["ann"]


def test_a_commit_sent_as_sql_fails_the_test(on_database: Project, database: SyncDatabase) -> None:
    result = on_database.run(
        """
        def test_commit(session_aware_db):
            accounts.open("ann")
            session_aware_db.connection.exec_driver_sql("COMMIT")
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E*SessionAwareError: session_aware: the outer transaction of the test was ended on the way*"])
    assert database.owners() == ["ann"]


def test_a_lost_connection_is_told_at_the_next_call(on_postgres: Project) -> None:
    on_postgres.passes(
        """
        def test_lost(session_aware_db):
            accounts.open("ann")
            session_aware_db.connection.invalidate()
            with pytest.raises(SessionAwareError) as caught:
                accounts.count()
            assert str(caught.value) == (
                "session_aware: the one connection of the test is lost or closed, and with it the work so far. A test that "
                "breaks connections, and a call after the end of its test, need a database that commits."
            )
        """
    )


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
    result.stdout.fnmatch_lines([
        "E*SessionAwareError: session_aware: SAVEPOINT failed (InternalError), which every session of the test needs. Use an "
        "engine without isolation_level='AUTOCOMMIT', on a database that has savepoints."
    ])


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
                "session_aware_engine: an SQLite database in memory serves only the thread that opened it, and this call comes "
                "from 'worker_0'. Write 'create_engine(\\"sqlite://\\", poolclass=StaticPool, "
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
    on_sqlite.conftest += f"""
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker
from tests.ledger import Account


class Routing(Session):
    def get_bind(self, *args, **kwargs):
        raise AssertionError("this chooses among engines")


@pytest.fixture(scope="session")
def session_aware_session_factory():
    other = create_engine("sqlite://")
    return sessionmaker(other, class_=Routing, autoflush=False, info={{"tenant": 7}}, binds={{Account: other}}, twophase=True)
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
    created = 'create_async_engine("postgresql+asyncpg://localhost/test", poolclass=NullPool)' if kind else (
        'create_engine("postgresql+psycopg://localhost/test")'
    )
    result.stdout.fnmatch_lines([
        f"session_aware_{kind}engine: no engine is named for the tests. Write in conftest.py:",
        '@pytest.fixture(scope="session")',
        f"def session_aware_{kind}engine():",
        f"    engine = {created}",
        "    return engine",
    ])


def test_what_is_no_engine_is_refused(project: Project) -> None:
    project.conftest = """
import pytest


@pytest.fixture(scope="session")
def session_aware_engine():
    return "sqlite://"
"""
    result = project.run("def test_open(session_aware_db): ...")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([
        "E*SessionAwareError: session_aware_engine: it is of type str, not an Engine. Return 'create_engine(...)' from the "
        "fixture session_aware_engine, an AsyncEngine from session_aware_async_engine."
    ])


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
    engine = create_engine(sqlite.engine.url)
    engine.dispose()
    assert sqlite.owners() == []
