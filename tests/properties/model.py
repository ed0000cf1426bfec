"""The model: what the documentation says a unit does, and what SQLAlchemy does with sessions, without either.

A session is a stack of frames: the transaction, then its savepoints. A mark (``is_poisoned``) lives in the frame of the
statement that failed; it goes with a frame that is rolled back, and into the parent of one that is released. So do rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager

from session_aware import (
    PoisonedTransactionError,
    PolicyConflictError,
    Propagation,
    PropagationError,
    SessionOwnershipError,
    SessionPolicy,
)
from tests.properties.interpreter import Interpreter
from tests.properties.model_session import ModelSession
from tests.properties.programs import Add, Block, Call, Fail, Form, How, Misuse, Stream, Write
from tests.properties.stage import Stage

__all__ = ["Model"]


class Model(Interpreter[ModelSession]):
    """Plays on paper.

    Args:
        stage: Where the log goes.
        aborts: Whether a failed statement aborts the transaction, as PostgreSQL has it.
        has_one_engine: Whether all sessions are on one engine, else those that are open at the same time never are.
        level: The isolation level of a transaction for which none was asked.
    """

    def __init__(self, stage: Stage, *, aborts: bool, has_one_engine: bool, level: str) -> None:
        super().__init__(stage)
        self.committed: list[int] = []
        self._aborts = aborts
        self._level = level
        self._labels = 0
        self._has_one_engine = has_one_engine
        self._running: list[ModelSession] = []  # of the bodies that are on the stack

    def act(self, operation: Write | Add | Fail | Misuse, session: ModelSession) -> None:
        match operation:
            case Write():
                session.execute(self.stage.new_row() - self.stage.first_row)
            case Add(is_valid):
                session.add(self.stage.new_row() - self.stage.first_row, is_valid=is_valid)
            case Fail():
                session.execute(None)
            case Misuse(is_commit):
                if session.is_owned and len(session.frames) == 1:
                    session.refuse_dead()
                    if is_commit:
                        raise SessionOwnershipError
                    session.rollback()
                    session.is_ended = True

    @contextlib.contextmanager
    def nest(self, session: ModelSession) -> Iterator[None]:
        frame = session.begin_nested()
        try:
            yield
            if session.is_open(frame) and not frame.is_dead:
                session.release(frame)
        finally:
            session.roll_back_to(frame)

    @contextlib.contextmanager
    def manual(self) -> Iterator[ModelSession]:
        with self._opened() as session:
            yield session
            if not session.frames[0].is_dead:
                self.committed += session.commit()

    def call(self, operation: Call, session: ModelSession | None) -> None:
        with self._unit(operation.how, *self._decide(operation.how, session)) as own, self._inside(own):
            self.run(operation.body, own)

    @contextlib.contextmanager
    def block(self, operation: Block, session: ModelSession | None) -> Iterator[ModelSession]:
        how = operation.how
        with self._unit(how, *self._decide(how, session)) as own:
            with self._inside(own):
                self.run(operation.before, own)
            try:
                yield own
            except Exception:
                if not operation.catches:
                    raise
            with self._inside(own):
                self.run(operation.after, own)

    def stream(self, operation: Stream, session: ModelSession | None) -> Generator[int, int, int]:
        return self._stream(operation, session, *self._decide(operation.how, session))

    def _stream(
        self, operation: Stream, session: ModelSession | None, policy: SessionPolicy, given: ModelSession | None
    ) -> Generator[int, int, int]:
        with self._unit(operation.how, policy, given) as own:
            for number, segment in enumerate(operation.segments):
                with self._inside(own):
                    self.run(segment, own)
                try:
                    got = yield number
                    self.stage.note("got", got)
                except Exception:
                    if not operation.catches:
                        raise
        return len(operation.segments)

    def _decide(self, how: How, session: ModelSession | None) -> tuple[SessionPolicy, ModelSession | None]:
        given = session if how.is_given else None
        near, far = how.policy, SessionPolicy() if how.form in {Form.FUNCTION, Form.CONTEXT} else how.of_class
        policy = SessionPolicy(
            propagation=near.propagation or far.propagation,
            read_only=far.read_only if near.read_only is None else near.read_only,
            isolation_level=near.isolation_level or far.isolation_level,
        )
        if policy.propagation is (Propagation.MANDATORY if given is None else Propagation.REQUIRES_NEW):
            raise PropagationError
        return policy, given

    @contextlib.contextmanager
    def _inside(self, own: ModelSession) -> Iterator[None]:
        """Run a stretch of a unit's own body."""
        self._running.append(own)
        try:
            yield
        finally:
            self._running.pop()

    def _unit(self, how: How, policy: SessionPolicy, given: ModelSession | None) -> AbstractContextManager[ModelSession]:
        return self._own(how, policy) if given is None else self._join(policy, given)

    @contextlib.contextmanager
    def _join(self, policy: SessionPolicy, given: ModelSession) -> Iterator[ModelSession]:
        if policy.isolation_level is not None:
            given.ask_level()
            if given.level != policy.isolation_level:
                raise PolicyConflictError
        if policy.propagation is not Propagation.NESTED:
            yield given
            return
        frame = given.begin_nested()
        try:
            yield given
            if not given.is_open(frame):
                raise SessionOwnershipError
            given.release(frame)
        finally:
            given.roll_back_to(frame)

    @contextlib.contextmanager
    def _own(self, how: How, policy: SessionPolicy) -> Iterator[ModelSession]:
        outer = [one for one in self._running if one.is_in_transaction]
        if policy.propagation is Propagation.REQUIRES_NEW:
            outer = []
        if is_early := any(one.is_owned and one.factory == how.factory for one in outer):  # before the factory is called
            self.stage.note("NestedSessionWarning", True)  # noqa: FBT003 - the log says where it points to
        with self._opened() as session:
            if not is_early and any(self._has_one_engine or one.factory == how.factory for one in outer):
                self.stage.note("NestedSessionWarning", True)  # noqa: FBT003 - likewise
            session.is_owned = True
            session.factory = how.factory
            session.is_read_only = session.is_refusing = policy.read_only is True
            session.level = policy.isolation_level or self._level
            yield session
            if session.is_ended:
                raise SessionOwnershipError
            if session.frames[0].is_poisoned and not policy.read_only:  # which has nothing to lose
                raise PoisonedTransactionError
            if how.is_commit and not policy.read_only:
                self.committed += session.commit()
            else:
                session.flush()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[ModelSession]:
        self._labels += 1
        session = ModelSession(self._labels, self.stage.note, aborts=self._aborts, level=self._level)
        self.stage.note(session.label, "OPEN")
        try:
            yield session
        finally:
            session.rollback()
            self.stage.note(session.label, "CLOSE")
