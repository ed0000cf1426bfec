"""Every kind of callable of a class body: who owns, who joins, and what an exception does."""

from __future__ import annotations

import _thread
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import pytest
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, SessionAwareService, auto_session_func, configure, describe
from tests.databases import DRIVERS, AsyncDatabase, Databases, SyncDatabase
from tests.ledger import Account
from tests.services import JOINED, NOTHING, OWNED, UNDONE, Accounts, AsyncAccounts, Failure, Opener, add, passing

SYNC_KINDS = [
    "open",
    "of_class",
    "static",
    "optional",
    "required",
    "through_private",
    "_Accounts__private",
    "variadic",
    "opener",
    "decorated",
    "marked",
    "decorated_above",
    "decorated_beneath",
    "marked_above_static",
    "marked_beneath_static",
    "marked_above_class",
    "marked_beneath_class",
    "partial",
    "partial_of_static",
    "dispatched",
]
ASYNC_KINDS = [
    "open",
    "of_class",
    "static",
    "optional",
    "required",
    "through_private",
    "_AsyncAccounts__private",
    "opener",
    "decorated",
    "decorated_by_async",
    "marked",
    "decorated_above",
    "marked_above_static",
    "marked_beneath_class",
    "partial",
    "dispatched",
]
BOUND_TO_CLASS = ["of_class", "static", "marked_above_static", "marked_beneath_static", "marked_above_class"]

NEW: object = cast("object", NEW_SESSION)  # what follows an expression of type Never counts as unreachable
CASES = [
    *((driver, kind) for driver in ("sqlite", "psycopg") for kind in SYNC_KINDS),
    *((driver, kind) for driver in ("aiosqlite", "async psycopg", "asyncpg") for kind in ASYNC_KINDS),
]


class Opening:
    """One way to open an account, on one database."""

    def __init__(self, database: SyncDatabase | AsyncDatabase, kind: str) -> None:
        self.database: Any = database
        if isinstance(database, AsyncDatabase):
            service: Any = type("Here", (AsyncAccounts,), {"async_session_factory": database.maker})
        else:
            service = type("Here", (Accounts,), {"session_factory": database.maker})
        self._method = getattr(service(), kind)

    def __call__(self, owner: str, **given: object) -> Account:
        opened: Account = self.database.run(self._method(owner, **given))
        return opened

    @contextmanager
    def given(self) -> Iterator[Any]:
        session = self.database.maker()
        yield session
        self.database.run(session.close())


@pytest.fixture(params=CASES, ids=" ".join)
def opening(request: pytest.FixtureRequest, databases: Databases) -> Opening:
    driver, kind = request.param
    make, name = DRIVERS[driver]
    return Opening(make(databases, name), kind)


def test_call_without_a_session_owns(opening: Opening) -> None:
    for owner, given in (("ann", {}), ("bob", {"session": None}), ("cid", {"session": NEW_SESSION})):
        assert opening(owner, **given).owner == owner
    assert opening.database.recorder.events == OWNED * 3
    assert opening.database.owners() == ["ann", "bob", "cid"]


def test_exception_rolls_the_owned_transaction_back(opening: Opening) -> None:
    with pytest.raises(Failure):
        opening("bad")
    assert opening.database.recorder.events == UNDONE
    assert opening.database.owners() == []


def test_given_session_is_joined_and_left_to_its_caller(opening: Opening) -> None:
    database = opening.database
    with opening.given() as session:
        assert opening("ann", session=session) in session
        with pytest.raises(Failure):
            opening("bad", session=session)
        assert database.recorder.take() == JOINED
        assert database.owners() == []
        database.run(session.commit())
    assert database.recorder.events == ["COMMIT", "CHECKIN"]
    assert database.owners() == ["ann", "bad"]


@pytest.mark.parametrize("kind", BOUND_TO_CLASS)
def test_method_of_a_class_uses_the_factory_of_the_class_it_is_reached_through(kind: str, databases: Databases) -> None:
    one, two = databases.sync("sqlite", name="one"), databases.sync("sqlite", name="two")

    class First(Accounts, session_factory=one.maker):
        """Has the one database."""

    class Second(First, session_factory=two.maker):
        """Has the other."""

    for target in (Second, Second()):
        getattr(target, kind)(f"of {type(target).__name__}")
    assert one.recorder.take() == NOTHING
    assert two.recorder.take() == OWNED * 2
    getattr(First, kind)("ann")
    assert one.owners() == ["ann"]
    assert two.recorder.events == NOTHING


def test_class_is_known_to_a_class_method(sqlite: SyncDatabase) -> None:
    class Here(Accounts, session_factory=sqlite.maker):
        @classmethod
        def who(cls, *, session: Any = NEW_SESSION) -> type:
            return cls

    class Below(Here):
        """Inherits."""

    assert (Here.who(), Below.who(), Below().who()) == (Here, Below, Below)


@pytest.mark.parametrize("kind", ["open", "decorated", "marked", "partial"])
def test_method_can_be_called_through_the_class(kind: str, sqlite: SyncDatabase) -> None:
    accounts = Accounts()
    accounts.session_factory = sqlite.maker
    getattr(Accounts, kind)(accounts, "ann")
    assert sqlite.recorder.events == OWNED


def test_arguments_arrive_as_they_were_passed(sqlite: SyncDatabase) -> None:
    class Here(Accounts, session_factory=sqlite.maker):
        def echo(
            self, a: int, /, b: int, c: int = 3, *args: int, d: int = 4, session: Any = NEW_SESSION, **kwargs: int
        ) -> tuple[Any, ...]:
            return a, b, c, args, d, kwargs

    here = Here()
    expected = (1, 2, 30, (5, 6), 40, {"e": 7})
    assert here.echo(1, 2, 30, 5, 6, d=40, e=7) == expected
    with sqlite.maker() as session:
        assert here.echo(1, 2, 30, 5, 6, d=40, e=7, session=session) == expected
        assert here.echo(1, b=2, session=session) == here.echo(1, b=2) == (1, 2, 3, (), 4, {})
    with pytest.raises(TypeError):
        here.echo()  # type: ignore[call-arg] # this is the point


def test_lambda_is_a_method_too(sqlite: SyncDatabase) -> None:
    class Here(Accounts, session_factory=sqlite.maker):
        shorthand: Any = lambda self, *, session=NEW_SESSION: session.in_transaction()

    assert cast("Any", Here()).shorthand() is True
    assert sqlite.recorder.events == NOTHING


def test_nested_class_is_left_as_it_is(sqlite: SyncDatabase) -> None:
    class Here(Accounts, session_factory=sqlite.maker):
        class Inner:
            def __init__(self, *, session: Any = NEW_SESSION) -> None:
                self.session = session

            def __call__(self, *, session: Any = NEW_SESSION) -> Any:
                return session

    assert Here.Inner().session is Here.Inner()() is NEW


def test_construction_is_left_as_it_is(sqlite: SyncDatabase) -> None:
    class Here(Accounts, session_factory=sqlite.maker):
        def __new__(cls, *, session: Any = None) -> Any:
            assert session is None
            return super().__new__(cls)

        def __init__(self, *, session: Any = None) -> None:
            self.session = session

    assert Here().session is None


def test_callable_service_is_session_aware(sqlite: SyncDatabase) -> None:
    class Here(Accounts, session_factory=sqlite.maker):
        def __call__(self, owner: str, *, session: Any = NEW_SESSION) -> Account:
            return self.open(owner, session=session)

    Here()("ann")
    assert sqlite.recorder.events == OWNED


def test_function_that_injects_its_own_session_is_left_as_it_is(sqlite: SyncDatabase) -> None:

    def injecting(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(self: object) -> Any:
            with sessionmaker(sqlite.engine)() as session:
                return function(self, session=session)

        return wrapper

    class Here(Accounts):
        @injecting
        def is_given(self, *, session: Any = NEW_SESSION) -> bool:
            return bool(session.in_transaction())

    assert Here().is_given() is False


# Callable objects that bind themselves


class Binding:
    """A callable object with a ``__get__`` of its own."""

    def __call__(self, service: Accounts, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return service.open(owner, session=session)

    def __get__(self, service: Any, _owner: type | None = None) -> Any:
        return self if service is None else functools.partial(self, service)


def test_callable_object_that_binds_itself_is_session_aware(sqlite: SyncDatabase) -> None:
    class Here(Accounts, session_factory=sqlite.maker):
        bound = Binding()

    assert Here().bound("ann").owner == "ann"
    assert sqlite.recorder.take() == OWNED
    with sqlite.maker() as session:
        assert Here().bound("bob", session=session) in session
    assert sqlite.owners() == ["ann"]


def test_callable_object_with_a_policy_knows_its_class(sqlite: SyncDatabase) -> None:
    class Here(Accounts, session_factory=sqlite.maker):
        marked_opener = auto_session_func(Opener())

    cast("Any", Here()).marked_opener("ann")
    assert sqlite.recorder.events == OWNED


# Keywords


class Keywords(SessionAwareService):
    @classmethod
    def of_class(cls, *, session: Session = NEW_SESSION, **named: object) -> dict[str, object]:
        return named

    @staticmethod
    def of_nobody(*, session: Session = NEW_SESSION, **named: object) -> dict[str, object]:
        return named

    def of_object(self, /, *, session: Session = NEW_SESSION, **named: object) -> dict[str, object]:
        return named

    @passing
    def decorated(self, /, *, session: Session = NEW_SESSION, **named: object) -> dict[str, object]:
        return named


NAMES = ["self", "cls", "wrapped", "instance", "args", "kwargs", "request", "source", "function", "owner", "target", "ask"]


@pytest.mark.parametrize("name", ["of_class", "of_nobody", "of_object", "decorated"])
@pytest.mark.parametrize("keyword", NAMES)
def test_keyword_of_any_name_arrives_with_and_without_a_session(name: str, keyword: str, sqlite: SyncDatabase) -> None:
    if name == "of_class" and keyword == "cls":  # which Python itself refuses
        keyword = "klass"
    configure(session_factory=sqlite.maker)
    for given in ({}, {"session": Session()}):
        assert getattr(Keywords(), name)(**{keyword: 1}, **given) == {keyword: 1}


# Whatever the default is


class Marker:
    """A framework's, such as ``Depends``."""


def test_default_that_is_no_session_means_omitted(sqlite: SyncDatabase) -> None:
    class Here(SessionAwareService, session_factory=sqlite.maker):
        def marked(self, *, session: Session = cast("Any", Marker())) -> bool:  # noqa: B008 - as people write it
            return isinstance(session, Session)

        @passing
        def decorated(self, *, session: Session = cast("Any", Marker())) -> bool:  # noqa: B008 - likewise
            return isinstance(session, Session)

        def shared(self, *, session: Session = SHARED) -> bool:
            return session is SHARED

    assert (Here().marked(), Here().decorated(), Here().shared()) == (True, True, False)
    assert isinstance(inspect.signature(Here.marked).parameters["session"].default, Marker)
    assert sqlite.recorder.events == NOTHING  # no statement, no connection


SHARED = Session()


# Required positional sessions, and those of other libraries


class Client:
    """Another library's session."""


def test_required_positional_session_is_left_alone(sqlite: SyncDatabase) -> None:
    class Here(SessionAwareService, session_factory=sqlite.maker):
        def _insert(self, session: Session, owner: str) -> Account:
            return add(session, owner)

        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return self._insert(session, owner)

        def fetch(self, session: Client | None = None) -> Client | None:
            return session

        def fetch_by_name(self, *, session: Client | None = None) -> Client | None:
            return session

        def send(self, *, session: Client) -> Client:
            return session

    Here().open("ann")
    assert sqlite.recorder.take() == OWNED
    client = Client()
    assert (Here().fetch(), Here().fetch_by_name(), Here().send(session=client)) == (None, None, client)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'session'"):
        Here()._insert(owner="ann")  # type: ignore[call-arg] # the point
    [finding] = describe(Here).findings
    assert finding.endswith(
        "Here._insert: takes 'session' but is not wrapped: its 'session' is positional. Write '*, session: Session = "
        "NEW_SESSION', unless every caller passes one.",
    )


# Decorators of every shape


def session_in_keywords(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: object, **session: object) -> Any:
        return function(*args, **session)

    return wrapper


def session_in_positional(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*session: object, **keywords: object) -> Any:
        return function(*session, **keywords)

    return wrapper


def first_apart(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(first: object, /, *rest: object, **keywords: object) -> Any:
        return function(first, *rest, **keywords)

    return wrapper


@pytest.mark.parametrize("decorator", [passing, session_in_keywords, session_in_positional, first_apart])
def test_method_under_a_decorator_of_any_shape_is_session_aware(
    decorator: Callable[[Any], Any], sqlite: SyncDatabase
) -> None:
    class Here(SessionAwareService, session_factory=sqlite.maker):
        @decorator
        def of_object(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

        @classmethod
        @decorator
        def of_class(cls, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

        @staticmethod
        @decorator
        def of_nobody(owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

    for name in ("of_object", "of_class", "of_nobody"):
        method = getattr(Here(), name)
        assert method(name).owner == name
        assert sqlite.recorder.take() == OWNED
        with sqlite.maker() as session:
            assert method(f"{name} again", session=session) in session
        sqlite.recorder.take()
        assert str(inspect.signature(method)) == "(owner: 'str', *, session: 'Session' = NEW_SESSION) -> 'Account'"
        assert f"def {name}" in inspect.getsource(method)
    for name in ("of_class", "of_nobody"):
        with pytest.raises(TypeError):
            getattr(Here, name)()
    spec: Any = mock.create_autospec(Here)
    with pytest.raises(TypeError):
        spec.of_nobody("a", "b", "c")
    copied = functools.wraps(Here.of_nobody)(lambda: None)
    assert str(inspect.signature(copied)) == "(owner: 'str', *, session: 'Session' = NEW_SESSION) -> 'Account'"


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_decorator_twice_around_a_class_or_static_method_keeps_it_one(
    kind: Callable[[Any], Any], sqlite: SyncDatabase
) -> None:
    def body(*args: object, session: Session = NEW_SESSION) -> tuple[object, ...]:
        return args

    class Here(SessionAwareService, session_factory=sqlite.maker):
        twice = auto_session_func(read_only=True)(kind(auto_session_func(body)))
        above = auto_session_func(auto_session_func(kind(body)))
        beneath = kind(auto_session_func(auto_session_func(body)))

    first = (Here,) if kind is classmethod else ()
    for name in ("twice", "above", "beneath"):
        assert getattr(Here(), name)(1) == getattr(Here, name)(1) == (*first, 1)


def test_arguments_that_c_code_passes_are_not_changed(sqlite: SyncDatabase) -> None:
    """Such as ``operator.methodcaller``, which may keep its dictionary: the next call would join a closed session."""
    opens = auto_session_func(session_factory=sqlite.maker)(Opener())  # a callable object has no lane
    keywords: dict[str, Any] = {"owner": "ann"}
    is_over = threading.Event()

    configure(observer=lambda _: is_over.set())
    _thread.start_new_thread(opens, (), keywords)
    assert is_over.wait(10)
    assert keywords == {"owner": "ann"}
