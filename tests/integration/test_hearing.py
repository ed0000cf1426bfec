"""The library listens to the sessions of units, and to no other ones; everybody else's listeners stay."""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, select, text
from sqlalchemy.event import registry
from sqlalchemy.orm import Session, SessionEvents, SessionTransaction, make_transient_to_detached, sessionmaker

from session_aware import (
    NEW_SESSION,
    PoisonedTransactionError,
    PolicyConflictError,
    SessionAwareService,
    SessionOwnershipError,
    after_commit,
    auto_session_func,
    configure,
)
from session_aware._database.events import OWNER_KEY
from tests.ledger import Account

NAMES = [name for name, value in vars(SessionEvents).items() if callable(value) and not name.startswith("_")]


class Work(SessionAwareService):
    session_factory: Any

    def run(self, body: Any = None, *, session: Session = NEW_SESSION) -> type[Session]:
        session.execute(text("SELECT 1"))
        if body is not None:
            body(session)
        return type(session)


class Own(Session):
    pass


class Sealing(type):
    """Its classes have no subclasses."""

    def __new__(mcs, name: str, bases: tuple[type, ...], names: dict[str, Any]) -> Sealing:
        if any(isinstance(base, Sealing) for base in bases):
            raise TypeError("no subclass of this")
        return super().__new__(mcs, name, bases, names)


class Sealed(Session, metaclass=Sealing):
    pass


def work_on(factory: Any) -> Work:
    work = Work()
    work.session_factory = factory
    return work


def makers(engine: Any) -> dict[str, Any]:
    def listening() -> Session:
        session = Session(engine)
        event.listen(session, "after_begin", lambda *_: None)
        event.listen(session, "before_commit", lambda *_: None)
        return session

    def begun() -> Session:
        session = Session(engine)
        session.begin()
        return session

    return {
        "sessionmaker": sessionmaker(engine),
        "of a class": sessionmaker(engine, class_=Own),
        "a function": lambda: Own(engine),
        "with listeners": listening,
        "begun": begun,
        "of a class without subclasses": lambda: Sealed(engine),
    }


KINDS = list(makers(None))


@pytest.fixture(name="engine")
def _engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("kind", KINDS)
def test_unit_is_heard_whatever_makes_its_session(engine: Engine, kind: str) -> None:
    work = work_on(makers(engine)[kind])
    for _ in range(2):
        assert work.run() in {Session, Own, Sealed, getattr(work.session_factory, "class_", None)}
        with pytest.raises(SessionOwnershipError, match="the body commits"):
            work.run(Session.commit)

        def swallow(session: Session) -> None:
            with pytest.raises(Exception, match="nothing"):
                session.execute(text("SELECT * FROM nothing"))

        with pytest.raises(PoisonedTransactionError):
            work.run(swallow)

        def attach(session: Session) -> None:
            changed = Account(id=1, owner="ann")
            make_transient_to_detached(changed)
            changed.owner = "bob"
            with session.no_autoflush:
                session.add(changed)
            assert session.info[OWNER_KEY].attached == "Account"
            session.expunge(changed)

        work.run(attach)


@pytest.mark.parametrize("kind", KINDS)
def test_listeners_of_others_are_called_once_and_can_be_removed(engine: Engine, kind: str) -> None:
    factory = makers(engine)[kind]
    work = work_on(factory)
    heard: list[str] = []
    of_class = getattr(factory, "class_", None) or type(factory())

    def before(_: Session) -> None:
        heard.append("before the first unit")

    def after(_: Session) -> None:
        heard.append("after it")

    def in_body(_: Session) -> None:
        heard.append("in the body")

    def body(session: Session) -> None:
        event.listen(session, "before_commit", in_body)

    def removing(session: Session) -> None:
        body(session)
        event.remove(session, "before_commit", in_body)

    event.listen(of_class, "before_commit", before)
    try:
        work.run()
        event.listen(of_class, "before_commit", after)
        work.run(body)
        work.run(removing)
        work.run()
    finally:
        event.remove(of_class, "before_commit", before)
        event.remove(of_class, "before_commit", after)
    assert heard == [
        "before the first unit",
        *("before the first unit", "after it", "in the body"),
        *("before the first unit", "after it"),
        *("before the first unit", "after it"),
    ]
    work.run()
    assert len(heard) == 8


def listener_places(engine: Engine) -> dict[str, Any]:
    """Return factories, each with an object that other code listens to."""
    maker, one = sessionmaker(engine), Session(engine)
    return {"the class": (maker, maker.class_), "the session": (lambda: one, one), "all sessions": (maker, Session)}


PLACES = list(listener_places(create_engine("sqlite://")))


@contextlib.contextmanager
def listening(target: Any, name: str, listener: Callable[..., None]) -> Iterator[None]:
    event.listen(target, name, listener)
    try:
        yield
    finally:
        event.remove(target, name, listener)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("units_before", [0, 1])
def test_callbacks_come_after_the_listeners_of_others(engine: Engine, place: str, units_before: int) -> None:
    factory, target = listener_places(engine)[place]
    called: list[str] = []
    work = work_on(factory)

    def listener(session: Session, transaction: SessionTransaction) -> None:
        if session.bind is engine and transaction.parent is None:
            called.append("listener")

    for _ in range(units_before):
        work.run()
    with listening(target, "after_transaction_end", listener):
        work.run(lambda session: after_commit(session, lambda: called.append("callback")))
    assert called == ["listener", "callback"]


@pytest.mark.parametrize("place", ["the class", "all sessions"])
@pytest.mark.parametrize("units_before", [0, 1])
def test_changes_of_a_read_only_unit_are_judged_after_the_listeners_of_others(
    engine: Engine, place: str, units_before: int
) -> None:
    factory, target = listener_places(engine)[place]
    Account.metadata.create_all(engine)
    with Session(engine) as first, first.begin():
        first.add(Account(owner="ann"))

    @auto_session_func(session_factory=factory, read_only=True)
    def change(*new: Account, session: Session = NEW_SESSION) -> None:
        one = session.scalars(select(Account)).one()
        one.owner = str(one.owner)  # no change, but SQLAlchemy asks the listeners
        session.add_all(new)
        session.flush()

    def take_back(session: Session, *_: object) -> None:
        for one in session.new:
            session.expunge(one)

    def add(session: Session, *_: object) -> None:
        session.add(Account(owner="eve"))

    for _ in range(units_before):
        change()
    with listening(target, "before_flush", take_back):
        change(Account(owner="bob"))
    with listening(target, "before_flush", add), pytest.raises(PolicyConflictError, match="1 changed object"):
        change()


def test_plain_session_of_the_same_factory_has_no_listener(engine: Engine) -> None:
    maker = sessionmaker(engine)
    work_on(maker).run(lambda session: after_commit(session, lambda: None))
    for session in (maker(), Session(engine)):
        assert [name for name in NAMES if len(getattr(session.dispatch, name))] == []


def test_class_of_sessions_is_what_its_users_see(engine: Engine) -> None:
    known: dict[str, type[Session]] = {}

    class Tenant(Session):
        def __init_subclass__(cls, **_: object) -> None:
            super().__init_subclass__()
            known[cls.__name__] = cls

    class Acme(Tenant):
        pass

    work = work_on(lambda: known["Acme"](engine))
    assert [work.run() for _ in range(3)] == [Acme] * 3
    assert known == {"Acme": Acme}


def test_class_with_the_attributes_of_another_one_has_listeners_of_its_own(engine: Engine) -> None:
    class First(Session):
        pass

    work_on(lambda: First(engine)).run()
    attributes = {name: value for name, value in vars(First).items() if name not in {"__dict__", "__weakref__"}}
    second: Any = type("Second", (Session,), attributes)
    called: list[str] = []
    event.listen(second, "after_begin", lambda *_: called.append("second"))
    work_on(lambda: second(engine)).run()
    assert called == ["second"]


def test_session_behind_a_proxy_keeps_the_listeners_of_its_class(engine: Engine) -> None:
    called: list[str] = []
    proxy: Any = importlib.import_module("wrapt").ObjectProxy  # which 1.17 has no type for
    maker = sessionmaker(engine)
    event.listen(maker, "after_commit", lambda _: called.append("listener"))
    with maker.begin() as session:
        after_commit(proxy(session), lambda: called.append("callback"))
    assert called == ["listener", "callback"]


def test_class_with_events_of_its_own_keeps_them(engine: Engine) -> None:
    class Audited(Session):
        pass

    class AuditEvents(SessionEvents):
        _dispatch_target = Audited

        def audited(self, session: Session) -> None:
            """Happens when the class says so."""

    called: list[str] = []
    event.listen(Audited, "audited", lambda _: called.append("audited"))
    work_on(lambda: Audited(engine)).run(lambda session: session.dispatch.audited(session))
    assert called == ["audited"]


def test_error_that_another_listener_translates_is_a_failure_of_the_unit(engine: Engine) -> None:
    class Translated(Exception):  # noqa: N818 - not an error of the library
        pass

    @event.listens_for(engine, "handle_error")
    def _translate(context: Any) -> None:
        raise Translated from context.original_exception

    def swallow(session: Session) -> None:
        with pytest.raises(Translated):
            session.execute(text("SELECT * FROM nothing"))

    with pytest.raises(PoisonedTransactionError):
        work_on(sessionmaker(engine)).run(swallow)


@pytest.mark.parametrize("kind", ["with listeners", "of a class without subclasses"])
def test_commit_is_noticed_before_a_listener_of_the_class_fails(
    engine: Engine, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = makers(engine)[kind]
    seen: list[str] = []

    def fail(session: Session) -> None:
        if session.bind is engine:
            seen.append("failed")
            raise LookupError

    configure(observer=lambda record: seen.append(record.outcome))
    of_class = Sealed if "without" in kind else Session
    work_on(made).run()
    event.listen(of_class, "after_commit", fail)
    try:
        work_on(made).run()
    finally:
        event.remove(of_class, "after_commit", fail)
    assert seen == ["committed", "failed", "committed"]
    assert "what came after COMMIT failed" in caplog.text


def test_info_of_a_session_may_be_copied(engine: Engine) -> None:
    info: dict[Any, Any] = {}

    def factory() -> Session:
        return Session(engine, info=dict(info))

    def body(session: Session) -> None:
        info.update({key: value for key, value in session.info.items() if key != OWNER_KEY})

    work_on(factory).run(body)
    with pytest.raises(SessionOwnershipError, match="the body commits"):
        work_on(factory).run(Session.commit)


def test_no_session_is_made_but_by_its_factory(engine: Engine) -> None:
    made: list[str] = []

    class Counted(Session):
        def __init__(self) -> None:
            super().__init__(engine)
            made.append("made")

        def __del__(self) -> None:
            assert self.bind is engine
            made.append("gone")

        def __getattribute__(self, name: str) -> Any:
            if name == "dispatch":
                assert object.__getattribute__(self, "bind") is engine
            return super().__getattribute__(name)

    work_on(Counted).run()
    work_on(Counted).run()
    gc.collect()
    assert made.count("made") == 2
    assert made.count("gone") <= 2  # and __del__ found no session that __init__ had not seen


def test_nothing_stays_of_a_factory_that_is_gone(engine: Engine) -> None:
    def count() -> int:
        gc.collect()
        return len(registry._key_to_collection)

    for _ in range(3):
        work_on(sessionmaker(engine)).run()
    before = count()
    for _ in range(20):
        work_on(sessionmaker(engine)).run(lambda session: after_commit(session, lambda: None))
    assert count() == before


@pytest.mark.parametrize("binds", ["none", "by class"])
def test_failure_on_an_engine_that_a_session_chooses_later_is_heard(engine: Engine, binds: str) -> None:
    seen = create_engine("sqlite://")

    def factory() -> Session:
        return Session(seen, binds={Own: engine}) if binds == "by class" else Session(seen)

    class Routing(Session):
        def get_bind(self, *_: Any, **__: Any) -> Any:
            return engine

    @auto_session_func(session_factory=factory if binds == "by class" else lambda: Routing(seen))
    def swallow(*, session: Session = NEW_SESSION) -> None:
        with pytest.raises(Exception, match="nothing"):
            connection = session.connection(bind_arguments={"mapper": None, "bind": engine})
            connection.execute(text("SELECT * FROM nothing"))

    with pytest.raises(PoisonedTransactionError):
        swallow()


def test_after_commit_in_a_plain_session_listens_once_for_its_class(engine: Engine) -> None:
    maker = sessionmaker(engine)
    called: list[int] = []
    for number in range(3):
        with maker.begin() as session:
            after_commit(session, partial(called.append, number))
        with maker() as session:
            after_commit(session, lambda: called.append(-1))
    assert called == [0, 1, 2]
    assert [sub for sub in maker.class_.__subclasses__() if sub.__name__ == maker.class_.__name__] != []
    assert len(maker.class_.__subclasses__()) == 1
