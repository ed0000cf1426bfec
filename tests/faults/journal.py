"""What callers were told, against what was applied."""

from __future__ import annotations

import enum
from asyncio import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING

from session_aware import CommitOutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.faults.bank import Audit

__all__ = ["HEADER", "Report", "Verdict", "report", "verdict"]


class Verdict(enum.Enum):
    """What the caller of one order knows."""

    ACKNOWLEDGED = enum.auto()
    UNKNOWN = enum.auto()
    UNKNOWN_BEFORE_COMMIT = enum.auto()  # which was never sent, so this is wrong
    FAILED = enum.auto()
    CANCELLED = enum.auto()


def verdict(error: BaseException | None) -> Verdict:
    """Read what the caller was told by an exception and its notes."""
    if error is None:
        return Verdict.ACKNOWLEDGED
    # asyncio.timeout() raises TimeoutError from the cancellation that has the note.
    chain = [error, *([error.__cause__] if isinstance(error, TimeoutError) and error.__cause__ else [])]
    notes = " ".join(note for one in chain for note in getattr(one, "__notes__", ()))
    if "had already committed" in notes:
        return Verdict.ACKNOWLEDGED
    if isinstance(error, CommitOutcomeUnknown) or "outcome is unknown" in notes:
        return Verdict.UNKNOWN
    return Verdict.CANCELLED if any(isinstance(one, CancelledError) for one in chain) else Verdict.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One round of one client."""

    engine: str
    driver: str
    client: str
    acknowledged: int
    unknown: int
    unknown_applied: int
    lost: int
    duplicated: int
    failed_but_applied: int
    cancelled_but_applied: int
    unknown_before_commit: int
    is_consistent: bool
    leaked: int
    dangling: int
    hung: int
    attacks: str
    missed: tuple[str, ...]

    @property
    def damage(self) -> int:
        """How many orders ended otherwise than the caller was told."""
        wrong = self.lost + self.duplicated + self.failed_but_applied + self.cancelled_but_applied
        return wrong + self.unknown_before_commit + (not self.is_consistent)

    @property
    def is_clean(self) -> bool:
        """Whether this is what the library promises; a round in which nothing succeeded promises nothing."""
        return self.acknowledged > 0 and not (self.damage or self.leaked or self.dangling or self.hung)

    def row(self) -> str:
        """Give the line of the table."""
        cells = (
            self.engine,
            self.driver,
            self.client,
            self.acknowledged,
            f"{self.unknown} ({self.unknown_applied})",
            self.lost,
            self.duplicated,
            self.failed_but_applied,
            self.cancelled_but_applied,
            self.unknown_before_commit,
            "holds" if self.is_consistent else "BROKEN",
            self.leaked,
            self.dangling,
            self.hung,
        )
        return f"| {' | '.join(map(str, cells))} |"


_COLUMNS = (
    "engine",
    "driver",
    "client",
    "acknowledged",
    "unknown (applied)",
    "lost",
    "duplicated",
    "said failed but applied",
    "cancelled but applied, not told",
    "unknown before COMMIT",
    "invariant",
    "leaked connections",
    "dangling transactions",
    "hung workers",
)
HEADER = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"


def report(
    told: Mapping[str, Verdict],
    audit: Audit,
    *,
    where: tuple[str, str, str],
    leaked: int,
    dangling: int,
    hung: int,
    attacks: str,
    missed: tuple[str, ...] = (),
) -> Report:
    """Compare what was told with what was applied."""

    def count(verdict: Verdict, *, applied: bool) -> int:
        return sum((audit.applied[request] > 0) is applied for request, heard in told.items() if heard is verdict)

    engine, driver, client = where
    return Report(
        engine=engine,
        driver=driver,
        client=client,
        acknowledged=count(Verdict.ACKNOWLEDGED, applied=True) + count(Verdict.ACKNOWLEDGED, applied=False),
        unknown=count(Verdict.UNKNOWN, applied=True) + count(Verdict.UNKNOWN, applied=False),
        unknown_applied=count(Verdict.UNKNOWN, applied=True),
        lost=count(Verdict.ACKNOWLEDGED, applied=False),
        duplicated=sum(times > 1 for times in audit.applied.values()),
        failed_but_applied=count(Verdict.FAILED, applied=True),
        cancelled_but_applied=count(Verdict.CANCELLED, applied=True),
        unknown_before_commit=sum(heard is Verdict.UNKNOWN_BEFORE_COMMIT for heard in told.values()),
        is_consistent=audit.is_consistent,
        leaked=leaked,
        dangling=dangling,
        hung=hung,
        attacks=attacks,
        missed=missed,
    )
