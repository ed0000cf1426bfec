"""What ``configure`` says for the whole process."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from session_aware._unit.policy import FIELDS, NO_POLICY, SessionPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from session_aware._database.outcome import Outcome

__all__ = ["NO_SETTINGS", "Settings", "UnitRecord", "settings", "update"]


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


_lock: Final = RLock()  # a finalizer may run while it is held, and configure
settings: Settings = NO_SETTINGS
"""What is configured now. Read it through the module: it is replaced as a whole, so a call never sees half of a change."""


def update(options: Mapping[str, Any]) -> None:
    """Replace what is named; ``None`` takes a setting back.

    Args:
        options: Of the policy, factories, and ``observer``.
    """
    global settings  # noqa: PLW0603 - the one process-wide setting of the library
    policy = {name: value for name, value in options.items() if name in FIELDS}
    factories = {name: value for name, value in options.items() if name.endswith("_factory")}
    with _lock:
        while True:
            before = settings
            kept = {name: factory for name, factory in {**before.factories, **factories}.items() if factory is not None}
            after = Settings(
                dataclasses.replace(before.policy, **policy),
                MappingProxyType(kept),
                options.get("observer", before.observer),
            )
            if settings is before:  # no finalizer has run in between, and configured
                settings = after
                return
