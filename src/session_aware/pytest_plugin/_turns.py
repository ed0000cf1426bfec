"""Take turns on the one connection of a test: one session at a time, and those that its own flow begins inside it.

Savepoints form a stack. Two flows that set savepoints alternately on one connection would release, or roll back, each
other's. So a session takes a turn when it sets its first savepoint and gives it back when its transaction ends. A flow is a
thread here and a task in ``_async_rollback``. The flow that has the turn may begin another session inside
(``REQUIRES_NEW``), which must end first.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from session_aware.exceptions import SessionAwareError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["ThreadTurns", "Turn", "Turns"]


@dataclass(slots=True, eq=False)
class Turn:
    """A session in a transaction on the connection.

    Attributes:
        session: The session.
        name: The name of the session in messages.
        flow: The thread or task that used it last.
        is_own: Whether it is the test's own session, inside which every flow may begin others.
        is_committed: Whether it has committed.
        inside: The names of the sessions that committed while this one was open.
    """

    session: Session
    name: str
    flow: int
    is_own: bool
    is_committed: bool = False
    inside: list[str] = field(default_factory=list)


class Turns(ABC):
    """The sessions that are open, the outermost first.

    Args:
        seconds: How long a session waits for its turn before it is refused.
    """

    def __init__(self, seconds: float) -> None:
        self.open: list[Turn] = []
        self.problem: str | None = None
        self.notes: list[str] = []
        self._seconds = seconds

    @abstractmethod
    def flow(self) -> int:
        """Identify the running thread or task."""

    @abstractmethod
    def refuse_stranger(self) -> None:
        """Refuse a flow in which the connection does not work at all."""

    @abstractmethod
    def wait(self) -> None:
        """Wait until no other flow has a turn; refuse after the bound."""

    def of(self, session: Session) -> Turn | None:
        """Return the turn of the session if it has one; remember the flow that uses it now."""
        turn = next((turn for turn in self.open if turn.session is session), None)
        if turn is not None:
            turn.flow = self.flow()
        return turn

    def take(self, session: Session, name: str, *, is_own: bool) -> None:
        """Wait for the turn and take it."""
        self.wait()
        self.open.append(Turn(session, name, self.flow(), is_own))

    def give(self, session: Session) -> None:
        """Give the turn back; add a note if two connections would have behaved differently."""
        turn = next((turn for turn in self.open if turn.session is session), None)
        if turn is None:
            return
        place = self.open.index(turn)
        if turn is not self.open[-1]:
            self.problem = self.overlap(turn)
        del self.open[place]
        if turn.is_committed and place:
            self.open[place - 1].inside += [turn.name, *turn.inside]
        elif not turn.is_committed and turn.inside:
            self.notes.append(
                f"session_aware: {', '.join(turn.inside)} committed inside {turn.name}, which then rolled back. On two "
                "connections that work would stay; on the one connection of the test it is gone. Test this against a "
                "database that commits, or end the outer one first."
            )

    def overlap(self, turn: Turn) -> str:
        """Say why the turn cannot end now."""
        return (
            f"session_aware: {turn.name} ended before {self.open[-1].name}, which began inside it. On the one connection of "
            "the test each is a savepoint, and the inner one must end first. End them in order (streams that are read side "
            "by side do not), or test this against a database that commits."
        )

    def is_free(self) -> bool:
        """Say whether the running flow may go on."""
        holder = next((turn for turn in reversed(self.open) if not turn.is_own), None)
        return holder is None or holder.flow == self.flow()

    def refuse(self) -> NoReturn:
        """Report that the turn did not come.

        Raises:
            SessionAwareError: Always.
        """
        holders = ", ".join(turn.name for turn in self.open if not turn.is_own)
        msg = (
            f"session_aware: waited {self._seconds:g} s for the one connection of the test, which {holders} uses in another "
            "thread or task until its transaction ends; perhaps it waits for this call. Write 'session=session' to join it, "
            "or end it before others begin, or test this against a database that commits. The bound is the ini option "
            "session_aware_timeout."
        )
        raise SessionAwareError(msg)


class ThreadTurns(Turns):
    """Turns of threads.

    Args:
        seconds: How long a session waits for its turn before it is refused.
        is_for_one_thread: Whether the driver refuses every thread but the one that connected.
    """

    def __init__(self, seconds: float, *, is_for_one_thread: bool) -> None:
        super().__init__(seconds)
        self._changed = threading.Condition()
        self._only_thread = threading.get_ident() if is_for_one_thread else None

    def flow(self) -> int:
        """Identify the running thread."""
        return threading.get_ident()

    def refuse_stranger(self) -> None:
        """Refuse other threads where the pool gives each a SQLite database of its own.

        Raises:
            SessionAwareError: This is another thread.
        """
        if self._only_thread in {None, threading.get_ident()}:
            return
        msg = (
            "session_aware_engine: an SQLite database in memory serves only the thread that opened it, and this call comes "
            f'from {threading.current_thread().name!r}. Write \'create_engine("sqlite://", poolclass=StaticPool, '
            "connect_args=dict(check_same_thread=False))', or use a file."
        )
        raise SessionAwareError(msg)

    def wait(self) -> None:
        """Wait until no other thread has a turn.

        Raises:
            SessionAwareError: The turn did not come within the bound.
        """
        with self._changed:
            if not self._changed.wait_for(self.is_free, self._seconds):
                self.refuse()

    def of(self, session: Session) -> Turn | None:
        """Return the turn of the session if it has one; remember the thread that uses it now."""
        with self._changed:
            return super().of(session)

    def take(self, session: Session, name: str, *, is_own: bool) -> None:
        """Wait for the turn and take it."""
        with self._changed:  # re-entrant, so that no other thread takes the turn between the end of the wait and this
            super().take(session, name, is_own=is_own)

    def give(self, session: Session) -> None:
        """Give the turn back and wake the waiting threads."""
        with self._changed:
            super().give(session)
            self._changed.notify_all()
