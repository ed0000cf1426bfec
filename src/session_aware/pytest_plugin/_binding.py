"""Bind sessions to the one connection of a test, each in a savepoint of its own."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import event

from session_aware._database import after_commit, connections
from session_aware._database.events import OWNER_KEY
from session_aware.exceptions import SessionAwareError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session, SessionTransaction

    from session_aware.pytest_plugin._callbacks import AfterCommit
    from session_aware.pytest_plugin._turns import Turns

__all__ = ["Binding", "bound_class"]

_KEY: Final = "session_aware.pytest_plugin"
_OTHER_DATABASES: Final = ("bind", "binds", "twophase")


class Binding:
    """The objects that the sessions of one test share.

    Args:
        connection: The connection, in the outer transaction.
        turns: Decides which session may use the connection.
        after_commit: Takes the callbacks of the sessions.

    Attributes:
        own: The test's own session, which is made with ``options``.
    """

    own: Session

    def __init__(self, connection: Connection, turns: Turns, after_commit: AfterCommit) -> None:
        self.connection = connection
        self.turns = turns
        self.after_commit = after_commit
        self._asking = threading.local()
        event.listen(connection, "savepoint", self._begin)

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keywords of a sessionmaker whose sessions are bound here, made from those of the user's one."""
        options = {keyword: value for keyword, value in given.items() if keyword not in _OTHER_DATABASES}
        info = {_KEY: self, after_commit.TAKER_KEY: self.after_commit.take, connections.PRETENDED_LEVEL_KEY: None}
        return {**options, "info": {**(options.get("info") or {}), **info}, "join_transaction_mode": "create_savepoint"}

    def connection_for(self, session: Session) -> Connection:
        """Return the connection to a session that is about to use it.

        Raises:
            SessionAwareError: The connection is lost, its savepoints are in disorder, or the turn did not come.
        """
        self.turns.refuse_stranger()
        if self.turns.problem is not None:
            raise SessionAwareError(self.turns.problem)
        if self.connection.closed or self.connection.invalidated:
            msg = (
                "session_aware: the one connection of the test is lost or closed, and with it the work so far. A test that "
                "breaks connections, and a call after the end of its test, need a database that commits."
            )
            raise SessionAwareError(msg)
        has_turn = self.turns.of(session) is not None
        self._asking.session = None if has_turn else session
        if has_turn and session is self.own:
            self.turns.wait()
        return self.connection

    def _begin(self, _connection: Connection, _name: str | None) -> None:
        """Take the turn before SAVEPOINT is sent, which is the first use that a session makes of the connection."""
        session: Session | None = getattr(self._asking, "session", None)
        if session is None or not session.in_transaction():
            return
        owner = session.info.get(OWNER_KEY)
        is_own = session is self.own
        name = owner.name if owner is not None else "the test's session" if is_own else "a session of the test's factory"
        self.turns.take(session, name, is_own=is_own)
        self._asking.session = None  # a begin_nested() that comes first sends a second SAVEPOINT


def _get_bind(session: Session, *_: object, **__: object) -> Connection:
    """Replace ``get_bind``, which a subclass may have overridden to choose among engines."""
    return cast("Binding", session.info[_KEY]).connection_for(session)


def _before_commit(session: Session) -> None:
    turns = cast("Binding", session.info[_KEY]).turns
    turn = None if session.in_nested_transaction() else turns.of(session)
    if turn is None:
        return
    if turn.is_own:
        turns.wait()
    if turn is not turns.open[-1]:
        raise SessionAwareError(turns.overlap(turn))


def _after_commit_of(session: Session) -> None:
    turn = None if session.in_nested_transaction() else cast("Binding", session.info[_KEY]).turns.of(session)
    if turn is not None:
        turn.is_committed = True


def _after_end(session: Session, ended: SessionTransaction) -> None:
    if ended.parent is None:
        cast("Binding", session.info[_KEY]).turns.give(session)


def bound_class(base: type[Session]) -> type[Session]:
    """Return a subclass whose sessions use the connection of their binding."""
    return _bound_class(cast("Hashable", base))


@lru_cache(maxsize=32)  # listeners cost time, and a suite has few classes of sessions
def _bound_class(base: Any) -> type[Session]:  # noqa: ANN401 - for mypy the class of sessions is not Hashable
    cls: type[Session] = type(base.__name__, (base,), {"__module__": base.__module__, "get_bind": _get_bind})
    event.listen(cls, "before_commit", _before_commit)
    event.listen(cls, "after_commit", _after_commit_of)
    event.listen(cls, "after_transaction_end", _after_end)
    return cls
