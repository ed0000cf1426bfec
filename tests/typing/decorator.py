"""``auto_session_func``, bare and with options, on functions and on methods of services."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol, TypeVar, assert_type

from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, Propagation, SessionAwareService, auto_session_func

T = TypeVar("T")

engine = create_engine("sqlite://")
maker = sessionmaker(engine)
async_maker = async_sessionmaker(create_async_engine("sqlite+aiosqlite://"))


def use(*_values: object) -> None: ...


class Adder(Protocol):
    def __call__(self, left: int, right: int = ..., *, session: Session = ...) -> int: ...


@auto_session_func
def bare(left: int, right: int = 0, *, session: Session = NEW_SESSION) -> int:
    """Add."""
    assert_type(session, Session)
    return left + right


@auto_session_func()
def empty(left: int, right: int = 0, *, session: Session = NEW_SESSION) -> int:
    return left + right


@auto_session_func(session_factory=maker, read_session_factory=maker, read_only=True)
def optioned(left: int, right: int = 0, *, session: Session = NEW_SESSION) -> int:
    return left + right


@auto_session_func(propagation=Propagation.NESTED, isolation_level="SERIALIZABLE")
def policed(left: int, right: int = 0, *, session: Session = NEW_SESSION) -> int:
    return left + right


@auto_session_func(session_factory=maker)
@auto_session_func
def twice(left: int, right: int = 0, *, session: Session = NEW_SESSION) -> int:
    return left + right


@auto_session_func(session_factory=maker)
def items(count: int, *, session: Session = NEW_SESSION) -> Iterator[int]:
    yield count


@auto_session_func
@contextmanager
def locked(key: str, *, session: Session = NEW_SESSION) -> Generator[int]:
    yield len(key)


@auto_session_func
async def abare(left: int, *, session: AsyncSession = NEW_SESSION) -> int:
    return left


@auto_session_func(async_session_factory=async_maker, async_read_session_factory=async_maker, read_only=True)
async def aoptioned(left: int, *, session: AsyncSession = NEW_SESSION) -> int:
    return left


@auto_session_func(async_session_factory=async_maker)
async def aitems(count: int, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
    yield count


@auto_session_func(async_session_factory=async_maker)
@asynccontextmanager
async def alocked(key: str, *, session: AsyncSession = NEW_SESSION) -> AsyncGenerator[int]:
    yield len(key)


@auto_session_func(session_factory=maker, async_session_factory=async_maker)
def both_factories(left: int, *, session: Session = NEW_SESSION) -> int:
    return left


@auto_session_func(session_factory=maker, async_session_factory=async_maker)
async def aboth_factories(left: int, *, session: AsyncSession = NEW_SESSION) -> int:
    return left


@auto_session_func
def generic(value: T, *, session: Session = NEW_SESSION) -> list[T]:
    return [value]


@auto_session_func(session_factory=maker)
def optioned_generic(value: T, *, session: Session = NEW_SESSION) -> list[T]:
    return [value]


def sync_calls(session: Session) -> None:
    assert_type(bare(1), int)
    assert_type(bare(1, right=2, session=session), int)
    assert_type(empty(1, 2), int)
    assert_type(optioned(left=1), int)
    assert_type(optioned(1, session=session), int)
    assert_type(policed(1, 2, session=session), int)
    assert_type(twice(1), int)
    assert_type(items(1), Iterator[int])
    assert_type(items(1, session=session), Iterator[int])
    assert_type(both_factories(1, session=session), int)
    assert_type(generic("a"), list[str])
    assert_type(generic(1, session=session), list[int])
    assert_type(optioned_generic("a"), list[str])
    with locked("a") as length:
        assert_type(length, int)
    with locked("a", session=session) as length:
        assert_type(length, int)
    adder: Adder = bare
    adder = optioned
    assert_type(adder(1, session=session), int)
    callback: Callable[[int], int] = bare
    assert_type(callback(1), int)
    assert_type(list(map(optioned, [1, 2])), list[int])


async def async_calls(session: AsyncSession) -> None:
    assert_type(await abare(1), int)
    assert_type(await abare(1, session=session), int)
    assert_type(await aoptioned(left=1, session=session), int)
    assert_type(await aboth_factories(1), int)
    assert_type(aitems(1), AsyncIterator[int])
    async for item in aitems(1, session=session):
        assert_type(item, int)
    async with alocked("a", session=session) as length:
        assert_type(length, int)


def wrong_calls(session: Session, asynchronous: AsyncSession) -> None:
    bare()  # E
    bare("1")  # E
    bare(1, 2, session)  # E
    bare(1, unknown=2)  # E
    bare(1, session=asynchronous)  # E
    bare(1, session=None)  # E
    empty("1")  # E
    optioned()  # E
    optioned("1")  # E
    optioned(1, 2, session)  # E
    optioned(1, session=asynchronous)  # E
    policed(1, sesion=session)  # E
    twice("1")  # E
    items("1")  # E
    items(1, session=asynchronous)  # E
    locked(1)  # E
    both_factories(1, session=asynchronous)  # E
    generic()  # E
    generic(1, session=asynchronous)  # E
    optioned_generic(1, 2)  # E
    wrong: str = bare(1)  # E
    wrong = optioned(1)  # E
    wrong_callback: Callable[[str], int] = bare  # E
    use(wrong, wrong_callback)


async def wrong_async_calls(session: Session, asynchronous: AsyncSession) -> None:
    await abare("1")  # E
    await abare(1, session=session)  # E
    await abare(1, asynchronous)  # E
    await aoptioned()  # E
    await aoptioned(1, session=session)  # E
    await aboth_factories(1, session=session)  # E
    aitems("1")  # E
    alocked(1)  # E
    alocked("a", session=session)  # E


def wrong_decorations() -> None:
    @auto_session_func(async_session_factory=async_maker)  # E
    def refused(left: int, *, session: Session = NEW_SESSION) -> int: return left  # fmt: skip

    auto_session_func(async_session_factory=async_maker, read_only=True)(bare)  # E
    auto_session_func(async_session_factory=async_maker)(items)  # E
    auto_session_func(async_session_factory=async_maker)(locked)  # E
    auto_session_func(session_factory=async_maker)  # E
    auto_session_func(async_session_factory=maker)  # E
    auto_session_func(session_factory=engine)  # E
    auto_session_func(session_factory=maker())  # E
    auto_session_func(read_session_factory=async_maker)  # E
    auto_session_func(async_read_session_factory=maker)  # E
    auto_session_func(bare, read_only=True)  # E
    auto_session_func(unknown=1)  # E: not ty - it reads no Unpack
    auto_session_func(read_only="yes")  # E
    auto_session_func(isolation_level=1)  # E
    auto_session_func(propagation="nested")  # E
    auto_session_func(1)  # E
    use(refused)


class Policies(SessionAwareService):
    @auto_session_func
    def method(self, left: int, *, session: Session = NEW_SESSION) -> int:
        return left

    @auto_session_func(read_only=True)
    def optioned(self, left: int, *, session: Session = NEW_SESSION) -> int:
        return left

    @auto_session_func(read_only=True)
    async def aoptioned(self, left: int, *, session: AsyncSession = NEW_SESSION) -> int:
        return left

    @auto_session_func(read_only=True)
    def items(self, left: int, *, session: Session = NEW_SESSION) -> Iterator[int]:
        yield left

    @staticmethod
    @auto_session_func(read_only=True)
    def static_above(left: int, *, session: Session = NEW_SESSION) -> int:
        return left

    @classmethod
    @auto_session_func(read_only=True)
    def class_above(cls, left: int, *, session: Session = NEW_SESSION) -> int:
        return left

    @auto_session_func
    @staticmethod
    def static_beneath(left: int, *, session: Session = NEW_SESSION) -> int:
        return left

    @auto_session_func
    @classmethod
    def class_beneath(cls, left: int, *, session: Session = NEW_SESSION) -> int:
        return left


def methods(service: Policies, session: Session) -> None:
    assert_type(service.method(1), int)
    assert_type(service.method(1, session=session), int)
    assert_type(service.optioned(left=1), int)
    assert_type(service.items(1, session=session), Iterator[int])
    assert_type(service.static_above(1), int)
    assert_type(Policies.static_above(1, session=session), int)
    assert_type(service.class_above(1), int)
    assert_type(Policies.class_above(1, session=session), int)
    assert_type(Policies.static_beneath(1, session=session), int)
    assert_type(service.static_beneath(1), int)
    assert_type(Policies.class_beneath(1, session=session), int)
    assert_type(service.class_beneath(1), int)


async def async_methods(service: Policies, session: AsyncSession) -> None:
    assert_type(await service.aoptioned(1), int)
    assert_type(await service.aoptioned(1, session=session), int)
    await service.aoptioned("1")  # E
    await service.aoptioned(1, session=Session())  # E


def wrong_methods(service: Policies, session: Session, asynchronous: AsyncSession) -> None:
    service.method("1")  # E
    service.method(1, session)  # E
    service.method(1, session=asynchronous)  # E
    service.optioned()  # E
    service.optioned("1")  # E
    service.items("1")  # E
    service.static_above("1")  # E
    Policies.static_above(1, session)  # E
    service.class_above("1")  # E
    Policies.class_above(1, session)  # E
    Policies.static_beneath("1")  # E
    Policies.class_beneath("1")  # E
