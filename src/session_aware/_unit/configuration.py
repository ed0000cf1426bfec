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
    """What became of one owned call. ``configure(observer=...)`` receives it in the thread or task that made the call.

    Attributes:
        name: Qualified name of the callable, ``Accounts.rename``.
        outcome: ``"committed"``; ``"discarded"`` for a dry run or a read-only call that ended as requested; ``"rolled
            back"`` after an error; or ``"unknown"``, see ``CommitOutcomeUnknown``.
        attempts: How often the body was started.
        seconds: The time from the start of the first attempt to the end of the last one, including the waits between them.
        error: What the call raised, or None. With ``"committed"`` it was raised after COMMIT, such as a cancellation.

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


_lock: Final = RLock()  # re-entrant: a finalizer that runs while it is held may call configure()
settings: Settings = NO_SETTINGS
"""What is configured now. Read it through the module: it is replaced as a whole, so a call never sees half of a change."""


def update(options: Mapping[str, Any]) -> None:
    """Replace the settings that are named; ``None`` removes one.

    Args:
        options: The options of the policy, the factories and ``observer``.
    """
    global settings  # noqa: PLW0603 - the one process-wide setting of the library
    policy = {name: value for name, value in options.items() if name in FIELDS}
    factories = {name: value for name, value in options.items() if name.endswith("_factory")}
    with _lock:
        while True:
            before = settings
            kept = {name: factory for name, factory in {**before.factories, **factories}.items() if factory is not None}
            merged = dataclasses.replace(before.policy, **policy)
            after = Settings(
                NO_POLICY if merged == NO_POLICY else merged,  # it is compared by identity at each call
                MappingProxyType(kept),
                options.get("observer", before.observer),
            )
            if settings is before:  # otherwise a finalizer has called configure() in between
                settings = after
                return
