"""``session_aware_db``: what tests did is gone afterwards, and policies hold meanwhile."""

from __future__ import annotations

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


def test_savepoint_may_be_the_first_that_a_session_does(on_database: Project, database: SyncDatabase) -> None:
    on_database.passes(
        """
        @auto_session_func
        def begins_nested(*, session=NEW_SESSION):
            with session.begin_nested():
                session.add(Account(owner="ann"))

        def test_savepoint(session_aware_db):
            begins_nested()
            with session_aware_db.session_factory.begin() as session, session.begin_nested():
                session.add(Account(owner="bob"))
            with session_aware_db.session_factory() as session:
                nested(session=session)
                session.commit()
            assert accounts.count() == 3

        @auto_session_func(propagation=Propagation.NESTED)
        def nested(*, session=NEW_SESSION):
            session.add(Account(owner="cid"))
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


def test_policies_hold(on_database: Project, database: SyncDatabase) -> None:
    on_database.passes(
        """
        def test_policies(session_aware_db):
            accounts.open_serializable("ann")
            with pytest.raises(PolicyConflictError, match="but the given session's transaction runs at READ UNC"):
                accounts.mix_levels()
            with pytest.raises(Exception, match="(?i)read.?only"):
                accounts.write_read_only()
            accounts.open("bob")
            assert session_aware_db.session.scalars(owners).all() == ["ann", "bob"]

        def test_reads_without_a_transaction(session_aware_db):
            for owner in ("ann", "bob"):
                accounts.open(owner)
                assert owner in accounts.read(lambda session: accounts.read(lambda _: None, session=session))
                with pytest.raises(PolicyConflictError, match="this statement writes"):
                    accounts.read(lambda session: session.execute(Account.__table__.delete()))

        def test_the_level_of_the_test_is_checked(session_aware_session):
            with pytest.raises(PolicyConflictError):
                accounts.mix_levels(session=session_aware_session)
        """.replace(
            "accounts.mix_levels(session=session_aware_session)",
            "Accounts().verify_serializable(session=session_aware_session)"
            if database.is_postgresql
            else "Accounts().mix_levels(session=session_aware_session)",
        ),
        passed=3,
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


def test_committing_the_outer_transaction_fails_the_test(on_database: Project, database: SyncDatabase) -> None:
    result = on_database.run(
        """
        def test_commit(session_aware_db):
            accounts.open("ann")
            session_aware_db.connection.commit()
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["E*SessionAwareError: session_aware: the outer transaction of the test was ended during the test*"]
    )
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
    result.stdout.fnmatch_lines(
        ["E*SessionAwareError: session_aware: the outer transaction of the test was ended during the test*"]
    )
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
