"""``session_aware_assert_units``: what the owned calls of a block did."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import Project


def test_units_and_statements_are_counted(on_database: Project) -> None:
    on_database.passes(
        """
        def test_count(session_aware_db, session_aware_assert_units):
            with session_aware_assert_units(committed=1, rolled_back=1, discarded=1, statements=3) as units:
                accounts.open("ann")
                with pytest.raises(LookupError):
                    accounts.fail("bob")
                accounts.count()
            accounts.open("cid")
            assert units.committed == ["Accounts.open"]
            assert units.rolled_back == ["Accounts.fail"]
            assert units.discarded == ["Accounts.count"]
            assert [type(record.error).__name__ for record in units.records] == ["NoneType", "LookupError", "NoneType"]
            assert [sql.partition(" ")[0] for sql in units.statements] == ["INSERT", "INSERT", "SELECT"]
        """
    )


def test_the_numbers_are_those_of_a_database_that_commits(on_database: Project) -> None:
    on_database.passes(
        """
        from sqlalchemy import delete
        from sqlalchemy.orm import sessionmaker

        def test_count(session_aware_engine, session_aware_assert_units):
            maker = sessionmaker(session_aware_engine)
            with override_session_factory(None, maker):
                with session_aware_assert_units(committed=1, rolled_back=0, discarded=1, statements=2):
                    accounts.open("ann")
                    accounts.count()
            with maker.begin() as session:
                session.execute(delete(Account))
        """
    )


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ("committed=2", "1 committed, not 2"),
        ("rolled_back=1, statements=0", "0 rolled back, not 1; 1 statements, not 0"),
    ],
)
def test_a_difference_lists_everything(on_sqlite: Project, expected: str, message: str) -> None:
    result = on_sqlite.run(
        f"""
        def test_count(session_aware_db, session_aware_assert_units):
            with session_aware_assert_units({expected}):
                accounts.open("ann")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            f"E*AssertionError: session_aware_assert_units: {message}",
            "E*  Accounts.open: committed",
            "E*  > INSERT INTO account (owner, balance) VALUES (?, ?)",
        ]
    )


def test_a_block_without_units_says_so(on_sqlite: Project) -> None:
    result = on_sqlite.run(
        """
        def test_count(session_aware_assert_units):
            with session_aware_assert_units(committed=1):
                pass
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*0 committed, not 1", "E*no unit"])


def test_what_was_configured_is_called_and_put_back(on_sqlite: Project) -> None:
    on_sqlite.passes(
        """
        def test_nest(session_aware_db):
            seen = []
            configure(observer=lambda record: seen.append(record.name))
            with assert_units(committed=2):
                accounts.open("ann")
                with pytest.raises(LookupError), assert_units(committed=7):
                    accounts.log("bob")
                    raise LookupError
            accounts.count()
            configure(observer=None)
            accounts.count()
            assert seen == ["Accounts.open", "Accounts.log", "Accounts.count"]
        """
    )
