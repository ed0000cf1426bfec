"""Generators and context managers: the transaction lasts as long as the stream or the block."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import threading
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import Any

import pytest
from sqlalchemy import create_engine, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, Propagation, SessionAwareError, auto_session_func
from tests.databases import AsyncDatabase, SyncDatabase
from tests.ledger import Account
from tests.services import JOINED, NOTHING, OWNED, UNDONE, Accounts, AsyncAccounts, Failure, aadd, add


class Streams(Accounts):
    """Generators and context managers that do more than the common ones."""

    def talk(self, *, session: Session = NEW_SESSION) -> Generator[str, str, int]:
        """Open an account for each owner sent; survive a Failure that is thrown in; return how many."""
        count = 0
        owner = yield "who?"
        while owner != "enough":
            try:
                add(session, owner)
                count += 1
                owner = yield f"opened {owner}"
            except Failure:
                owner = yield "sorry"
        return count

    @contextmanager
    def forgiving(self, owner: str, *, session: Session = NEW_SESSION) -> Iterator[Session]:
        add(session, owner)
        try:
            yield session
        except Failure:
            add(session, "excuse")

    @auto_session_func(propagation=Propagation.NESTED)
    def nested_stream(self, *owners: str, session: Session = NEW_SESSION) -> Iterator[str]:
        for owner in owners:
            yield add(session, owner).owner

    @auto_session_func(propagation=Propagation.NESTED)
    @contextmanager
    def nested_block(self, owner: str, *, session: Session = NEW_SESSION) -> Iterator[str]:
        yield add(session, owner).owner

    @staticmethod
    def static_stream(*owners: str, session: Session = NEW_SESSION) -> Iterator[str]:
        for owner in owners:
            yield add(session, owner).owner


class AsyncStreams(AsyncAccounts):
    """The same, async."""

    async def talk(self, *, session: AsyncSession = NEW_SESSION) -> AsyncGenerator[str, str]:
        owner = yield "who?"
        while owner != "enough":
            try:
                await aadd(session, owner)
                owner = yield f"opened {owner}"
            except Failure:
                owner = yield "sorry"

    @asynccontextmanager
    async def forgiving(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[AsyncSession]:
        await aadd(session, owner)
        try:
            yield session
        except Failure:
            await aadd(session, "excuse")

    @auto_session_func(propagation=Propagation.NESTED)
    async def nested_stream(self, *owners: str, session: AsyncSession = NEW_SESSION) -> AsyncIterator[str]:
        for owner in owners:
            yield (await aadd(session, owner)).owner

    @auto_session_func(propagation=Propagation.NESTED)
    @asynccontextmanager
    async def nested_block(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[str]:
        yield (await aadd(session, owner)).owner


@pytest.fixture
def streams(database: SyncDatabase) -> Streams:
    made = Streams()
    made.session_factory = database.maker
    return made


@pytest.fixture
def astreams(async_database: AsyncDatabase) -> AsyncStreams:
    made = AsyncStreams()
    made.async_session_factory = async_database.maker
    return made


def started(streams: Streams, *owners: str, **kwargs: Session) -> Generator[Any, Any, Any]:
    stream = streams.stream(*owners, **kwargs)
    assert isinstance(stream, Generator)
    return stream


# Generators


def test_stream_opens_at_the_first_item_and_commits_at_the_end(streams: Streams, database: SyncDatabase) -> None:
    stream = streams.stream("ann", "bob")
    assert database.recorder.events == NOTHING
    assert next(iter(stream)).owner == "ann"
    assert database.recorder.events == JOINED
    assert [account.owner for account in stream] == ["bob"]
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann", "bob"]


def test_stream_that_is_never_read_opens_nothing(streams: Streams, database: SyncDatabase) -> None:
    started(streams, "ann").close()
    assert database.recorder.events == NOTHING


def test_stream_that_fails_is_rolled_back(streams: Streams, database: SyncDatabase) -> None:
    with pytest.raises(Failure):
        list(streams.stream("ann", "bad"))
    assert database.recorder.events == UNDONE
    assert database.owners() == []


def test_stream_that_is_closed_early_is_rolled_back(streams: Streams, database: SyncDatabase) -> None:
    stream = started(streams, "ann", "bob")
    next(stream)
    stream.close()
    assert database.recorder.events == UNDONE
    assert database.owners() == []


def test_stream_that_is_left_and_forgotten_is_rolled_back(streams: Streams, database: SyncDatabase) -> None:
    for _ in streams.stream("ann", "bob"):
        break
    assert database.recorder.events == UNDONE


def test_stream_that_is_forgotten_in_a_cycle_is_rolled_back_by_the_garbage_collector(
    streams: Streams, database: SyncDatabase
) -> None:
    stream = started(streams, "ann", "bob")
    next(stream)
    cycle: list[object] = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()
    assert database.recorder.events == UNDONE
    assert database.owners() == []


def test_send_throw_and_the_return_value_pass_through(streams: Streams, database: SyncDatabase) -> None:
    talk = streams.talk()
    assert next(talk) == "who?"
    assert talk.send("ann") == "opened ann"
    assert talk.throw(Failure()) == "sorry"
    assert talk.send("bob") == "opened bob"
    with pytest.raises(StopIteration) as caught:
        talk.send("enough")
    assert caught.value.value == 2
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann", "bob"]


class Chunk:
    """Knows how many of it there are."""

    alive = 0

    def __init__(self) -> None:
        Chunk.alive += 1

    def __del__(self) -> None:
        Chunk.alive -= 1


def test_stream_keeps_no_item_while_the_next_one_is_made(sqlite: SyncDatabase, aiosqlite: AsyncDatabase) -> None:
    alive = []

    @auto_session_func(session_factory=sqlite.maker)
    def chunks(*, session: Session = NEW_SESSION) -> Iterator[Chunk]:
        for _ in range(3):
            alive.append(Chunk.alive)
            yield Chunk()

    @auto_session_func(async_session_factory=aiosqlite.maker)
    async def achunks(*, session: AsyncSession = NEW_SESSION) -> AsyncIterator[Chunk]:
        for _ in range(3):
            alive.append(Chunk.alive)
            yield Chunk()

    async def read() -> None:
        async for chunk in achunks():
            del chunk

    for one in chunks():
        del one
    aiosqlite.run(read())
    assert alive == [0] * 6


def outcome(call: Callable[[], object]) -> object:
    """Return the result of a call, or what its exception shows: where it came from and what came before it."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 - compared
        contexts = []
        context = error.__context__
        while context is not None:
            contexts.append(type(context))
            context = context.__context__
        return type(error), str(error), traceback.extract_tb(error.__traceback__)[-1].name, contexts


@pytest.mark.parametrize("way", [*itertools.product(["next", "send", "throw", "close"], repeat=3)], ids="-".join)
def test_stream_behaves_like_yield_from(sqlite: SyncDatabase, way: tuple[str, ...]) -> None:
    def body() -> Generator[int, Any, str]:
        for number in range(3):
            try:
                yield number
            except Failure:
                yield -number
            except GeneratorExit:
                raise LookupError from None
        return "end"

    @auto_session_func(session_factory=sqlite.maker)
    def stream(*, session: Session = NEW_SESSION) -> Generator[int, Any, str]:
        return (yield from body())

    seen = []
    for made in (body(), stream()):
        calls: dict[str, Callable[[], object]] = {
            "next": functools.partial(next, made),
            "send": functools.partial(made.send, 1),
            "throw": functools.partial(made.throw, Failure()),
            "close": made.close,
        }
        seen.append([outcome(calls[name]) for name in ("next", *way)])
        with suppress(LookupError):
            made.close()
    assert seen[0] == seen[1]


def test_exception_thrown_into_a_stream_rolls_back_and_is_the_same_object(streams: Streams, database: SyncDatabase) -> None:
    stream = started(streams, "ann", "bob")
    next(stream)
    error = KeyError("reason")
    with pytest.raises(KeyError) as caught:
        stream.throw(error)
    assert caught.value is error
    assert database.recorder.events == UNDONE


def test_stream_in_a_given_session_is_left_to_its_caller(streams: Streams, database: SyncDatabase) -> None:
    with database.maker() as session:
        stream = started(streams, "ann", "bob", session=session)
        next(stream)
        stream.close()
        assert database.recorder.take() == JOINED
        session.commit()
    assert database.owners() == ["ann"]


def test_stream_with_a_savepoint_releases_it_at_the_end(streams: Streams, database: SyncDatabase) -> None:
    with database.maker.begin() as session:
        assert list(streams.nested_stream("ann", "bob", session=session)) == ["ann", "bob"]
        with pytest.raises(Failure):
            list(streams.nested_stream("cid", "bad", session=session))
        stream = iter(streams.nested_stream("dan", "eve", session=session))
        next(stream)
        del stream
    assert database.recorder.transactions == [
        "BEGIN",
        *("SAVEPOINT", "RELEASE"),
        *("SAVEPOINT", "ROLLBACK TO"),
        *("SAVEPOINT", "ROLLBACK TO"),
        "COMMIT",
    ]
    assert database.owners() == ["ann", "bob"]


def test_two_streams_at_once_have_their_own_sessions(postgres: SyncDatabase) -> None:
    class Here(Streams, session_factory=postgres.maker):
        """On PostgreSQL: SQLite has one writer at a time."""

    one, two = Here.static_stream("ann"), Here().static_stream("bob")
    assert [*zip(one, two, strict=True)] == [("ann", "bob")]
    assert sorted(postgres.recorder.events) == sorted(OWNED * 2)


def test_stream_can_be_ended_by_another_thread(postgres: SyncDatabase) -> None:
    class Here(Streams, session_factory=postgres.maker):
        """On PostgreSQL: sqlite3 connections belong to a thread."""

    stream = Here().stream("ann", "bob")
    next(iter(stream))
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    thread.join()
    assert postgres.recorder.events == OWNED


def test_stream_that_another_thread_closes_gives_the_connection_up_where_the_driver_refuses(sqlite: SyncDatabase) -> None:
    # sqlite3 by itself allows one thread only; SQLAlchemy lifts that for files.
    engine = create_engine(sqlite.engine.url, connect_args={"check_same_thread": True})
    connections: list[Any] = []
    event.listen(engine, "connect", lambda connection, _: connections.append(connection))
    streams = Streams()
    streams.session_factory = sessionmaker(engine)
    stream = started(streams, "ann", "bob")
    next(stream)
    closer = threading.Thread(target=stream.close)
    closer.start()
    closer.join()
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
    engine.dispose()
    connections[0].close()  # which the other thread may not do
    assert sqlite.owners() == []


def test_async_stream_opens_at_the_first_item_and_commits_at_the_end(
    astreams: AsyncStreams, async_database: AsyncDatabase
) -> None:
    async def scenario() -> None:
        stream = astreams.stream("ann", "bob")
        assert async_database.recorder.events == NOTHING
        assert (await anext(stream)).owner == "ann"
        assert async_database.recorder.events == JOINED
        assert [account.owner async for account in stream] == ["bob"]

    async_database.run(scenario())
    assert async_database.recorder.events == OWNED
    assert async_database.owners() == ["ann", "bob"]


def test_async_stream_that_fails_is_rolled_back(astreams: AsyncStreams, async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        with pytest.raises(Failure):
            [account async for account in astreams.stream("ann", "bad")]

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE


def test_async_stream_that_is_closed_early_is_rolled_back(astreams: AsyncStreams, async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        async with aclosing(astreams.talk()) as stream:
            await anext(stream)
            await stream.asend("ann")

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE
    assert async_database.owners() == []


def test_early_close_runs_the_rest_of_the_body_in_its_transaction(database: SyncDatabase) -> None:
    seen: list[str] = []

    class Here(Streams, session_factory=database.maker):
        def cleaning(self, *, session: Session = NEW_SESSION) -> Generator[str, None, None]:
            try:
                yield add(session, "ann").owner
            finally:
                seen.extend(session.scalars(select(Account.owner)))

    stream = Here().cleaning()
    next(stream)
    stream.close()
    assert seen == ["ann"]
    assert database.recorder.events == UNDONE


def test_early_close_of_an_async_stream_runs_the_rest_of_the_body_in_its_transaction(
    async_database: AsyncDatabase,
) -> None:
    seen: list[str] = []

    class Here(AsyncStreams, async_session_factory=async_database.maker):
        async def cleaning(self, *, session: AsyncSession = NEW_SESSION) -> AsyncGenerator[str, None]:
            try:
                yield (await aadd(session, "ann")).owner
            finally:
                seen.extend(await session.scalars(select(Account.owner)))

    async def scenario() -> None:
        stream = Here().cleaning()
        await anext(stream)
        await stream.aclose()
        assert seen == ["ann"]

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE


def test_async_stream_left_by_break_is_rolled_back_by_the_loop(
    astreams: AsyncStreams, async_database: AsyncDatabase
) -> None:
    async def scenario() -> None:
        async for _ in astreams.stream("ann", "bob"):
            break
        await asyncio.sleep(0)  # the loop's finalizer starts a task
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE


def test_async_stream_that_is_kept_is_rolled_back_at_the_latest_with_the_loop(
    astreams: AsyncStreams, async_database: AsyncDatabase
) -> None:
    async def scenario() -> None:
        kept.append(astreams.stream("ann", "bob"))
        await anext(kept[0])
        await asyncio.get_running_loop().shutdown_asyncgens()  # as asyncio.run() does

    kept: list[Any] = []
    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE
    assert async_database.owners() == []


def test_asend_and_athrow_pass_through(astreams: AsyncStreams, async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        talk = astreams.talk()
        assert await anext(talk) == "who?"
        assert await talk.asend("ann") == "opened ann"
        assert await talk.athrow(Failure()) == "sorry"
        assert await talk.asend("bob") == "opened bob"
        with pytest.raises(StopAsyncIteration):
            await talk.asend("enough")

    async_database.run(scenario())
    assert async_database.recorder.events == OWNED
    assert async_database.owners() == ["ann", "bob"]


def test_exception_thrown_into_an_async_stream_rolls_back_and_is_the_same_object(
    astreams: AsyncStreams, async_database: AsyncDatabase
) -> None:
    error = KeyError("reason")

    async def scenario() -> None:
        talk = astreams.talk()
        await anext(talk)
        await talk.asend("ann")
        with pytest.raises(KeyError) as caught:
            await talk.athrow(error)
        assert caught.value is error

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE


def test_async_stream_with_a_savepoint_releases_it_at_the_end(astreams: AsyncStreams, async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        async with async_database.maker.begin() as session:
            assert [owner async for owner in astreams.nested_stream("ann", session=session)] == ["ann"]
            with pytest.raises(Failure):
                [owner async for owner in astreams.nested_stream("bob", "bad", session=session)]

    async_database.run(scenario())
    assert async_database.recorder.transactions == [
        "BEGIN",
        *("SAVEPOINT", "RELEASE"),
        *("SAVEPOINT", "ROLLBACK TO"),
        "COMMIT",
    ]
    assert async_database.owners() == ["ann"]


# Context managers


def test_block_keeps_the_session_open_and_commits_at_its_end(streams: Streams, database: SyncDatabase) -> None:
    block = streams.forgiving("ann")
    assert isinstance(block, AbstractContextManager)
    assert database.recorder.events == NOTHING
    with block as session:
        assert database.recorder.events == JOINED
        add(session, "bob")
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann", "bob"]


def test_exception_in_a_block_rolls_back_and_is_the_same_object(streams: Streams, database: SyncDatabase) -> None:
    for error in (KeyError("reason"), StopIteration("reason"), KeyboardInterrupt(), GeneratorExit(), RuntimeError()):
        with pytest.raises(type(error)) as caught, streams.opened("ann"):
            raise error
        assert caught.value is error
        assert database.recorder.take() == UNDONE
    assert database.owners() == []


def test_exception_that_the_manager_swallows_commits(streams: Streams, database: SyncDatabase) -> None:
    block: AbstractContextManager[Session, bool] = streams.forgiving("ann")  # type: ignore[assignment] # it may swallow
    with block:
        raise Failure
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann", "excuse"]


def test_block_that_fails_on_entry_is_rolled_back(streams: Streams, database: SyncDatabase) -> None:
    with pytest.raises(Failure), streams.opened("bad"):
        pytest.fail("the block was entered")
    assert database.recorder.events == UNDONE


def test_context_manager_method_is_a_decorator_with_a_transaction_for_each_call(
    database: SyncDatabase,
) -> None:
    calls = iter(["ann", "bob"])

    class Here(Streams, session_factory=database.maker):
        @contextmanager
        def around(self, *, session: Session = NEW_SESSION) -> Iterator[None]:
            add(session, next(calls))
            yield

    @Here().around()
    def work(number: int) -> int:
        return number

    assert (work(1), work(2)) == (1, 2)
    assert database.recorder.events == OWNED * 2
    assert database.owners() == ["ann", "bob"]
    calls = iter(["bad", "cid"])
    with pytest.raises(Failure):
        work(3)
    assert work(4) == 4
    assert database.owners() == ["ann", "bob", "cid"]


def test_call_of_a_decorated_function_that_fails_at_its_commit_says_so(database: SyncDatabase) -> None:
    calls = iter(["ann", "ann", "bob"])

    class Here(Streams, session_factory=database.maker):
        @contextmanager
        def around(self, *, session: Session = NEW_SESSION) -> Iterator[None]:
            session.add(Account(owner=next(calls)))  # sent at the commit
            yield

    @Here().around()
    def work() -> None: ...

    work()
    with pytest.raises(IntegrityError):
        work()
    work()
    assert database.owners() == ["ann", "bob"]


def test_block_in_a_given_session_is_left_to_its_caller(streams: Streams, database: SyncDatabase) -> None:
    with database.maker() as session:
        with pytest.raises(KeyError), streams.opened("ann", session=session):
            raise KeyError
        assert database.recorder.events == JOINED


def test_block_with_a_savepoint_releases_it_at_the_end(streams: Streams, database: SyncDatabase) -> None:
    with database.maker.begin() as session:
        with streams.nested_block("ann", session=session):
            pass
        with pytest.raises(KeyError), streams.nested_block("bob", session=session):
            raise KeyError
    assert database.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "SAVEPOINT", "ROLLBACK TO", "COMMIT"]
    assert database.owners() == ["ann"]


def test_async_block_keeps_the_session_open_and_commits_at_its_end(
    astreams: AsyncStreams, async_database: AsyncDatabase
) -> None:
    async def scenario() -> None:
        block = astreams.forgiving("ann")
        assert isinstance(block, AbstractAsyncContextManager)
        async with block as session:
            await aadd(session, "bob")
            assert async_database.recorder.events == JOINED
        async with astreams.forgiving("cid"):
            raise Failure

    async_database.run(scenario())
    assert async_database.recorder.events == OWNED * 2
    assert async_database.owners() == ["ann", "bob", "cid", "excuse"]


def test_exception_in_an_async_block_rolls_back_and_is_the_same_object(
    astreams: AsyncStreams, async_database: AsyncDatabase
) -> None:
    async def scenario() -> None:
        for error in (KeyError("reason"), StopAsyncIteration("reason"), asyncio.CancelledError(), RuntimeError()):
            with pytest.raises(type(error)) as caught:
                async with astreams.opened("ann"):
                    raise error
            assert caught.value is error
            assert async_database.recorder.take() == UNDONE

    async_database.run(scenario())
    assert async_database.owners() == []


def test_async_block_is_a_decorator_with_a_transaction_for_each_call(async_database: AsyncDatabase) -> None:
    calls = iter(["ann", "bob"])

    class Here(AsyncStreams, async_session_factory=async_database.maker):
        @asynccontextmanager
        async def around(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[None]:
            await aadd(session, next(calls))
            yield

    @Here().around()
    async def work(number: int) -> int:
        return number

    async def scenario() -> None:
        nonlocal calls
        assert (await work(1), await work(2)) == (1, 2)
        assert async_database.recorder.events == OWNED * 2
        calls = iter(["bad", "cid"])
        with pytest.raises(Failure):
            await work(3)
        assert await work(4) == 4

    async_database.run(scenario())
    assert async_database.owners() == ["ann", "bob", "cid"]


def test_call_of_a_decorated_coroutine_that_fails_at_its_commit_says_so(async_database: AsyncDatabase) -> None:
    calls = iter(["ann", "ann", "bob"])

    class Here(AsyncStreams, async_session_factory=async_database.maker):
        @asynccontextmanager
        async def around(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[None]:
            session.add(Account(owner=next(calls)))  # sent at the commit
            yield

    @Here().around()
    async def work() -> None: ...

    async def scenario() -> None:
        await work()
        with pytest.raises(IntegrityError):
            await work()
        await work()

    async_database.run(scenario())
    assert async_database.owners() == ["ann", "bob"]


def test_async_block_with_a_savepoint_releases_it_at_the_end(astreams: AsyncStreams, async_database: AsyncDatabase) -> None:
    async def scenario() -> None:
        async with async_database.maker.begin() as session:
            async with astreams.nested_block("ann", session=session):
                pass
            with pytest.raises(KeyError):
                async with astreams.nested_block("bob", session=session):
                    raise KeyError

    async_database.run(scenario())
    assert async_database.recorder.transactions == ["BEGIN", "SAVEPOINT", "RELEASE", "SAVEPOINT", "ROLLBACK TO", "COMMIT"]
    assert async_database.owners() == ["ann"]


# 5. What a plain def hands back un-run is refused


async def _coroutine() -> None: ...


def _generator() -> Iterator[int]:
    yield 1


async def _async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("deferred", [_coroutine, _generator, _async_generator])
def test_result_whose_body_has_not_run_is_refused_and_rolled_back(
    database: SyncDatabase, deferred: Callable[[], object]
) -> None:
    class Here(Accounts, session_factory=database.maker):
        def lazy(self, *, session: Session = NEW_SESSION) -> object:
            add(session, "ann")
            return deferred()

    with pytest.raises(SessionAwareError, match=r"^Accounts\.lazy|^Here\.lazy"):
        Here().lazy()
    assert database.recorder.events == UNDONE
    assert database.owners() == []


def test_async_result_whose_body_has_not_run_is_refused_and_rolled_back(async_database: AsyncDatabase) -> None:
    class Here(AsyncAccounts, async_session_factory=async_database.maker):
        async def lazy(self, *, session: AsyncSession = NEW_SESSION) -> object:
            await aadd(session, "ann")
            return _coroutine()

    async def scenario() -> None:
        with pytest.raises(SessionAwareError):
            await Here().lazy()

    async_database.run(scenario())
    assert async_database.recorder.events == UNDONE


def test_deferred_result_in_a_given_session_is_the_callers_business(sqlite: SyncDatabase) -> None:
    class Here(Accounts):
        def lazy(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
            return _generator()

    with sqlite.maker() as session:
        assert list(Here().lazy(session=session)) == [1]


def test_deferred_result_of_a_savepoint_is_refused_and_rolled_back(database: SyncDatabase) -> None:
    class Here(Accounts, propagation=Propagation.NESTED):
        def lazy(self, *, session: Session = NEW_SESSION) -> object:
            add(session, "ann")
            return _generator()

    with database.maker.begin() as session, pytest.raises(SessionAwareError):
        Here().lazy(session=session)
    assert database.recorder.transactions == ["BEGIN", "SAVEPOINT", "ROLLBACK TO", "COMMIT"]
    assert database.owners() == []
