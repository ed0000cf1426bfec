"""Report owned units to the logger ``session_aware`` at DEBUG and to one observer. Without either it costs nothing."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from session_aware._unit import configuration
from session_aware._unit.configuration import UnitRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from session_aware._database.outcome import Outcome

__all__ = ["logger", "report", "start"]

logger: Final = logging.getLogger("session_aware")


def start() -> float | None:
    """Return the time, or None if there is neither an observer nor DEBUG logging."""
    is_wanted = configuration.settings.observer is not None or logger.isEnabledFor(logging.DEBUG)
    return time.perf_counter() if is_wanted else None


def report(name: str, outcome: Outcome, started: float, error: BaseException | None, *, attempts: int = 1) -> None:
    """Log the unit and pass it to the observer, whose errors are logged and not raised."""
    record = UnitRecord(name=name, outcome=outcome, attempts=attempts, seconds=time.perf_counter() - started, error=error)
    logger.debug("%s: %s, attempts %d, %.6f s", record.name, record.outcome, record.attempts, record.seconds)
    observer: Callable[[UnitRecord], object] | None = configuration.settings.observer
    if observer is None:
        return
    try:
        observer(record)
    except Exception:
        logger.exception("the observer failed on %r", record)
