"""Every message of the library, once and in full."""

from __future__ import annotations

import asyncio
import functools
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Generic, TypeVar, cast

import pytest
from sqlalchemy import ForeignKey, create_engine, exc, select, text
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, scoped_session, sessionmaker

import session_aware
from session_aware import (
    NEW_SESSION,
    NestedSessionWarning,
    PoisonedTransactionError,
    PolicyConflictError,
    Propagation,
    PropagationError,
    Retry,
    SessionAwareError,
    SessionAwareService,
    SessionFactoryError,
    SessionOwnershipError,
    SessionParameterError,
    SessionPolicy,
    auto_session_ctx,
    auto_session_func,
    configure,
    override_session_factory,
)
from session_aware._database.connections import check_isolation_level
from session_aware._declare.signature import complaint

T = TypeVar("T")
FILE = __file__
UNBOUND = sessionmaker()  # a unit without a statement needs no engine
wrong: Any = object()


class Base(DeclarativeBase):
    """The metadata of this file."""


class Thing(Base):
    """Something to change."""

    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)


class Box(Base):
    """Holds things, which are loaded with it."""

    __tablename__ = "box"
    id: Mapped[int] = mapped_column(primary_key=True)
    things: Mapped[list[Held]] = relationship(lazy="joined")


class Held(Base):
    """Something in a box."""

    __tablename__ = "held"
    id: Mapped[int] = mapped_column(primary_key=True)
    box_id: Mapped[int] = mapped_column(ForeignKey("box.id"))


@auto_session_func
def plain(*, session: Session = NEW_SESSION) -> None: ...


@auto_session_func
async def acoroutine(*, session: AsyncSession = NEW_SESSION) -> None: ...


@auto_session_func(propagation=Propagation.MANDATORY)
def mandatory(*, session: Session = NEW_SESSION) -> None: ...


@auto_session_func(propagation=Propagation.REQUIRES_NEW)
def requires_new(*, session: Session = NEW_SESSION) -> None: ...


@auto_session_func(session_factory=UNBOUND)
def run(body: Callable[[Session], object], *, session: Session = NEW_SESSION) -> object:
    return body(session)


@auto_session_func(propagation=Propagation.NESTED)
def run_nested(body: Callable[[Session], object], *, session: Session = NEW_SESSION) -> object:
    return body(session)


def positional(a: int, session: Session = NEW_SESSION) -> None: ...


def streaming(*, session: Session = NEW_SESSION) -> Iterator[int]:
    yield 1


def missing(a: int) -> None: ...


def injected() -> None: ...


injected.__wrapped__ = plain  # type: ignore[attr-defined] # as functools.wraps does


async def wrong_for_async(*, session: Session = NEW_SESSION) -> None: ...


def wrong_for_sync(*, session: AsyncSession = NEW_SESSION) -> None: ...


def lazy(_session: Session) -> Iterator[int]:
    yield 1


async def later() -> None: ...


class Accounts(SessionAwareService):
    """A service without a factory."""

    def open(self, *, session: Session = NEW_SESSION) -> None: ...

    async def aopen(self, *, session: AsyncSession = NEW_SESSION) -> None: ...


def service_with_positional_session() -> None:
    class Wrong(SessionAwareService):
        def rename(self, session: Session = NEW_SESSION) -> None: ...


def service_with_misspelled_factory() -> None:
    misspelled: Any = {"session_factroy": UNBOUND}

    class Wrong(SessionAwareService, **misspelled): ...


def service_with_unknown_keyword() -> None:
    unknown: Any = {"whatever": 1}

    class Wrong(SessionAwareService, Generic[T], **unknown): ...


def service_with_placeholder_of_another_name() -> None:
    class Wrong(SessionAwareService):
        def rename(self, owner: str, *, db: Session = NEW_SESSION) -> None: ...


def function_with_placeholder_of_another_name() -> None:
    @auto_session_func
    def rename(owner: str, db: Session = NEW_SESSION, *, session: Session = NEW_SESSION) -> None: ...


def service_with_placeholder_in_a_property() -> None:
    class Wrong(SessionAwareService):
        @property
        def total(self, session: Session = NEW_SESSION) -> int:  # noqa: PLR0206 - the point
            return 1


def service_with_placeholder_in_a_cached_property() -> None:
    class Wrong(SessionAwareService):
        @functools.cached_property
        def total(self, *, session: Session = NEW_SESSION) -> int:  # noqa: PLR0206 - the point
            return 1


def service_with_placeholder_in_its_constructor() -> None:
    class Wrong(SessionAwareService):
        def __init__(self, *, session: Session = NEW_SESSION) -> None: ...


def service_with_optional_session_of_the_other_kind() -> None:
    class Wrong(SessionAwareService):
        async def rename(self, *, session: Session | None = None) -> None: ...


def function_of_another_library() -> None:
    @auto_session_func
    def fetch(url: str, *, session: TcpConnection | None = None) -> None: ...


class TcpConnection:
    """Another library's session."""


def nested_line(function: Any, below: int) -> str:
    return f"It is defined in {FILE}, line {function.__code__.co_firstlineno + below}."


def decorated_by_a_block() -> None:
    @auto_session_ctx()  # type: ignore[operator] # the point
    def rename(owner: str) -> None: ...


def decorated_by_a_bare_block() -> None:
    def rename(owner: str) -> None: ...

    auto_session_ctx(cast("Any", rename))


def line(function: Any) -> str:
    return f"It is defined in {FILE}, line {function.__code__.co_firstlineno}."


def awaited(start: Callable[[], Any]) -> None:
    async def scenario() -> None:
        await start()

    asyncio.run(scenario())


def shared() -> object:
    session = Session()
    maker: Any = lambda: session  # noqa: E731 - a factory that shares

    @auto_session_func(session_factory=maker)
    def outer(*, session: Session = NEW_SESSION) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NestedSessionWarning)
            inner()

    @auto_session_func(session_factory=maker)
    def inner(*, session: Session = NEW_SESSION) -> None: ...

    return outer()


def hands_back(function: Any, result: object) -> Callable[..., Any]:
    """Decorate wrongly: the kind is that of ``function``, the result is not."""
    return functools.wraps(function)(lambda **_: result)


def generator(*, session: Session = NEW_SESSION) -> Iterator[int]:
    yield 1


async def async_generator(*, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
    yield 1


async def coroutine(*, session: AsyncSession = NEW_SESSION) -> None: ...


def wrapped(function: Any) -> Any:
    sync_or_async: Any = {"session_factory": UNBOUND, "async_session_factory": async_sessionmaker()}
    return auto_session_func(**sync_or_async)(hands_back(function, 3))


def commits(session: Session) -> None:
    session.commit()


def ends_savepoint(session: Session) -> None:
    cast("Any", session.get_nested_transaction()).rollback()


def enter_twice() -> None:
    block = auto_session_ctx(session_factory=UNBOUND)
    with block, block:
        pass


def nested_in_block() -> None:
    auto_session_ctx().__exit__(None, None, None)


async def async_entered_with_sync_session() -> None:
    async with auto_session_ctx(Session()):  # type: ignore[attr-defined] # the point
        pass


def entered_with_async_session() -> None:
    with auto_session_ctx(AsyncSession()):  # type: ignore[attr-defined] # the point
        pass


@auto_session_func(session_factory=cast("Callable[[], Session]", lambda: 3))
def factory_returns_int(*, session: Session = NEW_SESSION) -> None: ...


@auto_session_func(async_session_factory=cast("Callable[[], AsyncSession]", lambda: 3))
async def async_factory_returns_int(*, session: AsyncSession = NEW_SESSION) -> None: ...


def warned() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(lambda _: run(commits))


MESSAGES: list[tuple[Callable[[], object], type[BaseException], str]] = [
    # the facade
    (
        lambda: session_aware.nothing,
        AttributeError,
        "module 'session_aware' has no attribute 'nothing'",
    ),
    # policies
    (
        lambda: SessionPolicy(propagation=cast("Any", "required")),
        TypeError,
        "propagation='required' is not a Propagation. Write one of Propagation.REQUIRED, Propagation.REQUIRES_NEW, "
        "Propagation.NESTED, Propagation.MANDATORY.",
    ),
    (
        lambda: SessionPolicy(read_only=cast("Any", 1)),
        TypeError,
        "read_only=1 is not a bool. Write read_only=True or read_only=False.",
    ),
    (
        lambda: SessionPolicy(isolation_level=cast("Any", 3)),
        TypeError,
        'isolation_level=3 is not a string. Write isolation_level="SERIALIZABLE", for example.',
    ),
    (
        lambda: SessionPolicy(isolation_level=" "),
        ValueError,
        "isolation_level=' ' names no level. Write isolation_level=\"SERIALIZABLE\", for example.",
    ),
    # the placeholder
    (
        lambda: NEW_SESSION.add,
        SessionParameterError,
        "NEW_SESSION.add: this function ran with the placeholder instead of a session, so nothing ever wrapped it. Only the "
        "methods that a SessionAwareService subclass has when its class statement ends, and functions under "
        "@auto_session_func, get a session. Write '@auto_session_func' above the function, derive its class from "
        "SessionAwareService, or pass 'session='.",
    ),
    # plans
    (
        mandatory,
        PropagationError,
        "mandatory: no session was given, and its propagation is MANDATORY: it may only run in its caller's transaction. "
        "Write 'mandatory(..., session=session)', or give it Propagation.REQUIRED.",
    ),
    (
        lambda: requires_new(session=Session()),
        PropagationError,
        "requires_new: a session was given, and its propagation is REQUIRES_NEW: it always commits a transaction of its "
        "own, so the given one would be ignored. Leave out 'session=', or give it Propagation.REQUIRED or NESTED.",
    ),
    (
        lambda: check_isolation_level("SERIALIZABLE", "READ COMMITTED", name="Accounts.open"),
        PolicyConflictError,
        "Accounts.open: its isolation level is SERIALIZABLE, but the given session's transaction runs at READ COMMITTED. A "
        "level cannot change inside a transaction, so it would be ignored. Begin the caller's transaction at SERIALIZABLE, "
        "or call without 'session=' to own one.",
    ),
    # declarations
    (
        lambda: auto_session_func(positional),
        SessionParameterError,
        "positional: parameter 'session' must be keyword-only. A positional session collides with ordinary arguments. Write "
        f"'def positional(..., *, session: Session = NEW_SESSION)'. {line(positional)}",
    ),
    (
        service_with_positional_session,
        SessionParameterError,
        "Wrong.rename: parameter 'session' must be keyword-only. A positional session collides with ordinary arguments. "
        "Write 'def rename(self, ..., *, session: Session = NEW_SESSION)'. "
        f"It is defined in {FILE}, line {service_with_positional_session.__code__.co_firstlineno + 2}.",
    ),
    (
        service_with_misspelled_factory,
        TypeError,
        "Wrong: no base of the class takes the keyword 'session_factroy'. Write 'session_factory='.",
    ),
    (
        service_with_unknown_keyword,
        TypeError,
        "Wrong: no base of the class takes the keyword 'whatever'. The keywords of SessionAwareService are session_factory, "
        "async_session_factory, read_session_factory, async_read_session_factory, propagation, read_only, isolation_level, "
        "retry, resolve_commit.",
    ),
    (
        lambda: auto_session_func(**cast("Any", {"sesion_factory": UNBOUND})),
        TypeError,
        "auto_session_func: there is no option 'sesion_factory'. Write 'session_factory='.",
    ),
    (
        lambda: auto_session_ctx(**cast("Any", {"retry": None})),
        TypeError,
        "auto_session_ctx: there is no option 'retry'. The options are session_factory, async_session_factory, "
        "read_session_factory, async_read_session_factory, propagation, read_only, isolation_level, resolve_commit, "
        "is_commit.",
    ),
    (
        lambda: auto_session_ctx(**cast("Any", {"iscommit": False})),
        TypeError,
        "auto_session_ctx: there is no option 'iscommit'. Write 'is_commit='.",
    ),
    (
        lambda: auto_session_func(**cast("Any", {"is_commit": False})),
        TypeError,
        "auto_session_func: there is no option 'is_commit'. Declare '*, is_commit: bool = True' in the function: its caller "
        "chooses.",
    ),
    (
        lambda: configure(observer=cast("Any", 5)),
        TypeError,
        "configure: observer must be a function that takes a UnitRecord, not 5.",
    ),
    (
        lambda: configure(**cast("Any", {"whatever": 1, "observe": print})),
        TypeError,
        "configure: there is no option 'observe'. Write 'observer='.",
    ),
    (
        service_with_placeholder_of_another_name,
        SessionParameterError,
        "Wrong.rename: NEW_SESSION is the default of the parameter 'db', but only one called 'session' is given a session. "
        f"Write '*, session: Session = NEW_SESSION'. {nested_line(service_with_placeholder_of_another_name, 2)}",
    ),
    (
        function_with_placeholder_of_another_name,
        SessionParameterError,
        "rename: NEW_SESSION is the default of the parameter 'db', but only one called 'session' is given a session. "
        f"Write '*, session: Session = NEW_SESSION'. {nested_line(function_with_placeholder_of_another_name, 1)}",
    ),
    (
        service_with_placeholder_in_a_property,
        SessionParameterError,
        "Wrong.total: nothing takes the place of NEW_SESSION here: it is a property, and nobody can pass a session to one. "
        f"Write a method. {nested_line(service_with_placeholder_in_a_property, 2)}",
    ),
    (
        service_with_placeholder_in_a_cached_property,
        SessionParameterError,
        "Wrong.total: nothing takes the place of NEW_SESSION here: it is a property, and nobody can pass a session to one. "
        f"Write a method. {nested_line(service_with_placeholder_in_a_cached_property, 2)}",
    ),
    (
        service_with_placeholder_in_its_constructor,
        SessionParameterError,
        "Wrong.__init__: nothing takes the place of NEW_SESSION here: the object outlives the call that makes it, and with "
        "it the session that it keeps. Take a session factory there, and the session in the methods. "
        f"{nested_line(service_with_placeholder_in_its_constructor, 2)}",
    ),
    (
        service_with_optional_session_of_the_other_kind,
        SessionParameterError,
        "Wrong.rename: parameter 'session' is annotated Session, but async def callables are given a session from the "
        "async_session_factory, which makes AsyncSession. Write 'session: AsyncSession = NEW_SESSION'. "
        f"{nested_line(service_with_optional_session_of_the_other_kind, 2)}",
    ),
    (
        function_of_another_library,
        SessionParameterError,
        "fetch: parameter 'session' is annotated TcpConnection | None, which is not a session of SQLAlchemy. Write 'def "
        f"fetch(..., *, session: Session = NEW_SESSION)'. {nested_line(function_of_another_library, 1)}",
    ),
    (
        lambda: auto_session_func(cast("Any", UNBOUND)),
        SessionParameterError,
        "auto_session_func: a sessionmaker was passed in place of a function. Write "
        "'@auto_session_func(session_factory=...)' above a function.",
    ),
    (
        lambda: auto_session_func(cast("Any", Session)),
        SessionParameterError,
        "auto_session_func: the class Session was passed in place of a function. Write "
        "'@auto_session_func(session_factory=...)' above a function.",
    ),
    (
        decorated_by_a_block,
        SessionAwareError,
        "auto_session_ctx in decorated_by_a_block: it is a block, not a decorator. Write '@auto_session_func(...)' above a "
        "function that declares '*, session: Session = NEW_SESSION', or 'with auto_session_ctx(...) as session:' inside it.",
    ),
    (
        decorated_by_a_bare_block,
        SessionAwareError,
        "auto_session_ctx: the function 'rename' was passed in place of a session. Write '@auto_session_func' above it, or "
        "'with auto_session_ctx(...) as session:' inside it.",
    ),
    (
        lambda: configure(session_factory=Session),
        SessionFactoryError,
        "configure: session_factory is the class Session, which knows no engine when it is called without arguments, as "
        "factories are. Write 'session_factory=sessionmaker(engine)'.",
    ),
    (
        lambda: configure(async_session_factory=AsyncSession),
        SessionFactoryError,
        "configure: async_session_factory is the class AsyncSession, which knows no engine when it is called without "
        "arguments, as factories are. Write 'async_session_factory=async_sessionmaker(async_engine)'.",
    ),
    (
        lambda: auto_session_func(missing),
        SessionParameterError,
        "missing: there is no parameter 'session', so the caller could not pass one. Write 'def missing(..., *, session: "
        f"Session = NEW_SESSION)'. {line(missing)}",
    ),
    (
        lambda: auto_session_func(injected),
        SessionParameterError,
        "injected: 'session' is declared by the function that its decorator wraps, but the decorator takes none, so it "
        f"cannot be passed on. Let the decorator accept **kwargs. {line(injected)}",
    ),
    (
        lambda: auto_session_func(wrong_for_async),
        SessionParameterError,
        "wrong_for_async: parameter 'session' is annotated Session, but async def callables are given a session from the "
        "async_session_factory, which makes AsyncSession. Write 'session: AsyncSession = NEW_SESSION'. "
        f"{line(wrong_for_async)}",
    ),
    (
        lambda: auto_session_func(wrong_for_sync),
        SessionParameterError,
        "wrong_for_sync: parameter 'session' is annotated AsyncSession, but def callables are given a session from the "
        "session_factory, which makes Session. Write 'async def', or 'session: Session = NEW_SESSION' in a plain 'def'. "
        f"{line(wrong_for_sync)}",
    ),
    (
        lambda: auto_session_func(cast("Any", 3)),
        SessionParameterError,
        "auto_session_func: 3 is not callable. Write '@auto_session_func' above a function, and options by keyword.",
    ),
    (
        lambda: auto_session_func(Accounts),
        SessionParameterError,
        "auto_session_func: Accounts is a class. Derive it from SessionAwareService, which covers its methods, or decorate "
        "the methods one by one.",
    ),
    (
        lambda: auto_session_func(retry=Retry())(streaming),
        PolicyConflictError,
        "streaming: retry is set, but the caller of this generator has used its items or block already when it fails. "
        "Remove retry=, and retry around the whole use of it.",
    ),
    # factories
    (
        Accounts().open,
        SessionFactoryError,
        "Accounts.open: called without 'session=', but there is no session_factory to open one from. Write 'class Accounts("
        "SessionAwareService, session_factory=sessionmaker(engine))', set the attribute 'session_factory' on it, or call "
        "'configure(session_factory=sessionmaker(engine))' once at start.",
    ),
    (
        lambda: auto_session_func(run.__wrapped__)(lambda _: None),  # type: ignore[attr-defined] # the body
        SessionFactoryError,
        "run: called without 'session=', but there is no session_factory to open one from. Write "
        "'session_factory=sessionmaker(engine)' among the options of auto_session_func or auto_session_ctx, or call "
        "'configure(session_factory=sessionmaker(engine))' once at start.",
    ),
    (
        lambda: awaited(Accounts().aopen),
        SessionFactoryError,
        "Accounts.aopen: called without 'session=', but there is no async_session_factory to open one from. Write 'class "
        "Accounts(SessionAwareService, async_session_factory=async_sessionmaker(async_engine))', set the attribute "
        "'async_session_factory' on it, or call "
        "'configure(async_session_factory=async_sessionmaker(async_engine))' once at start.",
    ),
    (
        lambda: configure(session_factory=scoped_session(UNBOUND)),
        SessionFactoryError,
        "configure: session_factory is a scoped_session, which hands one session to every call of a thread or task, so that "
        "one call would commit or close another's work. Write 'session_factory=sessionmaker(engine)'.",
    ),
    (
        lambda: configure(session_factory=cast("Any", create_engine("sqlite://"))),
        SessionFactoryError,
        "configure: session_factory is an Engine, which makes connections, not sessions. Write "
        "'session_factory=sessionmaker(engine)'.",
    ),
    (
        lambda: configure(async_session_factory=cast("Any", AsyncSession())),
        SessionFactoryError,
        "configure: async_session_factory is an AsyncSession, which is one session that every call would share. Write "
        "'async_session_factory=async_sessionmaker(async_engine)'.",
    ),
    (
        lambda: configure(read_session_factory=wrong),
        SessionFactoryError,
        "configure: read_session_factory is an object, which cannot be called. Write "
        "'read_session_factory=sessionmaker(engine)'.",
    ),
    (
        lambda: configure(session_factory=cast("Any", AsyncSession)),
        SessionFactoryError,
        "configure: session_factory is the class AsyncSession, which makes AsyncSession; for async callables its keyword is "
        "async_session_factory. Write 'session_factory=sessionmaker(engine)'.",
    ),
    (
        lambda: configure(async_session_factory=cast("Any", UNBOUND)),
        SessionFactoryError,
        "configure: async_session_factory is a sessionmaker, which makes Session; for plain callables its keyword is "
        "session_factory. Write 'async_session_factory=async_sessionmaker(async_engine)'.",
    ),
    (
        override_session_factory(cast("Any", "Accounts"), UNBOUND).__enter__,
        TypeError,
        "override_session_factory('Accounts', ...): the first argument is a service class, or None for everything.",
    ),
    (
        factory_returns_int,
        SessionFactoryError,
        "factory_returns_int: it needs a Session, but its session_factory returned int. Write "
        "'session_factory=sessionmaker(engine)'.",
    ),
    (
        lambda: awaited(async_factory_returns_int),
        SessionFactoryError,
        "async_factory_returns_int: it needs an AsyncSession, but its async_session_factory returned int. Write "
        "'async_session_factory=async_sessionmaker(async_engine)'.",
    ),
    (
        shared,
        SessionFactoryError,
        "inner: the session factory returned a session that outer is using. Each call needs a session of its own. Write "
        "'session_factory=sessionmaker(engine)', not a function that returns a shared session.",
    ),
    # blocks
    (
        enter_twice,
        SessionAwareError,
        "auto_session_ctx in enter_twice: it is open already. Write another 'auto_session_ctx(...)' for a block inside the "
        "block.",
    ),
    (nested_in_block, SessionAwareError, "auto_session_ctx in nested_in_block: it was left without having been entered."),
    (
        lambda: awaited(async_entered_with_sync_session),
        SessionParameterError,
        "auto_session_ctx in async_entered_with_sync_session: it needs an AsyncSession, but 'session' is of type Session. "
        "Write 'session=' with one.",
    ),
    (
        entered_with_async_session,
        SessionParameterError,
        "auto_session_ctx in entered_with_async_session: it needs a Session, but 'session' is of type AsyncSession. Write "
        "'session=' with one.",
    ),
    # results
    (
        lambda: run(lazy),
        SessionAwareError,
        "run: it returned the generator 'lazy', whose body would run after the session is closed; nothing was committed. "
        "Write the method itself as 'async def' or as a generator, or await or exhaust it inside the body.",
    ),
    (
        lambda: run(lambda _: later()),
        SessionAwareError,
        "run: it returned the coroutine 'later', whose body would run after the session is closed; nothing was committed. "
        "Write the method itself as 'async def' or as a generator, or await or exhaust it inside the body.",
    ),
    (
        lambda: run(lambda _: async_generator()),
        SessionAwareError,
        "run: it returned the async generator 'async_generator', whose body would run after the session is closed; nothing "
        "was committed. Write the method itself as 'async def' or as a generator, or await or exhaust it inside the body.",
    ),
    # ownership
    (
        lambda: run(commits),
        SessionOwnershipError,
        "run: the body commits a session that it does not own. The library opened it, commits it when the body returns and "
        "rolls it back when it raises; a commit in the middle would leave half of the work applied. Remove the commit(). To "
        "send statements early write 'session.flush()'; for a part that may fail write 'with session.begin_nested():'.",
    ),
    (
        lambda: run(lambda session: session.rollback()),
        SessionOwnershipError,
        "run: the body ended the transaction that the library had opened for it, with rollback() or close(), so its work is "
        "gone and nothing was committed. Raise an exception to roll back; for a part that may fail write 'with "
        "session.begin_nested():'.",
    ),
    (
        lambda: run_nested(ends_savepoint, session=Session()),
        SessionOwnershipError,
        "run_nested: the body ended the savepoint that its propagation NESTED had set around it. Raise an exception to roll "
        "it back, and leave commit() and rollback() to the caller.",
    ),
    # nested calls
    (
        warned,
        NestedSessionWarning,
        "run was called without 'session=' inside run, so it opens a second connection and transaction: it does not see the "
        "uncommitted work of run, stays committed if that fails, and can wait for it for ever. Write 'run(..., "
        "session=session)', or give it Propagation.REQUIRES_NEW if a transaction of its own is meant.",
    ),
]
OTHER_RESULTS = [
    (generator, "a generator", lambda call: next(call())),
    (contextmanager(generator), "a context manager", lambda call: call().__enter__()),
    (coroutine, "an async def", awaited),
    (async_generator, "an async generator", lambda call: awaited(call().__anext__)),
    (asynccontextmanager(async_generator), "an async context manager", lambda call: awaited(call().__aenter__)),
]


@pytest.mark.parametrize(("call", "kind", "message"), MESSAGES)
def test_message_says_where_what_why_and_what_to_write(
    call: Callable[[], object], kind: type[BaseException], message: str
) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value) == message


@pytest.fixture
def on_memory() -> Iterator[Callable[..., Any]]:
    """Run bodies on an engine in memory."""
    engine = create_engine("sqlite://")
    yield auto_session_func(session_factory=sessionmaker(engine))(run.__wrapped__)  # type: ignore[attr-defined] # the body
    engine.dispose()


def test_message_of_a_swallowed_statement_error(on_memory: Callable[..., Any]) -> None:
    def body(session: Session) -> None:
        with suppress(exc.DBAPIError):
            session.execute(text("SELECT nothing"))

    with pytest.raises(PoisonedTransactionError) as caught:
        on_memory(body)
    assert str(caught.value) == (
        "run: a statement failed (OperationalError) and the body swallowed the error. A COMMIT would now lose work without "
        "an error on PostgreSQL and commit half of it on MySQL, so the unit was rolled back. Let the error propagate, or "
        "wrap the part that may fail in 'with session.begin_nested():'."
    )


def test_session_class_that_knows_its_engine_is_a_factory() -> None:
    class Bound(Session):
        def __init__(self) -> None:
            super().__init__(create_engine("sqlite://"))

    class Routing(Session):
        def get_bind(self, *_: Any, **__: Any) -> Any:
            return create_engine("sqlite://")

    for factory in (Bound, Routing):
        configure(session_factory=factory)


OTHER = Session(create_engine("sqlite://"))  # the caller's own, which stays open


@pytest.fixture(autouse=True, scope="module")
def _close() -> Iterator[None]:
    yield
    OTHER.close()
    OTHER.get_bind().dispose()  # type: ignore[union-attr] # an engine


RETURNED: list[tuple[Callable[[Session], object], str]] = [
    (lambda session: session.execute(text("SELECT 1")), "a Result with rows that would be read"),
    (lambda session: session.scalars(text("SELECT 1")), "a Result with rows that would be read"),
    (lambda session: session.execute(text("SELECT 1")).mappings(), "a Result with rows that would be read"),
    (lambda session: session.execute(text("SELECT 1")).unique(), "a Result with rows that would be read"),
    (lambda session: session.connection().execute(text("SELECT 1")), "a Result with rows that would be read"),
    (lambda session: session.query(Thing), "a Query, which would be sent"),
]


@pytest.mark.parametrize(("body", "what"), RETURNED)
def test_message_of_a_result_that_still_has_rows_to_give(
    on_memory: Callable[..., Any], body: Callable[[Session], object], what: str
) -> None:
    with pytest.raises(SessionAwareError) as caught:
        on_memory(body)
    assert str(caught.value) == (
        f"run: it returned {what} after the session is closed; nothing was committed. Write '.all()' after it, or yield "
        "the rows."
    )


def test_message_of_a_result_that_wants_unique(on_memory: Callable[..., Any]) -> None:
    def body(session: Session) -> object:
        Base.metadata.create_all(session.connection())
        session.add(Box())
        return session.execute(select(Box))

    with pytest.raises(SessionAwareError, match="a Result with rows"):
        on_memory(body)


@pytest.mark.parametrize(
    "body",
    [
        lambda session: session.execute(text("CREATE TABLE other (id INTEGER)")),
        lambda session: [session.execute(text("SELECT 1"))][0].one() and None,
        lambda session: exhausted(session.execute(text("SELECT 1"))),
        lambda session: exhausted(session.scalars(text("SELECT 1"))),
        lambda session: session.execute(text("SELECT 1")).freeze(),
        lambda session: session.execute(text("SELECT 1")).freeze()(),
        lambda _: IteratorResult(SimpleResultMetaData(["a"]), iter([(1,)])),
        lambda _: OTHER.execute(text("SELECT 1")),
        lambda _: OTHER.scalars(text("SELECT 1")),
        lambda _: OTHER.query(Thing),
        lambda _: Unhashable("Odd", (), {})(),
        lambda _: Unordered("Odd", (), {})(),
        lambda session: session.execute(text("SELECT 1 WHERE 0")),
    ],
)
def test_result_that_has_no_rows_to_give_is_returned(
    on_memory: Callable[..., Any], body: Callable[[Session], object]
) -> None:
    on_memory(body)


class Unhashable(type):
    """Makes classes without a hash."""

    def __eq__(cls, other: object) -> bool:
        return cls is other

    __hash__ = None  # type: ignore[assignment] # the point


class Unordered(type):
    """Makes classes whose bases cannot be told."""

    @property
    def __mro__(cls) -> Any:
        raise RuntimeError


def exhausted(result: Any) -> object:
    assert list(result)
    return result


def test_returned_update_still_tells_its_rowcount(on_memory: Callable[..., Any]) -> None:
    def body(session: Session) -> object:
        session.execute(text("CREATE TABLE one (id INTEGER)"))
        session.execute(text("INSERT INTO one VALUES (1), (2)"))
        return session.execute(text("UPDATE one SET id = 3"))

    assert on_memory(body).rowcount == 2


@pytest.mark.parametrize("begin", ["begin", "begin_twice"])
def test_note_where_the_body_begins_a_transaction(on_memory: Callable[..., Any], begin: str) -> None:
    def body(session: Session) -> None:
        if begin == "begin":
            with session.begin():
                pass
        else:
            session.begin()

    with pytest.raises(exc.InvalidRequestError, match="A transaction is already begun on this Session") as caught:
        on_memory(body)
    assert caught.value.__notes__ == [
        "session-aware: run: its transaction is begun when the body starts and committed when it returns. Remove "
        "'session.begin()', or write 'with session.begin_nested():' for a SAVEPOINT."
    ]


def test_message_of_a_change_in_a_read_only_unit() -> None:
    engine = create_engine("sqlite://")

    @auto_session_func(session_factory=sessionmaker(engine), read_only=True)
    def reading(*, session: Session = NEW_SESSION) -> None:
        session.add_all([Thing(id=1), Thing(id=2)])

    with pytest.raises(PolicyConflictError) as caught:
        reading()
    engine.dispose()
    assert str(caught.value) == (
        "reading: it is read_only, but its session has 2 changed object(s), the first a Thing, which would never be "
        "committed. Remove read_only=True, or change objects in a method without it."
    )


@pytest.mark.parametrize(("function", "kind", "start"), OTHER_RESULTS)
def test_message_of_a_decorator_that_hands_back_something_else(function: Any, kind: str, start: Any) -> None:
    with pytest.raises(SessionAwareError) as caught:
        start(wrapped(function))
    assert str(caught.value) == (
        f"{function.__name__}: it wraps {kind}, but calling it returned 'int'. A decorator between session-aware and the "
        "function must pass the deferred result through. Apply that decorator above @auto_session_func, or write its "
        f"wrapper as {kind}."
    )


def test_complaint_of_a_method_names_its_class() -> None:
    assert complaint(positional, "Accounts.rename").startswith("Accounts.rename: parameter 'session' must be keyword-only. ")
