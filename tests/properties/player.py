"""Play programs with the library and real sessions."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from session_aware import NEW_SESSION, auto_session_ctx
from tests.properties.callables import Role, declared, keywords
from tests.properties.interpreter import Interpreter
from tests.properties.programs import Add, Block, Call, Fail, Form, How, Misuse, Stream, Write
from tests.properties.stage import FAILING, WRITING, Opened, Row, Stage, wire

__all__ = ["Player", "Theatre"]


class Theatre:
    """Engines that serve many programs, one after the other, and the two factories."""

    def __init__(self, lanes: Sequence[Engine]) -> None:
        self.stage = Stage(lanes, 0)
        self.lanes = lanes
        self.factories = (self._open, self.open_other)
        for lane in lanes:
            wire(lane, lambda: self.stage)

    def _open(self) -> Session:
        session = Opened(autoflush=False)  # 2.1 also flushes before Core statements, 2.0 does not
        lane = cast("Engine", self.stage.enlist(session))
        session.bind = lane.execution_options(label=session.label)
        return session

    def open_other(self) -> Session:
        """Be another factory."""
        return self._open()


class Player(Interpreter[Session]):
    """Plays with real sessions."""

    def __init__(self, theatre: Theatre) -> None:
        super().__init__(theatre.stage)
        self._factories = theatre.factories
        self.added: list[tuple[Session, Row]] = []

    def act(self, operation: Write | Add | Fail | Misuse, session: Session) -> None:
        match operation:
            case Write():
                session.execute(WRITING, {"id": self.stage.new_row()})
            case Add(is_valid):
                row = Row(id=self.stage.new_row(), amount=1 if is_valid else 0)
                session.add(row)
                self.added.append((session, row))
            case Fail():
                session.execute(FAILING)
            case Misuse(is_commit):
                if "session_aware" in session.info and not session.in_nested_transaction():
                    (session.commit if is_commit else session.rollback)()

    def nest(self, session: Session) -> AbstractContextManager[object]:
        return session.begin_nested()

    @contextlib.contextmanager
    def manual(self) -> Iterator[Session]:
        with self._factories[0]() as session, session.begin():
            yield session

    def call(self, operation: Call, session: Session | None) -> None:
        how = operation.how
        if how.form is Form.CONTEXT:
            given = session if how.is_given else None
            options = {**self._factory(how), **keywords(how.policy)}
            with auto_session_ctx(given, is_commit=how.is_commit, **options) as own:
                self.run(operation.body, own)
            return
        rows = self._called(_CALL, operation, how, session)
        if session is None or not how.is_given:
            assert all(row.id for row in rows)  # readable after the close

    def block(self, operation: Block, session: Session | None) -> AbstractContextManager[Session]:
        return cast("AbstractContextManager[Session]", self._called(_BLOCK, operation, operation.how, session))

    def stream(self, operation: Stream, session: Session | None) -> Generator[int, int, int]:
        return cast("Generator[int, int, int]", self._called(_STREAM, operation, operation.how, session))

    def _called(self, role: Role, operation: Call | Block | Stream, how: How, session: Session | None) -> Any:
        given = {"session": session} if how.is_given else {}
        return declared(role, how, self._factory(how))(self, operation, is_commit=how.is_commit, **given)

    def _factory(self, how: How) -> dict[str, Any]:
        return {"session_factory": self._factories[how.factory]}


def _call(player: Player, operation: Call, *, session: Session = NEW_SESSION, is_commit: bool = True) -> list[Row]:
    player.run(operation.body, session)
    return [row for own, row in player.added if own is session]


def _stream(
    player: Player, operation: Stream, *, session: Session = NEW_SESSION, is_commit: bool = True
) -> Generator[int, int, int]:
    for number, segment in enumerate(operation.segments):
        player.run(segment, session)
        try:
            got = yield number
            player.stage.note("got", got)
        except Exception:
            if not operation.catches:
                raise
    return len(operation.segments)


@contextlib.contextmanager
def _block(player: Player, operation: Block, *, session: Session = NEW_SESSION, is_commit: bool = True) -> Iterator[Session]:
    player.run(operation.before, session)
    try:
        yield session
    except Exception:
        if not operation.catches:
            raise
    player.run(operation.after, session)


def _owned_call(
    _owner: object, player: Player, operation: Call, *, session: Session = NEW_SESSION, is_commit: bool = True
) -> list[Row]:
    return _call(player, operation, session=session, is_commit=is_commit)


def _owned_stream(
    _owner: object, player: Player, operation: Stream, *, session: Session = NEW_SESSION, is_commit: bool = True
) -> Generator[int, int, int]:
    return (yield from _stream(player, operation, session=session, is_commit=is_commit))


@contextlib.contextmanager
def _owned_block(
    _owner: object, player: Player, operation: Block, *, session: Session = NEW_SESSION, is_commit: bool = True
) -> Iterator[Session]:
    with _block(player, operation, session=session, is_commit=is_commit) as own:
        yield own


_CALL = Role(_owned_call, _call)
_STREAM = Role(_owned_stream, _stream)
_BLOCK = Role(_owned_block, _block)
