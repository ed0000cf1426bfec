"""The pytest plugin: tests whose database work is rolled back, whatever code committed it.

It is installed with the package (entry point ``pytest11``) and does nothing until a test asks for one of its fixtures,
except that ``NestedSessionWarning`` is an error in every test. Name the database once, in ``conftest.py``:

    @pytest.fixture(scope="session")
    def session_aware_engine():
        engine = create_engine("postgresql+psycopg://localhost/test")
        Base.metadata.create_all(engine)
        yield engine
        engine.dispose()

    def test_open(session_aware_db):
        Accounts().open("ann")              # commits, from its own point of view
        assert session_aware_db.session.scalars(select(Account.owner)).all() == ["ann"]

Fixtures that you override:
    session_aware_engine: The ``Engine`` of the tests, with its tables. Scope: session.
    session_aware_async_engine: The ``AsyncEngine``, for async callables; with ``poolclass=NullPool`` it serves many loops.
    session_aware_session_factory, session_aware_async_session_factory: A sessionmaker whose class and options the test's
        sessions take over; None, the default, means plain sessions.

Fixtures that you use, each for one test:
    session_aware_db: Every sync auto call, in any thread, works on one connection, which is rolled back; see ``RolledBack``.
    session_aware_async_db: The same for async calls, under pytest-asyncio or anyio; see ``AsyncRolledBack``.
    session_aware_session, session_aware_async_session: The test's own session there.
    session_aware_after_commit: The callbacks that ``after_commit`` registered; see ``AfterCommit``. ``run()`` runs them.
    session_aware_assert_units: ``with session_aware_assert_units(committed=1, statements=2): ...``; see ``assert_units``.

Marker ``session_aware``, on a test, a class or a module (the closest decides):
    allow_nested=True: ``NestedSessionWarning`` is not an error.
    run_after_commit=True: Callbacks of ``after_commit`` are not kept but run at the commit, as in production. Their errors
        fail the test at its end.

Ini option ``session_aware_timeout``: seconds (10) that a call waits for a call in another thread or task.

Without fixtures, in any runner: ``with rolled_back(engine)``, ``async with async_rolled_back(engine)``, ``assert_units``.

A test differs from a database that commits, because everything is one transaction on one connection:
    * units of several threads run one after the other. A unit that waits too long for another one is refused with a message;
    * a unit begun inside another one (``REQUIRES_NEW``) is lost if that rolls back. The test then ends with a warning;
    * isolation levels are not set: units that run one after the other are isolated at every level. Joining is checked as
      usual. READ ONLY works on PostgreSQL and SQLite; on MySQL and MariaDB only flushes are refused;
    * deferred constraints are not checked at each commit; on PostgreSQL they are checked at the end of the test;
    * on MySQL and MariaDB, CREATE, ALTER, DROP and TRUNCATE commit. The test then fails and says so;
    * sync calls and async calls have a transaction each and do not see each other's rows.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import pytest

from session_aware.pytest_plugin._missing import refuse_missing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
    from sqlalchemy.orm import Session, sessionmaker

    from session_aware.pytest_plugin._async_rollback import AsyncRolledBack, async_rolled_back
    from session_aware.pytest_plugin._callbacks import AfterCommit
    from session_aware.pytest_plugin._rollback import RolledBack, rolled_back
    from session_aware.pytest_plugin._units import Units, assert_units

__all__ = ["AfterCommit", "AsyncRolledBack", "RolledBack", "Units", "assert_units", "async_rolled_back", "rolled_back"]

# Lazy (PEP 562), because every pytest run with the package installed loads this module, and must not import SQLAlchemy.
_MODULES: Final = {
    "AfterCommit": "_callbacks",
    "AsyncRolledBack": "_async_rollback",
    "RolledBack": "_rollback",
    "Units": "_units",
    "assert_units": "_units",
    "async_rolled_back": "_async_rollback",
    "rolled_back": "_rollback",
}
_WARNING: Final = "session_aware.NestedSessionWarning"
_PYTEST_ASYNCIO: Final = ("asyncio", "pytest_asyncio.plugin")  # its name as an entry point, and with -p
_KEYWORDS: Final = frozenset({"allow_nested", "run_after_commit"})


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what a module's attribute is
    if name not in _MODULES:
        msg = f"module 'session_aware.pytest_plugin' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"session_aware.pytest_plugin.{_MODULES[name]}"), name)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini("session_aware_timeout", "Seconds that a call waits for a call in another thread or task.", default="10")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, make the warning an error unless the project says otherwise, and support pytest-asyncio."""
    config.addinivalue_line(
        "markers",
        "session_aware(*, allow_nested=False, run_after_commit=False): let an auto call start inside another one's body; "
        "run after_commit callbacks at the commit.",
    )
    if not any("NestedSessionWarning" in line for line in config.getini("filterwarnings")):
        config.addinivalue_line("filterwarnings", f"error::{_WARNING}")
    if any(map(config.pluginmanager.hasplugin, _PYTEST_ASYNCIO)):
        config.pluginmanager.register(import_module("session_aware.pytest_plugin._asyncio"), "session_aware_asyncio")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Check the marker, and allow the warning if the marker says so."""
    said = _marked(item)
    if unknown := said.keys() - _KEYWORDS:
        msg = (
            f"{item.nodeid}: the marker session_aware has no keyword {', '.join(sorted(unknown))}. Write "
            "'@pytest.mark.session_aware(allow_nested=True)' or 'run_after_commit=True'."
        )
        raise pytest.UsageError(msg)
    if said.get("allow_nested"):
        item.add_marker(pytest.mark.filterwarnings(f"ignore::{_WARNING}"))


def _marked(item: pytest.Item) -> dict[str, object]:
    """Return the keywords of the markers; the closest marker wins."""
    said: dict[str, object] = {}
    for mark in item.iter_markers("session_aware"):
        said = {**dict.fromkeys(map(str, mark.args), True), **mark.kwargs, **said}
    return said


@pytest.fixture(scope="session")
def session_aware_engine() -> Engine:
    """Name the engine of the tests: override this in conftest.py."""
    imports = "from sqlalchemy import create_engine"
    refuse_missing("session_aware_engine", imports, 'create_engine("postgresql+psycopg://localhost/test")')


@pytest.fixture(scope="session")
def session_aware_async_engine() -> AsyncEngine:
    """Name the async engine of the tests: override this in conftest.py."""
    call = 'create_async_engine("postgresql+asyncpg://localhost/test", poolclass=NullPool)'
    imports = "from sqlalchemy.ext.asyncio import create_async_engine\nfrom sqlalchemy.pool import NullPool"
    refuse_missing("session_aware_async_engine", imports, call)


@pytest.fixture(scope="session")
def session_aware_session_factory() -> sessionmaker[Session] | None:
    """Name a sessionmaker whose class and options the test's sessions take over: override this if you have one."""
    return None


@pytest.fixture(scope="session")
def session_aware_async_session_factory() -> async_sessionmaker[AsyncSession] | None:
    """Name an async_sessionmaker whose classes and options the test's sessions take over: override this if you have one."""
    return None


@pytest.fixture(scope="session")
def session_aware_timeout(pytestconfig: pytest.Config) -> float:
    """Give the ini option of that name in seconds."""
    return float(pytestconfig.getini("session_aware_timeout"))


@pytest.fixture
def session_aware_after_commit(request: pytest.FixtureRequest) -> AfterCommit:
    """Give the callbacks that after_commit would have run; run() runs them."""
    from session_aware.pytest_plugin._callbacks import AfterCommit  # noqa: PLC0415 - see _MODULES

    return AfterCommit(is_run=bool(_marked(request.node).get("run_after_commit")))


@pytest.fixture
def session_aware_db(
    session_aware_engine: Engine,
    session_aware_session_factory: sessionmaker[Session] | None,
    session_aware_after_commit: AfterCommit,
    session_aware_timeout: float,
) -> Generator[RolledBack]:
    """Roll back at the end what the test and every sync auto call in it, in all threads, have done."""
    from session_aware.pytest_plugin._rollback import rolled_back  # noqa: PLC0415 - see _MODULES

    with rolled_back(
        session_aware_engine,
        session_factory=session_aware_session_factory,
        after_commit=session_aware_after_commit,
        timeout=session_aware_timeout,
    ) as db:
        yield db


@pytest.fixture
def session_aware_session(session_aware_db: RolledBack) -> Session:
    """Give the test's own session in session_aware_db."""
    return session_aware_db.session


@pytest.fixture
async def _session_aware_anyio_db(
    session_aware_async_engine: AsyncEngine,
    session_aware_async_session_factory: async_sessionmaker[AsyncSession] | None,
    session_aware_after_commit: AfterCommit,
    session_aware_timeout: float,
) -> AsyncGenerator[AsyncRolledBack]:
    from session_aware.pytest_plugin._async_rollback import async_rolled_back  # noqa: PLC0415 - see _MODULES

    async with async_rolled_back(
        session_aware_async_engine,
        session_factory=session_aware_async_session_factory,
        after_commit=session_aware_after_commit,
        timeout=session_aware_timeout,
    ) as db:
        yield db


@pytest.fixture
def session_aware_async_db(
    request: pytest.FixtureRequest,
    session_aware_async_engine: AsyncEngine,  # noqa: ARG001 - listed because pytest parametrizes by parameter names
    session_aware_async_session_factory: async_sessionmaker[AsyncSession] | None,  # noqa: ARG001
) -> AsyncRolledBack:
    """Roll back at the end what the test and every async auto call in it have done; pytest-asyncio or anyio runs it."""
    if "anyio_backend" in request.fixturenames:
        fixture = "_session_aware_anyio_db"
    elif (asyncio_fixtures := request.config.pluginmanager.get_plugin("session_aware_asyncio")) is not None:
        fixture = asyncio_fixtures.fixture_for(request)
    else:
        pytest.fail(
            "session_aware_async_db: nothing runs async fixtures for this test. Mark it with '@pytest.mark.anyio' (plugin: "
            "anyio), or install pytest-asyncio, or write in the test 'async with async_rolled_back(engine) as db:'.",
            pytrace=False,
        )
    return request.getfixturevalue(fixture)  # type: ignore[no-any-return]  # as pytest types it


@pytest.fixture
def session_aware_async_session(session_aware_async_db: AsyncRolledBack) -> AsyncSession:
    """Give the test's own session in session_aware_async_db."""
    return session_aware_async_db.session


@pytest.fixture(scope="session")
def session_aware_assert_units() -> Callable[..., AbstractContextManager[Units]]:
    """Give assert_units: how many units a block commits and rolls back, and how many statements it sends."""
    from session_aware.pytest_plugin._units import assert_units  # noqa: PLC0415 - see _MODULES

    return assert_units
