"""Other people's decorators above and beneath @auto_session_func in a service."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, Propagation, SessionAwareService, SessionParameterError, auto_session_func, configure
from tests.databases import Databases

maker = sessionmaker(create_engine("sqlite://"))
calls: list[str] = []


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        calls.append(function.__name__)
        return function(*args, **kwargs)

    return wrapper


def _is_read_only(session: Session) -> bool:
    return bool(session.info["session_aware"].is_read_only)


class Decorated(SessionAwareService, session_factory=maker):
    @logged
    @auto_session_func(read_only=True)
    def method(self, *, session: Session = NEW_SESSION) -> bool:
        return _is_read_only(session)

    @classmethod
    @logged
    @auto_session_func(read_only=True)
    def of_class(cls, *, session: Session = NEW_SESSION) -> bool:
        return _is_read_only(session)

    @logged
    @auto_session_func(read_only=True)
    def stream(self, *, session: Session = NEW_SESSION) -> Iterator[bool]:
        yield _is_read_only(session)

    @auto_session_func(read_only=True)
    @logged
    def above(self, *, session: Session = NEW_SESSION) -> bool:
        return _is_read_only(session)


def test_policy_and_factory_hold_beneath_and_above_other_decorators() -> None:
    calls.clear()
    one = Decorated()
    assert [one.method(), Decorated.of_class(), next(one.stream()), one.above()] == [True] * 4
    assert calls == ["method", "of_class", "stream", "above"]


def test_methods_taken_from_another_object_keep_its_factory() -> None:
    other = Decorated()

    class Borrows(SessionAwareService):
        method = other.method
        above = other.above
        function = Decorated.above

    class Owns(Borrows, session_factory=maker):
        pass

    assert Borrows().method()
    assert Borrows().above()
    assert Owns().function()


class Bank:
    """Names the database that a session is on."""

    def __init__(self, databases: Databases) -> None:
        self.makers = {name: databases.sync("sqlite", name=name).maker for name in ("one", "two", "process")}

    def of(self, session: Session) -> str:
        return next(name for name, maker in self.makers.items() if maker.kw["bind"].url == session.connection().engine.url)


@pytest.fixture
def bank(databases: Databases) -> Bank:
    made = Bank(databases)
    configure(session_factory=made.makers["process"])
    return made


def test_function_beneath_a_decorator_is_each_services_own_and_nobodys_beside_them(bank: Bank) -> None:
    @logged
    @auto_session_func
    def free(*_: object, session: Session = NEW_SESSION) -> tuple[str, bool]:
        return bank.of(session), _is_read_only(session)

    class Mixin:
        held = free

        @logged
        @auto_session_func
        def own(self, *, session: Session = NEW_SESSION) -> tuple[str, bool]:
            return bank.of(session), _is_read_only(session)

        @classmethod
        @logged
        @auto_session_func
        def of_class(cls, *, session: Session = NEW_SESSION) -> tuple[str, bool]:
            return bank.of(session), _is_read_only(session)

    class One(Mixin, SessionAwareService, session_factory=bank.makers["one"]):
        """Writes to one database."""

    class Two(Mixin, SessionAwareService, session_factory=bank.makers["two"], read_only=True):
        """Reads from another."""

    class Below(Two):
        """Inherits."""

    for _ in range(2):
        assert free() == ("process", False)
        assert free("anything") == ("process", False)
        for service, seen in ((One(), ("one", False)), (Two(), ("two", True)), (Below(), ("two", True))):
            assert service.held() == service.own() == service.of_class() == type(service).of_class() == seen


def test_undecorated_function_that_a_class_takes_over_stays_as_it_is(bank: Bank) -> None:
    @auto_session_func
    def free(*_: object, session: Session = NEW_SESSION) -> str:
        return bank.of(session)

    class One(SessionAwareService, session_factory=bank.makers["one"]):
        held = free

    assert One().held() == "one"
    assert free() == "process"
    assert free(One()) == "process"


def test_static_method_beneath_a_decorator_uses_the_decorators_factory_then_the_process_ones(bank: Bank) -> None:
    class Mixin:
        @staticmethod
        @logged
        @auto_session_func(session_factory=bank.makers["two"])
        def named(*, session: Session = NEW_SESSION) -> str:
            return bank.of(session)

    @auto_session_func
    def free(*, session: Session = NEW_SESSION) -> str:
        return bank.of(session)

    class Plain(Mixin, SessionAwareService):
        unnamed = staticmethod(logged(free))

    class One(Mixin, SessionAwareService, session_factory=bank.makers["one"]):
        @staticmethod
        @auto_session_func
        @logged
        def above(*, session: Session = NEW_SESSION) -> str:
            return bank.of(session)

    class Below(One):
        unnamed = staticmethod(logged(free))

    assert (Plain.named(), Plain().unnamed(), One.named(), One.above()) == ("two", "process", "two", "one")
    assert (Below.named(), Below.unnamed(), Below.above()) == ("two", "process", "one")


def test_static_method_beneath_a_decorator_that_would_miss_its_class_is_refused(bank: Bank) -> None:
    class Mixin:
        @staticmethod
        @logged
        @auto_session_func
        def rate(*, session: Session = NEW_SESSION) -> str:
            return bank.of(session)

    class Async:
        @staticmethod
        @logged
        @auto_session_func
        async def rate(*, session: AsyncSession = NEW_SESSION) -> None: ...

    class Says(SessionAwareService):
        @staticmethod
        @logged
        @auto_session_func(session_factory=bank.makers["two"], isolation_level="SERIALIZABLE")
        def rate(*, session: Session = NEW_SESSION) -> None: ...

    class Reads(SessionAwareService):
        @staticmethod
        @logged
        @auto_session_func(read_only=True, read_session_factory=bank.makers["two"])
        def rate(*, session: Session = NEW_SESSION) -> None: ...

    with pytest.raises(SessionParameterError) as caught:
        type("One", (Mixin, SessionAwareService), {}, session_factory=bank.makers["one"])
    assert str(caught.value) == (
        "One.rate: it is a static method with another decorator above @auto_session_func, so a call cannot know that it "
        "came through One, whose session_factory would be ignored. Write @auto_session_func above that decorator, directly "
        "below @staticmethod."
    )
    with pytest.raises(SessionParameterError, match="whose session_factory would be ignored"):
        type("Below", (type("Above", (Mixin, SessionAwareService), {}),), {}, session_factory=bank.makers["one"])
    with pytest.raises(SessionParameterError, match="whose async_session_factory would be ignored"):
        type("Three", (Async, SessionAwareService), {}, async_session_factory=async_sessionmaker())
    type("Other", (Async, SessionAwareService), {}, session_factory=bank.makers["one"])
    type("Reading", (Reads,), {}, session_factory=bank.makers["one"])
    type("Later", (Mixin, SessionAwareService), {"session_factory": property(lambda _: bank.makers["one"])})
    type("Default", (Mixin, SessionAwareService), {}, read_only=False, propagation=Propagation.REQUIRED)
    type("Shadowing", (Says,), {"rate": None}, read_only=True)
    with pytest.raises(SessionParameterError) as caught:
        type("Two", (Says,), {}, read_only=True)
    assert str(caught.value) == (
        "Two.rate: it is a static method with another decorator above @auto_session_func, so a call cannot know that it "
        "came through Two, whose policy would be ignored. Write @auto_session_func above that decorator, directly below "
        "@staticmethod."
    )
    type("Four", (Says,), {}, isolation_level="SERIALIZABLE")
    type("Five", (Says,), {}, isolation_level="READ COMMITTED")  # the decorator comes first
