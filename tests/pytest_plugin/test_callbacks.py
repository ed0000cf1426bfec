"""``session_aware_after_commit`` and the marker that runs callbacks at the commit."""

from __future__ import annotations

from tests.pytest_plugin.conftest import Project


def test_callbacks_are_kept_until_they_are_run(on_database: Project) -> None:
    on_database.passes(
        """
        def test_keep(session_aware_db, session_aware_after_commit):
            accounts.open("ann")
            with pytest.raises(LookupError):
                accounts.fail("bob")
            accounts.open("cid")
            assert welcomed == []
            assert len(session_aware_after_commit.callbacks) == 2
            assert session_aware_after_commit is session_aware_db.after_commit
            session_aware_after_commit.run()
            assert welcomed == ["ann", "cid"]
            session_aware_after_commit.run()
            assert welcomed == ["ann", "cid"]
        """
    )


def test_what_callbacks_register_is_run_too_and_the_first_error_is_raised(on_sqlite: Project) -> None:
    on_sqlite.passes(
        """
        def test_more(session_aware_db, session_aware_after_commit):
            def more():
                accounts.open("bob")

            def fail():
                raise LookupError

            with session_aware_db.session_factory.begin() as session:
                for callback in (more, fail, more):
                    after_commit(session, callback)
            with pytest.raises(LookupError):
                session_aware_after_commit.run()
            assert len(session_aware_after_commit.callbacks) == 2
            session_aware_after_commit.callbacks.pop(0)
            session_aware_after_commit.run()
            assert welcomed == ["bob"]
        """
    )


def test_an_awaitable_is_for_arun(on_sqlite: Project) -> None:
    on_sqlite.passes(
        """
        def test_awaitable(session_aware_after_commit):
            class Later:
                def __await__(self):
                    yield

            async def later():
                welcomed.append("ann")

            for callback in (later, Later):
                session_aware_after_commit.take(callback)
                with pytest.raises(TypeError) as caught:
                    session_aware_after_commit.run()
                assert str(caught.value) == (
                    "session_aware_after_commit.run: a callback returned an awaitable. Write 'await ....arun()'."
                )
            session_aware_after_commit.take(later)
            session_aware_after_commit.take(lambda: welcomed.append("bob"))
            asyncio.run(session_aware_after_commit.arun())
            assert welcomed == ["ann", "bob"]
        """
    )


def test_a_marked_test_runs_them_at_the_commit(on_database: Project) -> None:
    on_database.passes(
        """
        @pytest.mark.session_aware(run_after_commit=True)
        class TestAll:
            def test_run(self, session_aware_db):
                accounts.open("ann")
                assert welcomed == ["ann"]
                with ThreadPoolExecutor() as pool:
                    pool.submit(accounts.open, "bob").result(10)
                assert welcomed == ["ann", "bob"]

            @pytest.mark.session_aware(run_after_commit=False)
            def test_keep(self, session_aware_db):
                accounts.open("ann")
                assert welcomed == []
        """,
        passed=2,
    )


def test_a_callback_may_open_a_unit(on_database: Project) -> None:
    on_database.passes(
        """
        @pytest.mark.session_aware(run_after_commit=True)
        def test_run(session_aware_db):
            with session_aware_db.session_factory.begin() as session:
                session.execute(text("SELECT 1"))
                after_commit(session, lambda: accounts.open("ann"))
            assert accounts.count() == 1
        """
    )


def test_what_it_raises_fails_the_test_at_its_end(on_sqlite: Project) -> None:
    result = on_sqlite.run(
        """
        @pytest.mark.session_aware(run_after_commit=True)
        def test_run(session_aware_session):
            after_commit(session_aware_session, lambda: 1 / 0)
            session_aware_session.commit()
            accounts.open("ann")
            assert welcomed == ["ann"]
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ExceptionGroup: after_commit callbacks failed (1 sub-exception)", "*ZeroDivisionError*"])
