"""Record what one call does to the database, from SQLAlchemy's events."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["Moment", "Recorder", "Timeline"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that was sent to the database.

    Attributes:
        at: Seconds since the call began.
        text: BEGIN, COMMIT, ROLLBACK or the statement.
        rows: With how many sets of parameters a statement was sent, when they are more than one.
    """

    at: float
    text: str
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Timeline:
    """What one call did, and how many seconds it took."""

    moments: tuple[Moment, ...]
    seconds: float


class Recorder:
    """Listens to an engine; one call after the other."""

    def __init__(self, engine: Engine) -> None:
        self._moments: list[Moment] = []
        self._began = 0.0
        event.listen(engine, "begin", lambda _connection: self._add("BEGIN"))
        event.listen(engine, "commit", lambda _connection: self._add("COMMIT"))
        event.listen(engine, "rollback", lambda _connection: self._add("ROLLBACK"))
        event.listen(engine, "before_cursor_execute", self._statement)

    def start(self) -> None:
        """Forget what was recorded: a call begins."""
        self._moments = []
        self._began = perf_counter()

    def stop(self) -> Timeline:
        """Return what was recorded since ``start``."""
        return Timeline(tuple(self._moments), perf_counter() - self._began)

    def _add(self, text: str, rows: int = 1) -> None:
        self._moments.append(Moment(perf_counter() - self._began, text, rows))

    def _statement(self, *heard: Any) -> None:  # noqa: ANN401 - six positional arguments, of which the names matter here
        _connection, _cursor, statement, parameters, _context, is_many = heard
        self._add(statement, len(parameters) if is_many else 1)
