"""Where factories and policies are named: class keywords, attributes, ``configure``, ``override_session_factory``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_type

from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from session_aware import (
    NEW_SESSION,
    Propagation,
    SessionAwareService,
    SessionPolicy,
    configure,
    override_session_factory,
)


class AuditedSession(Session): ...


engine = create_engine("sqlite://")
maker = sessionmaker(engine)
audited_maker = sessionmaker(engine, class_=AuditedSession)
async_maker = async_sessionmaker(create_async_engine("sqlite+aiosqlite://"))


def use(*_values: object) -> None: ...


def new_session() -> Session:
    return maker()


def new_async_session() -> AsyncSession:
    return async_maker()


class Keywords(
    SessionAwareService,
    session_factory=maker,
    async_session_factory=async_maker,
    read_session_factory=new_session,
    async_read_session_factory=new_async_session,
    propagation=Propagation.MANDATORY,
    read_only=False,
    isolation_level="SERIALIZABLE",
):
    def method(self, *, session: Session = NEW_SESSION) -> int:
        return 1


class Takes(SessionAwareService, session_factory=audited_maker): ...


class TakesClass(SessionAwareService, session_factory=Session): ...


class TakesLambda(SessionAwareService, session_factory=lambda: Session(engine)): ...


class Attributes(SessionAwareService):
    session_factory = maker
    async_session_factory = async_maker
    read_session_factory = audited_maker


class Function(SessionAwareService):
    session_factory = staticmethod(new_session)
    async_session_factory = staticmethod(new_async_session)


class Static(SessionAwareService):
    @staticmethod
    def session_factory() -> Session:  # E: only pyrefly - likewise, a method cannot be assigned: write Function's way
        return maker()


class Instance(SessionAwareService):
    def __init__(self, factory: sessionmaker[Session], make: Callable[[], AsyncSession]) -> None:
        self.session_factory = factory
        self.async_session_factory = make


@dataclass
class Field(SessionAwareService):
    session_factory: sessionmaker[Session]  # E: only pyright, pyrefly - what can be assigned is invariant


class Declared(SessionAwareService):
    session_factory: Callable[[], Session] | None  # E: only pyright - what can be assigned is invariant


class Property(SessionAwareService):
    @property
    def session_factory(self) -> sessionmaker[Session]:  # E: not ty - a property cannot be assigned
        return maker


if TYPE_CHECKING:  # refused at run time

    class WrongAttribute(SessionAwareService):
        session_factory = async_maker  # E
        async_session_factory = maker  # E
        read_session_factory = engine  # E
        async_read_session_factory = 1  # E


class WrongInstance(SessionAwareService):
    def __init__(self) -> None:
        self.session_factory = async_maker  # E
        self.async_session_factory = maker  # E
        self.read_session_factory = engine  # E


def wrong_keywords() -> None:
    class _Async(SessionAwareService, session_factory=async_maker): ...  # E

    class _Sync(SessionAwareService, async_session_factory=maker): ...  # E

    class _Engine(SessionAwareService, session_factory=engine): ...  # E

    class _Session(SessionAwareService, session_factory=maker()): ...  # E

    class _ReadOnly(SessionAwareService, read_only="yes"): ...  # E

    class _Propagation(SessionAwareService, propagation="nested"): ...  # E

    class _Level(SessionAwareService, isolation_level=1): ...  # E

    use(_Async, _Sync, _Engine, _Session, _ReadOnly, _Propagation, _Level)


def attributes(service: Attributes, keywords: Keywords) -> None:
    service.session_factory = maker
    keywords.session_factory = new_session
    keywords.async_session_factory = None
    keywords.session_factory = async_maker  # E
    keywords.async_session_factory = new_session  # E
    assert_type(keywords.method(), int)
    assert_type(Keywords.__session_policy__, SessionPolicy)


def configuration() -> None:
    configure(session_factory=maker, async_session_factory=async_maker)
    configure(read_session_factory=new_session, async_read_session_factory=new_async_session)
    configure(session_factory=None, propagation=None, read_only=None, isolation_level=None)
    configure(propagation=Propagation.REQUIRED, read_only=True, isolation_level="SERIALIZABLE")
    configure(session_factory=lambda: Session(engine))
    configure(maker)  # E
    configure(session_factory=async_maker)  # E
    configure(async_session_factory=maker)  # E
    configure(session_factory=engine)  # E
    configure(read_session_factory=async_maker)  # E
    configure(async_read_session_factory=maker)  # E
    configure(propagation="required")  # E
    configure(read_only="yes")  # E
    configure(isolation_level=1)  # E
    configure(unknown=1)  # E: not ty - it reads no Unpack


def overriding() -> None:
    with override_session_factory(Keywords, maker), override_session_factory(None, async_maker):
        pass
    with override_session_factory(Keywords, new_session) as nothing:
        assert_type(nothing, None)
    with override_session_factory(Keywords, lambda: Session(engine)):
        pass
    override_session_factory(Keywords(), maker)  # E
    override_session_factory("Keywords", maker)  # E
    override_session_factory(Keywords)  # E
    override_session_factory(maker)  # E
    override_session_factory(Keywords, engine)  # E
    override_session_factory(Keywords, maker())  # E
    override_session_factory(Keywords, None)  # E
    override_session_factory(Keywords, maker, maker)  # E


def shared_session() -> None:
    shared = scoped_session(maker)
    configure(session_factory=shared)  # a scoped_session makes sessions, as far as types can tell: refused at run time


def policies() -> None:
    policy = SessionPolicy(propagation=Propagation.NESTED, read_only=True, isolation_level="SERIALIZABLE")
    assert_type(policy.propagation, Propagation | None)
    assert_type(policy.read_only, bool | None)
    assert_type(policy.isolation_level, str | None)
    SessionPolicy(Propagation.NESTED)  # E
    SessionPolicy(read_only="yes")  # E
    SessionPolicy(propagation="nested")  # E
    SessionPolicy(isolation_level=1)  # E
    SessionPolicy(unknown=1)  # E
    policy.read_only = False  # E
