"""``auto_session_func`` on functions, bare and with options."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import (
    NEW_SESSION,
    PolicyConflictError,
    Propagation,
    PropagationError,
    SessionFactoryError,
    auto_session_func,
    configure,
)
from tests.databases import AsyncDatabase, Databases, SyncDatabase
from tests.ledger import Account
from tests.services import JOINED, NOTHING, OWNED, UNDONE, Failure, Opener, aadd, add


@auto_session_func
def bare(owner: str, *, session: Session = NEW_SESSION) -> Account:
    """Open an account."""
    return add(session, owner)


@auto_session_func
async def abare(owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
    return await aadd(session, owner)


@auto_session_func
def stream(*owners: str, session: Session = NEW_SESSION) -> Iterator[str]:
    for owner in owners:
        yield add(session, owner).owner


@auto_session_func
async def astream(*owners: str, session: AsyncSession = NEW_SESSION) -> AsyncIterator[str]:
    for owner in owners:
        yield (await aadd(session, owner)).owner


@auto_session_func
@contextmanager
def block(owner: str, *, session: Session = NEW_SESSION) -> Iterator[str]:
    yield add(session, owner).owner


@auto_session_func
@asynccontextmanager
async def ablock(owner: str, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[str]:
    yield (await aadd(session, owner)).owner


def test_bare_decorator_uses_the_configured_factory(database: SyncDatabase) -> None:
    with pytest.raises(SessionFactoryError):
        bare("ann")
    configure(session_factory=database.maker)
    assert bare("ann").owner == "ann"
    assert list(stream("bob")) == ["bob"]
    with block("cid") as owner:
        assert owner == "cid"
    with pytest.raises(Failure):
        bare("bad")
    assert database.recorder.events == [*OWNED * 3, *UNDONE]
    assert database.owners() == ["ann", "bob", "cid"]


def test_bare_decorator_on_async_functions_uses_the_configured_factory(async_database: AsyncDatabase) -> None:
    configure(async_session_factory=async_database.maker)

    async def scenario() -> None:
        assert (await abare("ann")).owner == "ann"
        assert [owner async for owner in astream("bob")] == ["bob"]
        async with ablock("cid") as owner:
            assert owner == "cid"

    async_database.run(scenario())
    assert async_database.recorder.events == OWNED * 3


def test_function_joins_a_given_session(database: SyncDatabase) -> None:
    with database.maker() as session:
        assert bare("ann", session=session) in session
        assert list(stream("bob", session=session)) == ["bob"]
        with block("cid", session=session):
            pass
    assert database.recorder.transactions == ["BEGIN", "ROLLBACK"]


def test_options_name_the_factory_and_the_policy(databases: Databases) -> None:
    primary, replica = databases.sync("sqlite", name="primary"), databases.sync("sqlite", name="replica")
    configured = databases.sync("sqlite", name="configured")
    configure(session_factory=configured.maker)

    @auto_session_func(session_factory=primary.maker, read_session_factory=replica.maker)
    def write(owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    @auto_session_func(session_factory=primary.maker, read_session_factory=replica.maker, read_only=True)
    def read(owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    write("ann")
    with pytest.raises(PolicyConflictError):
        read("ann")
    assert primary.recorder.events == OWNED
    assert replica.recorder.events == NOTHING  # refused before a connection was needed
    assert configured.recorder.events == NOTHING


def test_decorator_with_options_can_be_kept_and_used_again(database: SyncDatabase) -> None:
    transactional = auto_session_func(session_factory=database.maker, propagation=Propagation.NESTED)

    @transactional
    def one(*, session: Session = NEW_SESSION) -> None:
        add(session, "ann")

    @transactional
    def two(*, session: Session = NEW_SESSION) -> None:
        add(session, "bob")
        one(session=session)

    two()
    assert database.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]


def test_decorators_on_top_of_each_other_make_one_unit_and_the_outer_options_come_first(databases: Databases) -> None:
    one, two = databases.sync("sqlite", name="one"), databases.sync("sqlite", name="two")

    @auto_session_func(session_factory=two.maker)
    @auto_session_func(session_factory=one.maker, propagation=Propagation.NESTED)
    def opening(owner: str, *, session: Session = NEW_SESSION) -> Account:
        return add(session, owner)

    opening("ann")
    with two.maker.begin() as session:
        opening("bob", session=session)
    assert one.recorder.events == NOTHING
    assert two.recorder.transactions == ["BEGIN", "COMMIT", "BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]


def test_callable_object_and_partial_are_taken(database: SyncDatabase) -> None:
    configure(session_factory=database.maker)
    assert auto_session_func(Opener())("ann").owner == "ann"
    assert auto_session_func(functools.partial(add_to, "bob"))().owner == "bob"
    assert database.recorder.events == OWNED * 2


def add_to(owner: str, *, session: Session = NEW_SESSION) -> Account:
    return add(session, owner)


def test_function_of_a_class_that_is_no_service_is_taken(database: SyncDatabase) -> None:
    class Plain:
        session_factory = database.maker

        @auto_session_func(session_factory=database.maker)
        def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

        @staticmethod
        @auto_session_func(session_factory=database.maker)
        def static(owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

        @auto_session_func(session_factory=database.maker)
        @classmethod
        def of_class(cls, owner: str, *, session: Session = NEW_SESSION) -> Account:
            return add(session, owner)

    Plain().open("ann")
    Plain.static("bob")
    Plain.of_class("cid")
    with database.maker() as session:
        Plain().open("dan", session=session)
        assert database.recorder.events == [*OWNED * 3, *JOINED]


def test_mandatory_function_is_refused_without_a_session() -> None:
    @auto_session_func(propagation=Propagation.MANDATORY)
    def strict(*, session: Session = NEW_SESSION) -> None: ...

    with pytest.raises(PropagationError, match=r"^strict: "):
        strict()


def test_function_keeps_what_it_looks_like() -> None:
    assert (bare.__name__, bare.__doc__, bare.__module__) == ("bare", "Open an account.", __name__)
