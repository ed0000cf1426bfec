"""Where the session factory of a call is found, and overrides of it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    SessionAwareService,
    SessionFactoryError,
    auto_session_ctx,
    auto_session_func,
    configure,
    override_session_factory,
)
from tests.databases import AsyncDatabase, Databases, SyncDatabase
from tests.services import NOTHING, OWNED, Accounts, AsyncAccounts

T = TypeVar("T")


@pytest.fixture
def named(databases: Databases) -> dict[str, SyncDatabase]:
    """A database for each place that can name one."""
    return {
        name: databases.sync("sqlite", name=name) for name in ("method", "instance", "below", "above", "process", "test")
    }


def hidden(maker: Callable[[], T]) -> Callable[[], T]:
    """Hide in a function what a factory makes."""

    def factory() -> T:
        return maker()

    return factory


def used(named: dict[str, SyncDatabase]) -> list[str]:
    return [name for name, database in named.items() if database.recorder.take()]


def test_nearest_place_that_names_a_factory_decides(named: dict[str, SyncDatabase]) -> None:
    class Above(Accounts):
        @auto_session_func(session_factory=named["method"].maker)
        def marked_with_factory(self, owner: str, *, session: Session = NEW_SESSION) -> bool:
            session.connection()
            return True

    class Below(Above):
        """Names none at first."""

    below = Below()
    with pytest.raises(SessionFactoryError):
        below.open("ann")
    configure(session_factory=named["process"].maker)
    below.open("ann")
    assert used(named) == ["process"]
    Above.session_factory = named["above"].maker
    below.open("ann")
    assert used(named) == ["above"]
    Below.session_factory = named["below"].maker
    below.open("ann")
    assert used(named) == ["below"]
    below.session_factory = named["instance"].maker
    below.open("ann")
    assert used(named) == ["instance"]
    below.of_class("bob")
    assert used(named) == ["below"]
    below.marked_with_factory("ann")
    assert used(named) == ["method"]
    with override_session_factory(Below, named["test"].maker):
        below.marked_with_factory("ann")
        below.open("ann")
        Below.static("bob")
    assert used(named) == ["test"]
    below.open("cid")
    assert used(named) == ["instance"]


def test_class_keyword_and_class_attribute_are_the_same(sqlite: SyncDatabase) -> None:
    class Keyword(Accounts, session_factory=sqlite.maker):
        """Names it in the statement."""

    class Attribute(Accounts):
        session_factory = sqlite.maker

    Keyword().open("ann")
    Attribute().open("bob")
    Attribute.static("cid")
    assert sqlite.recorder.events == OWNED * 3


def test_plain_function_as_a_factory_is_not_bound(sqlite: SyncDatabase) -> None:
    def factory() -> Session:
        return sqlite.maker()

    class Keyword(Accounts, session_factory=factory):
        """Names it in the statement."""

    class Attribute(Accounts):
        session_factory = factory

    class Static(Accounts):
        session_factory = staticmethod(factory)

    for service in (Keyword, Attribute, Static):
        service().open(service.__name__)
        service.static(f"{service.__name__} again")
    assert sqlite.recorder.events == OWNED * 6


def test_method_and_property_as_a_factory_know_the_object(sqlite: SyncDatabase) -> None:
    class ByMethod(Accounts):
        def __init__(self, maker: sessionmaker[Session]) -> None:
            self.maker = maker

        def session_factory(self) -> Session:
            return self.maker()

    class ByProperty(Accounts):
        def __init__(self, maker: sessionmaker[Session]) -> None:
            self.maker = maker

        @property
        def session_factory(self) -> Any:  # type: ignore[override] # likewise
            return self.maker

    ByMethod(sqlite.maker).open("ann")
    ByProperty(sqlite.maker).open("bob")
    assert sqlite.recorder.events == OWNED * 2


def test_class_keyword_reaches_subclasses_and_none_takes_nothing_back(sqlite: SyncDatabase) -> None:
    class Above(Accounts, session_factory=sqlite.maker):
        """Names it."""

    class Below(Above, session_factory=None):
        """Says nothing."""

    Below().open("ann")
    assert sqlite.recorder.events == OWNED


def test_factory_can_be_put_in_place_after_the_class_statement(sqlite: SyncDatabase) -> None:
    class Late(Accounts):
        """Gets it later."""

    with pytest.raises(SessionFactoryError):
        Late.static("ann")
    Late.session_factory = sqlite.maker
    Late.static("ann")
    assert sqlite.recorder.events == OWNED


def test_read_factory_of_a_base_does_not_beat_the_factory_of_the_class(databases: Databases) -> None:
    replica, own = databases.sync("sqlite", name="replica"), databases.sync("sqlite", name="own")

    class Above(SessionAwareService, read_session_factory=replica.maker):
        @auto_session_func(read_only=True)
        def read(self, *, session: Session = NEW_SESSION) -> None:
            session.connection()

    class Below(Above, session_factory=own.maker):
        """Has a database of its own."""

    Below().read()
    assert replica.recorder.events == NOTHING
    assert own.recorder.transactions == ["BEGIN", "ROLLBACK"]
    below = Below()
    below.read_session_factory = replica.maker
    below.read()
    assert replica.recorder.transactions == ["BEGIN", "ROLLBACK"]


def test_factory_of_another_kind_is_refused_at_the_first_call(aiosqlite: AsyncDatabase, sqlite: SyncDatabase) -> None:
    accounts = Accounts()
    accounts.session_factory = aiosqlite.maker  # type: ignore[assignment] # the point
    with pytest.raises(SessionFactoryError, match="makes AsyncSession"):
        accounts.open("ann")
    later = Accounts()
    later.session_factory = cast("Any", hidden(aiosqlite.maker))
    with pytest.raises(SessionFactoryError, match="it needs a Session"):
        later.open("ann")
    alater = AsyncAccounts()
    alater.async_session_factory = cast("Any", hidden(sqlite.maker))

    async def scenario() -> None:
        with pytest.raises(SessionFactoryError, match="it needs an AsyncSession"):
            await alater.open("ann")

    aiosqlite.run(scenario())


# Overrides


def test_override_reaches_one_service_and_its_subclasses(named: dict[str, SyncDatabase]) -> None:
    class Above(Accounts, session_factory=named["above"].maker):
        """Is overridden."""

    class Below(Above, session_factory=named["below"].maker):
        """Below it."""

    with override_session_factory(Above, named["test"].maker):
        Above().open("ann")
        Below().open("bob")
        assert used(named) == ["test"]
        with pytest.raises(SessionFactoryError):
            Accounts().open("cid")
    with override_session_factory(Below, named["test"].maker):
        Above().open("ann")
    assert used(named) == ["above"]


def test_override_of_everything_reaches_functions_and_blocks(named: dict[str, SyncDatabase]) -> None:
    @auto_session_func(session_factory=named["method"].maker)
    def function(*, session: Session = NEW_SESSION) -> None:
        session.connection()

    with override_session_factory(None, named["test"].maker):
        function()
        with auto_session_ctx(session_factory=named["method"].maker) as session:
            session.connection()
        Accounts().open("ann")
    assert used(named) == ["test"]


def test_innermost_override_wins_and_gives_the_outer_one_back(named: dict[str, SyncDatabase]) -> None:
    with override_session_factory(Accounts, named["above"].maker):
        with override_session_factory(None, named["below"].maker):
            Accounts().open("ann")
            assert used(named) == ["below"]
        Accounts().open("ann")
        assert used(named) == ["above"]
        with pytest.raises(ZeroDivisionError), override_session_factory(Accounts, named["test"].maker):
            1 / 0  # noqa: B018 - it raises
        Accounts().open("bob")
        assert used(named) == ["above"]


def test_overrides_may_end_in_another_order(named: dict[str, SyncDatabase]) -> None:
    first = override_session_factory(Accounts, named["above"].maker)
    second = override_session_factory(Accounts, named["below"].maker)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    Accounts().open("ann")
    assert used(named) == ["below"]
    second.__exit__(None, None, None)


def test_override_is_seen_by_every_thread(sqlite: SyncDatabase) -> None:
    with override_session_factory(Accounts, sqlite.maker):
        thread = threading.Thread(target=Accounts().open, args=("ann",))
        thread.start()
        thread.join()
    assert sqlite.owners() == ["ann"]


def test_override_serves_its_own_kind_alone(sqlite: SyncDatabase, aiosqlite: AsyncDatabase) -> None:
    class Both(Accounts):
        async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
            await session.execute(text("SELECT 1"))

    async def scenario() -> None:
        with override_session_factory(Both, sqlite.maker), pytest.raises(SessionFactoryError):
            await Both().aopen("ann")
        with override_session_factory(Both, aiosqlite.maker):
            await Both().aopen("ann")
            with pytest.raises(SessionFactoryError):
                Both().open("ann")

    aiosqlite.run(scenario())
    assert aiosqlite.recorder.events == OWNED


def test_override_without_the_asyncio_extension_is_a_sync_one(sqlite: SyncDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sqlalchemy.ext.asyncio")
    with override_session_factory(Accounts, sqlite.maker):
        Accounts().open("ann")
    assert sqlite.recorder.events == OWNED


def test_override_by_what_makes_no_session_is_refused(sqlite: SyncDatabase) -> None:
    with pytest.raises(SessionFactoryError), override_session_factory(None, cast("Any", sqlite.engine)):
        pytest.fail("the block was entered")
    with override_session_factory(None, cast("Any", lambda: 3)), pytest.raises(SessionFactoryError):
        Accounts().open("ann")


def test_override_by_a_plain_function_is_seen_by_what_it_makes(sqlite: SyncDatabase, aiosqlite: AsyncDatabase) -> None:
    class Both(Accounts):
        async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> None:
            await session.execute(text("SELECT 1"))

    async def scenario() -> None:
        with (
            override_session_factory(Both, hidden(aiosqlite.maker)),
            override_session_factory(Both, hidden(sqlite.maker)),
        ):
            await Both().aopen("ann")
            Both().open("bob")

    aiosqlite.run(scenario())
    assert aiosqlite.recorder.events == OWNED
    assert sqlite.recorder.events == OWNED


def test_sync_factory_for_async_callables_is_refused_before_anybody_imported_asyncio() -> None:
    program = """
from sqlalchemy.orm import sessionmaker
from session_aware import auto_session_func
auto_session_func(async_session_factory=sessionmaker())
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == (
        "session_aware.SessionFactoryError: auto_session_func: async_session_factory is a sessionmaker, which makes "
        "Session; for plain callables its keyword is session_factory. Write "
        "'async_session_factory=async_sessionmaker(async_engine)'."
    )


def test_configured_factory_is_checked_without_the_asyncio_extension(
    sqlite: SyncDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sqlalchemy.ext.asyncio")
    with pytest.raises(SessionFactoryError):
        configure(session_factory=cast("Any", sqlite.engine))
    configure(session_factory=sqlite.maker)
    Accounts().open("ann")
    assert sqlite.recorder.events == OWNED


class Answers:
    """Answers to every name, as clients of remote procedures and proxies do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_: name


@pytest.mark.parametrize("keyword", ["session_factory", "read_session_factory"])
def test_what_answers_to_every_name_does_not_beat_configure(sqlite: SyncDatabase, keyword: str) -> None:
    class Remote(Answers, SessionAwareService, read_only=keyword == "read_session_factory"):
        def look(self, *, session: Session = NEW_SESSION) -> bool:
            return session.in_transaction()

    with pytest.raises(SessionFactoryError, match="returned str"):
        Remote().look()
    factories: dict[str, Any] = {keyword: sqlite.maker}
    configure(**factories)
    assert Remote().look() is True
    Remote.session_factory = sqlite.maker
    assert Remote().look() is True


def test_factory_that_only_getattr_knows_is_the_last_that_is_asked(named: dict[str, SyncDatabase]) -> None:
    class Proxy(Accounts):
        def look(self, *, session: Session = NEW_SESSION) -> None:
            session.connection()

        def __getattr__(self, name: str) -> Any:
            if name == "session_factory":
                return named["instance"].maker
            raise AttributeError(name)

    Proxy().look()
    assert used(named) == ["instance"]
    configure(session_factory=named["process"].maker)
    Proxy().look()
    assert used(named) == ["process"]
