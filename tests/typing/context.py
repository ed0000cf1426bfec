"""``auto_session_ctx``: every overload, for ``with`` and ``async with``."""

from __future__ import annotations

from typing import assert_type

from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from session_aware import NEW_SESSION, Propagation, SessionAwareService, auto_session_ctx


class AuditedSession(Session): ...


class AuditedAsyncSession(AsyncSession): ...


engine = create_engine("sqlite://")
async_engine = create_async_engine("sqlite+aiosqlite://")
maker = sessionmaker(engine)
audited_maker = sessionmaker(engine, class_=AuditedSession)
async_maker = async_sessionmaker(async_engine)
audited_async_maker = async_sessionmaker(async_engine, class_=AuditedAsyncSession)


def new_session() -> Session:
    return maker()


def given(session: Session, audited: AuditedSession) -> None:
    with auto_session_ctx(session) as s:
        assert_type(s, Session)
    with auto_session_ctx(session=session) as s:
        assert_type(s, Session)
    with auto_session_ctx(audited, is_commit=False, read_only=True) as a:
        assert_type(a, AuditedSession)
    registry = scoped_session(sessionmaker())
    with auto_session_ctx(registry) as r:
        assert_type(r, scoped_session[Session])
    with auto_session_ctx(session, propagation=Propagation.NESTED, isolation_level="SERIALIZABLE") as s:
        assert_type(s, Session)


async def given_async(session: AsyncSession, audited: AuditedAsyncSession) -> None:
    async with auto_session_ctx(session) as s:
        assert_type(s, AsyncSession)
    async with auto_session_ctx(session=audited, is_commit=False) as a:
        assert_type(a, AuditedAsyncSession)


def maybe_given(session: Session | None, audited: AuditedSession | None) -> None:
    with auto_session_ctx(session, session_factory=maker) as s:
        assert_type(s, Session)
    with auto_session_ctx(session, session_factory=new_session, read_session_factory=maker, read_only=True) as s:
        assert_type(s, Session)
    with auto_session_ctx(session, session_factory=lambda: Session(engine)) as s:
        assert_type(s, Session)
    with auto_session_ctx(audited, session_factory=audited_maker) as a:
        assert_type(a, AuditedSession)
    with auto_session_ctx(session_factory=Session) as s:
        assert_type(s, Session)
    with auto_session_ctx(None, session_factory=audited_maker) as a:
        assert_type(a, AuditedSession)


async def maybe_given_async(session: AsyncSession | None, audited: AuditedAsyncSession | None) -> None:
    async with auto_session_ctx(session, async_session_factory=async_maker) as s:
        assert_type(s, AsyncSession)
    async with auto_session_ctx(audited, async_session_factory=audited_async_maker) as a:
        assert_type(a, AuditedAsyncSession)
    async with auto_session_ctx(async_session_factory=async_maker, async_read_session_factory=async_maker) as s:
        assert_type(s, AsyncSession)


def configured() -> None:
    with auto_session_ctx() as s:
        assert_type(s, Session)
    with auto_session_ctx(None, read_only=True) as s:
        assert_type(s, Session)


async def configured_async() -> None:
    async with auto_session_ctx() as s:
        assert_type(s, AsyncSession)
    async with auto_session_ctx(None, is_commit=False) as s:
        assert_type(s, AsyncSession)
    with auto_session_ctx() as t:
        assert_type(t, Session)


def maybe_given_configured(session: Session | None, asynchronous: AsyncSession | None) -> None:
    with auto_session_ctx(session) as s:
        assert_type(s, Session)
    with auto_session_ctx(session, is_commit=False, read_only=True) as s:
        assert_type(s, Session)
    auto_session_ctx(asynchronous)


def reachable(session: Session) -> int:
    with auto_session_ctx(session) as s:
        number = len(s.new)
    return assert_type(number, int)


def not_returning(session: Session) -> int:  # E  # noqa: RET503 - the wrong way
    with auto_session_ctx(session) as s:
        if s.is_active:
            return 1


def returns_inside(session: Session | None) -> int:
    with auto_session_ctx(session, session_factory=maker) as s:
        return len(s.new)


async def returns_inside_async() -> int:
    async with auto_session_ctx(async_session_factory=async_maker) as s:
        return len(s.new)


class Service(SessionAwareService):
    def outer(self, *, session: Session = NEW_SESSION) -> int:
        with auto_session_ctx(session, propagation=Propagation.NESTED) as s:
            return assert_type(self.inner(session=s), int)

    def inner(self, *, session: Session = NEW_SESSION) -> int:
        return len(session.new)


def wrong(session: Session, asynchronous: AsyncSession, maybe: Session | None) -> None:
    auto_session_ctx("session")  # E
    auto_session_ctx(maker)  # E
    auto_session_ctx(Session)  # E
    auto_session_ctx(session, True)  # E  # noqa: FBT003 - the wrong way
    auto_session_ctx(session, unknown=True)  # E: not ty - it reads no Unpack
    auto_session_ctx(session, is_commit="no")  # E
    auto_session_ctx(session, read_only="yes")  # E
    auto_session_ctx(session, propagation="nested")  # E
    auto_session_ctx(session, isolation_level=1)  # E
    auto_session_ctx(session_factory=async_maker)  # E: not ty - it reads no Unpack
    auto_session_ctx(async_session_factory=maker)  # E: not ty - it reads no Unpack
    auto_session_ctx(session_factory=engine)  # E: not ty - it reads no Unpack
    auto_session_ctx(session_factory=session)  # E: not ty - it reads no Unpack
    auto_session_ctx(session, session_factory=async_maker)  # E: not ty - it reads no Unpack
    auto_session_ctx(asynchronous, session_factory=maker)  # E: not ty - it reads no Unpack
    auto_session_ctx(maybe, async_session_factory=async_maker)  # E: not ty - it reads no Unpack
    auto_session_ctx(session_factory=maker, async_session_factory=async_maker)  # E: not ty - it reads no Unpack
    async_in_sync = auto_session_ctx(asynchronous)
    with async_in_sync:  # E
        pass
    with auto_session_ctx(async_session_factory=async_maker):  # E
        pass


async def wrong_async(session: Session) -> None:
    async with auto_session_ctx(session):  # E
        pass
    async with auto_session_ctx(session_factory=maker):  # E
        pass
    async with auto_session_ctx() as s:
        s.execute(1)  # E
        s.unknown()  # E
