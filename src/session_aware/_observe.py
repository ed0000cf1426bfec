"""Tell of owned units: the logger ``session_aware`` at DEBUG, and one observer. Free when neither is set."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from session_aware import _configuration

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Outcome", "UnitRecord", "logger", "report", "start"]

logger: Final = logging.getLogger("session_aware")

Outcome: TypeAlias = Literal["committed", "discarded", "rolled back", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRecord:
    """What became of one owned call; what ``configure(observer=...)`` receives, in the thread or task that made the call.

    Attributes:
        name: Qualified name of the callable, ``Accounts.rename``.
        outcome: ``"committed"``; ``"discarded"``, a dry run or a read-only call that ended as it was asked to; ``"rolled
            back"``, an error; or ``"unknown"``, see ``CommitOutcomeUnknown``.
        attempts: How often the body was started.
        seconds: From the first attempt's start to the last one's end, with the waiting between them.
        error: What the call raised, or None. Beside ``"committed"`` it came after COMMIT, such as a cancellation.

    Example:
        def observe(record: UnitRecord) -> None:
            print(record.name, record.outcome, record.seconds)

        configure(observer=observe)
    """

    name: str
    outcome: Outcome
    attempts: int
    seconds: float
    error: BaseException | None


UnitRecord.__module__ = "session_aware"


def start() -> float | None:
    """Return the time, or None if nobody wants to know."""
    is_wanted = _configuration.settings.observer is not None or logger.isEnabledFor(logging.DEBUG)
    return time.perf_counter() if is_wanted else None


def report(name: str, outcome: Outcome, started: float, error: BaseException | None, *, attempts: int = 1) -> None:
    """Log the unit and hand it to the observer, whose own errors are logged and go no further."""
    record = UnitRecord(name=name, outcome=outcome, attempts=attempts, seconds=time.perf_counter() - started, error=error)
    logger.debug("%s: %s, attempts %d, %.6f s", record.name, record.outcome, record.attempts, record.seconds)
    observer: Callable[[UnitRecord], object] | None = _configuration.settings.observer
    if observer is None:
        return
    try:
        observer(record)
    except Exception:
        logger.exception("the observer failed on %r", record)
