"""One service with every kind of callable, and events that tests expect of it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import NEW_SESSION, SessionAwareService, auto_session_func
from tests.ledger import Account

__all__ = ["JOINED", "NOTHING", "OWNED", "UNDONE", "Accounts", "AsyncAccounts", "Failure", "aadd", "add", "passing"]

P = ParamSpec("P")
R = TypeVar("R")

OWNED = ["CHECKOUT", "BEGIN", "COMMIT", "CHECKIN"]
UNDONE = ["CHECKOUT", "BEGIN", "ROLLBACK", "CHECKIN"]
JOINED = ["CHECKOUT", "BEGIN"]
NOTHING: list[str] = []


class Failure(Exception):  # noqa: N818 - not an error of the library
    """What a body raises."""


def add(session: Session, owner: str) -> Account:
    """Add an account and flush; the owner "bad" fails after that."""
    account = Account(owner=owner)
    session.add(account)
    session.flush()
    if owner == "bad":
        raise Failure(owner)
    return account


async def aadd(session: AsyncSession, owner: str) -> Account:
    """Do what ``add`` does."""
    account = Account(owner=owner)
    session.add(account)
    await session.flush()
    if owner == "bad":
        raise Failure(owner)
    return account


def passing(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate with a wrapper that passes everything on."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return wrapper


def apassing(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Decorate with a wrapper that awaits."""

    @functools.wraps(function)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return await function(*args, **kwargs)

    return wrapper


class Opener:
    """A callable object."""

    def __call__(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)


class AsyncOpener:
    """A callable object that is awaited."""

    async def __call__(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)


class Accounts(SessionAwareService):
    """Opens an account in every way there is."""

    opener = Opener()

    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @classmethod
    def of_class(cls, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @staticmethod
    def static(owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    def optional(self, owner: str, *, session: Session | None = None) -> Account:
        assert session is not None
        return add(session, owner)

    def required(self, owner: str, *, session: Session) -> Account:
        return add(session, owner)

    def __private(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    def through_private(self, owner: str, **kwargs: Session) -> Account:
        return self.__private(owner, **kwargs)

    def by_keyword(self, *, session: Session = NEW_SESSION, owner: str) -> Account:
        return add(session, owner)

    def variadic(self, *owners: str, session: Session = NEW_SESSION, **_more: object) -> Account:
        return add(session, owners[0])

    @passing
    def decorated(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @auto_session_func
    def marked(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @passing
    @auto_session_func
    def decorated_above(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @auto_session_func
    @passing
    def decorated_beneath(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @auto_session_func
    @staticmethod
    def marked_above_static(owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @staticmethod
    @auto_session_func
    def marked_beneath_static(owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @auto_session_func
    @classmethod
    def marked_above_class(cls, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @classmethod
    @auto_session_func
    def marked_beneath_class(cls, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    partial = functools.partialmethod(open)
    partial_of_static = functools.partialmethod(static)

    @functools.singledispatchmethod
    def dispatched(self, owner: object, *, session: Session = NEW_SESSION) -> Account:
        raise NotImplementedError

    @dispatched.register
    def _(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    def stream(self, *owners: str, session: Session = NEW_SESSION) -> Iterator[Account]:
        for owner in owners:
            yield add(session, owner)

    @contextmanager
    def opened(self, owner: str, *, session: Session = NEW_SESSION) -> Iterator[Account]:
        yield add(session, owner)


class AsyncAccounts(SessionAwareService):
    """The same, awaited."""

    opener = AsyncOpener()

    async def open(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    @classmethod
    async def of_class(cls, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    @staticmethod
    async def static(owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    async def optional(self, owner: str, *, session: AsyncSession | None = None) -> Account:
        assert session is not None
        return await aadd(session, owner)

    async def required(self, owner: str, *, session: AsyncSession) -> Account:
        return await aadd(session, owner)

    async def __private(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    async def through_private(self, owner: str, **kwargs: AsyncSession) -> Account:
        return await self.__private(owner, **kwargs)

    @passing
    async def decorated(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    @apassing
    async def decorated_by_async(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    @auto_session_func
    async def marked(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    @apassing
    @auto_session_func
    async def decorated_above(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    @auto_session_func
    @staticmethod
    async def marked_above_static(owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    @classmethod
    @auto_session_func
    async def marked_beneath_class(cls, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    partial = functools.partialmethod(open)

    @functools.singledispatchmethod
    async def dispatched(self, owner: object, *, session: AsyncSession = NEW_SESSION) -> Account:
        raise NotImplementedError

    @dispatched.register
    async def _(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        return await aadd(session, owner)

    async def stream(self, *owners: str, session: AsyncSession = NEW_SESSION) -> AsyncIterator[Account]:
        for owner in owners:
            yield await aadd(session, owner)

    @asynccontextmanager
    async def opened(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[Account]:
        yield await aadd(session, owner)
