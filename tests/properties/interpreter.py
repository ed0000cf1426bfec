"""What a program means, whoever plays it: control flow, errors, the consumers of streams. The rest is the player's."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from functools import partial
from typing import Generic, TypeVar

from session_aware import PropagationError
from tests.properties.programs import (
    Add,
    Block,
    Body,
    Call,
    Fail,
    Finish,
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
from tests.properties.stage import Stage

__all__ = ["BoomError", "Interpreter", "Interrupt", "error_of"]

S = TypeVar("S")


class BoomError(Exception):
    """What a program raises."""


class Interrupt(BaseException):
    """What a program raises and ``except Exception`` does not catch."""


def error_of(operation: Raise) -> BaseException:
    """Make the exception of an operation."""
    return Interrupt() if operation.is_base else BoomError()


class Interpreter(ABC, Generic[S]):
    """Plays programs on a stage. Sessions are whatever the player makes of them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @abstractmethod
    def act(self, operation: Write | Add | Fail | Misuse, session: S) -> None: ...
    @abstractmethod
    def nest(self, session: S) -> AbstractContextManager[object]: ...
    @abstractmethod
    def manual(self) -> AbstractContextManager[S]: ...
    @abstractmethod
    def call(self, operation: Call, session: S | None) -> None: ...
    @abstractmethod
    def block(self, operation: Block, session: S | None) -> AbstractContextManager[S]: ...
    @abstractmethod
    def stream(self, operation: Stream, session: S | None) -> Generator[int, int, int]: ...

    def play(self, program: Body) -> None:
        """Play the parts of a program, each whatever became of the one before."""
        for operation in program:
            with contextlib.suppress(Exception, Interrupt), self.stage.ending("part"):  # how it ended is in the log
                self.run((operation,), None)

    def run(self, body: Body, session: S | None) -> None:
        """Play a body in a session, or without one."""
        for operation in body:
            self._step(operation, session)

    def _step(self, operation: Operation, session: S | None) -> None:  # noqa: C901 - one case for each operation
        match operation:
            case Raise():
                with self.stage.noting_errors():
                    raise error_of(operation)
            case Try(body):
                try:
                    self.run(body, session)
                except Exception as error:  # noqa: BLE001 - the point of a Try
                    self.stage.note("swallowed", self.stage.outcome(error))
            case Manual(body):
                with self.stage.ending("manual"), self.manual() as own:
                    self.run(body, own)
            case Call():
                with self.stage.ending("call"):
                    self.call(operation, session)
            case Block():
                with self.stage.ending("block"), self.block(operation, session) as yielded:
                    uses_yielded = operation.uses_yielded or session is None
                    self.run(operation.block, yielded if uses_yielded else session)
            case Read():
                with self.stage.ending("read"):
                    self._read(operation, session)
            case Nest(body):
                if session is not None:
                    with self.nest(session):
                        self.run(body, session)
            case Write() | Add() | Fail() | Misuse():
                if session is not None:
                    with self.stage.noting_errors():
                        self.act(operation, session)

    def _read(self, operation: Read, session: S | None) -> None:
        readers = [_Reader(self.stage, stream, partial(self.stream, stream, session)) for stream in operation.streams]
        try:
            for turn in operation.schedule:
                readers[turn % len(readers)].advance()
            for reader in readers:
                reader.finish()
        finally:
            for reader in readers:
                reader.close()


class _Reader:
    """The consumer of one stream."""

    def __init__(self, stage: Stage, stream: Stream, call: Callable[[], Generator[int, int, int]]) -> None:
        self._call = call
        self._items: Generator[int, int, int] | None = None
        self._stage = stage
        self._stream = stream
        self._taken = 0
        self._is_over = False

    def advance(self) -> None:
        """Take the next item, unless there is none. A refusal may come with the call or with the first item."""
        if self._is_over:
            return
        if self._items is None:
            self._items = self._call()
        items = self._items
        self._take(lambda: items.send(self._taken) if self._taken else next(items))

    def finish(self) -> None:
        """Do what the program says with the rest."""
        match self._stream.finish:
            case Finish.EXHAUST:
                while not self._is_over:
                    self.advance()
            case Finish.THROW if self._items is not None and not self._is_over:
                error, items = BoomError(), self._items
                self._stage.errors.append(error)
                self._take(lambda: items.throw(error))
            case _:
                self.close()

    def close(self) -> None:
        """Close it; nothing has happened if it was never started."""
        if self._items is not None:
            self._items.close()
        else:
            with contextlib.suppress(PropagationError):
                self._call().close()

    def _take(self, step: Callable[[], int]) -> None:
        try:
            item = step()
        except StopIteration as stop:
            self._is_over = True
            self._stage.note("end")
            if stop.value != len(self._stream.segments):
                self._stage.note("returned", stop.value)
        else:
            self._taken += 1
            self._stage.note("item", item)
