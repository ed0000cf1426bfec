"""Where a program runs: databases, two factories, and one log of all that can be seen from outside.

Each session has a label, the number of the call that opened it. SQLite has one writer, so every open session has a file of
its own there ("lane"); a PostgreSQL is one lane for all.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any, Final, TextIO

from sqlalchemy import CheckConstraint, Engine, event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from session_aware import NestedSessionWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["FAILING", "WRITING", "Base", "Log", "Opened", "Row", "Stage", "wire"]

Log = list[tuple[object, ...]]
_EVENTS = {
    "begin": "BEGIN",
    "savepoint": "SAVEPOINT",
    "release_savepoint": "RELEASE",
    "rollback_savepoint": "ROLLBACK TO",
    "commit": "COMMIT",
    "rollback": "ROLLBACK",
}


class Base(DeclarativeBase):
    """The metadata of the programs."""


class Row(Base):
    """What a program writes. The check fails a statement without waiting for anybody's lock."""

    __tablename__ = "program_row"
    __table_args__ = (CheckConstraint("amount > 0"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    amount: Mapped[int]


WRITING: Final = text("INSERT INTO program_row (id, amount) VALUES (:id, 1)")
FAILING: Final = text("INSERT INTO program_row (id, amount) VALUES (0, 0)")


class Opened(Session):
    """A session that notes its close."""

    stage: Stage
    label: int
    lane: int

    def close(self) -> None:
        self.stage.note(self.label, "CLOSE")
        self.stage.free(self)
        super().close()


def wire(engine: Engine, stage: Callable[[], Stage]) -> None:
    """Let an engine's transaction events go to the log of the stage that plays now."""

    def noting(word: str) -> Callable[..., None]:
        def note(connection: Any, *_: object) -> None:
            if (label := connection.get_execution_options().get("label")) is not None:
                stage().note(label, word)

        return note

    for name, word in _EVENTS.items():
        event.listen(engine, name, noting(word))


class Stage:
    """One run of one program.

    Args:
        lanes: The engines; sessions that are open at the same time use different ones if there are several.
        first_row: Rows are numbered from here, so that no run sees those of another.
    """

    def __init__(self, lanes: Sequence[Engine | AsyncEngine], first_row: int) -> None:
        self.log: Log = []
        self.errors: list[BaseException] = []
        self.first_row = first_row
        self._lanes = lanes
        self._rows = 0
        self._labels = 0
        self._open: list[Opened] = []

    def note(self, *what: object) -> None:
        """Add to the log."""
        self.log.append(what)

    def new_row(self) -> int:
        """Number the next row."""
        self._rows += 1
        return self.first_row + self._rows

    def enlist(self, session: Opened) -> Engine | AsyncEngine:
        """Label a new session and return the free lane to bind it to."""
        self._labels += 1
        session.stage = self
        session.label = self._labels
        taken = {other.lane for other in self._open} if len(self._lanes) > 1 else set()
        session.lane = next(number for number in range(len(self._lanes)) if number not in taken)
        self._open.append(session)
        self.note(session.label, "OPEN")
        return self._lanes[session.lane]

    def free(self, session: Opened) -> None:
        """Give the lane of a closed session back."""
        if session in self._open:
            self._open.remove(session)

    @contextlib.contextmanager
    def noting_errors(self) -> Iterator[None]:
        """Number an error of the program itself, so that it can be recognized by identity further out."""
        try:
            yield
        except BaseException as error:
            self.errors.append(error)
            raise

    def outcome(self, error: BaseException | None) -> object:
        """Name how a call ended: None, the number of a known error, or the type of one that the call raised itself."""
        if error is None:
            return None
        kind = "DBAPIError" if isinstance(error, DBAPIError) else type(error).__name__
        return next((number for number, known in enumerate(self.errors) if known is error), kind)

    @contextlib.contextmanager
    def ending(self, what: str) -> Iterator[None]:
        """Note how a call ended."""
        error = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.note(what, self.outcome(error))

    @contextlib.contextmanager
    def noting_warnings(self) -> Iterator[None]:
        """Put nested calls into the log, and whether the warning points to the program's own code."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", NestedSessionWarning)
            # SQLAlchemy, when it drops what a program added after a failed flush.
            warnings.filterwarnings("ignore", "Session's state has been changed on a non-active transaction")
            warnings.showwarning = self._show  # type: ignore[assignment]  # mypy compares the names of its parameters
            yield

    def _show(
        self,
        _message: Warning | str,
        category: type[Warning],
        filename: str,
        _line: int,
        _file: TextIO | None = None,
        _text: str | None = None,
    ) -> None:
        self.note(category.__name__, "properties" in filename)

    def committed(self, witnesses: Sequence[Engine]) -> list[int]:
        """Return the rows that this run has committed."""
        rows: list[int] = []
        for witness in witnesses:
            with witness.connect() as connection:
                rows += connection.scalars(select(Row.id).where(Row.id > self.first_row))
        return sorted(row - self.first_row for row in rows)

    @property
    def open_sessions(self) -> list[int]:
        """The labels of the sessions that were never closed."""
        return [session.label for session in self._open]
