"""The plugin as every pytest run loads it: what it imports, declares and refuses."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.databases import SyncDatabase
from tests.pytest_plugin.conftest import Project

BARE = ("-p", "session_aware.pytest_plugin", "-p", "no:cacheprovider", "-W", "error")


@pytest.mark.parametrize("others", [(), ("-p", "pytest_asyncio.plugin"), ("-p", "anyio.pytest_plugin")])
def test_loading_imports_neither_sqlalchemy_nor_wrapt(project: Project, others: tuple[str, ...]) -> None:
    project.pytester.makeini(
        "[pytest]\n" + ("asyncio_default_fixture_loop_scope = function\n" if "pytest_asyncio.plugin" in others else "")
    )
    project.pytester.makepyfile(
        """
        import sys

        def test_modules():
            assert "session_aware.pytest_plugin" in sys.modules
            assert not {"sqlalchemy", "greenlet", "wrapt", "tenacity"} & set(sys.modules)
        """
    )
    project.pytester.runpytest_subprocess(*BARE, *others, "--strict-markers").assert_outcomes(passed=1)


def test_sync_users_need_no_greenlet(project: Project, sqlite: SyncDatabase) -> None:
    project.pytester.makeconftest(
        f"""
        import sys

        sys.modules["greenlet"] = None  # as if it were not installed

        import pytest
        from sqlalchemy import create_engine

        @pytest.fixture(scope="session")
        def session_aware_engine():
            engine = create_engine({sqlite.engine.url.render_as_string()!r})
            yield engine
            engine.dispose()
        """
    )
    project.pytester.makepyfile(
        """
        import sys

        from sqlalchemy import text
        from sqlalchemy.orm import Session

        from session_aware import NEW_SESSION, SessionAwareService, after_commit

        class Accounts(SessionAwareService):
            def open(self, *, session: Session = NEW_SESSION) -> None:
                session.execute(text("INSERT INTO account (owner, balance) VALUES ('ann', 0)"))
                after_commit(session, done.clear)

        done = [1]

        def test_open(session_aware_db, session_aware_assert_units):
            with session_aware_assert_units(committed=1):
                Accounts().open()
            session_aware_db.after_commit.run()
            assert done == []
            assert "sqlalchemy.ext.asyncio" not in sys.modules
        """
    )
    project.pytester.runpytest_subprocess(*BARE).assert_outcomes(passed=1)
    assert sqlite.owners() == []


def test_a_nested_call_is_an_error(on_sqlite: Project) -> None:
    on_sqlite.passes(
        """
        def test_forget(session_aware_db):
            with pytest.raises(NestedSessionWarning, match="called without 'session=' inside Accounts.forget"):
                accounts.forget("ann")
        """,
    )


@pytest.mark.parametrize(
    ("marker", "outcome"),
    [("", "failed"), ("(allow_nested=True)", "passed"), ("('allow_nested')", "passed"), ("(allow_nested=False)", "failed")],
)
def test_the_plugin_alone_decides_on_nested_calls(on_sqlite: Project, marker: str, outcome: str) -> None:
    on_sqlite.pytester.makeconftest(on_sqlite.conftest)
    on_sqlite.pytester.makepyfile(
        f"""
        import pytest
        from tests.pytest_plugin.app import Accounts

        @pytest.mark.session_aware{marker}
        def test_forget(session_aware_db):
            Accounts().forget("ann")
        """
    )
    on_sqlite.pytester.runpytest_inprocess(*BARE[:4]).assert_outcomes(**{outcome: 1})


def test_a_project_that_names_the_warning_decides_itself(on_sqlite: Project) -> None:
    on_sqlite.pytester.makeconftest(on_sqlite.conftest)
    on_sqlite.pytester.makeini("[pytest]\nfilterwarnings = ignore::session_aware.NestedSessionWarning\n")
    on_sqlite.pytester.makepyfile(
        """
        from tests.pytest_plugin.app import Accounts

        def test_forget(session_aware_db):
            Accounts().forget("ann")
        """
    )
    on_sqlite.pytester.runpytest_inprocess(*BARE[:4]).assert_outcomes(passed=1)


def test_an_unknown_keyword_of_the_marker_is_refused(project: Project) -> None:
    result = project.run("@pytest.mark.session_aware(nested=True)\ndef test_open(): ...")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: test_inner.py::test_open: the marker session_aware has no keyword nested. Write "
            "'@pytest.mark.session_aware(allow_nested=True)' or 'run_after_commit=True'."
        ]
    )


def test_a_name_that_is_not_there_is_an_attribute_error(project: Project) -> None:
    project.passes(
        """
        def test_name():
            import session_aware.pytest_plugin as plugin

            with pytest.raises(AttributeError) as caught:
                plugin.nothing
            assert str(caught.value) == "module 'session_aware.pytest_plugin' has no attribute 'nothing'"
            assert all(getattr(plugin, name).__doc__ for name in plugin.__all__)
        """
    )


def test_workers_of_xdist_share_a_database(on_postgres: Project, postgres: SyncDatabase) -> None:
    assert find_spec("xdist") is not None, "pip install pytest-xdist"
    on_postgres.passes(
        """
        import os

        @pytest.mark.parametrize("time", range(20))
        def test_open(session_aware_db, time):
            owner = f"{os.environ['PYTEST_XDIST_WORKER']} {time}"
            accounts.open(owner)
            assert session_aware_db.session.scalars(owners).all() == [owner]
        """,
        "-p",
        "xdist.plugin",
        "-n",
        "2",
        is_subprocess=True,
        passed=20,
    )
    assert postgres.owners() == []
