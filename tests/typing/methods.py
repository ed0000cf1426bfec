"""Every kind of method of a service: what a call gives, and which calls are wrong."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partialmethod
from typing import TYPE_CHECKING, Any, assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import NEW_SESSION, SessionAwareService


def use(*_values: object) -> None: ...


@dataclass
class Account:
    owner: str
    balance: int = 0


class AuditedSession(Session):
    def audit(self) -> str:
        return ""


class AuditedAsyncSession(AsyncSession):
    async def audit(self) -> str:
        return ""


class Accounts(SessionAwareService):
    def open(self, owner: str, balance: int = 0, *, session: Session = NEW_SESSION) -> Account:
        """Open an account."""
        assert_type(session, Session)
        account = Account(owner, balance)
        session.add(account)
        return account

    @classmethod
    def count(cls, *owners: str, session: Session = NEW_SESSION) -> int:
        assert_type(session, Session)
        return len(owners)

    @staticmethod
    def rate(currency: str, /, *, session: Session = NEW_SESSION) -> float:
        assert_type(session, Session)
        return float(len(currency))

    def statement(self, owner: str, *, session: Session = NEW_SESSION) -> Iterator[Account]:
        assert_type(session, Session)
        yield Account(owner)

    def ledger(self, owner: str, *, session: Session = NEW_SESSION) -> Generator[Account, int, str]:
        amount = yield Account(owner)
        return f"{amount}"

    @contextmanager
    def locked(self, owner: str, *, session: Session = NEW_SESSION) -> Generator[Account]:
        assert_type(session, Session)
        yield Account(owner)

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        assert_type(session, AsyncSession)
        return Account(owner)

    @classmethod
    async def acount(cls, *, session: AsyncSession = NEW_SESSION) -> int:
        return 0

    @staticmethod
    async def arate(currency: str, *, session: AsyncSession = NEW_SESSION) -> float:
        return float(len(currency))

    async def astatement(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[Account]:
        assert_type(session, AsyncSession)
        yield Account(owner)

    async def aledger(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> AsyncGenerator[Account, int]:
        _ = yield Account(owner)

    @asynccontextmanager
    async def alocked(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> AsyncGenerator[Account]:
        yield Account(owner)

    def audited(self, *, session: AuditedSession = NEW_SESSION) -> str:
        assert_type(session, AuditedSession)
        return session.audit()

    async def aaudited(self, *, session: AuditedAsyncSession = NEW_SESSION) -> str:
        assert_type(session, AuditedAsyncSession)
        return await session.audit()

    def close(self, owner: str, *, is_commit: bool = True, session: Session = NEW_SESSION) -> None: ...

    def flexible(self, *args: int, session: Session = NEW_SESSION, **kwargs: str) -> tuple[int, str]:
        return args[0], kwargs["key"]

    def _private(self, *, session: Session = NEW_SESSION) -> int:
        return 1

    def uses_private(self, *, session: Session = NEW_SESSION) -> int:
        return assert_type(self._private(session=session), int)

    def plain(self, owner: str) -> str:
        return owner

    free = partialmethod(open, balance=0)


def calls_without_session(accounts: Accounts) -> None:
    assert_type(accounts.open("ann"), Account)
    assert_type(accounts.open("ann", 3), Account)
    assert_type(accounts.open(owner="ann", balance=3), Account)
    assert_type(accounts.count(), int)
    assert_type(Accounts.count("ann", "bob"), int)
    assert_type(accounts.rate("EUR"), float)
    assert_type(Accounts.rate("EUR"), float)
    assert_type(accounts.statement("ann"), Iterator[Account])
    assert_type(accounts.ledger("ann"), Generator[Account, int, str])
    assert_type(accounts.audited(), str)
    assert_type(accounts.flexible(1, 2, key="a"), tuple[int, str])
    assert_type(accounts.plain("ann"), str)
    assert_type(accounts.free("ann"), Account)
    accounts.close("ann", is_commit=False)
    with accounts.locked("ann") as locked:
        assert_type(locked, Account)
    assert_type(Accounts.open(accounts, "ann"), Account)
    assert_type([each.owner for each in accounts.statement("ann")], list[str])


def calls_with_session(accounts: Accounts, session: Session, audited: AuditedSession) -> None:
    assert_type(accounts.open("ann", session=session), Account)
    assert_type(accounts.open("ann", session=audited), Account)
    assert_type(accounts.open("ann", session=NEW_SESSION), Account)
    assert_type(accounts.count("ann", session=session), int)
    assert_type(Accounts.count(session=session), int)
    assert_type(accounts.rate("EUR", session=session), float)
    assert_type(Accounts.rate("EUR", session=session), float)
    assert_type(accounts.statement("ann", session=session), Iterator[Account])
    assert_type(accounts.audited(session=audited), str)
    accounts.close("ann", is_commit=False, session=session)
    with accounts.locked("ann", session=session) as locked:
        assert_type(locked, Account)


async def async_calls(accounts: Accounts, session: AsyncSession, audited: AuditedAsyncSession) -> None:
    pending: Coroutine[Any, Any, Account] = accounts.aopen("ann")
    assert_type(await pending, Account)
    assert_type(await accounts.aopen("ann"), Account)
    assert_type(await accounts.aopen("ann", session=session), Account)
    assert_type(await accounts.acount(), int)
    assert_type(await Accounts.acount(session=session), int)
    assert_type(await accounts.arate("EUR"), float)
    assert_type(await Accounts.arate("EUR", session=audited), float)
    assert_type(await accounts.aaudited(session=audited), str)
    assert_type(accounts.astatement("ann"), AsyncIterator[Account])
    assert_type(accounts.aledger("ann", session=session), AsyncGenerator[Account, int])
    async for account in accounts.astatement("ann"):
        assert_type(account, Account)
    async with accounts.alocked("ann", session=session) as locked:
        assert_type(locked, Account)


def wrong_arguments(accounts: Accounts, session: Session) -> None:
    accounts.open()  # E
    accounts.open(1)  # E
    accounts.open("ann", "three")  # E
    accounts.open("ann", amount=3)  # E
    accounts.open("ann", 3, session)  # E
    accounts.open("ann", sesion=session)  # E
    accounts.open("ann", session=session, unknown=1)  # E
    Accounts.open("ann")  # E
    accounts.count(1)  # E
    Accounts.count(owner="ann")  # E
    accounts.rate()  # E
    Accounts.rate(1)  # E
    Accounts.rate(currency="EUR")  # E
    Accounts.rate("EUR", session)  # E
    accounts.statement()  # E
    accounts.statement("ann", session)  # E
    accounts.locked(1)  # E
    accounts.locked("ann", session)  # E
    accounts.close("ann", False, session=session)  # E  # noqa: FBT003 - the wrong way
    accounts.close("ann", is_commit="no")  # E
    accounts.flexible("a")  # E
    accounts.flexible(1, key=2)  # E
    accounts.unknown()  # E


def wrong_sessions(accounts: Accounts, session: Session, asynchronous: AsyncSession, audited: AuditedSession) -> None:
    accounts.open("ann", session=asynchronous)  # E
    accounts.open("ann", session=None)  # E
    accounts.open("ann", session="session")  # E
    accounts.open("ann", session=Session)  # E
    accounts.count(session=asynchronous)  # E
    Accounts.rate("EUR", session=asynchronous)  # E
    accounts.statement("ann", session=asynchronous)  # E
    accounts.locked("ann", session=asynchronous)  # E
    accounts.audited(session=session)  # E
    accounts.audited(session=audited)


async def wrong_async(accounts: Accounts, session: Session, asynchronous: AsyncSession) -> None:
    await accounts.aopen("ann", session=session)  # E
    await accounts.aopen("ann", session=None)  # E
    await accounts.aopen("ann", asynchronous)  # E
    await accounts.aopen()  # E
    await Accounts.acount(session=session)  # E
    await Accounts.arate("EUR", session=session)  # E
    accounts.astatement("ann", session=session)  # E
    accounts.alocked("ann", session=session)  # E
    await accounts.aaudited(session=asynchronous)  # E
    await accounts.open("ann")  # E
    async for _ in accounts.statement("ann"):  # E
        pass
    for _ in accounts.astatement("ann"):  # E
        pass
    with accounts.alocked("ann"):  # E
        pass


def wrong_results(accounts: Accounts) -> None:
    text: str = accounts.open("ann")  # E
    number: str = Accounts.count()  # E
    currency: str = Accounts.rate("EUR")  # E
    accounts.aopen("ann").owner  # E  # noqa: B018 - the wrong way
    accounts.open("ann").unknown  # E  # noqa: B018 - the wrong way
    with accounts.locked("ann") as locked:
        locked.unknown()  # E
    use(text, number, currency)


if TYPE_CHECKING:  # refused at run time

    class WrongBodies(SessionAwareService):
        def unknown_verb(self, *, session: Session = NEW_SESSION) -> None:
            session.unknown()  # E

        def awaits(self, *, session: AsyncSession = NEW_SESSION) -> int:
            return session.execute  # E

        def other_default(self, *, session: Session = None) -> None:  # E
            ...

        def positional(self, owner: str) -> int:
            return self.open(owner)  # E
