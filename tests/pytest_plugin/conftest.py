"""Inner test runs: a project whose engines are those of the outer test, so that the rows can be read from outside."""

from __future__ import annotations

import os
import textwrap
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sqlalchemy import URL

    from tests.databases import AsyncDatabase, SyncDatabase

__all__ = ["Project"]

# An inner run forgets the modules that it imported, and these cannot be loaded twice.
DIALECTS = ("mysql", "postgresql", "sqlite.aiosqlite")
for module in (
    "asyncpg",
    "psycopg",
    "session_aware._unit.async_runners",
    *(f"sqlalchemy.dialects.{name}" for name in DIALECTS),
):
    import_module(module)

ROOT = Path(__file__).parents[2]

HEAD = """
import asyncio, threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text

from session_aware import *
from session_aware.pytest_plugin import *
from tests.ledger import Account, Entry
from tests.pytest_plugin.app import Accounts, AsyncAccounts, welcomed

accounts, async_accounts = Accounts(), AsyncAccounts()
owners = select(Account.owner).order_by(Account.owner)


@pytest.fixture(autouse=True)
def nobody_is_welcomed():
    welcomed.clear()
"""

ENGINE = """
import pytest
from {module} import {create}
from sqlalchemy.pool import NullPool


@pytest.fixture(scope="session")
def session_aware_{kind}engine():
    engine = {create}({url!r}, poolclass=NullPool)
    yield engine
"""

ARGUMENTS = ("-p", "session_aware.pytest_plugin", "-p", "no:cacheprovider", "-W", "error")
INI = "[pytest]\n"


class Project:
    """A folder with tests to be run; each has the services and the fixtures at hand."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.conftest = ""
        self.ini = INI

    def use(self, url: URL, *, is_async: bool = False) -> None:
        """Name an engine."""
        self.conftest += ENGINE.format(
            module="sqlalchemy.ext.asyncio" if is_async else "sqlalchemy",
            create="create_async_engine" if is_async else "create_engine",
            kind="async_" if is_async else "",
            url=url.render_as_string(hide_password=False),
        )

    def run(self, tests: str, *arguments: str, is_subprocess: bool = False) -> pytest.RunResult:
        """Run a module of tests; warnings are errors."""
        self.pytester.makeconftest(self.conftest)
        self.pytester.makeini(self.ini)
        self.pytester.makepyfile(test_inner=HEAD + textwrap.dedent(tests))
        if not is_subprocess:
            return self.pytester.runpytest_inprocess(*ARGUMENTS, *arguments)
        return self.pytester.runpytest_subprocess(*ARGUMENTS, *arguments)

    def passes(self, tests: str, *arguments: str, is_subprocess: bool = False, passed: int = 1) -> pytest.RunResult:
        """Run tests that must pass, without a warning."""
        result = self.run(tests, *arguments, is_subprocess=is_subprocess)
        result.assert_outcomes(passed=passed)
        return result


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project without an engine."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str((ROOT / part).resolve()) for part in path.split(os.pathsep)))
    return Project(pytester)


@pytest.fixture
def on_database(project: Project, database: SyncDatabase) -> Project:
    """A project with a sync engine, on SQLite and on PostgreSQL."""
    project.use(database.engine.url)
    return project


@pytest.fixture
def on_sqlite(project: Project, sqlite: SyncDatabase) -> Project:
    """A project with a sync engine on an SQLite file."""
    project.use(sqlite.engine.url)
    return project


@pytest.fixture
def on_postgres(project: Project, postgres: SyncDatabase) -> Project:
    """A project with a sync engine on PostgreSQL."""
    project.use(postgres.engine.url)
    return project


@pytest.fixture
def on_async_database(project: Project, async_database: AsyncDatabase) -> Project:
    """A project with an async engine, on SQLite and on PostgreSQL with both drivers."""
    project.use(async_database.engine.url, is_async=True)
    return project


@pytest.fixture
def on_aiosqlite(project: Project, aiosqlite: AsyncDatabase) -> Project:
    """A project with an async engine on SQLite."""
    project.use(aiosqlite.engine.url, is_async=True)
    return project
