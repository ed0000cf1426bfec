"""The twin of ``player``: the same programs with ``AsyncSession``, and the same control flow in ``async`` words."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from session_aware import NEW_SESSION, auto_session_ctx
from tests.properties.async_reader import Reader
from tests.properties.callables import Role, declared, keywords
from tests.properties.interpreter import Interrupt, error_of
from tests.properties.programs import (
    Add,
    Block,
    Body,
    Call,
    Fail,
    Form,
    How,
    Manual,
    Misuse,
    Nest,
    Operation,
    Raise,
    Read,
    Stream,
    Try,
    Write,
)
from tests.properties.stage import FAILING, WRITING, Opened, Row, Stage, wire

__all__ = ["AsyncPlayer", "AsyncTheatre"]


class AsyncTheatre:
    """Engines that serve many programs, one after the other, and the two factories."""

    def __init__(self, lanes: Sequence[AsyncEngine]) -> None:
        self.stage = Stage(lanes, 0)
        self.lanes = lanes
        self.factories = (self._open, self.open_other)
        for lane in lanes:
            wire(lane.sync_engine, lambda: self.stage)

    def _open(self) -> AsyncSession:
        session = AsyncSession(sync_session_class=Opened, autoflush=False)
        opened = cast("Opened", session.sync_session)
        lane = cast("AsyncEngine", self.stage.enlist(opened)).execution_options(label=opened.label)
        session.bind, opened.bind = lane, lane.sync_engine
        return session

    def open_other(self) -> AsyncSession:
        """Be another factory."""
        return self._open()


class AsyncPlayer:
    """Plays with real async sessions."""

    def __init__(self, theatre: AsyncTheatre) -> None:
        self.stage = theatre.stage
        self.added: list[tuple[AsyncSession, Row]] = []
        self._factories = theatre.factories

    async def play(self, program: Body) -> None:
        """Play the parts of a program, each whatever became of the one before."""
        for operation in program:
            with contextlib.suppress(Exception, Interrupt), self.stage.ending("part"):  # how it ended is in the log
                await self.run((operation,), None)

    async def run(self, body: Body, session: AsyncSession | None) -> None:
        """Play a body in a session, or without one."""
        for operation in body:
            await self._step(operation, session)

    async def _step(self, operation: Operation, session: AsyncSession | None) -> None:  # noqa: C901 - one case for each
        match operation:
            case Raise():
                with self.stage.noting_errors():
                    raise error_of(operation)
            case Try(body):
                try:
                    await self.run(body, session)
                except Exception as error:  # noqa: BLE001 - the point of a Try
                    self.stage.note("swallowed", self.stage.outcome(error))
            case Manual(body):
                with self.stage.ending("manual"):
                    async with self._factories[0]() as own, own.begin():
                        await self.run(body, own)
            case Call():
                with self.stage.ending("call"):
                    await self._call(operation, session)
            case Block():
                with self.stage.ending("block"):
                    async with self._block(operation, session) as yielded:
                        uses_yielded = operation.uses_yielded or session is None
                        await self.run(operation.block, yielded if uses_yielded else session)
            case Read():
                with self.stage.ending("read"):
                    await self._read(operation, session)
            case Nest(body):
                if session is not None:
                    async with session.begin_nested():
                        await self.run(body, session)
            case Write() | Add() | Fail() | Misuse():
                if session is not None:
                    with self.stage.noting_errors():
                        await self._act(operation, session)

    async def _act(self, operation: Write | Add | Fail | Misuse, session: AsyncSession) -> None:
        match operation:
            case Write():
                await session.execute(WRITING, {"id": self.stage.new_row()})
            case Add(is_valid):
                row = Row(id=self.stage.new_row(), amount=1 if is_valid else 0)
                session.add(row)
                self.added.append((session, row))
            case Fail():
                await session.execute(FAILING)
            case Misuse(is_commit):
                if "session_aware" in session.info and not session.in_nested_transaction():
                    await (session.commit if is_commit else session.rollback)()

    async def _call(self, operation: Call, session: AsyncSession | None) -> None:
        how = operation.how
        if how.form is Form.CONTEXT:
            given = session if how.is_given else None
            options = {**self._factory(how), **keywords(how.policy)}
            async with auto_session_ctx(given, is_commit=how.is_commit, **options) as own:
                await self.run(operation.body, own)
            return
        rows = await self._called(_CALL, operation, how, session)
        if session is None or not how.is_given:
            assert all(row.id for row in rows)  # readable after the close

    def _block(self, operation: Block, session: AsyncSession | None) -> AbstractAsyncContextManager[AsyncSession]:
        return cast("AbstractAsyncContextManager[AsyncSession]", self._called(_BLOCK, operation, operation.how, session))

    async def _read(self, operation: Read, session: AsyncSession | None) -> None:
        readers = [
            Reader(self.stage, stream, partial(self._called, _STREAM, stream, stream.how, session))
            for stream in operation.streams
        ]
        try:
            for turn in operation.schedule:
                await readers[turn % len(readers)].advance()
            for reader in readers:
                await reader.finish()
        finally:
            for reader in readers:
                await reader.close()

    def _called(self, role: Role, operation: Call | Block | Stream, how: How, session: AsyncSession | None) -> Any:
        given = {"session": session} if how.is_given else {}
        return declared(role, how, self._factory(how))(self, operation, is_commit=how.is_commit, **given)

    def _factory(self, how: How) -> dict[str, Any]:
        return {"async_session_factory": self._factories[how.factory]}


async def _call(
    player: AsyncPlayer, operation: Call, *, session: AsyncSession = NEW_SESSION, is_commit: bool = True
) -> list[Row]:
    await player.run(operation.body, session)
    return [row for own, row in player.added if own is session]


async def _stream(
    player: AsyncPlayer, operation: Stream, *, session: AsyncSession = NEW_SESSION, is_commit: bool = True
) -> AsyncGenerator[int, int]:
    for number, segment in enumerate(operation.segments):
        await player.run(segment, session)
        try:
            got = yield number
            player.stage.note("got", got)
        except Exception:
            if not operation.catches:
                raise


@contextlib.asynccontextmanager
async def _block(
    player: AsyncPlayer, operation: Block, *, session: AsyncSession = NEW_SESSION, is_commit: bool = True
) -> AsyncIterator[AsyncSession]:
    await player.run(operation.before, session)
    try:
        yield session
    except Exception:
        if not operation.catches:
            raise
    await player.run(operation.after, session)


async def _owned_call(
    _owner: object, player: AsyncPlayer, operation: Call, *, session: AsyncSession = NEW_SESSION, is_commit: bool = True
) -> list[Row]:
    return await _call(player, operation, session=session, is_commit=is_commit)


async def _owned_stream(
    _owner: object, player: AsyncPlayer, operation: Stream, *, session: AsyncSession = NEW_SESSION, is_commit: bool = True
) -> AsyncGenerator[int, int]:
    # An async generator cannot hand over to another one, so the body stands here again.
    for number, segment in enumerate(operation.segments):
        await player.run(segment, session)
        try:
            got = yield number
            player.stage.note("got", got)
        except Exception:
            if not operation.catches:
                raise


@contextlib.asynccontextmanager
async def _owned_block(
    _owner: object, player: AsyncPlayer, operation: Block, *, session: AsyncSession = NEW_SESSION, is_commit: bool = True
) -> AsyncIterator[AsyncSession]:
    async with _block(player, operation, session=session, is_commit=is_commit) as own:
        yield own


_CALL = Role(_owned_call, _call)
_STREAM = Role(_owned_stream, _stream)
_BLOCK = Role(_owned_block, _block)
