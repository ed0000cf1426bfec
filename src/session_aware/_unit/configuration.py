"""What ``configure`` says for the whole process."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from session_aware._unit.policy import NO_POLICY, SessionPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from session_aware._database.outcome import Outcome

__all__ = ["NO_SETTINGS", "UNSET", "Settings", "UnitRecord", "Unset", "settings", "update"]


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


class Settings(NamedTuple):
    """What one place (``configure``, a class statement, a decorator, a block) says: a policy and factories by keyword."""

    policy: SessionPolicy = NO_POLICY
    factories: Mapping[str, object] = MappingProxyType({})
    observer: Callable[[UnitRecord], object] | None = None


NO_SETTINGS: Final = Settings()


class Unset(enum.Enum):
    """The default of a keyword for which ``None`` means something."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET

_lock: Final = RLock()  # a finalizer may run while it is held, and configure
settings: Settings = NO_SETTINGS
"""What is configured now. Read it through the module: it is replaced as a whole, so a call never sees half of a change."""


def update(*, policy: Mapping[str, object], factories: Mapping[str, object], observer: object = UNSET) -> None:
    """Replace what was said; ``UNSET`` leaves a setting alone, ``None`` takes it back."""
    global settings  # noqa: PLW0603 - the one process-wide setting of the library
    said: dict[str, Any] = {name: value for name, value in policy.items() if value is not UNSET}
    named = {keyword: factory for keyword, factory in factories.items() if factory is not UNSET}
    with _lock:
        while True:
            before = settings
            kept = {keyword: factory for keyword, factory in {**before.factories, **named}.items() if factory is not None}
            after = Settings(
                dataclasses.replace(before.policy, **said),
                MappingProxyType(kept),
                before.observer if observer is UNSET else cast("Callable[[UnitRecord], object] | None", observer),
            )
            if settings is before:  # no finalizer has run in between, and configured
                settings = after
                return
