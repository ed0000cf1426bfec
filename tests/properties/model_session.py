"""The model of a session: a stack of frames, the transaction and its savepoints, begun by the first statement in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError, PendingRollbackError

from session_aware import PolicyConflictError

__all__ = ["Frame", "ModelSession"]


@dataclass(eq=False)
class Frame:
    """The transaction, or a savepoint.

    Attributes:
        is_begun: Whether the database knows of it.
        is_poisoned: Whether a statement failed in it, and no savepoint within was rolled back for that.
        is_aborted: Whether the database refuses everything in it but a rollback.
        is_dead: Whether a failed flush has rolled it back, which SQLAlchemy wants the program to confirm.
    """

    rows: list[int] = field(default_factory=list)
    is_begun: bool = False
    is_poisoned: bool = False
    is_aborted: bool = False
    is_dead: bool = False


class ModelSession:
    """A session on paper.

    Args:
        label: Its number.
        note: Takes what the database would see.
        aborts: Whether a failed statement aborts the transaction.
        level: The isolation level of a transaction for which none was asked.
    """

    def __init__(self, label: int, note: Callable[..., None], *, aborts: bool, level: str) -> None:
        self.label = label
        self.frames = [Frame()]
        self.level = level
        self.is_owned = False
        self.is_in_transaction = True
        self.factory: int | None = None  # of the unit that owns it
        self.is_ended = False
        self.is_read_only = False
        self.is_refusing = False  # as the database does
        self._pending: list[tuple[int, bool]] = []
        self._note = note
        self._aborts = aborts
        self._default_level = level

    def connect(self) -> None:
        """Begin what is not begun yet. PostgreSQL has no savepoint for an aborted transaction."""
        self.refuse_dead()
        self.is_in_transaction = True
        for number, frame in enumerate(self.frames):
            if not frame.is_begun:
                self._note(self.label, "SAVEPOINT" if number else "BEGIN")
                if number:
                    self._refuse_aborted(number - 1)
                frame.is_begun = True

    def execute(self, row: int | None) -> None:
        """Insert a row; None is a statement that fails."""
        self.connect()
        self._refuse_aborted()
        if row is None or self.is_refusing:
            self._fail()
        else:
            self.frames[-1].rows.append(row)

    def ask_level(self) -> None:
        """Ask the database."""
        self.connect()
        self._refuse_aborted()

    def add(self, row: int, *, is_valid: bool) -> None:
        """Leave a row to the next flush."""
        self.is_in_transaction = True
        self._pending.append((row, is_valid))

    def flush(self) -> None:
        """Insert what was added. A failure rolls the innermost frame back and leaves it dead."""
        if not self._pending:
            return
        if self.is_read_only:
            raise PolicyConflictError
        self.refuse_dead()
        try:
            for row, is_valid in self._pending:
                self.execute(row if is_valid else None)
        except DBAPIError:
            self._undo(self.frames[-1])
            self.frames[-1].is_dead = True
            raise
        self._pending.clear()

    def begin_nested(self) -> Frame:
        """Push a savepoint."""
        self.refuse_dead()
        self.flush()
        self.is_in_transaction = True
        self.frames.append(Frame())
        return self.frames[-1]

    def is_open(self, frame: Frame) -> bool:
        """Say whether it is one of the stack."""
        return frame in self.frames

    def release(self, frame: Frame) -> None:
        """Release a savepoint, and first those inside it."""
        while frame in self.frames:
            self.flush()
            self.refuse_dead()
            inner = self.frames[-1]
            if inner.is_begun:
                self._note(self.label, "RELEASE")
                if inner.is_aborted:
                    inner.is_begun = False  # SQLAlchemy sends no ROLLBACK TO after this
                    self.frames[-2].is_poisoned = self.frames[-2].is_aborted = True
                    self._fail()
            self.frames.pop()
            self.frames[-1].rows += inner.rows
            self.frames[-1].is_poisoned |= inner.is_poisoned

    def roll_back_to(self, frame: Frame) -> None:
        """Roll a savepoint back, and first those inside it; nothing if it is gone."""
        while frame in self.frames:
            self._undo(self.frames[-1])
            self.frames.pop()

    def commit(self) -> list[int]:
        """Commit, and return the rows that the database keeps."""
        self.refuse_dead()
        self.flush()
        [root] = self.frames
        if root.is_begun:
            self._note(self.label, "COMMIT")
        self.frames = [Frame()]
        return [] if root.is_aborted else root.rows

    def rollback(self) -> None:
        """Roll everything back; the next transaction is an ordinary one."""
        self.is_in_transaction = False
        [root] = self.frames
        self._undo(root)
        self.frames = [Frame()]
        self.level = self._default_level
        self.is_refusing = False

    def refuse_dead(self) -> None:
        """Raise where SQLAlchemy wants a rollback first."""
        if self.frames[-1].is_dead:
            raise PendingRollbackError

    def _undo(self, frame: Frame) -> None:
        if frame.is_begun:
            self._note(self.label, "ROLLBACK" if frame is self.frames[0] else "ROLLBACK TO")
        self._pending.clear()
        frame.rows.clear()
        frame.is_begun = frame.is_aborted = False
        frame.is_poisoned &= frame is self.frames[0]

    def _refuse_aborted(self, number: int = -1) -> None:
        if self.frames[number].is_aborted:
            self._fail()

    def _fail(self) -> None:
        self.frames[-1].is_poisoned = True
        self.frames[-1].is_aborted = self._aborts
        raise DBAPIError(None, None, Exception())
