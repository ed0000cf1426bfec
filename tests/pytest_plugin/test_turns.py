"""Units of several threads, and units inside units, on the one connection of a test."""

from __future__ import annotations

from tests.databases import SyncDatabase
from tests.pytest_plugin.conftest import Project


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
    result.stdout.fnmatch_lines(
        [
            "E*PytestWarning: session_aware: Accounts.log committed inside Accounts.log_and_fail, which then rolled back. "
            "On two connections that work would stay; on the one connection of the test it is gone. Test this against a "
            "database that commits, or end the outer one first."
        ]
    )


def test_units_that_end_out_of_order_are_refused(on_sqlite: Project, sqlite: SyncDatabase) -> None:
    result = on_sqlite.run(
        """
        from sqlalchemy.exc import DBAPIError

        MESSAGE = (
            "session_aware: Accounts.stream ended before Accounts.stream, which began inside it. On the one connection of "
            "the test each is a savepoint, and the inner one must end first. End them in order (streams that are read side "
            "by side do not), or test this against a database that commits."
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
            with pytest.raises(DBAPIError):  # its savepoint went with the other one
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


def test_a_savepoint_of_the_bare_connection_takes_no_turn(on_database: Project) -> None:
    on_database.ini += "session_aware_timeout = 1\n"
    on_database.passes(
        """
        def count_elsewhere():
            with ThreadPoolExecutor() as pool:
                return pool.submit(accounts.count).result(10)

        def test_own_session(session_aware_db):
            session_aware_db.session.scalars(owners).all()
            session_aware_db.session.get_bind()
            with session_aware_db.connection.begin_nested():
                session_aware_db.connection.execute(text("SELECT 1"))
            assert count_elsewhere() == 0

        def test_session_without_a_transaction(session_aware_db):
            with session_aware_db.session_factory() as session:
                session.get_bind()
            with session_aware_db.connection.begin_nested():
                pass
            assert count_elsewhere() == 0

        def test_session_that_has_sent_nothing(session_aware_db):
            with session_aware_db.session_factory() as outer, session_aware_db.session_factory() as inner:
                outer.execute(text("SELECT 1"))
                inner.begin()
                inner.get_bind()
                with outer.begin_nested():
                    outer.execute(text("SELECT 1"))
                outer.commit()
        """,
        passed=3,
    )
