"""Overloads, generics, Self, inheritance and overrides, protocols, bound methods as callbacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar, assert_type, overload

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import NEW_SESSION, SessionAwareService

Model = TypeVar("Model")
Value = TypeVar("Value", int, str)


class User:
    name = "ann"


class Overloaded(SessionAwareService):
    @overload
    def get(self, key: int, *, session: Session = ...) -> User: ...
    @overload
    def get(self, key: str, *, session: Session = ...) -> list[User]: ...
    def get(self, key: int | str, *, session: Session = NEW_SESSION) -> User | list[User]:
        assert_type(session, Session)
        return User() if isinstance(key, int) else [User()]

    @overload
    @classmethod
    def make(cls, key: int, *, session: Session = ...) -> int: ...
    @overload
    @classmethod
    def make(cls, key: str, *, session: Session = ...) -> str: ...
    @classmethod
    def make(cls, key: int | str, *, session: Session = NEW_SESSION) -> int | str:
        return key

    def echo(self, value: Value, *, session: Session = NEW_SESSION) -> Value:
        return value


def overloads(service: Overloaded, session: Session, asynchronous: AsyncSession) -> None:
    assert_type(service.get(1), User)
    assert_type(service.get("a"), list[User])
    assert_type(service.get(1, session=session), User)
    assert_type(Overloaded.make(1), int)
    assert_type(Overloaded.make("a", session=session), str)
    assert_type(service.echo(1), int)
    assert_type(service.echo("a", session=session), str)
    service.get(1.5)  # E
    service.get(1, session=asynchronous)  # E
    service.get(1, session)  # E
    Overloaded.make(None)  # E
    service.echo(1.5)  # E


class Repository(SessionAwareService, Generic[Model]):
    model: type[Model]

    def get(self, key: int, *, session: Session = NEW_SESSION) -> Model | None:
        return session.get(self.model, key)

    def all(self, *, session: Session = NEW_SESSION) -> list[Model]:
        return assert_type(session.query(self.model).all(), list[Model])

    def add(self, *items: Model, session: Session = NEW_SESSION) -> Self:
        session.add_all(items)
        return self

    @classmethod
    def create(cls, *, session: Session = NEW_SESSION) -> Self:
        return cls()

    def first(self, items: Iterable[Value], *, session: Session = NEW_SESSION) -> Value:
        return next(iter(items))


class Users(Repository[User]):
    model = User

    def get(self, key: int, *, session: Session = NEW_SESSION) -> User | None:
        return assert_type(super().get(key, session=session), User | None)


def generics(users: Users, strings: Repository[str], session: Session) -> None:
    assert_type(users.get(1), User | None)
    assert_type(users.all(session=session), list[User])
    assert_type(users.add(User()), Users)
    assert_type(users.add(User()).add(User(), session=session), Users)
    assert_type(Users.create(), Users)
    assert_type(Users.create(session=session), Users)
    assert_type(strings.all(), list[str])
    assert_type(strings.create(), Repository[str])
    assert_type(users.first([1]), int)
    assert_type(users.first(["a"], session=session), str)
    users.add("ann")  # E
    strings.add(1)  # E
    users.add(User(), session="session")  # E
    Users.create(User())  # E


class Base(SessionAwareService, ABC):
    @abstractmethod
    def load(self, key: int, *, session: Session = NEW_SESSION) -> object: ...

    @staticmethod
    def rate(currency: str, *, session: Session = NEW_SESSION) -> float:
        return 1.0

    @classmethod
    def name(cls, *, session: Session = NEW_SESSION) -> str:
        return cls.__name__

    async def aload(self, key: int, *, session: AsyncSession = NEW_SESSION) -> object:
        return key


class Good(Base):
    def load(self, key: int, extra: str = "", *, session: Session = NEW_SESSION) -> str:
        return extra

    @staticmethod
    def rate(currency: str, *, session: Session = NEW_SESSION) -> int:
        return int(Base.rate(currency, session=session))

    @classmethod
    def name(cls, *, session: Session = NEW_SESSION) -> str:
        return assert_type(super().name(session=session), str)

    async def aload(self, key: int, *, session: AsyncSession = NEW_SESSION) -> int:
        assert_type(await super().aload(key, session=session), object)
        return key


class LostSession(Base):
    def load(self, key: int) -> str:  # E
        return ""


class RequiredSession(Base):
    def load(self, key: int, *, session: Session) -> str:  # E
        return ""


if TYPE_CHECKING:  # refused at run time

    class OtherSession(Base):
        def load(self, key: int, *, session: AsyncSession = NEW_SESSION) -> str:  # E
            return ""


class OtherArguments(Base):
    def load(self, key: str, *, session: Session = NEW_SESSION) -> str:  # E
        return key


class OtherResult(Base):
    @classmethod
    def name(cls, *, session: Session = NEW_SESSION) -> int:  # E
        return 1

    async def aload(self, key: int, *, session: AsyncSession = NEW_SESSION) -> int:
        return await super().aload(key, session=session)  # E


class Mixin:
    def mixed(self, *, session: Session = NEW_SESSION) -> int:
        return assert_type(self.twice(1, session=session), int)

    def twice(self, number: int, *, session: Session = NEW_SESSION) -> int:
        return number * 2


class Mixed(Mixin, Good): ...


def inheritance(good: Good, mixed: Mixed, session: Session) -> None:
    assert_type(good.load(1), str)
    assert_type(good.load(1, "x", session=session), str)
    assert_type(Good.rate("EUR"), int)
    assert_type(mixed.mixed(), int)
    assert_type(mixed.twice(2, session=session), int)
    assert_type(mixed.load(1), str)
    Base()  # E
    good.load("1")  # E
    mixed.twice("2")  # E
    mixed.mixed(session)  # E


class Loader(Protocol):
    def load(self, key: int, *, session: Session = ...) -> str: ...


class LoaderWithout(Protocol):
    def load(self, key: int) -> str: ...


class AsyncLoader(Protocol):
    async def aload(self, key: int, *, session: AsyncSession = ...) -> int: ...


class SessionAware(Protocol):
    def __call__(self, key: int, *, session: Session = ...) -> str: ...


class OtherKind(Protocol):
    def __call__(self, key: int, *, session: AsyncSession = ...) -> str: ...


class WithoutDefault(Protocol):
    def __call__(self, key: int, *, session: Session) -> str: ...


def takes_loader(loader: Loader) -> None:
    assert_type(loader.load(1), str)


def takes_loader_without(_loader: LoaderWithout) -> None: ...


def takes_async_loader(_loader: AsyncLoader) -> None: ...


def takes_aware(aware: SessionAware) -> None:
    assert_type(aware(1), str)


def takes_other_kind(_function: OtherKind) -> None: ...


def takes_without_default(_function: WithoutDefault) -> None: ...


def takes_callback(_callback: Callable[[int], str]) -> None: ...


def takes_thunk(_thunk: Callable[[], str]) -> None: ...


def takes_async_callback(_callback: Callable[[int], Awaitable[int]]) -> None: ...


def takes_other_callback(_callback: Callable[[str], str]) -> None: ...


def protocols_and_callbacks(good: Good, users: Users) -> None:
    takes_loader(good)
    takes_loader_without(good)
    takes_async_loader(good)
    takes_aware(good.load)
    takes_without_default(good.load)
    takes_callback(good.load)
    takes_thunk(partial(good.load, 1))
    takes_thunk(lambda: good.load(1))
    takes_thunk(Good.name)
    takes_async_callback(good.aload)
    assert_type(list(map(good.load, [1, 2])), list[str])
    assert_type(sorted(["EUR"], key=Good.rate), list[str])
    takes_loader(users)  # E
    takes_async_loader(users)  # E
    takes_aware(good.aload)  # E
    takes_aware(Good.rate)  # E
    takes_other_kind(good.load)  # E
    takes_callback(users.get)  # E
    takes_thunk(good.load)  # E
    takes_thunk(partial(good.load, "1"))  # E
    takes_async_callback(good.load)  # E
    takes_other_callback(good.load)  # E
    list(map(good.load, ["1"]))  # E


def of_any_subclass(service: type[Base], good: type[Good], session: Session) -> None:
    assert_type(service.name(), str)
    assert_type(good.rate("EUR", session=session), int)
    service.name("x")  # E
    good.rate(1)  # E
